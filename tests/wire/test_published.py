"""What a publisher sends, against the byte vectors both ways, and the edges that vectors cannot show."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import msgpack
import pytest

from zpatterns.core.intake import Intake
from zpatterns.core.subscriber import Subscriber
from zpatterns.core.subscriptions import Subscription
from zpatterns.errors import DecodeError
from zpatterns.policy import Overflow
from zpatterns.wire import message, published as w

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "published.json").read_text(encoding="utf-8"))


def named(kind: str) -> list[Any]:
    return [pytest.param(each, id=each.get("name") or each["reason"]) for each in VECTORS[kind]]


def unhex(texts: list[str]) -> list[bytes]:
    return [bytes.fromhex(text) for text in texts]


def subscriber(prefix: bytes) -> tuple[Subscriber, Intake]:
    machine = Subscriber(1, nonce=lambda: bytes(16))
    intake = Intake(10**6, Overflow.DROP_OLDEST, None)
    machine.open(intake)
    machine.subscribe(Subscription(prefix, intake, matches=lambda topic: topic == prefix, application="topic"), 0.0)
    return machine, intake


@pytest.mark.parametrize("vector", named("messages"))
def test_a_message_is_written_so(vector):
    bodies, topic = unhex(vector["bodies"]), bytes.fromhex(vector["frames"][0])
    head = w.head(vector["codec"], vector["flags"], bytes.fromhex(vector["incarnation"]))
    payload = bodies[0] if len(bodies) == 1 else w.join(vector["codec"], bodies)
    record = w.record(head, vector["count"], vector["sequence"], vector["sent_at"])
    assert [topic, record + payload, *unhex(vector.get("buffers", []))] == unhex(vector["frames"])


@pytest.mark.parametrize("vector", named("messages"))
def test_a_message_is_read_so(vector):
    frames = unhex(vector["frames"])
    machine, intake = subscriber(frames[0])
    machine.receive(0, frames, 0.0)
    assert machine.statistics.undecodable == 0
    chunk, _ = intake.take(0.0)
    assert (chunk.first, chunk.count, chunk.codec) == (vector["sequence"], vector["count"], vector["codec"])
    assert list(chunk.frames) == unhex(vector.get("buffers", []))
    bodies = unhex(vector["bodies"])
    assert chunk.payload == (bodies[0] if len(bodies) == 1 else w.join(vector["codec"], bodies))
    head = w.parse_head(frames[1][: w.HEAD])
    assert head == w.Head(vector["codec"], vector["flags"], bytes.fromhex(vector["incarnation"]))


@pytest.mark.parametrize("vector", named("refused_messages"))
def test_a_message_is_refused(vector):
    frames = unhex(vector["frames"])
    machine, intake = subscriber(frames[0])
    machine.receive(0, frames, 0.0)
    assert machine.statistics.undecodable == 1
    assert intake.take(0.0) is None


@pytest.mark.parametrize("vector", named("tables"))
def test_a_table_both_ways(vector):
    last = {bytes.fromhex(topic): sequence for topic, sequence in vector["last"].items()}
    payload = bytes.fromhex(vector["payload"])
    assert w.table(list(last.items()), complete=vector["complete"]) == payload
    assert w.parse_table(payload) == w.Table(last, vector["complete"])


@pytest.mark.parametrize("vector", named("refused_tables"))
def test_a_table_is_refused(vector):
    with pytest.raises(DecodeError):
        w.parse_table(bytes.fromhex(vector["payload"]))


def test_a_table_has_limits():
    many = msgpack.packb([1, *(part for number in range(1025) for part in (b"%d\0" % number, 1))])
    for payload in (many, msgpack.packb([1, bytes(200_000), 1])):
        with pytest.raises(DecodeError):
            w.parse_table(payload)


def test_a_head_that_is_none():
    for data in (b"", bytes(w.HEAD), w.head(1, 0, bytes(8)) + b"x", w.head(9, 0, bytes(8)), w.head(1, 8, bytes(8))):
        with pytest.raises(DecodeError):
            w.parse_head(data)


def test_a_record_is_as_long_as_the_page_says():
    assert w.RECORD == 32
    with pytest.raises(struct.error):
        w.read(bytes(31))


def test_the_librarys_own_topics_are_no_topics():
    for topic in (w.HEARTBEAT_TOPIC, w.NONCE_TOPIC):
        assert topic.startswith(message.PREFIX)
    assert w.is_typed(b"\xc1zp") and not w.is_typed(b"\xc1z") and w.is_typed(memoryview(b"\xc1zp\1"))


def test_an_array_of_many_raw_bodies():
    assert msgpack.unpackb(w.join(w.RAW, [b"a"] * 300)) == [b"a"] * 300
    assert msgpack.unpackb(w.join(w.MSGPACK, [b"\xc0"] * 256)) == [None] * 256
    assert json.loads(w.join(w.JSON, [b"1", b"2"])) == [1, 2]
