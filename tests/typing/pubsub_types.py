"""What a topic makes of publishers, subscribers and messages, for mypy --strict and pyright strict. Checked, never run.

A line with an ``ignore`` is an error that both checkers must find: an unneeded ignore is an error itself.
"""

from __future__ import annotations

from typing import Any, assert_type

from pydantic import BaseModel

import zpatterns as zp
import zpatterns.asyncio as zpa


class Reading(BaseModel):
    celsius: float


class Note(BaseModel):
    text: str


TEMP = zp.Topic("lab.{room}.temp", Reading)
NOTE = zp.Topic("note", Note)
EITHER = zp.Topic("either", int | str)
ENDPOINT = "tcp://127.0.0.1:5555"


def topics() -> None:
    assert_type(TEMP, zp.Topic[Reading])
    assert_type(TEMP.at(room="a1"), zp.Topic[Reading])
    assert_type(EITHER, zp.Topic[int | str])
    assert_type(TEMP.match("lab.a1.temp"), dict[str, str] | None)


def publishing(publisher: zp.Publisher) -> None:
    publisher.publish(TEMP.at(room="a1"), Reading(celsius=1.0))
    publisher.publish(EITHER, 1)
    publisher.publish_many(NOTE, (Note(text=text) for text in "abc"))
    publisher.publish_plain(b"sub 1 hello")
    assert_type(publisher.wait_for_subscribers(TEMP, count=2, timeout=1.0), int)
    publisher.publish(NOTE, 1)  # type: ignore[misc]
    publisher.publish_many(NOTE, [1])  # type: ignore[misc]


def subscribing() -> None:
    one = zp.Subscriber(ENDPOINT, TEMP)
    assert_type(one, zp.Subscriber[Reading])
    for message in one:
        assert_type(message, zp.Message[Reading])
        assert_type(message.body, Reading)
        assert_type(message.missed, int)
    two = zp.Subscriber([ENDPOINT], TEMP, NOTE, max_age=1.0, overflow=zp.Overflow.LATEST)
    assert_type(two.receive(timeout=1.0).body, Reading | Note)
    assert_type(zp.Subscriber(ENDPOINT, TEMP, NOTE, EITHER), zp.Subscriber[Reading | Note | int | str])
    assert_type(zp.Subscriber(ENDPOINT, b"sub 1"), zp.Subscriber[list[bytes]])
    bare = zp.Subscriber(ENDPOINT)
    assert_type(bare, zp.Subscriber[Any])
    with bare.stream(NOTE) as notes:
        assert_type(next(notes).body, Note)
    assert_type(bare.ready(timeout=1.0), dict[str, tuple[str, ...]])
    zp.Subscriber(ENDPOINT, TEMP, max_age="1")  # type: ignore[call-overload]

    @bare.on(TEMP)
    def reading(message: zp.Message[Reading]) -> None: ...

    @bare.on(NOTE)  # type: ignore[arg-type]
    def wrong(message: zp.Message[Reading]) -> None: ...

    @bare.on(b"sub 1")
    def frames(message: zp.Message[list[bytes]]) -> None: ...

    del reading, wrong, frames


async def awaiting(publisher: zpa.Publisher, subscriber: zpa.Subscriber[Reading]) -> None:
    publisher.publish(NOTE, Note(text="x"))
    await publisher.publish(NOTE, Note(text="x"))
    await publisher.publish_many(NOTE, [Note(text="x")])
    assert_type(await publisher.wait_for_subscribers(NOTE), int)
    assert_type(zpa.Subscriber(ENDPOINT, TEMP, NOTE), zpa.Subscriber[Reading | Note])
    async for message in subscriber:
        assert_type(message.body, Reading)
    assert_type((await subscriber.receive()).body, Reading)
    async with subscriber.stream(NOTE) as notes:
        async for note in notes:
            assert_type(note.body, Note)

    @subscriber.on(NOTE)
    async def note_(message: zp.Message[Note]) -> None: ...

    del note_
