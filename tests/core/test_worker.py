"""The worker with its driver played by hand: what it asks, runs, answers, gives back, and keeps while nobody is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack
import pytest

from zpatterns.core.calls import Reopen
from zpatterns.core.jobs import LOOP, Rule, Why
from zpatterns.core.machine import Link, Sent
from zpatterns.core.stage_jobs import Begin, Dismissed, Halt, StageJob
from zpatterns.core.worker import UNSAID, StageWorker
from zpatterns.errors import Status
from zpatterns.policy import Heartbeat
from zpatterns.wire import jobs as j, message as w


def several(codec: int, ids: Sequence[int]) -> tuple[bytes, bytes]:
    """Ids and payload of jobs, or of results, whose content is the text of their id."""
    payloads = [msgpack.packb(b"%d" % job_id) if codec == 1 else b"%d" % job_id for job_id in ids]
    return j.encode_array([*ids]), payloads[0] if len(ids) == 1 else j.encode_items(codec, payloads)


class Side:
    """A worker with the stages ``a`` (two at once) and ``b`` (one)."""

    def __init__(self, *, up: bool = True) -> None:
        self.machine = StageWorker(
            {"a": (Rule(LOOP), 2), "b": (Rule(LOOP), 1)},
            incarnation=b"12345678",
            heartbeat=Heartbeat(interval=1.0, liveness=3),
        )
        self.statistics = self.machine.statistics
        if up:
            self.machine.link(0, Link.UP, 0.0)
            [(header, _)] = self.out()
            assert j.parse(header) == j.Ready(b"12345678", {"a": 2, "b": 1})

    def jobs(
        self, *ids: int, stage: str = "a", codec: int = 3, attempt: int = 1, budget: int = 60_000, now: float = 0.0
    ) -> None:
        self.receive(j.jobs(stage, codec, attempt, budget, len(ids)), *several(codec, ids), now=now)

    def receive(self, *frames: bytes, now: float = 0.0) -> None:
        self.machine.receive(0, frames, now)

    def begun(self, now: float = 0.0) -> list[StageJob]:
        self.machine.dispatch(now)
        events = list(self.machine.events)
        self.machine.events.clear()
        assert all(type(event) is Begin for event in events)
        return [job for event in events for job in event.jobs]

    def out(self, now: float = 0.0) -> list[tuple[Any, ...]]:
        self.machine.flush(now)
        frames = [tuple(entry[1]) for entry in self.machine.outbox]
        self.machine.outbox.clear()
        return frames

    def said(self, now: float = 0.0) -> list[Any]:
        return [j.parse(frames[0]) for frames in self.out(now)]


def test_jobs_run_within_the_concurrency_and_are_answered_together() -> None:
    side = Side()
    side.jobs(1, 2, now=5.0)
    side.jobs(9, stage="b", attempt=2)
    one, two, other = side.begun()
    side.jobs(3)
    assert [one.id, two.id, other.id] == [1, 2, 9]
    assert (one.rest, one.method, one.header.codec, one.header.attempt, one.expires_at) == ((b"1",), "a", 3, 1, 65.0)
    assert (other.header.attempt, other.rule.lane) == (2, LOOP)
    assert side.machine.running == 3
    side.machine.reply(one, 3, b"r1")
    side.machine.reply(two, 3, b"r2")
    side.machine.reply(one, 3, b"again")
    [(header, ids, payload)] = side.out()
    assert (j.parse(header), ids, payload) == (j.Results(3, 2), b"\x92\1\2", j.encode_array([b"r1", b"r2"]))
    [three] = side.begun()
    assert three.id == 3
    assert side.statistics.received == 4


def test_large_results_and_buffers_travel_alone() -> None:
    side = Side()
    side.jobs(1, 2)
    one, two = side.begun()
    side.machine.reply(one, 1, b"x", (b"buffer",))
    side.machine.reply(two, 3, memoryview(b"view"))
    assert [len(frames) for frames in side.out()] == [4, 3]
    side.jobs(3, 4)
    three, four = side.begun()
    side.machine.reply(three, 1, b"msgpack")
    side.machine.reply(four, 2, b"JSON")
    assert [j.parse(frames[0]) for frames in side.out()] == [j.Results(1, 1), j.Results(2, 1)]


def test_a_handler_that_raised() -> None:
    side = Side()
    side.jobs(1)
    [one] = side.begun()
    side.machine.fail(one, Status.NOT_FOUND, "why", {"a": 1})
    side.machine.fail(one, Status.NOT_FOUND, "twice")
    side.machine.give_back(one)
    [(header, payload)] = side.out()
    assert j.parse(header) == j.Failed(1, Status.NOT_FOUND)
    assert w.decode_error(payload) == ("why", {"a": 1})
    assert (side.statistics.failed, side.statistics.returned) == (1, 0)


def test_what_is_beyond_its_credit_or_unknown_goes_back() -> None:
    side = Side()
    side.jobs(1, 2, 3)
    side.jobs(7, stage="c")
    assert side.said() == [j.Return(0, 1), j.Return(0, 1)]
    assert len(side.begun()) == 2
    assert side.statistics.returned == 2


def test_nothing_is_said_while_nobody_is_there_and_nothing_is_lost() -> None:
    side = Side()
    side.jobs(1, 2)
    one, two = side.begun()
    side.jobs(3)
    side.machine.link(0, Link.DOWN, 0.0)
    side.machine.reply(one, 1, b"kept")
    side.machine.fail(two, Status.ABORTED, "kept")
    assert side.out() == []
    assert side.begun() == []
    assert side.statistics.forgotten == 1
    side.machine.link(0, Link.UP, 1.0)
    assert [type(command) for command in side.said()] == [j.Ready, j.Failed, j.Results]
    assert side.statistics.connections == 2


def test_what_was_not_taken_is_kept_in_order() -> None:
    side = Side(up=False)
    side.machine.link(0, Link.UP, 0.0)
    side.machine.flush(0.0)
    _, _, token = side.machine.outbox.popleft()
    side.machine.sent(token, Sent.FULL, 0.0)
    assert side.out() == []
    side.machine.link(0, Link.WRITABLE, 0.0)
    assert [type(command) for command in side.said()] == [j.Ready]

    side.jobs(1, 2)
    one, two = side.begun()
    side.machine.reply(one, 1, b"r1")
    side.machine.flush(0.0)
    side.machine._send((j.heartbeat(1), b""))
    side.machine.fail(two, Status.ABORTED, "later")
    side.machine.flush(0.0)
    first = side.machine.outbox.popleft()
    side.machine.sent(first[2], Sent.FULL, 0.0)
    assert side.out() == []
    side.machine.link(0, Link.WRITABLE, 0.0)
    assert [type(command) for command in side.said()] == [j.Results, j.Failed]


def wake(side: Side, until: float) -> None:
    while (at := side.machine.wakes_at) is not None and at <= until:
        side.machine.wake(at)


def test_it_shows_that_it_is_alive() -> None:
    side = Side()
    side.jobs(1)
    side.begun()
    wake(side, 0.9)
    assert side.out() == []
    side.machine.wake(0.9)
    wake(side, 1.0)
    assert side.said(1.0) == [j.Heartbeat(1)]
    side.machine.link(0, Link.DOWN, 1.0)
    wake(side, 9.0)
    assert side.out() == []


def test_a_ventilator_that_is_silent_is_left() -> None:
    side = Side()
    wake(side, 3.0)
    side.receive(j.heartbeat(0), b"", now=3.0)
    wake(side, 6.0)
    assert not side.machine.events
    wake(side, 6.5)
    assert list(side.machine.events) == [Reopen(0)]
    side.out()
    side.machine.link(0, Link.DOWN, 6.5)
    side.machine.link(0, Link.UP, 6.6)
    assert [type(command) for command in side.said()] == [j.Ready]


def test_it_says_again_who_it_is_when_asked() -> None:
    side = Side()
    side.receive(j.WHO_HEADER, b"")
    assert [type(command) for command in side.said()] == [j.Ready]


def test_a_handler_that_takes_too_long_is_told_once() -> None:
    side = Side()
    side.jobs(1, budget=500)
    side.jobs(2, budget=60_000)
    one, _ = side.begun()
    wake(side, 0.4) if side.machine.wakes_at else side.machine.flush(0.0)
    side.machine.flush(0.0)
    wake(side, 1.0)
    assert list(side.machine.events) == [Halt(one)]
    assert one.stopped is Why.EXPIRED
    side.machine.give_back(one)
    assert j.Return(1, 1) in side.said(1.0)
    assert (side.statistics.expired, side.statistics.returned) == (1, 1)


def test_stopping_gives_back_what_has_not_begun_and_finishes_the_rest() -> None:
    side = Side()
    side.jobs(1, 2)
    one, two = side.begun()
    side.jobs(3)
    side.machine.stop()
    side.machine.stop()
    assert side.said() == [j.Leave(), j.Return(0, 1)]
    side.jobs(4)
    assert side.said() == [j.Return(0, 1)]
    side.machine.reply(one, 1, b"r1")
    side.machine.abort()
    assert list(side.machine.events) == [Halt(two)]
    assert side.said() == [j.Return(1, 1), j.Results(1, 1)]
    assert side.machine.running == 0
    side.machine.link(0, Link.DOWN, 0.0)
    side.machine.link(0, Link.UP, 0.0)
    assert side.out() == []  # it asks for nothing any more


def test_what_is_done_while_it_leaves_survives_a_new_connection() -> None:
    side = Side()
    side.jobs(1)
    (one,) = side.begun()
    side.machine.stop()
    side.said()
    side.machine.link(0, Link.DOWN, 0.0)
    side.machine.reply(one, 1, b"r1")
    side.machine.link(0, Link.UP, 0.0)
    assert [type(each) for each in side.said()] == [j.Ready, j.Leave, j.Results]


def test_a_ventilator_that_gives_jobs_and_takes_no_answers_fills_nothing() -> None:
    side = Side()
    side.jobs(1)
    side.machine.reply(side.begun()[0], 1, b"r1")
    side.machine.flush(0.0)
    _, _, token = side.machine.outbox.popleft()
    side.machine.sent(token, Sent.FULL, 0.0)
    message = j.jobs("nobody has it", 3, 1, 1000, 1024), *several(3, range(1024))
    for _ in range(UNSAID // 2):
        side.receive(*message)
    assert len(side.machine._letters) <= UNSAID + 4
    assert side.statistics.forgotten > 1024 * UNSAID / 8
    side.machine.link(0, Link.WRITABLE, 0.0)
    assert len(side.said()) > UNSAID


def test_a_handler_that_was_told_already_is_not_told_again() -> None:
    side = Side()
    side.jobs(1)
    [one] = side.begun()
    one.stopped = Why.EXPIRED
    side.machine.abort()
    assert not side.machine.events


def test_there_is_no_more_work() -> None:
    side = Side()
    side.receive(j.STOP_HEADER, b"")
    assert list(side.machine.events) == [Dismissed()]


@pytest.mark.parametrize(
    "frames",
    [
        (b"x",),
        (b"x", b""),
        (j.LEAVE_HEADER, b""),
        (j.jobs("a", 1, 1, 1, 2), b"\x91\1", b"\x91\1"),
        (j.jobs("a", 3, 1, 1, 2), b"\x92\1\2", b"\x92\1\2"),
    ],
)
def test_garbage_is_counted(frames: tuple[bytes, ...]) -> None:
    side = Side()
    side.receive(*frames)
    assert side.statistics.undecodable == 1


def test_before_its_first_turn_it_has_no_time() -> None:
    side = Side(up=False)
    assert side.machine.wakes_at is None
    side.machine.wake(5.0)
    side.machine.flush(5.0)
    assert side.machine.wakes_at == 5.25


def test_many_results_are_cut() -> None:
    machine = StageWorker({"a": (Rule(LOOP), 1000)}, incarnation=b"1")
    machine.link(0, Link.UP, 0.0)
    machine.receive(0, (j.jobs("a", 3, 1, 1, 600), *several(3, range(600))), 0.0)
    machine.dispatch(0.0)
    for event in machine.events:
        for job in event.jobs:
            machine.reply(job, 1, b"")
    machine.flush(0.0)
    counts = [j.parse(entry[1][0]) for entry in machine.outbox]
    assert [command.count for command in counts if type(command) is j.Results] == [256, 256, 88]


def test_jobs_of_one_message_are_opened_when_they_are_looked_at() -> None:
    side = Side()
    side.jobs(1, 2, codec=1)
    one, two = side.begun()
    assert one.parcel is two.parcel
    assert (one.rest, two.rest) == ((msgpack.packb(b"1"),), (msgpack.packb(b"2"),))
    side.receive(j.jobs("a", 1, 1, 1, 2), b"\x92\3\4", b"\x91\1")
    [three, four] = side.machine.stages["a"].waiting
    assert (three.rest, four.rest) == ((b"",), (b"",))  # which does not decode: their handler is not called
    side.receive(j.jobs("b", 1, 1, 1, 1), b"\x91\5", b"\1", b"buffer")
    assert side.machine.stages["b"].waiting[0].rest == (b"\1", b"buffer")
