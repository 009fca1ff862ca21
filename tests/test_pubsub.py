"""Publisher and Subscriber of both worlds, over real sockets: every transport, every way to subscribe, every policy."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from pydantic import BaseModel, ConfigDict

import zpatterns
import zpatterns.asyncio
from zpatterns import (
    Closed,
    ConfigurationError,
    DecodeError,
    ForkedError,
    Gap,
    Heartbeat,
    InsecureEndpointError,
    Limits,
    Message,
    MessageTooLarge,
    Overflow,
    Overloaded,
    PeerUnavailable,
    RequestTimeout,
    SocketOptions,
    Topic,
    WrongThreadError,
)
from zpatterns.drive import publishing, subscribing
from zpatterns.wire import published as wire

from .pubsub_worlds import A1, B2, NOTE, TEMP, Face, Note, Reading, publisher, subscriber
from .worlds import LIMIT, Awaiting, Blocking, fresh, in_threads, until

QUICK = Heartbeat(interval=0.05)
AMPLE = SocketOptions(high_water_mark=100_000)
TRANSPORTS = ["inproc", "ipc", "tcp"]


def celsius(messages: list[Any]) -> list[float]:
    return [message.body.celsius for message in messages]


def take(face: Any, count: int) -> list[Any]:
    return [face.receive(LIMIT) for _ in range(count)]


@contextmanager
def forwarder() -> Iterator[tuple[str, str]]:
    """XSUB and XPUB in a thread, in C: where publishers and subscribers connect."""
    context = zmq.Context.instance()
    front, back = context.socket(zmq.XSUB), context.socket(zmq.XPUB)
    control, controlled = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    for each in (front, back, control, controlled):
        each.set(zmq.LINGER, 0)
    ends = [f"tcp://127.0.0.1:{each.bind_to_random_port('tcp://127.0.0.1')}" for each in (front, back)]
    name = f"inproc://forwarder-{id(front)}"
    controlled.bind(name)
    control.connect(name)
    thread = threading.Thread(target=zmq.proxy_steerable, args=(front, back, None, controlled), daemon=True)
    thread.start()
    try:
        yield ends[0], ends[1]
    finally:
        control.send(b"TERMINATE")
        thread.join(LIMIT)
        for each in (front, back, control, controlled):
            each.close(0)


# What is published comes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_what_is_published_after_ready_comes_in_order(
    world: Blocking | Awaiting, transport: str, tmp_path: Path
) -> None:
    with publisher(world, fresh(transport, tmp_path)) as pub, subscriber(world, pub.endpoint, TEMP) as sub:
        assert list(sub.ready(LIMIT)) == [pub.endpoint]
        for number in range(100):
            pub.publish(A1, Reading(celsius=number))
        pub.publish_many(B2, [Reading(celsius=number) for number in range(100)])
        messages = take(sub, 200)
    assert celsius(messages) == [*range(100), *range(100)]
    assert [message.topic for message in messages] == ["lab.a1.temp"] * 100 + ["lab.b2.temp"] * 100
    assert [message.sequence for message in messages] == [*range(1, 101), *range(1, 101)]
    assert {message.missed for message in messages} == {0}
    assert len({message.publisher for message in messages}) == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_subscriber_may_start_before_its_publisher(
    world: Blocking | Awaiting, transport: str, tmp_path: Path
) -> None:
    endpoint = fresh("ipc" if transport == "tcp" else transport, tmp_path)
    if transport == "tcp":
        with zmq.Context() as context, context.socket(zmq.PUB) as free:
            endpoint = f"tcp://127.0.0.1:{free.bind_to_random_port('tcp://127.0.0.1')}"
    with subscriber(world, endpoint, TEMP) as sub:
        with pytest.raises((PeerUnavailable, RequestTimeout)):
            sub.ready(0.05)
        with publisher(world, endpoint) as pub:
            sub.ready(LIMIT)
            pub.publish(A1, Reading(celsius=1.0))
            assert celsius(take(sub, 1)) == [1.0]


def test_the_publisher_may_connect_and_the_subscriber_bind(world: Blocking | Awaiting) -> None:
    with subscriber(world, "tcp://127.0.0.1:*", TEMP, bind=True) as sub:
        with publisher(world, sub.endpoint, bind=False) as one, publisher(world, sub.endpoint, bind=False) as two:
            (heard,) = sub.ready(LIMIT, publishers=2).values()
            assert len(heard) == 2
            one.publish(A1, Reading(celsius=1.0))
            two.publish(A1, Reading(celsius=2.0))
            messages = take(sub, 2)
            assert sorted(celsius(messages)) == [1.0, 2.0]
            assert {message.publisher for message in messages} == set(heard)


def test_a_subscriber_of_many_publishers(world: Blocking | Awaiting) -> None:
    with publisher(world, "tcp://127.0.0.1:*") as one, publisher(world, "tcp://127.0.0.1:*") as two:
        with subscriber(world, [one.endpoint, two.endpoint], NOTE) as sub:
            assert list(sub.ready(LIMIT)) == [one.endpoint, two.endpoint]
            assert sub.connected == {one.endpoint: True, two.endpoint: True}
            for number in range(20):
                for pub in (one, two):
                    pub.publish(NOTE, Note(text=str(number)))
            messages = take(sub, 40)
    by_publisher: dict[str, list[str]] = {}
    for message in messages:
        by_publisher.setdefault(message.publisher, []).append(message.body.text)
        assert message.missed == 0
    assert list(by_publisher.values()) == [[str(number) for number in range(20)]] * 2


def test_a_publisher_at_many_endpoints(world: Blocking | Awaiting, tmp_path: Path) -> None:
    with publisher(world, ["tcp://127.0.0.1:*", fresh("ipc", tmp_path)]) as pub:
        assert len(pub.endpoints) == 2
        with subscriber(world, pub.endpoints[0], NOTE) as one, subscriber(world, pub.endpoints[1], NOTE) as two:
            one.ready(LIMIT)
            two.ready(LIMIT)
            pub.publish(NOTE, Note(text="both"))
            assert [take(sub, 1)[0].body.text for sub in (one, two)] == ["both", "both"]


def test_topics_are_exact_and_patterns_filter(world: Blocking | Awaiting) -> None:
    near = Topic("lab.a1.temperature", Reading)
    with publisher(world, "tcp://127.0.0.1:*") as pub:
        with subscriber(world, pub.endpoint, A1) as exact, subscriber(world, pub.endpoint, TEMP) as pattern:
            exact.ready(LIMIT)
            pattern.ready(LIMIT)
            pub.publish(near, Reading(celsius=0.0))
            pub.publish(Topic("lab.a1.b.temp", Reading), Reading(celsius=0.5))
            pub.publish(B2, Reading(celsius=2.0))
            pub.publish(A1, Reading(celsius=1.0))
            assert celsius(take(exact, 1)) == [1.0]
            assert celsius(take(pattern, 2)) == [2.0, 1.0]
            until(lambda: pattern.statistics.unwanted == 2)
            assert exact.statistics.unwanted == 0  # libzmq filtered


def test_more_topics_and_fewer_while_it_runs(world: Blocking | Awaiting) -> None:
    with publisher(world, "tcp://127.0.0.1:*") as pub, subscriber(world, pub.endpoint) as sub:
        sub.subscribe(NOTE)
        sub.subscribe(TEMP)
        sub.ready(LIMIT)
        pub.publish(NOTE, Note(text="one"))
        pub.publish(A1, Reading(celsius=1.0))
        assert [message.topic for message in take(sub, 2)] == ["note", "lab.a1.temp"]
        sub.unsubscribe(NOTE)
        sub.ready(LIMIT)
        pub.publish(NOTE, Note(text="two"))
        pub.publish(A1, Reading(celsius=2.0))
        assert celsius(take(sub, 1)) == [2.0]
        sub.subscribe(NOTE)
        sub.ready(LIMIT)
        pub.publish(NOTE, Note(text="three"))
        (message,) = take(sub, 1)
        assert (message.body.text, message.missed) == ("three", 0)  # what it had not asked for is no gap


def test_bodies_of_every_kind(world: Blocking | Awaiting) -> None:
    class Image(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        pixels: np.ndarray[Any, Any]

    bodies: list[tuple[Topic[Any], Any]] = [
        (Topic("k.none", type(None)), None),
        (Topic("k.raw", bytes), b"\xc1zp\1 is a body here"),
        (Topic("k.large", bytes), bytes(200_000)),
        (Topic("k.json", Reading, codec="json"), Reading(celsius=1.5)),
        (Topic("k.list", list[int]), [1, 2, 3]),
        (Topic("k.image", Image), Image(pixels=np.arange(100_000))),
    ]
    with publisher(world, "tcp://127.0.0.1:*") as pub:
        with subscriber(world, pub.endpoint, *(topic for topic, _ in bodies)) as sub:
            sub.ready(LIMIT)
            for topic, body in bodies:
                pub.publish_many(topic, [body, body, body])
            for _, body in bodies:
                for message in take(sub, 3):
                    if hasattr(body, "pixels"):
                        assert (message.body.pixels == body.pixels).all()
                    else:
                        assert message.body == body
                    assert message.missed == 0


def test_any_number_of_threads_publish(world: Blocking | Awaiting) -> None:
    if isinstance(world, Awaiting):
        pytest.skip("an asyncio publisher belongs to its loop")
    with publisher(world, "tcp://127.0.0.1:*", options=AMPLE) as pub, subscriber(world, pub.endpoint, TEMP) as sub:
        sub.ready(LIMIT)

        def publish(number: int) -> None:
            for at in range(200):
                pub.publish(TEMP.at(room=f"r{number}"), Reading(celsius=at))

        in_threads(8, publish)
        messages = take(sub, 1600)
    rooms: dict[str, list[float]] = {}
    for message in messages:
        rooms.setdefault(message.topic, []).append(message.body.celsius)
    assert len(rooms) == 8 and all(values == [*range(200)] for values in rooms.values())


# Foreign peers ------------------------------------------------------------------------------------------------------------


def test_a_foreign_sub_reads_plain_messages_one_by_one(world: Blocking | Awaiting) -> None:
    with publisher(world, "tcp://127.0.0.1:*") as pub, zmq.Context() as context, context.socket(zmq.SUB) as foreign:
        foreign.set(zmq.RCVTIMEO, int(LIMIT * 1000))
        foreign.subscribe(b"sub 1")
        foreign.subscribe(b"weather")
        foreign.connect(pub.endpoint)
        assert pub.wait_for_subscribers(b"sub 1", 1, LIMIT) == 1
        assert pub.wait_for_subscribers(b"weather", 1, LIMIT) == 1
        for number in range(3):
            pub.publish_plain(b"sub 1 hello %d" % number)
        pub.publish_plain(b"sub 2 not this")
        pub.publish_plain([b"weather", b"sun"])
        pub.publish_plain(b"sub 1 END")
        assert [foreign.recv_multipart() for _ in range(5)] == [
            [b"sub 1 hello 0"],
            [b"sub 1 hello 1"],
            [b"sub 1 hello 2"],
            [b"weather", b"sun"],
            [b"sub 1 END"],
        ]


def test_a_foreign_pub_is_read_by_prefix(world: Blocking | Awaiting) -> None:
    with zmq.Context() as context, context.socket(zmq.XPUB) as foreign:
        foreign.set(zmq.LINGER, 0)
        port = foreign.bind_to_random_port("tcp://127.0.0.1")
        with subscriber(world, f"tcp://127.0.0.1:{port}", b"sub 1", b"weather") as sub:
            assert {foreign.recv() for _ in range(2)} == {b"\1sub 1", b"\1weather"}
            foreign.send(b"sub 1 hello")
            foreign.send_multipart([b"weather", b"sun", b"18"])
            foreign.send(b"sub 1 END")
            messages = take(sub, 3)
            assert [message.body for message in messages] == [
                [b"sub 1 hello"],
                [b"weather", b"sun", b"18"],
                [b"sub 1 END"],
            ]
            assert [message.topic for message in messages] == ["sub 1 hello", "weather", "sub 1 END"]
            with pytest.raises(RequestTimeout, match="cannot tell"):
                sub.ready(0.1)


def test_plain_messages_must_not_look_like_typed_ones(world: Blocking | Awaiting) -> None:
    with publisher(world, "tcp://127.0.0.1:*") as pub:
        for frames in (wire.HEARTBEAT_TOPIC, [b"a", b"\xc1zp\1"], [], [1]):
            with pytest.raises(ConfigurationError):
                pub.publish_plain(frames)


def test_typed_messages_by_raw_prefix_are_frames(world: Blocking | Awaiting) -> None:
    with publisher(world, "tcp://127.0.0.1:*") as pub, subscriber(world, pub.endpoint, b"") as sub:
        pub.wait_for_subscribers(b"", 1, LIMIT)
        pub.publish(NOTE, Note(text="x"))
        message = take(sub, 1)[0]
        while message.body[0] != b"note\0":
            message = take(sub, 1)[0]
        assert wire.is_typed(message.body[1])


GARBAGE: list[list[bytes]] = [
    [b"note\0"],
    [b"note\0", b""],
    [b"note\0", b"\xc1zp"],
    [b"note\0", b"\xc1zp\1" + bytes(40)],
    [b"note\0", wire.record(wire.head(1, 0, b"8 bytes!"), 0, 1, 1)],
    [b"note\0", wire.record(wire.head(1, 0, b"8 bytes!"), 2000, 1, 1) + b"x"],
    [b"note\0", wire.record(wire.head(1, 1, b"8 bytes!"), 1, 1, 1) + b"x"],
    [b"note\0", wire.record(wire.head(1, 0, b"8 bytes!"), 1, 1, 1) + b"x", b"more"],
    [wire.HEARTBEAT_TOPIC, wire.record(wire.head(1, 0, b"8 bytes!"), 0, 1, 1) + b"\xc0"],
    [b"note\0", b"\xc1zp\1", *[b""] * 100],
]


def test_garbage_is_counted_and_hurts_nobody(world: Blocking | Awaiting) -> None:
    with (
        zmq.Context() as context,
        context.socket(zmq.XPUB) as foreign,
        publisher(world, "inproc://unused-here") as other,
    ):
        foreign.set(zmq.LINGER, 0)
        port = foreign.bind_to_random_port("tcp://127.0.0.1")
        with subscriber(world, f"tcp://127.0.0.1:{port}", NOTE) as sub:
            wanted = set()
            while wanted < {b"\1note\0", b"\1" + wire.HEARTBEAT_TOPIC}:
                wanted.add(foreign.recv())
            good = wire.record(wire.head(1, 0, b"8 bytes!"), 1, 7, 1) + NOTE.encode(Note(text="fine"))[0]
            for frames in GARBAGE:
                foreign.send_multipart(frames)
            foreign.send_multipart([b"note\0", good])
            message = take(sub, 1)[0]
            while isinstance(message, zpatterns._shell.delivery.Undecodable):
                message = take(sub, 1)[0]
            assert message.body.text == "fine"
            assert sub.statistics.undecodable >= len(GARBAGE) - 3
        del other


def test_a_body_that_does_not_decode_raises_where_it_is_read_and_spares_the_others(world: Blocking | Awaiting) -> None:
    other = Topic("note", dict[str, Any])
    with publisher(world, "tcp://127.0.0.1:*") as pub, subscriber(world, pub.endpoint, NOTE) as sub:
        sub.ready(LIMIT)
        pub.publish(other, {"wrong": 1})
        pub.publish_many(other, [{"text": "one"}, {"text": 2}, {"text": "three"}])
        messages = take(sub, 4)
        for bad in (messages[0], messages[2]):
            with pytest.raises(DecodeError):
                bad.body
        assert [messages[1].body.text, messages[3].body.text] == ["one", "three"]
        assert [message.sequence for message in messages] == [1, 2, 3, 4]
        assert sub.statistics.undecodable == 2


# Ready ----------------------------------------------------------------------------------------------------------------------


def test_ready_without_a_connection_says_so(world: Blocking | Awaiting) -> None:
    with subscriber(world, "ipc:///tmp/zpatterns-nobody-is-bound-here", NOTE) as sub:
        with pytest.raises(PeerUnavailable, match="not connected"):
            sub.ready(0.05)


def test_through_a_forwarder(world: Blocking | Awaiting) -> None:
    with forwarder() as (front, back), publisher(world, front, bind=False) as pub:
        with subscriber(world, back, NOTE) as one, subscriber(world, back, NOTE) as two:
            for sub in (one, two):
                sub.ready(LIMIT)
            pub.publish(NOTE, Note(text="first"))
            assert [take(sub, 1)[0].body.text for sub in (one, two)] == ["first", "first"]
            assert pub.wait_for_subscribers(NOTE, 1, LIMIT) == 1  # merged


def test_fresh_subscribers_lose_no_first_message(world: Blocking | Awaiting) -> None:
    """1000 of them: tests/test_pubsub_reliability.py."""
    with publisher(world, "tcp://127.0.0.1:*") as pub:
        for number in range(25):
            with subscriber(world, pub.endpoint, NOTE) as sub:
                sub.ready(LIMIT)
                pub.publish(NOTE, Note(text=str(number)))
                (message,) = take(sub, 1)
                assert (message.body.text, message.missed) == (str(number), 0)


# Counting subscribers --------------------------------------------------------------------------------------------------------


def test_subscribers_are_counted_as_they_come_and_go(world: Blocking | Awaiting) -> None:
    with publisher(world, "tcp://127.0.0.1:*") as pub:
        with pytest.raises(RequestTimeout, match="0 of 1"):
            pub.wait_for_subscribers(NOTE, 1, 0.05)
        with subscriber(world, pub.endpoint, NOTE):
            assert pub.wait_for_subscribers(NOTE, 1, LIMIT) == 1
            with subscriber(world, pub.endpoint, NOTE):
                assert pub.wait_for_subscribers(NOTE, 2, LIMIT) == 2
            until(lambda: pub.wait_for_subscribers(NOTE, 1, LIMIT) == 1)
        until(lambda: pub.wait_for_subscribers(NOTE, 0, LIMIT) == 0)


def test_patterns_count_for_the_topics_they_cover(world: Blocking | Awaiting) -> None:
    with publisher(world, "tcp://127.0.0.1:*") as pub, subscriber(world, pub.endpoint, TEMP):
        assert pub.wait_for_subscribers(A1, 1, LIMIT) == 1
        assert pub.wait_for_subscribers(TEMP, 1, LIMIT) == 1


# Gaps -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [Overflow.DROP_OLDEST, Overflow.DROP_NEWEST])
def test_what_a_slow_reader_misses_is_counted_exactly(world: Blocking | Awaiting, policy: Overflow) -> None:
    gaps: list[Gap] = []
    total, held = 3000, 100
    with publisher(world, "tcp://127.0.0.1:*", heartbeat=QUICK) as pub:
        limits = Limits(backlog=held)
        with subscriber(world, pub.endpoint, NOTE, overflow=policy, limits=limits, on_gap=gaps.append) as sub:
            sub.ready(LIMIT)
            for start in range(0, total, 100):
                pub.publish_many(NOTE, [Note(text=str(number)) for number in range(start, start + 100)])
            until(lambda: sub.statistics.received == total)
            pub.publish(NOTE, Note(text="last"))
            until(lambda: sub.statistics.received == total + 1)
            messages = take(sub, held)
            statistics = sub.statistics
            if policy is Overflow.DROP_OLDEST:
                assert messages[-1].body.text == "last"
                missed = sum(message.missed for message in messages)
                assert missed + held == total + 1
            else:
                assert [message.body.text for message in messages] == [str(number) for number in range(held)]
                pub.publish(NOTE, Note(text="after"))
                after = take(sub, 1)[0]
                assert after.missed == statistics.overflowed
            assert statistics.overflowed == total + 1 - held
            assert sum(gap.missed for gap in gaps) == statistics.overflowed
            assert {gap.reason for gap in gaps} == {"overflow"}


def test_latest_keeps_the_last_of_each_topic(world: Blocking | Awaiting) -> None:
    with publisher(world, "tcp://127.0.0.1:*") as pub:
        with subscriber(world, pub.endpoint, TEMP, overflow=Overflow.LATEST) as sub:
            sub.ready(LIMIT)
            for number in range(100):
                pub.publish(A1, Reading(celsius=number))
                pub.publish(B2, Reading(celsius=-number))
            pub.publish_many(A1, [Reading(celsius=number) for number in range(100, 200)])
            until(lambda: sub.statistics.received == 300)
            messages = take(sub, 2)
            assert [(message.topic, message.body.celsius, message.missed) for message in messages] == [
                ("lab.a1.temp", 199.0, 199),
                ("lab.b2.temp", -99.0, 99),
            ]


def test_block_stops_reading_and_loses_nothing_of_its_own(world: Blocking | Awaiting) -> None:
    options = SocketOptions(high_water_mark=100_000)
    with publisher(world, "tcp://127.0.0.1:*", options=options) as pub:
        limits = Limits(backlog=10)
        with subscriber(world, pub.endpoint, NOTE, overflow=Overflow.BLOCK, limits=limits, options=options) as sub:
            sub.ready(LIMIT)
            for number in range(5000):
                pub.publish(NOTE, Note(text=str(number)))
            messages = take(sub, 5000)
            assert [message.body.text for message in messages] == [str(number) for number in range(5000)]
            assert sub.statistics.overflowed == 0


def test_a_loss_at_the_end_shows_by_the_heartbeat(world: Blocking | Awaiting) -> None:
    """The subscriber reads nothing, so what is beyond the queues on the way is dropped, and nothing comes after it."""
    gaps: list[Gap] = []
    small = SocketOptions(high_water_mark=10, extra={"SNDBUF": 4096, "RCVBUF": 4096})
    total = 20_000
    with publisher(world, "tcp://127.0.0.1:*", heartbeat=QUICK, options=small) as pub:
        limits = Limits(backlog=10)
        with subscriber(
            world, pub.endpoint, NOTE, overflow=Overflow.BLOCK, limits=limits, options=small, on_gap=gaps.append
        ) as sub:
            sub.ready(LIMIT)
            for number in range(total):
                pub.publish(NOTE, Note(text=f"{number:0100}"))
                if number % 100 == 0:
                    time.sleep(0)
            come: list[Any] = []
            over = time.monotonic() + LIMIT
            while len(come) + sub.statistics.lost < total and time.monotonic() < over:
                try:
                    come += take_for(sub, 0.05)
                except RequestTimeout:
                    continue
            missed = sum(message.missed for message in come)
            last = come[-1].sequence
            assert missed + len(come) == last
            assert sub.statistics.lost == total - len(come) > 0
            assert sum(gap.missed for gap in gaps) == total - len(come)
            assert {gap.reason for gap in gaps} == {"lost"}


def take_for(face: Any, seconds: float) -> list[Any]:
    return [face.receive(seconds)]


def test_max_age_drops_what_is_stale_without_equal_clocks(world: Blocking | Awaiting) -> None:
    with publisher(world, "tcp://127.0.0.1:*") as pub, subscriber(world, pub.endpoint, NOTE, max_age=0.3) as sub:
        sub.ready(LIMIT)
        pub.publish(NOTE, Note(text="old"))
        until(lambda: sub.statistics.received == 1)
        over = time.monotonic() + 0.4
        until(lambda: time.monotonic() > over)
        pub.publish(NOTE, Note(text="new"))
        (message,) = take(sub, 1)
        assert (message.body.text, message.missed) == ("new", 1)
        assert sub.statistics.stale == 1


def test_a_publisher_that_restarts_is_another_incarnation(world: Blocking | Awaiting, tmp_path: Path) -> None:
    endpoint = fresh("ipc", tmp_path)
    with subscriber(world, endpoint, NOTE) as sub:
        seen = []
        for number in range(3):
            with publisher(world, endpoint) as pub:
                sub.ready(LIMIT)
                pub.publish(NOTE, Note(text=str(number)))
                seen += take(sub, 1)
    assert [(message.body.text, message.missed, message.sequence) for message in seen] == [
        ("0", 0, 1),
        ("1", 0, 1),
        ("2", 0, 1),
    ]
    assert len({message.publisher for message in seen}) == 3


# A publisher that blocks ---------------------------------------------------------------------------------------------------


def test_a_blocking_publisher_waits_for_the_slowest_and_then_says_so(world: Blocking | Awaiting) -> None:
    small = SocketOptions(high_water_mark=5, extra={"SNDBUF": 4096, "RCVBUF": 4096})
    with publisher(world, "tcp://127.0.0.1:*", overflow=Overflow.BLOCK, timeout=0.2, options=small) as pub:
        limits = Limits(backlog=5)
        with subscriber(world, pub.endpoint, NOTE, overflow=Overflow.BLOCK, options=small, limits=limits) as sub:
            sub.ready(LIMIT)
            sent = 0
            with pytest.raises(Overloaded, match="slowest"):
                for _ in range(100_000):
                    pub.publish(NOTE, Note(text=f"{sent:01000}"))
                    sent += 1
            assert pub.statistics.dropped == 1
            messages = take(sub, sent)
            assert [int(message.body.text) for message in messages] == list(range(sent))
            pub.publish(NOTE, Note(text="more"))
            (message,) = take(sub, 1)
            assert (message.body.text, message.missed) == ("more", 1)  # the one that was withdrawn


def test_a_blocking_publisher_goes_on_when_there_is_room(world: Blocking | Awaiting) -> None:
    small = SocketOptions(high_water_mark=5, extra={"SNDBUF": 4096, "RCVBUF": 4096})
    with publisher(world, "tcp://127.0.0.1:*", overflow=Overflow.BLOCK, timeout=LIMIT, options=small) as pub:
        with subscriber(world, pub.endpoint, NOTE, options=small) as sub:
            sub.ready(LIMIT)
            got: list[int] = []
            thread = threading.Thread(target=lambda: got.extend(int(m.body.text) for m in take(sub, 2000)), daemon=True)
            thread.start()
            for number in range(2000):
                pub.publish(NOTE, Note(text=f"{number:01000}"))
            thread.join(LIMIT)
            assert got == list(range(2000))


@contextmanager
def slow_sub() -> Iterator[tuple[zmq.Context[Any], Any]]:
    """Reads what is published at ``inproc://slow`` when it is told to; there is room for few messages."""
    with zmq.Context() as context, context.socket(zmq.SUB) as sub:
        sub.linger, sub.rcvhwm = 0, 2
        sub.connect("inproc://slow")
        sub.subscribe(NOTE.frame)
        yield context, sub


SLOW: dict[str, Any] = {"overflow": Overflow.BLOCK, "options": SocketOptions(high_water_mark=2, linger=0.01)}


def read(sub: Any) -> list[str]:
    texts: list[str] = []
    while sub.poll(100):
        texts.append(NOTE.body_codec.decode(1, sub.recv_multipart()[1][wire.RECORD :], ()).text)
    return texts


def notes(name: str, count: int) -> list[Note]:
    return [Note(text=f"{name}{number}") for number in range(count)]


def count_sent(pub: Any, bodies: list[Note]) -> int:
    """How many of them ``publish_many`` says were sent."""
    try:
        pub.publish_many(NOTE, bodies)
    except Overloaded as error:
        left, of = map(int, re.findall(r"(\d+) of (\d+) messages were not sent", str(error))[0])
        assert of == len(bodies)
        return of - left
    return len(bodies)


def test_many_that_do_not_all_find_room_say_how_many_were_sent(world: Blocking | Awaiting) -> None:
    with slow_sub() as (context, sub):
        with publisher(world, "inproc://slow", timeout=0.2, context=context, **SLOW) as pub:
            pub.wait_for_subscribers(NOTE, 1, LIMIT)
            bodies = notes("x", 50)
            sent = count_sent(pub, bodies)
            assert 0 < sent < 50
            assert read(sub) == [body.text for body in bodies[:sent]]
            assert (pub.statistics.published, pub.statistics.dropped > 0) == (sent, True)


def test_threads_that_share_a_full_publisher_know_what_of_theirs_was_sent() -> None:
    with slow_sub() as (context, sub):
        limits = Limits(queue=2)
        with zpatterns.Publisher("inproc://slow", timeout=0.05, context=context, limits=limits, **SLOW) as pub:
            pub.wait_for_subscribers(NOTE, 1, LIMIT)
            sent = [0, 0, 0]

            def publish(number: int) -> None:
                for turn in range(10):
                    sent[number] += count_sent(pub, notes(f"{number}-{turn}-", 10))

            threads = [threading.Thread(target=publish, args=(number,), daemon=True) for number in range(3)]
            for thread in threads:
                thread.start()
            got: list[str] = []
            while any(thread.is_alive() for thread in threads):
                got += read(sub)
            got += read(sub)
            assert [len([text for text in got if text.startswith(f"{number}-")]) for number in range(3)] == sent


def test_many_for_which_there_is_no_room_in_the_queue_are_refused_as_one() -> None:
    async def refuse(context: Any, sub: Any) -> None:
        limits = Limits(queue=5)
        async with zpatterns.asyncio.Publisher(
            "inproc://slow", timeout=LIMIT, context=context, limits=limits, **SLOW
        ) as pub:
            await pub.wait_for_subscribers(NOTE, 1, LIMIT)
            waiting: list[Any] = []
            while not pub.statistics.published > 20 and not (waiting and not waiting[-1].done()):
                waiting.append(pub.publish(NOTE, Note(text=f"{len(waiting)}")))
            with pytest.raises(Overloaded, match="no room for 5 more"):
                pub.publish_many(NOTE, notes("x", 5))
            texts: list[str] = []
            while len(texts) < len(waiting):
                texts += read(sub)
                await asyncio.sleep(0)
            await asyncio.gather(*waiting)
            await pub.publish(NOTE, Note(text="last"))
            while texts[-1] != "last":
                texts += read(sub)
                await asyncio.sleep(0)
            assert texts == [*(f"{number}" for number in range(len(waiting))), "last"]

    with slow_sub() as (context, sub):
        asyncio.run(refuse(context, sub))


def test_what_was_sent_right_before_the_publisher_was_closed_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    with slow_sub() as (context, sub):
        pub = zpatterns.Publisher("inproc://slow", timeout=LIMIT, context=context, **SLOW)
        pub.wait_for_subscribers(NOTE, 1, LIMIT)
        texts: list[str] = []
        closing = threading.Thread(target=pub.close, daemon=True)

        def room_and_close(seconds: float) -> None:
            texts.extend(read(sub))
            until(lambda: not pub._driver.machine.blocked)
            closing.start()
            until(lambda: pub._driver.closed)

        monkeypatch.setattr(publishing, "sleep", room_and_close)
        published = 0
        while not closing.ident:
            pub.publish(NOTE, Note(text=f"{published}"))
            published += 1
        closing.join(LIMIT)
        texts += read(sub)
        assert texts == [f"{number}" for number in range(published)]


def test_a_publish_that_waits_is_told_that_the_publisher_was_closed() -> None:
    small = SocketOptions(high_water_mark=8, linger=0.01, extra={"SNDBUF": 4096, "RCVBUF": 4096})
    options: Any = {"overflow": Overflow.BLOCK, "options": small}
    with (
        zpatterns.Publisher("tcp://127.0.0.1:*", timeout=LIMIT, **options) as pub,
        zpatterns.Subscriber(pub.endpoint, NOTE, limits=Limits(backlog=4), **options) as sub,
    ):
        sub.ready(LIMIT)
        failure: list[Exception] = []

        def publish() -> None:
            try:
                while True:
                    pub.publish(NOTE, Note(text="x"))
            except Closed as error:
                failure.append(error)

        thread = threading.Thread(target=publish, daemon=True)
        thread.start()
        until(lambda: pub._driver.machine.blocked)
        pub.close()
        thread.join(LIMIT)
        assert "was not sent" in str(failure)
        assert pub.statistics.dropped == 1


def test_a_callback_cannot_wait_for_its_own_subscriber(tmp_path: Path) -> None:
    """What it waited for came by its own thread: nothing came any more, to nobody."""
    failures: list[Exception] = []

    def connected(endpoint: str, up: bool) -> None:
        for wait in (sub.receive, sub.ready, lambda: next(iter(sub))):
            try:
                wait()
            except Exception as error:  # noqa: BLE001  looked at below
                failures.append(error)

    with (
        zpatterns.Subscriber(f"ipc://{tmp_path}/p", NOTE, on_connection=connected) as sub,
        zpatterns.Publisher(f"ipc://{tmp_path}/p") as pub,
    ):
        sub.ready(LIMIT)
        pub.publish(NOTE, Note(text="yes"))
        assert sub.receive(LIMIT).body.text == "yes"
        assert [type(failure) for failure in failures] == [WrongThreadError] * 3


def test_what_a_publisher_cannot_do(world: Blocking | Awaiting) -> None:
    with pytest.raises(ConfigurationError, match="DROP_NEWEST or BLOCK"):
        with publisher(world, "tcp://127.0.0.1:*", overflow=Overflow.LATEST):
            pass
    with publisher(world, "tcp://127.0.0.1:*", limits=Limits(message=10_000)) as pub:
        with pytest.raises(ConfigurationError, match="open placeholders"):
            pub.publish(TEMP, Reading(celsius=1.0))
        with pytest.raises(ConfigurationError, match="subscriptions are to a Topic"):
            pub.wait_for_subscribers("note")
        with pytest.raises(TypeError, match="expected Reading"):
            pub.publish(A1, Note(text="no"))
        for publish in (pub.publish, lambda topic, body: pub.publish_many(topic, [body])):
            for topic in ("note", b"note", None, 1):
                with pytest.raises(ConfigurationError, match=r"published on a Topic.*publish_plain"):
                    publish(topic, "utf-8")
            with pytest.raises(MessageTooLarge):
                publish(NOTE, Note(text="x" * 20_000))
            with pytest.raises(MessageTooLarge):
                publish(Topic("raw", memoryview), memoryview(bytes(100_000)))
        with pytest.raises(MessageTooLarge):
            pub.publish_plain(b"x" * 20_000)


# Streams, handlers, ends -------------------------------------------------------------------------------------------------


def test_a_stream_has_its_topic_for_itself(world: Blocking | Awaiting) -> None:
    with publisher(world, "tcp://127.0.0.1:*") as pub, subscriber(world, pub.endpoint, NOTE, TEMP) as sub:
        stream, second = sub.stream(NOTE), sub.stream(NOTE)
        sub.ready(LIMIT)
        for number in range(3):
            pub.publish(NOTE, Note(text=str(number)))
            pub.publish(A1, Reading(celsius=number))
        for each in (stream, second):
            assert [message.body.text for message in take(each, 3)] == ["0", "1", "2"]
        assert celsius(take(sub, 3)) == [0.0, 1.0, 2.0]
        stream.close()
        second.close()
        stream.close()
        with pytest.raises(Closed):
            stream.receive(0.1)
        sub.ready(LIMIT)
        pub.publish(NOTE, Note(text="back"))
        assert take(sub, 1)[0].body.text == "back"


def test_handlers_are_called_in_order_and_their_errors_are_not_fatal(
    world: Blocking | Awaiting, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Any] = []
    with publisher(world, "tcp://127.0.0.1:*") as pub, subscriber(world, pub.endpoint) as sub:

        def temperature(message: Message[Reading]) -> None:
            if message.body.celsius == 1.0:
                raise ValueError("a handler failed")
            seen.append(message.body.celsius)

        if isinstance(world, Awaiting):

            async def note(message: Message[Note]) -> None:
                seen.append(message.body.text)
                if message.body.text == "END":
                    sub.real.stop()
        else:

            def note(message: Message[Note]) -> None:  # type: ignore[misc]
                seen.append(message.body.text)
                if message.body.text == "END":
                    sub.real.stop()

        world_on(world, sub, TEMP, temperature)
        world_on(world, sub, NOTE, note)
        world_on(world, sub, b"plain", lambda message: seen.append(message.body))
        thread = threading.Thread(target=lambda: run(world, sub), daemon=True)
        thread.start()
        sub.ready(LIMIT)
        pub.publish(A1, Reading(celsius=0.0))
        pub.publish(A1, Reading(celsius=1.0))
        pub.publish_plain([b"plain", b"x"])
        pub.publish(NOTE, Note(text="go"))
        pub.publish(B2, Reading(celsius=2.0))
        pub.publish(NOTE, Note(text="END"))
        thread.join(LIMIT)
        assert not thread.is_alive()
        assert seen == [0.0, [b"plain", b"x"], "go", 2.0, "END"]
        assert sub.handler_errors == 1
        assert "a handler failed" in caplog.text


def world_on(world: Blocking | Awaiting, sub: Any, topic: Any, handler: Any) -> None:
    if isinstance(world, Blocking):
        sub.real.on(topic)(handler)
        return

    async def register() -> None:
        sub.real.on(topic)(handler)

    world.do(register())


def run(world: Blocking | Awaiting, sub: Any) -> None:
    if isinstance(world, Blocking):
        sub.run()
    else:
        sub.serve()


def test_stop_ends_a_run_that_waits(world: Blocking | Awaiting) -> None:
    with publisher(world, "tcp://127.0.0.1:*") as pub, subscriber(world, pub.endpoint, NOTE) as sub:
        thread = threading.Thread(target=lambda: run(world, sub), daemon=True)
        thread.start()
        sub.ready(LIMIT)
        sub.stop()
        thread.join(LIMIT)
        assert not thread.is_alive()


def test_closing_ends_an_iteration_that_waits(world: Blocking | Awaiting) -> None:
    with publisher(world, "tcp://127.0.0.1:*") as pub, subscriber(world, pub.endpoint, NOTE) as sub:
        got: list[str] = []
        thread = threading.Thread(target=lambda: got.extend(message.body.text for message in sub), daemon=True)
        thread.start()
        sub.ready(LIMIT)
        pub.publish(NOTE, Note(text="one"))
        until(lambda: got == ["one"])
        sub.close()
        thread.join(LIMIT)
        assert not thread.is_alive()
        for use in (lambda: sub.receive(0.1), lambda: sub.ready(0.1), lambda: sub.subscribe(TEMP)):
            with pytest.raises(Closed):
                use()
        sub.close()


def test_what_is_in_the_queue_of_a_closed_subscriber_is_for_iterations_alone(world: Blocking | Awaiting) -> None:
    with publisher(world, "tcp://127.0.0.1:*") as pub, subscriber(world, pub.endpoint, NOTE) as sub:
        sub.ready(LIMIT)
        messages = iter(sub)
        for text in ("one", "two", "three"):
            pub.publish(NOTE, Note(text=text))
        assert next(messages).body.text == "one"
        until(lambda: sub.statistics.received == 3)
        sub.close()
        with pytest.raises(Closed):
            sub.receive(LIMIT)
        assert [message.body.text for message in messages] == ["two", "three"]


def test_a_receive_ends_in_time(world: Blocking | Awaiting) -> None:
    with subscriber(world, "ipc:///tmp/zpatterns-nobody-is-bound-here", NOTE) as sub:
        with pytest.raises(RequestTimeout, match="no message"):
            sub.receive(0.05)


def test_a_budget_that_is_spent_is_no_wait(world: Blocking | Awaiting) -> None:
    with publisher(world, "tcp://127.0.0.1:*") as pub, subscriber(world, pub.endpoint, NOTE) as sub:
        sub.ready(1e10)
        for seconds in (-0.5, -1, -1e10, 0):
            for wait in (
                lambda seconds=seconds: sub.receive(seconds),
                lambda seconds=seconds: sub.ready(seconds, publishers=2),
                lambda seconds=seconds: pub.wait_for_subscribers(NOTE, 2, seconds),
            ):
                with pytest.raises(RequestTimeout):
                    wait()
        pub.wait_for_subscribers(NOTE, 1, -1)
        pub.publish_many(NOTE, [Note(text="one"), Note(text="two")])
        assert sub.receive(1e10).body.text == "one"
        assert sub.receive(-1).body.text == "two"


@pytest.mark.parametrize("forever", [None, float("inf"), float("nan")])
def test_nothing_waits_for_ever(world: Blocking | Awaiting, forever: Any) -> None:
    with publisher(world, "tcp://127.0.0.1:*") as pub, subscriber(world, pub.endpoint, NOTE) as sub:
        for wait in (
            lambda: sub.receive(forever),
            lambda: sub.ready(forever),
            lambda: pub.wait_for_subscribers(NOTE, 2, forever),
            lambda: publisher(world, "tcp://127.0.0.1:*", timeout=forever).__enter__(),
        ):
            with pytest.raises(ConfigurationError, match="for ever"):
                wait()


def test_a_closed_publisher_says_so(world: Blocking | Awaiting) -> None:
    with publisher(world, "tcp://127.0.0.1:*") as pub:
        pub.close()
        for use in (
            lambda: pub.publish(NOTE, Note(text="x")),
            lambda: pub.publish_many(NOTE, [Note(text="x")]),
            lambda: pub.publish_plain(b"x"),
            lambda: pub.wait_for_subscribers(NOTE, 1, 0.1),
        ):
            with pytest.raises(Closed):
                use()
        pub.close()


def test_closing_a_publisher_sends_what_is_unsent(world: Blocking | Awaiting) -> None:
    with publisher(world, "tcp://127.0.0.1:*") as pub, subscriber(world, pub.endpoint, NOTE) as sub:
        sub.ready(LIMIT)
        for number in range(500):
            pub.publish(NOTE, Note(text=f"{number}" * 500))
        pub.close()
        assert len(take(sub, 500)) == 500


def test_plaintext_beyond_loopback_is_refused(world: Blocking | Awaiting) -> None:
    for kind in (publisher, subscriber):
        with pytest.raises(InsecureEndpointError):
            with kind(world, "tcp://10.0.0.1:5555" if kind is subscriber else "tcp://0.0.0.0:5555"):
                pass


def test_what_cannot_be_subscribed_to(world: Blocking | Awaiting) -> None:
    with subscriber(world, "ipc:///tmp/zpatterns-nobody-is-bound-here") as sub:
        for topic in ("text", b"x" * 300, wire.HEARTBEAT_TOPIC, Topic("x", threading.Thread)):
            with pytest.raises(ConfigurationError):
                sub.subscribe(topic)


def test_what_is_asked_for_while_the_loop_takes_breath_is_asked_again_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asking: list[zpatterns.Subscriber[Any]] = []

    def ask(seconds: float) -> None:
        if asking:
            asking[0]._driver._owner._rests_until = 0.0  # as after a rest that was not cut short
            asking.pop().subscribe(NOTE)

    monkeypatch.setattr(subscribing, "_MANY", 0)
    monkeypatch.setattr(subscribing, "sleep", ask)
    with zpatterns.Subscriber("tcp://127.0.0.1:*", bind=True) as sub:  # nobody comes, so nothing else wakes it
        asking.append(sub)
        sub._driver._loop.wake()
        (probe,) = sub._driver.machine.readiness.probes
        until(lambda: probe.tries > 1)


def test_dropped_ones_end_their_threads() -> None:
    before = {thread.name for thread in threading.enumerate()}
    pub = zpatterns.Publisher("tcp://127.0.0.1:*")
    sub = zpatterns.Subscriber(pub.endpoint, NOTE)
    sub.ready(LIMIT)
    del pub, sub
    gc.collect()
    until(lambda: {thread.name for thread in threading.enumerate()} <= before)


def test_in_a_forked_child_they_refuse() -> None:
    with zpatterns.Publisher("tcp://127.0.0.1:*") as pub, zpatterns.Subscriber(pub.endpoint, NOTE) as sub:
        messages, stream = iter(sub), sub.stream(TEMP)
        child = os.fork()
        if not child:
            signal.alarm(int(LIMIT))
            refused = 0
            for use in (
                lambda: pub.publish(NOTE, Note(text="x")),
                lambda: sub.receive(0.1),
                lambda: sub.subscribe(TEMP),
                lambda: next(messages),
                lambda: stream.receive(0.1),
            ):
                try:
                    use()
                except ForkedError:
                    refused += 1
            stream.close()
            pub.close()
            sub.close()
            os._exit(0 if refused == 5 else 1)
        assert os.waitpid(child, 0)[1] == 0
        sub.ready(LIMIT)
        pub.publish(A1, Reading(celsius=1.0))
        assert celsius(take(stream, 1)) == [1.0]


def test_a_terminated_context_ends_them(world: Blocking | Awaiting) -> None:
    context = zmq.Context()
    with publisher(world, "tcp://127.0.0.1:*", context=context) as pub:
        with subscriber(world, pub.endpoint, NOTE, context=context) as sub:
            sub.ready(LIMIT)
            threading.Thread(target=context.term, daemon=True).start()
            with pytest.raises(Closed):
                while True:
                    sub.receive(LIMIT)
    assert isinstance(sub, Face)
