"""One reader's queue: bounded, patient for a moment, exact about what it drops."""

from __future__ import annotations

import pytest

from zpatterns.core.gaps import Line
from zpatterns.core.intake import PATIENCE, RUN, Chunk, Intake, Route
from zpatterns.policy import Overflow

NEVER = float("inf")


class Queue:
    def __init__(self, limit=4, overflow=Overflow.DROP_OLDEST, max_age=None):
        self.intake = Intake(limit, overflow, max_age)
        self.lines = {}

    def put(self, first, count=1, topic=b"t\0", now=0.0, fresh_until=NEVER):
        line = self.lines.get(topic)
        if line is None:
            line = self.lines[topic] = Route(Line(topic, b"incarn-A", 0), self.intake, "topic")
            line.expected = first
        self.intake.put(Chunk(line, first, count, 1, b"", (), fresh_until), now)

    def join(self, first, topic=b"t\0"):
        return self.intake.join(self.lines[topic], first, b"%d" % first)

    def take(self, now=0.0):
        taken = self.intake.take(now)
        if taken is None:
            return None
        chunk, missed = taken
        return [chunk.first + index for index in range(chunk.start, chunk.stop)], missed

    def all(self, now=0.0):
        return list(iter(lambda: self.take(now), None))


def test_what_goes_in_comes_out():
    queue = Queue()
    queue.put(1)
    queue.put(2, count=2)
    assert queue.intake.held == 3
    assert [chunk.first for chunk in queue.intake.waiting()] == [1, 2]
    assert queue.all() == [([1], 0), ([2, 3], 0)]
    assert (queue.intake.held, queue.intake.delivered, queue.intake.missed) == (0, 3, 0)
    assert not queue.intake.announced


def test_the_oldest_are_dropped_message_by_message():
    queue = Queue(limit=4)
    queue.put(1, count=3)
    queue.put(4, count=2)
    assert queue.intake.held == 4
    queue.put(6, count=3)
    assert queue.all() == [([5], 4), ([6, 7, 8], 0)]
    assert queue.intake.overflowed == 4 == queue.intake.missed
    (route,) = queue.intake.shedding
    assert route.shed == 4


def test_a_chunk_larger_than_the_queue_keeps_its_end():
    queue = Queue(limit=4)
    queue.put(1)
    queue.put(2, count=10)
    assert queue.all() == [([8, 9, 10, 11], 7)]


def test_the_newest_are_dropped():
    queue = Queue(limit=4, overflow=Overflow.DROP_NEWEST)
    queue.put(1, count=3)
    queue.put(4, count=3)
    queue.put(7)
    assert queue.all() == [([1, 2, 3], 0), ([4], 0)]
    queue.put(8)
    assert queue.take() == ([8], 3)
    assert queue.intake.overflowed == 3


def test_the_latest_of_each_topic_in_its_old_place():
    queue = Queue(limit=2, overflow=Overflow.LATEST)
    queue.put(1, topic=b"a\0")
    queue.put(1, count=3, topic=b"b\0")
    queue.put(2, topic=b"a\0")
    assert [chunk.route.line.topic for chunk in queue.intake.waiting()] == [b"a\0", b"b\0"]
    assert queue.intake.held == 2
    assert queue.all() == [([2], 1), ([3], 2)]
    assert queue.intake.overflowed == 3
    assert not queue.intake.shedding  # replaced as asked for


def test_more_topics_than_the_queue_has_room_for():
    queue = Queue(limit=2, overflow=Overflow.LATEST)
    for topic in (b"a\0", b"b\0", b"c\0"):
        queue.put(1, topic=topic)
    assert len(queue.all()) == 2
    assert queue.intake.shedding[0].line.topic == b"a\0"


def test_the_latest_of_messages_nobody_numbers():
    intake = Intake(10, Overflow.LATEST, None)
    route = Route(None, intake, None)
    for text in (b"one", b"two", b"one"):
        intake.put(Chunk(route, 0, 1, 0, b"", [text], NEVER), 0.0)
    assert [intake.take(0.0)[0].frames for _ in range(2)] == [[b"one"], [b"two"]]


def test_blocking_drops_nothing_and_is_full_until_it_is_read():
    relieved = []
    queue = Queue(limit=2, overflow=Overflow.BLOCK)
    queue.intake.relieved = lambda: relieved.append(True)
    queue.put(1, count=5)
    assert queue.intake.full_until == NEVER
    queue.put(6)
    assert queue.take() == ([1, 2, 3, 4, 5], 0)
    assert relieved == [True]
    assert queue.intake.full_until is None
    assert queue.take() == ([6], 0)


def test_a_full_queue_has_patience_once():
    queue = Queue(limit=2)
    queue.put(1, count=2, now=5.0)
    assert queue.intake.full_until == 5.0 + PATIENCE
    queue.put(3, now=6.0)
    assert queue.intake.full_until == 5.0 + PATIENCE
    queue.all()
    assert queue.intake.full_until is None


def test_the_stale_are_dropped_when_the_reader_comes_to_them():
    queue = Queue()
    queue.put(1, fresh_until=1.0)
    queue.put(2, fresh_until=3.0)
    assert queue.all(now=2.0) == [([2], 1)]
    assert (queue.intake.stale, queue.intake.missed) == (1, 1)


@pytest.mark.parametrize("overflow", [Overflow.DROP_OLDEST, Overflow.LATEST])
def test_a_reader_that_has_gone_leaves_nothing(overflow):
    queue = Queue(limit=1, overflow=overflow)
    queue.put(1)
    queue.intake.clear()
    assert (queue.intake.held, queue.take(), queue.intake.full_until) == (0, None, None)
    queue.intake.clear()


def test_what_is_not_numbered_has_no_gaps():
    intake = Intake(10, Overflow.DROP_OLDEST, None)
    route = Route(None, intake, None)
    intake.put(Chunk(route, 0, 1, 0, b"", [b"x"], NEVER), 0.0)
    assert intake.take(0.0)[1] == 0
    with_unknown = Route(Line(b"t\0", b"incarn-A", 0), intake, "topic")
    intake.put(Chunk(with_unknown, 7, 1, 1, b"", (), NEVER), 0.0)
    assert intake.take(0.0)[1] == 0


def test_messages_that_come_one_by_one_wait_in_one_chunk():
    queue = Queue(limit=10)
    queue.put(1)
    assert queue.join(2)
    assert queue.join(3)
    (chunk,) = queue.intake.waiting()
    assert (chunk.count, chunk.run, queue.intake.held) == (3, [b"", b"2", b"3"], 3)
    assert queue.take() == ([1, 2, 3], 0)
    assert not queue.join(4)
    queue.put(4)
    assert queue.all() == [([4], 0)]


def test_what_does_not_belong_to_the_newest_chunk_does_not_join_it():
    queue = Queue(limit=200)
    queue.put(1)
    queue.put(1, topic=b"u\0")
    assert not queue.join(2)  # of another topic
    assert not queue.join(3, topic=b"u\0")  # something is missing
    assert queue.join(2, topic=b"u\0")
    queue.put(2, count=2)
    assert not queue.join(4)  # several that came in one message
    queue.put(4)
    assert all(queue.join(5 + number) for number in range(RUN - 1))
    assert not queue.join(4 + RUN)  # there are enough in it
    assert [(len(found), missed) for found, missed in queue.all()] == [(1, 0), (2, 0), (2, 0), (RUN, 0)]


def test_nothing_joins_a_queue_that_is_as_good_as_full_or_minds_ages():
    queue = Queue(limit=3)
    queue.put(1)
    assert queue.join(2)
    assert not queue.join(3)
    queue.put(3)
    assert queue.intake.full_until is not None
    aging = Queue(max_age=1.0)
    aging.put(1)
    assert not aging.join(2)
    latest = Queue(overflow=Overflow.LATEST)
    latest.put(1)
    assert not latest.join(2)


def test_it_is_full_when_another_of_the_same_size_would_not_fit():
    queue = Queue(limit=10)
    queue.put(1, count=4)
    assert queue.intake.full_until is None
    queue.put(5, count=4)
    assert queue.intake.full_until == PATIENCE
    queue.take()
    assert queue.intake.full_until is None


def test_a_run_is_dropped_message_by_message():
    queue = Queue(limit=4)
    queue.put(1)
    assert queue.join(2)
    assert queue.join(3)
    queue.put(4, count=3)
    assert queue.all() == [([3], 2), ([4, 5, 6], 0)]
