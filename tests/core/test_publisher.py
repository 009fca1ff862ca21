"""The publisher: numbers, joins, echoes, tells last sequences, and waits for room where it is told to."""

from __future__ import annotations

import pytest

from zpatterns.core import publisher
from zpatterns.core.audience import Awaited
from zpatterns.core.machine import Link, Sent
from zpatterns.core.publisher import RETRY, Enough, Publisher
from zpatterns.errors import Overloaded
from zpatterns.policy import Heartbeat, Limits
from zpatterns.wire import published as w

INCARNATION = b"incarn-A"
A, B = b"a\0", b"b\0"


class Telling:
    def __init__(self, **options):
        options.setdefault("heartbeat", Heartbeat(interval=1.0))
        self.machine = Publisher(incarnation=INCARNATION, now=0.0, **options)

    def publish(self, topic=A, payload=b"\x01", buffers=(), codec=w.MSGPACK, now=0.0):
        self.machine.publish(topic, codec, payload, buffers, now)

    def sent(self, now=0.0):
        """What a flush sends: topic, count, sequence, flags, payload, buffers."""
        self.machine.flush(now)
        found = []
        while self.machine.outbox:
            _, frames, _ = self.machine.outbox.popleft()
            if len(frames) > 1 and w.is_typed(frames[1]):
                head, count, first, at = w.read(frames[1])
                assert head[6:] == INCARNATION
                assert at == int(now * 1e6)
                found.append((frames[0], count, first, head[5], frames[1][w.RECORD :], *frames[2:]))
            else:
                found.append(tuple(frames))
        return found

    def hear(self, *frames):
        self.machine.receive(0, list(frames), 0.0)

    def table(self, entry):
        return w.parse_table(entry[4])


def test_a_tick_is_one_message_for_each_run_of_a_topic():
    telling = Telling()
    for topic in (A, A, B, A):
        telling.publish(topic)
    assert telling.sent() == [
        (A, 2, 1, w.START, b"\x92\x01\x01"),
        (B, 1, 1, w.START, b"\x01"),
        (A, 1, 3, 0, b"\x01"),
    ]
    telling.publish(A)
    assert telling.machine.held == 1
    assert telling.sent(2.0) == [(A, 1, 4, 0, b"\x01")]
    assert telling.sent() == []
    assert telling.machine.statistics.published == 5


def test_a_run_ends_by_count_by_bytes_and_at_large_payloads():
    telling = Telling()
    for _ in range(w.BATCH_COUNT + 1):
        telling.publish()
    assert [entry[1] for entry in telling.sent()] == [w.BATCH_COUNT, 1]
    for _ in range(9):
        telling.publish(payload=bytes(w.BATCHED_BYTES))
    assert [entry[1] for entry in telling.sent()] == [8, 1]
    for size in (1, w.BATCHED_BYTES + 1, 1):
        telling.publish(payload=bytes(size))
    assert [entry[1] for entry in telling.sent()] == [1, 1, 1]


def test_buffers_and_another_codec_travel_alone():
    telling = Telling()
    telling.publish()
    telling.publish(buffers=[b"buffer"])
    telling.publish(codec=w.JSON)
    telling.publish(codec=w.JSON)
    assert telling.sent() == [
        (A, 1, 1, w.START, b"\x01"),
        (A, 1, 2, w.BUFFERS, b"\x01", b"buffer"),
        (A, 2, 3, 0, b"[\x01,\x01]"),
    ]


def test_one_at_a_time_for_a_driver_that_sends_at_once():
    telling = Telling()
    for first in (1, 2, 3):
        topic, data = telling.machine.publish_one(A, w.MSGPACK, b"\x01", 0.0)
        head, count, sequence, _ = w.read(data)
        assert (topic, count, sequence, bool(head[5] & w.START)) == (A, 1, first, first == 1)
    telling.machine.publish_one(A, w.JSON, b"1", 0.0)
    telling.publish()
    assert telling.sent() == [(A, 1, 5, 0, b"\x01")]
    assert telling.machine.statistics.published == 5


def test_bodies_that_are_one_array_already_go_out_as_they_are():
    telling = Telling()
    telling.publish()
    telling.machine.publish_list(A, w.MSGPACK, b"\x92\x01\x02", 2, 0.0)
    telling.publish()
    assert telling.sent() == [(A, 1, 1, w.START, b"\x01"), (A, 2, 2, 0, b"\x92\x01\x02"), (A, 1, 4, 0, b"\x01")]
    assert telling.machine.statistics.published == 4


def test_what_shares_a_message_stays_below_the_limit_of_its_readers():
    telling = Telling(limits=Limits(message=w.RECORD + w.JOINED + 10))
    for _ in range(4):
        telling.publish(payload=bytes(4))
    telling.publish(payload=bytes(11))
    assert [entry[1] for entry in telling.sent()] == [2, 2, 1]


def test_plain_messages_keep_their_place():
    telling = Telling()
    telling.publish()
    telling.machine.publish_plain([b"sub 1 hello"], 0.0)
    telling.publish()
    assert [entry[0] for entry in telling.sent()] == [A, b"sub 1 hello", A]


def test_topics_that_are_forgotten_go_on_where_they_were():
    telling = Telling(limits=Limits(topics=2))
    for topic in (A, A, B, b"c\0", A):
        telling.publish(topic)
    assert [(entry[0], entry[2], entry[3]) for entry in telling.sent()] == [
        (A, 1, w.START),
        (B, 1, w.START),
        (b"c\0", 1, w.START),
        (A, 3, w.START),
    ]


def test_what_is_remembered_of_topics_that_are_forgotten_is_bounded(monkeypatch):
    monkeypatch.setattr(publisher, "_SLOTS", 1)
    telling = Telling(limits=Limits(topics=2))
    for topic in (A, A, B, b"c\0", b"d\0", A):
        telling.publish(topic)
    assert [entry[2] for entry in telling.sent()] == [1, 1, 3, 3, 4]  # never below what it was
    assert len(telling.machine._forgotten) == 1


def test_a_table_without_the_topics_that_were_forgotten_is_not_complete():
    telling = Telling(limits=Limits(topics=2))
    for complete, topic in ((True, A), (True, B), (False, b"c\0")):
        telling.publish(topic)
        telling.hear(b"\1" + w.NONCE_TOPIC + bytes(16))
        assert telling.table(telling.sent()[-1]).complete is complete


def test_a_nonce_is_echoed_with_every_last_sequence_after_what_was_published_before():
    telling = Telling()
    telling.publish(A)
    telling.publish(B)
    nonce = w.NONCE_TOPIC + bytes(16)
    telling.hear(b"\1" + nonce)
    telling.hear(b"\0" + nonce)
    telling.hear(b"\1" + nonce + b"too long")
    a, b, echo = telling.sent()
    assert (a[0], b[0], echo[0], echo[1]) == (A, B, nonce, 0)
    assert telling.table(echo) == w.Table({A: 1, B: 1}, complete=True)
    assert telling.machine.statistics.echoed == 1


@pytest.mark.parametrize("size", [2, 200])
def test_a_table_that_is_too_long_is_not_complete(size):
    telling = Telling()
    for number in range(w.TABLE_COUNT + 1):
        telling.publish(b"%0*d\0" % (size, number))
    telling.hear(b"\1" + w.NONCE_TOPIC + bytes(16))
    echo = telling.sent()[-1]
    table = telling.table(echo)
    assert not table.complete
    assert 200 < len(table.last) <= w.TABLE_COUNT
    assert len(echo[4]) < 2 * w.TABLE_BYTES


def test_heartbeats_tell_what_was_published_lately():
    telling = Telling()
    telling.publish(A)
    telling.sent()
    assert telling.machine.wakes_at == 1.0
    telling.machine.wake(0.5)
    assert telling.sent() == []
    telling.publish(B, now=0.9)
    telling.machine.wake(1.0)
    b, beat = telling.sent(1.0)
    assert (b[0], beat[0], beat[1], beat[2]) == (B, w.HEARTBEAT_TOPIC, 0, 1)
    assert telling.table(beat) == w.Table({B: 1, A: 1}, complete=False)
    for now in (2.0, 3.0, 4.1):
        telling.machine.wake(now)
    last = telling.machine.outbox[-1][1]
    assert w.parse_table(last[1][w.RECORD :]).last == {}


def test_many_topics_take_several_heartbeats():
    telling = Telling()
    for number in range(w.TABLE_COUNT + 5):
        telling.publish(b"%d\0" % number)
    telling.sent()
    telling.machine.wake(1.0)
    tables = [telling.table(entry) for entry in telling.sent(1.0)]
    assert [len(table.last) for table in tables] == [w.TABLE_COUNT, 5]


def test_subscribers_are_counted_and_waited_for():
    telling = Telling()
    waiting = Awaited(A.startswith, 1, "me")
    assert not telling.machine.wait(waiting)
    telling.hear(b"\1" + A)
    assert telling.machine.events.popleft() == Enough(waiting)
    telling.hear(b"\0" + A)
    counts = telling.machine.statistics
    assert (counts.subscribed, counts.unsubscribed) == (1, 1)


def test_upstream_messages_that_are_no_subscriptions_are_counted():
    telling = Telling()
    for frames in ([b""], [b"\2x"], [b"\1a", b"more"], [bytes(5000)]):
        telling.hear(*frames)
    assert telling.machine.statistics.undecodable == 4


def test_closing_tells_the_last_sequences():
    telling = Telling()
    telling.publish()
    telling.machine.close(0.0)
    a, beat = telling.sent()
    assert a[0] == A and telling.table(beat).last == {A: 1}


def test_without_blocking_what_is_refused_is_counted():
    telling = Telling()
    telling.machine.sent(None, Sent.FULL, 0.0)
    assert telling.machine.statistics.dropped == 1
    telling.machine.link(0, Link.UP, 0.0)
    telling.machine.dispatch(0.0)


class Blocking(Telling):
    """With a socket that has so much room."""

    def __init__(self, room=0, **options):
        super().__init__(blocks=True, **options)
        self.room = room
        self.taken = []

    def pump(self, now=0.0):
        self.machine.flush(now)
        while self.machine.outbox:
            _, frames, held = self.machine.outbox.popleft()
            if self.room:
                self.room -= 1
                self.taken.append(frames)
            else:
                self.machine.sent(held, Sent.FULL, now)

    def sequences(self):
        return [w.read(frames[1])[2] for frames in self.taken if w.read(frames[1])[1]]


def test_what_is_not_taken_waits_in_order_and_is_tried_again():
    telling = Blocking(room=1)
    tickets = []
    for _ in range(3):
        telling.publish()
        tickets.append(telling.machine.ticket)
    telling.pump()
    assert [telling.machine.waits(ticket) for ticket in tickets] == [False, True, True]
    telling.publish()
    telling.pump()
    assert telling.machine.wakes_at == RETRY
    telling.room = 10
    telling.machine.wake(RETRY)
    telling.pump()
    assert telling.sequences() == [1, 2, 3, 4]
    assert not telling.machine.waits(tickets[2])
    assert telling.machine.held == 0


def test_a_message_that_is_withdrawn_leaves_a_gap_and_is_counted():
    telling = Blocking()
    telling.publish()
    telling.publish()
    telling.pump()
    telling.machine.withdraw(1, 1)
    telling.machine.withdraw(99, 99)
    telling.room = 10
    telling.machine.wake(1.0)
    telling.pump()
    assert telling.sequences() == [2]
    assert (telling.machine.statistics.published, telling.machine.statistics.dropped) == (1, 1)


def test_several_may_wait_if_all_may():
    telling = Blocking(limits=Limits(queue=3))
    telling.machine.admit(100)  # nothing waits
    telling.publish()
    telling.pump()
    telling.machine.admit(2)
    with pytest.raises(Overloaded):
        telling.machine.admit(3)


def test_too_many_that_wait_are_overloaded():
    telling = Blocking(limits=Limits(queue=2))
    for _ in range(2):
        telling.publish()
    telling.pump()
    with pytest.raises(Overloaded, match="slow subscriber"):
        telling.publish()
    with pytest.raises(Overloaded, match=r"2 messages .* room for 2 more"):
        telling.machine.admit(2)
    telling.machine.wake(1.0)  # neither is a heartbeat kept beyond that
    assert telling.machine.held <= 3
