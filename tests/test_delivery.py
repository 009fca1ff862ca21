"""Chunks opened for a reader: several bodies in one, and one among them that does not decode."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from zpatterns import DecodeError, Overflow, Topic
from zpatterns._shell import delivery
from zpatterns._shell.delivery import Undecodable
from zpatterns.core.gaps import Line
from zpatterns.core.intake import Chunk, Intake, Route
from zpatterns.wire import published as w


class Number(BaseModel):
    value: int


NUMBERS = Topic("numbers", Number)
JSON = Topic("json", Number, codec="json")
RAW = Topic("raw", bytes)


def chunk(topic: Topic[Any], payload: bytes, count: int = 1, codec: int = w.MSGPACK) -> Chunk:
    route = Route(Line(topic.frame, b"incarn-A", 0), Intake(100, Overflow.DROP_OLDEST, None), topic)
    return Chunk(route, 5, count, codec, payload, (), float("inf"))


def opened(chunk: Chunk, missed: int) -> list[Any]:
    return list(delivery.opened(chunk, missed))


def shown(messages: list[Any]) -> list[Any]:
    return [None if isinstance(each, Undecodable) else getattr(each.body, "value", each.body) for each in messages]


def test_one_body():
    (message,) = opened(chunk(NUMBERS, b"\x81\xa5value\x07"), 3)
    assert (message.topic, message.body, message.missed, message.sequence) == ("numbers", Number(value=7), 3, 5)
    assert message.publisher == b"incarn-A".hex()
    assert repr(message) == "Message('numbers', Number(value=7), missed=3, sequence=5)"


def test_several_bodies_and_a_part_of_them():
    payload = w.join(w.MSGPACK, [NUMBERS.encode(Number(value=value))[0] for value in range(4)])
    whole = opened(chunk(NUMBERS, payload, 4), 2)
    assert shown(whole) == [0, 1, 2, 3]
    assert [(message.sequence, message.missed) for message in whole] == [(5, 2), (6, 0), (7, 0), (8, 0)]
    part = chunk(NUMBERS, payload, 4)
    part.start, part.stop = 1, 3
    assert [(message.sequence, message.missed) for message in opened(part, 1)] == [(6, 1), (7, 0)]


def test_bodies_that_came_one_by_one():
    made = chunk(NUMBERS, NUMBERS.encode(Number(value=0))[0], 4)
    made.run = [NUMBERS.encode(Number(value=value))[0] for value in range(4)]
    assert shown(opened(made, 2)) == [0, 1, 2, 3]
    assert [(message.sequence, message.missed) for message in opened(made, 2)] == [(5, 2), (6, 0), (7, 0), (8, 0)]
    made.start = 2
    assert [(message.sequence, message.missed) for message in opened(made, 1)] == [(7, 1), (8, 0)]
    made.run[3] = b"\xc1"
    assert shown(opened(made, 0)) == [2, None]
    texts = Topic("texts", str)
    large = chunk(texts, b"", 20)
    large.run = [texts.encode("x" * 8000)[0]] * 20
    assert [len(body) for body in shown(opened(large, 0))] == [8000] * 20
    raw = chunk(RAW, b"a", 2, w.RAW)
    raw.run = [b"a", memoryview(b"b")]
    assert shown(opened(raw, 0)) == [b"a", b"b"]


def test_the_parts_of_a_topic_that_stand_for_its_placeholders():
    rooms = Topic("lab.{room}.{what}", int)
    route = Route(Line(b"lab.a.temp\0", b"incarn-A", 0), Intake(100, Overflow.DROP_OLDEST, None), rooms)
    first, second = opened(Chunk(route, 1, 2, w.MSGPACK, b"\x92\x01\x02", (), 1.0), 0)
    assert dict(first.fields) == {"room": "a", "what": "temp"}
    assert second.fields is first.fields
    route.application = Topic("lab.{room}.temp", int)
    (third,) = opened(Chunk(route, 3, 1, w.MSGPACK, b"\x01", (), 1.0), 0)
    assert dict(third.fields) == {"room": "a"}
    assert dict(opened(chunk(RAW, b"a", 1, w.RAW), 0)[0].fields) == {}


BAD = [
    (NUMBERS, w.MSGPACK, [b"\x81\xa5value\x01", b"\x81\xa5value\xa1x", b"\x81\xa5value\x03"], [1, None, 3]),
    (JSON, w.JSON, [b'{"value":1}', b'{"value":"x"}', b'{"value":3}'], [1, None, 3]),
]


@pytest.mark.parametrize(("topic", "codec", "bodies", "values"), BAD)
def test_one_that_does_not_decode_spares_the_others(topic, codec, bodies, values):
    made = chunk(topic, w.join(codec, bodies), 3, codec)
    messages = opened(made, 1)
    assert shown(messages) == values
    assert made.route.intake.undecodable == 1
    assert "Undecodable" in repr(messages[1])
    with pytest.raises(DecodeError):
        messages[1].body


@pytest.mark.parametrize(
    ("topic", "codec", "payload"),
    [
        (NUMBERS, w.MSGPACK, b"\xc1"),
        (NUMBERS, w.MSGPACK, b"\x91\x01"),
        (NUMBERS, w.MSGPACK, b"\x92\x01\x02\x03"),
        (JSON, w.JSON, b"[1]"),
        (RAW, w.RAW, b"\x92\xa1x\xa1y"),
        (RAW, w.RAW, b"\x01"),
        (NUMBERS, w.RAW, b"\x92\xc4\x01x\xc4\x01y"),
    ],
)
def test_what_is_no_array_of_so_many_is_undecodable_as_a_whole(topic, codec, payload):
    messages = opened(chunk(topic, payload, 2, codec), 0)
    assert shown(messages) == [None, None]
    assert [message.sequence for message in messages] == [5, 6]


def test_raw_bodies():
    assert shown(opened(chunk(RAW, w.join(w.RAW, [b"a", b""]), 2, w.RAW), 0)) == [b"a", b""]
