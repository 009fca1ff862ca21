"""The subscriber: what comes in goes to its readers once and in order, and every gap is known exactly."""

from __future__ import annotations

from zpatterns.contract import Topic
from zpatterns.core.calls import Connection
from zpatterns.core.heard import Arrived, Gap, Ready
from zpatterns.core.intake import PATIENCE, Intake
from zpatterns.core.machine import Link, Sent
from zpatterns.core.readiness import Waiter
from zpatterns.core.subscriber import Subscriber
from zpatterns.core.subscriptions import Subscription
from zpatterns.policy import Limits, Overflow
from zpatterns.wire import published as w

A, B = b"incarn-A", b"incarn-B"
T = Topic("t", int)
ROOMS = Topic("lab.{room}", int)
FRAME = T.frame


def typed(topic=FRAME, first=1, count=1, flags=0, incarnation=A, at=0, codec=1, buffers=(), payload=b"\x01"):
    return [topic, w.record(w.head(codec, flags, incarnation), count, first, at) + payload, *buffers]


class Hearing:
    def __init__(self, *topics, ports=1, limit=100, overflow=Overflow.DROP_OLDEST, max_age=None, limits=None):
        numbers = iter(range(1000))
        self.machine = Subscriber(ports, nonce=lambda: b"%016d" % next(numbers), limits=limits)
        self.intake = Intake(limit, overflow, max_age)
        self.machine.open(self.intake)
        self.wanted = [self.want(topic) for topic in topics]

    def want(self, topic, intake=None):
        if isinstance(topic, bytes):
            wanted = Subscription(topic, intake or self.intake)
        else:
            wanted = Subscription(topic.prefix, intake or self.intake, matches=topic.matches, application=topic)
        self.machine.subscribe(wanted, 0.0)
        return wanted

    def hear(self, *frames, port=0, now=0.0):
        self.machine.receive(port, frames[0] if len(frames) == 1 and isinstance(frames[0], list) else list(frames), now)

    def take(self, intake=None, now=0.0):
        """Sequences with what was missed before them, or frames."""
        found = []
        while (taken := self.machine.take(intake or self.intake, now)) is not None:
            chunk, missed = taken
            if chunk.first:
                found.append((list(range(chunk.first + chunk.start, chunk.first + chunk.stop)), missed))
            else:
                found.append(chunk.frames)
        return found

    def events(self, now=0.0):
        self.machine.dispatch(now)
        found = list(self.machine.events)
        self.machine.events.clear()
        return found

    def gaps(self):
        return [(event.topic, event.missed, event.reason) for event in self.events() if isinstance(event, Gap)]

    def sent(self):
        found = [(port, frames[0]) for port, frames, _ in self.machine.outbox]
        self.machine.outbox.clear()
        return found

    def nonce(self, port=0):
        return self.machine.readiness.probes[port].nonce

    def echo(self, last=(), *, complete=True, incarnation=A, nonce=None, port=0):
        self.hear(
            typed(nonce or self.nonce(port), 0, 0, incarnation=incarnation, payload=w.table(last, complete=complete)),
            port=port,
        )

    def beat(self, *last, incarnation=A):
        self.hear(typed(w.HEARTBEAT_TOPIC, 0, 0, incarnation=incarnation, payload=w.table(last, complete=False)))


def test_the_usual_messages_come_in_order():
    hearing = Hearing(T)
    for first, count in ((1, 1), (2, 3), (5, 1)):
        hearing.hear(typed(first=first, count=count))
    assert hearing.take() == [([1], 0), ([2, 3, 4], 0), ([5], 0)]
    counts = hearing.machine.totals()
    assert (counts.received, counts.delivered, counts.lost) == (5, 5, 0)
    assert hearing.machine.statistics is hearing.machine._counts


def test_the_reader_is_told_once_until_it_has_taken_all():
    hearing = Hearing(T)
    hearing.hear(typed(first=1))
    hearing.hear(typed(first=2))
    assert hearing.events() == [Arrived(hearing.intake)]
    hearing.take()
    hearing.hear(typed(first=3))
    assert hearing.events() == [Arrived(hearing.intake)]


def test_a_gap_in_between_is_told_and_in_the_next_message():
    hearing = Hearing(T)
    hearing.hear(typed(first=1))
    hearing.hear(typed(first=4))
    hearing.hear(typed(first=9))
    assert hearing.gaps() == [("t", 6, "lost")]
    assert hearing.take() == [([1], 0), ([4], 2), ([9], 4)]


def test_what_comes_twice_is_dropped():
    hearing = Hearing(T)
    hearing.hear(typed(first=3, count=2))
    hearing.hear(typed(first=4))
    hearing.hear(typed(first=4, count=3))
    assert hearing.take() == [([3, 4], 0), ([5, 6], 0)]
    assert hearing.machine.totals().duplicate == 2


def test_what_comes_twice_is_not_replaced_by_the_latest():
    hearing = Hearing(T, overflow=Overflow.LATEST)
    hearing.hear(typed(first=1, count=3))
    hearing.hear(typed(first=2, count=3))
    assert hearing.take() == [([4], 3)]
    counts = hearing.machine.totals()
    assert (counts.received, counts.duplicate) == (4, 2)
    assert (counts.delivered, counts.overflowed) == (1, 3)


def test_publishers_and_incarnations_are_told_apart():
    hearing = Hearing(T)
    for first, incarnation in ((1, A), (1, B), (2, A), (4, B), (3, A)):
        hearing.hear(typed(first=first, incarnation=incarnation))
    assert hearing.gaps() == [("t", 2, "lost")]
    assert [missed for _, missed in hearing.take()] == [0, 0, 0, 2, 0]


def test_start_is_no_gap():
    hearing = Hearing(T)
    hearing.hear(typed(first=1, flags=w.START))
    hearing.hear(typed(first=2))
    hearing.hear(typed(first=50, flags=w.START))
    hearing.hear(typed(first=51))
    assert hearing.gaps() == []
    assert hearing.take() == [([1], 0), ([2], 0), ([50], 0), ([51], 0)]


def test_patterns_take_what_fits_and_remember_what_does_not():
    hearing = Hearing(ROOMS)
    hearing.hear(typed(b"lab.a\0"))
    for _ in range(3):
        hearing.hear(typed(b"lab.a.b\0"))
    assert len(hearing.take()) == 1
    assert hearing.machine.totals().unwanted == 3
    crowded = Hearing(ROOMS, limits=Limits(topics=1))
    for topic in (b"lab.a.b\0", b"lab.a.c\0", b"lab.a.c\0"):
        crowded.hear(typed(topic))
    assert crowded.machine.totals().unwanted == 3


def test_garbage_is_counted():
    hearing = Hearing(T, b"raw")
    for frames in (
        [FRAME, b"\xc1zp"],
        [FRAME, b"\xc1zp\1" + bytes(60)],
        typed(count=0),
        typed(count=w.BATCH_COUNT_MAX + 1),
        typed(first=2**62),
        typed(buffers=[b"x"]),
        typed(flags=w.BUFFERS),
        typed(flags=w.BUFFERS, count=2, buffers=[b"x"]),
        typed(w.HEARTBEAT_TOPIC, 0, 0, payload=b"\xc1"),
        typed(w.PREFIX + b"?", 0, 0, payload=b"\xc0"),
    ):
        hearing.hear(frames)
    hearing.hear(typed(first=1))
    hearing.hear([FRAME, b"short"])
    hearing.hear([FRAME, b"\xc1zp\1short"])
    assert hearing.machine.totals().undecodable == 11
    assert hearing.machine.totals().unwanted == 1  # it is a plain message that nobody asked for
    assert hearing.take() == [([1], 0)]


def test_buffers_and_large_frames():
    hearing = Hearing(T)
    hearing.hear(typed(first=1, flags=w.BUFFERS | w.START, buffers=[b"buffer"]))
    topic, data = typed(first=2)
    hearing.hear([memoryview(topic), memoryview(data)])
    hearing.hear([topic, memoryview(typed(first=3)[1])])
    assert hearing.take() == [([1], 0), ([2, 3], 0)]


# Foreign publishers -----------------------------------------------------------------------------------------------------------


def test_plain_messages_by_prefix():
    hearing = Hearing(b"sub 1", T)
    hearing.hear([b"sub 1 hello"])
    hearing.hear([b"sub 1", b"a", b"b"])
    hearing.hear([b"sub 2"])
    hearing.hear([memoryview(b"sub 1 large")])
    assert hearing.take() == [[b"sub 1 hello"], [b"sub 1", b"a", b"b"], [b"sub 1 large"]]
    assert hearing.machine.foreign == [True]
    assert hearing.machine.plain
    assert hearing.machine.totals().unwanted == 1


def test_typed_messages_by_prefix_are_frames():
    hearing = Hearing(b"")
    frames = typed()
    hearing.hear(frames)
    assert hearing.take() == [frames]


# Ready -----------------------------------------------------------------------------------------------------------------------


def test_subscribing_asks_libzmq_for_the_topic_for_heartbeats_and_for_an_echo():
    hearing = Hearing(T)
    assert hearing.sent() == [(0, b"\1" + w.HEARTBEAT_TOPIC), (0, b"\1" + FRAME), (0, b"\1" + hearing.nonce())]
    other = hearing.want(ROOMS)
    assert [change[:1] for _, change in hearing.sent()] == [b"\1", b"\0", b"\1"]
    hearing.machine.unsubscribe(other)
    assert hearing.sent() == [(0, b"\0lab.")]
    hearing.want(b"raw")
    assert hearing.sent() == [(0, b"\1raw")]
    assert hearing.machine.find(hearing.intake) == [hearing.wanted[0], hearing.machine.find(hearing.intake)[1]]


def test_ready_when_every_port_has_answered():
    hearing = Hearing(T, ports=2)
    waiter = Waiter(1, "me")
    hearing.machine.ready(waiter, 0.0)
    hearing.echo(port=0)
    assert hearing.events() == []
    hearing.echo(port=1, incarnation=B)
    assert hearing.events() == [Ready(waiter)]
    gone = Waiter(1, "me")
    hearing.machine.ready(gone, 0.0)
    hearing.machine.give_up(gone)
    hearing.machine.give_up(gone)
    hearing.echo(port=0)
    hearing.echo(port=1)
    assert hearing.events() == []


def test_what_is_lost_after_the_echo_is_a_gap_before_the_first_message():
    hearing = Hearing(T)
    hearing.echo([(FRAME, 7)])
    hearing.hear(typed(first=10))
    assert hearing.gaps() == [("t", 2, "lost")]
    assert hearing.take() == [([10], 2)]


def test_a_topic_that_a_complete_table_does_not_name_begins_with_one():
    hearing = Hearing(T)
    hearing.echo()
    hearing.hear(typed(first=3))
    assert hearing.take() == [([3], 2)]
    incomplete = Hearing(T)
    incomplete.echo(complete=False)
    incomplete.hear(typed(first=3))
    assert incomplete.take() == [([3], 0)]


def test_an_echo_says_nothing_of_what_was_asked_for_later():
    hearing = Hearing(T)
    old = hearing.nonce()
    hearing.want(ROOMS)
    hearing.echo([(b"lab.a\0", 5)], nonce=old)
    hearing.hear(typed(b"lab.a\0", first=8))
    assert hearing.take() == [([8], 0)]


def test_messages_of_a_connection_that_broke_are_lost():
    hearing = Hearing(T)
    hearing.machine.link(0, Link.UP, 0.0)
    hearing.echo()
    hearing.machine.link(0, Link.DOWN, 1.0)
    hearing.machine.link(0, Link.UP, 2.0)
    hearing.echo([(FRAME, 30)])
    assert hearing.gaps() == [("t", 30, "lost")]
    hearing.hear(typed(first=31))
    assert hearing.take() == [([31], 30)]


# Heartbeats ----------------------------------------------------------------------------------------------------------------------


def test_a_heartbeat_shows_a_loss_at_the_end_once():
    hearing = Hearing(T)
    hearing.hear(typed(first=1))
    hearing.beat((FRAME, 1))
    hearing.beat((FRAME, 4))
    hearing.beat((FRAME, 4))
    assert hearing.gaps() == [("t", 3, "lost")]
    hearing.hear(typed(first=5))
    assert hearing.gaps() == []
    assert hearing.take() == [([1], 0), ([5], 3)]


def test_a_heartbeat_shows_a_topic_none_of_which_has_come():
    hearing = Hearing(T)
    hearing.echo()
    hearing.beat((FRAME, 2), (b"else\0", 9))
    assert hearing.gaps() == [("t", 2, "lost")]
    unknown = Hearing(T)
    unknown.beat((FRAME, 2))
    assert unknown.gaps() == []


def test_a_topic_that_was_forgotten_is_no_loss_when_it_comes_again():
    hearing = Hearing(ROOMS, limits=Limits(topics=2))
    hearing.echo()
    for first in range(1, 5):
        for topic in (b"lab.a\0", b"lab.b\0", b"lab.c\0"):
            hearing.hear(typed(topic, first=first))
    assert hearing.gaps() == []
    hearing.beat((b"lab.a\0", 4), (b"lab.b\0", 4), (b"lab.c\0", 4))
    assert hearing.gaps() == []


def test_an_echo_that_names_more_topics_than_are_remembered_covers_nothing():
    hearing = Hearing(ROOMS, limits=Limits(topics=2))
    hearing.echo([(b"lab.a\0", 4), (b"lab.b\0", 4), (b"lab.c\0", 4)])
    hearing.hear(typed(b"lab.a\0", first=5))
    hearing.hear(typed(b"lab.c\0", first=7))
    assert hearing.gaps() == [("lab.c", 2, "lost")]


# Readers ----------------------------------------------------------------------------------------------------------------------------


def test_a_stream_has_a_topic_for_itself_until_it_is_closed():
    hearing = Hearing(T)
    hearing.hear(typed(first=1))
    stream = stream_of(hearing)
    hearing.hear(typed(first=2))
    assert (hearing.take(), hearing.take(stream)) == ([([1], 0)], [([2], 0)])
    hearing.machine.close(stream)
    hearing.machine.close(stream)
    hearing.hear(typed(first=3))
    assert hearing.take(stream) == []
    assert hearing.machine.totals().delivered == 2
    assert hearing.take() == [([3], 0)]  # the second was not for this one


def stream_of(hearing, topic=T):
    stream = Intake(100, Overflow.DROP_OLDEST, None, main=False)
    hearing.machine.open(stream)
    hearing.want(topic, stream)
    return stream


def test_what_a_reader_missed_before_a_stream_came_and_went_is_told_after_it():
    hearing = Hearing(T, limit=5, overflow=Overflow.DROP_NEWEST)
    hearing.hear(typed(first=1, count=8))
    for first in (9, 11):
        stream = stream_of(hearing)
        hearing.hear(typed(first=first, count=2))
        other = stream_of(hearing)
        hearing.machine.close(stream)
        hearing.machine.close(other)
    assert hearing.take() == [([1, 2, 3, 4, 5], 0)]
    hearing.hear(typed(first=13))
    hearing.hear(typed(first=16))
    assert hearing.take() == [([13], 3), ([16], 2)]


def test_what_waits_from_before_a_stream_may_be_dropped_after_it():
    hearing = Hearing(T, limit=5)
    hearing.hear(typed(first=1, count=4))
    stream = stream_of(hearing)
    hearing.hear(typed(first=5, count=2))
    hearing.machine.close(stream)
    hearing.hear(typed(first=7, count=4))
    assert hearing.take() == [([4], 3), ([7, 8, 9, 10], 0)]
    assert hearing.machine.totals().overflowed == 3


def test_a_stream_hides_no_loss_from_before_it():
    for told in (lambda hearing: hearing.hear(typed(first=3)), lambda hearing: hearing.beat((FRAME, 2))):
        hearing = Hearing(T)
        hearing.echo()
        stream_of(hearing)
        told(hearing)
        assert hearing.gaps() == [("t", 2, "lost")]


def test_what_nobody_asks_for_any_more_is_no_gap_later():
    hearing = Hearing(T)
    hearing.hear(typed(first=1))
    hearing.machine.unsubscribe(hearing.wanted[0])
    hearing.hear(typed(first=2))  # it was on its way
    hearing.want(T)
    hearing.hear(typed(first=9))
    assert hearing.gaps() == []
    assert hearing.take() == [([1], 0), ([9], 0)]


def test_a_full_queue_stops_reading_for_a_moment_and_then_drops():
    hearing = Hearing(T, limit=2)
    hearing.hear(typed(first=1, count=2), now=5.0)
    assert not hearing.machine.expects
    assert hearing.machine.wakes_at == min(5.0 + PATIENCE, hearing.machine.readiness.wakes_at)
    hearing.machine.wake(5.0 + PATIENCE)
    assert hearing.machine.expects
    hearing.hear(typed(first=3, count=2), now=6.0)
    assert hearing.machine.expects
    assert hearing.gaps() == [("t", 2, "overflow")]
    assert hearing.take() == [([3, 4], 2)]
    assert hearing.machine.totals().overflowed == 2


def test_a_reader_that_comes_in_time_loses_nothing():
    hearing = Hearing(T, limit=2)
    hearing.hear(typed(first=1, count=2), now=5.0)
    hearing.take()
    assert hearing.machine.expects


def test_a_blocking_queue_waits_for_its_reader():
    hearing = Hearing(T, limit=2, overflow=Overflow.BLOCK)
    hearing.echo()
    hearing.machine.wake(10.0)  # the nonce has had its time
    hearing.hear(typed(first=1, count=5), now=5.0)
    hearing.machine.wake(100.0)
    assert not hearing.machine.expects
    assert hearing.machine.wakes_at is None
    hearing.take()
    assert hearing.machine.expects


def test_plain_messages_that_are_dropped_are_no_gap():
    hearing = Hearing(b"", limit=1)
    for _ in range(3):
        hearing.hear([b"x"], now=5.0)
    assert hearing.gaps() == []
    assert hearing.machine.totals().overflowed == 2


def test_stale_messages_are_dropped():
    hearing = Hearing(T, max_age=1.0)
    hearing.hear(typed(first=1, at=1_000_000), now=101.0)
    hearing.hear(typed(first=2, at=2_000_000), now=104.0)  # two seconds late
    assert hearing.take(now=104.0) == []
    hearing.hear(typed(first=3, at=4_000_000), now=104.1)
    assert hearing.take(now=104.2) == [([3], 2)]
    assert hearing.machine.totals().stale == 2


# Links ---------------------------------------------------------------------------------------------------------------------------------


def test_connections_are_told_and_asked_again():
    hearing = Hearing(T)
    first = hearing.nonce()
    hearing.machine.link(0, Link.UP, 0.0)
    assert hearing.nonce() != first
    hearing.machine.link(0, Link.WRITABLE, 0.0)
    hearing.machine.link(0, Link.DOWN, 0.0)
    hearing.machine.link(0, Link.DOWN, 0.0)
    assert [(event.port, event.up) for event in hearing.events() if isinstance(event, Connection)] == [
        (0, True),
        (0, False),
    ]
    plain = Hearing(b"x")
    plain.machine.link(0, Link.UP, 0.0)
    assert plain.nonce() is None
    plain.machine.sent(None, Sent.FULL, 0.0)
    plain.machine.flush(0.0)
    assert plain.machine.wakes_at is None
