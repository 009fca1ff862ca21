"""The ventilator with its driver played by hand: who gets what, who loses it, and how each task ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from zpatterns.core.crew import Bundle, Joined, Line, Task
from zpatterns.core.machine import Link, Sent
from zpatterns.core.ventilator import PROBE, RETURNS, TICKS, Ventilator
from zpatterns.errors import Closed, DeadLetter, DecodeError, JobFailed, NoSuchService, Status
from zpatterns.policy import Heartbeat, Limits
from zpatterns.wire import jobs as j, message as w

A, B, C = b"peer-A", b"peer-B", b"peer-C"
FIRST = 1000


class Message:
    """One message that the ventilator wants to send."""

    def __init__(self, entry: tuple[int, Any, Any]) -> None:
        _, frames, self.token = entry
        self.to, self.command = frames[0], j.parse(frames[1])
        self.rest = frames[2:]

    @property
    def jobs(self) -> dict[int, bytes]:
        assert type(self.command) is j.Jobs
        ids, payload, _ = j.opened(self.command, self.rest)
        payloads = [bytes(payload)] if len(ids) == 1 else j.split(self.command.codec, len(ids), payload)
        return dict(zip(ids, payloads, strict=True))


class Side:
    """A ventilator with the stages ``a`` and ``b``."""

    def __init__(self, *, timeout: float = 30.0, limits: Limits | None = None, stage_timeout: float = 60.0) -> None:
        self.machine = Ventilator(
            first_id=FIRST, timeout=timeout, limits=limits, heartbeat=Heartbeat(interval=1.0, liveness=3)
        )
        self.a = self.machine.line("a", stage_timeout)
        self.b = self.machine.line("b", stage_timeout)
        self.statistics = self.machine.statistics

    def put(self, *payloads: bytes, route: Any = None, now: float = 0.0, codec: int = 3) -> list[Task]:
        route = route or (self.a,)
        tasks = [Task(route, payload, codec) for payload in payloads]
        self.machine.put(tasks, now)
        return tasks

    def ready(self, peer: bytes, incarnation: bytes = b"", now: float = 0.0, **stages: int) -> None:
        self.receive(peer, j.ready(incarnation or peer, stages or {"a": 1}), b"", now=now)

    def receive(self, peer: bytes, *frames: bytes, now: float = 0.0) -> None:
        self.machine.receive(0, (peer, *frames), now)

    def result(self, peer: bytes, job_id: int, payload: bytes = b"done", now: float = 0.0) -> None:
        self.receive(peer, j.results(1, 1), j.encode_array([job_id]), payload, now=now)

    def results(self, peer: bytes, ids: Sequence[int], codec: int = 1, payload: bytes | None = None) -> None:
        """Each is the number 1."""
        whole = j.encode_items(codec, [b"\1"] * len(ids)) if payload is None else payload
        self.receive(peer, j.results(codec, len(ids)), j.encode_array(ids), whole)

    def out(self, now: float = 0.0) -> list[Message]:
        self.machine.flush(now)
        messages = [Message(entry) for entry in self.machine.outbox]
        self.machine.outbox.clear()
        return messages

    def given(self, now: float = 0.0) -> dict[bytes, dict[int, bytes]]:
        """The jobs that each peer is sent."""
        given: dict[bytes, dict[int, bytes]] = {}
        for message in self.out(now):
            if type(message.command) is j.Jobs:
                given.setdefault(message.to, {}).update(message.jobs)
        return given

    def ended(self) -> list[Task]:
        """Tasks that have ended one by one."""
        events = [event for event in self.machine.events if type(event) is Task]
        self.machine.events.clear()
        return events

    def bundles(self) -> list[Bundle]:
        bundles = [event for event in self.machine.events if type(event) is Bundle]
        self.machine.events.clear()
        return bundles

    def wake(self, now: float) -> None:
        """Every look up to then."""
        while (at := self.machine.wakes_at) is not None and at <= now:
            self.machine.wake(at)


def test_jobs_go_to_who_has_credit_and_come_back() -> None:
    side = Side()
    one, two, three = side.put(b"1", b"2", b"3")
    assert side.given() == {}
    side.ready(A, a=2)
    [jobs] = [message for message in side.out() if type(message.command) is j.Jobs]
    assert jobs.to == A
    assert jobs.command == j.Jobs("a", 3, 1, 60_000, 2)
    assert jobs.jobs == {FIRST: b"1", FIRST + 1: b"2"}
    side.result(A, FIRST, b"one")
    assert side.ended() == [one]
    assert (one.payload, one.done, one.failure) == (b"one", True, None)
    assert side.given() == {A: {FIRST + 2: b"3"}}
    side.result(A, FIRST + 2)
    side.result(A, FIRST + 1)
    assert side.ended() == [three, two]
    assert (side.statistics.started, side.statistics.delivered, side.statistics.done) == (3, 3, 3)
    assert side.machine.tasks == {}


def test_work_is_shared_evenly_and_in_turn() -> None:
    side = Side()
    side.ready(A, a=100)
    side.ready(B, a=100)
    side.put(*[b"%d" % number for number in range(10)])
    assert [len(jobs) for jobs in side.given().values()] == [5, 5]
    side.put(b"x")
    side.put(b"y")
    assert len(side.given()) == 2
    side.put(b"z")
    first = next(iter(side.given()))
    side.put(b"z")
    assert next(iter(side.given())) != first


def test_a_chain_of_stages_and_late_results_of_an_earlier_one() -> None:
    side = Side()
    side.ready(A, a=1, b=1)
    [task] = side.put(b"1", route=(side.a, side.b))
    assert side.given() == {A: {FIRST: b"1"}}
    side.result(A, FIRST, b"2")
    assert side.ended() == []
    assert side.given() == {A: {FIRST + 1: b"2"}}
    side.result(A, FIRST, b"late")
    assert side.statistics.duplicates == 1
    side.result(A, FIRST + 1, b"3")
    assert side.ended() == [task]
    assert task.payload == b"3"


def test_a_stage_that_is_made_later_finds_its_workers() -> None:
    side = Side()
    side.ready(A, c=2)
    side.ready(B, a=1)
    side.put(b"1", route=(side.machine.line("c", 1.0),))
    assert side.given() == {A: {FIRST: b"1"}}
    assert side.machine.line("c", 5.0).timeout == 1.0


def test_large_jobs_and_buffers_travel_alone() -> None:
    side = Side()
    side.ready(A, a=100)
    large = b"x" * (j.ALONE + 1)
    side.put(large)
    assert len(side.given()[A]) == 1
    side.machine.close(Closed("once more"))
    side.machine._next_id = FIRST
    side.put(b"1", large, b"2")
    buffered = Task((side.a,), b"3", 1, (b"buffer",))
    view = Task((side.a,), memoryview(b"4"), 1)
    side.machine.put([buffered, view], 0.0)
    messages = [message for message in side.out() if type(message.command) is j.Jobs]
    assert sorted(len(message.rest) for message in messages) == [2, 2, 2, 3]
    assert {job_id: len(payload) for message in messages for job_id, payload in message.jobs.items()} == {
        FIRST: 1, FIRST + 1: len(large), FIRST + 2: 1, FIRST + 3: 1, FIRST + 4: 1,
    }  # fmt: skip


def test_messages_are_not_too_large_and_hold_what_looks_alike() -> None:
    side = Side()
    side.ready(A, a=1000)
    side.put(*[b"x"] * 300)
    side.put(b"y", codec=2)
    counts = [len(message.jobs) for message in side.out() if type(message.command) is j.Jobs]
    assert counts == [256, 44, 1]
    side.put(*[b"x" * j.ALONE] * 10)
    assert [len(message.jobs) for message in side.out()] == [8, 2]


# Results that come together -------------------------------------------------------------------------------------------


def test_results_of_one_message_end_their_tasks_together() -> None:
    side = Side()
    side.ready(A, a=4)
    tasks = side.put(b"1", b"2", b"3", b"4")
    side.out()
    side.results(A, [FIRST + 1, FIRST])
    [bundle] = side.bundles()
    assert (bundle.tasks, bundle.codec, bundle.payload) == ([tasks[1], tasks[0]], 1, b"\x92\1\1")
    assert bundle.split() == [b"\1", b"\1"]
    assert [task.done for task in tasks] == [True, True, False, False]
    side.results(A, [FIRST + 2, FIRST + 3], codec=2)
    [bundle] = side.bundles()
    assert (bundle.tasks, bundle.codec, bundle.split()) == (tasks[2:], 2, [b"\1", b"\1"])
    assert (side.machine.tasks, side.statistics.done) == ({}, 4)
    side.put(b"5", b"6", b"7", b"8")
    assert len(side.given()[A]) == 4  # they have given their credit back


def test_an_array_that_is_none_is_found_out_by_whoever_opens_it() -> None:
    side = Side()
    side.ready(A, a=2)
    side.put(b"1", b"2")
    side.out()
    side.results(A, [FIRST, FIRST + 1], payload=b"\x91\1")
    [bundle] = side.bundles()
    with pytest.raises(DecodeError):
        bundle.split()


def test_what_does_not_end_together_is_looked_at_one_by_one() -> None:
    side = Side()
    route = (side.a,)
    side.ready(A, a=2)
    mine = side.put(b"1", b"2", route=route)
    side.out()
    side.results(B, [FIRST, FIRST + 1])  # no worker
    side.results(A, [FIRST, 7])  # one is unknown
    assert side.ended() == [mine[0]]
    assert (side.statistics.forged, side.statistics.duplicates) == (2, 1)
    side.results(A, [FIRST + 1, FIRST + 1])  # the same twice
    assert side.ended() == [mine[1]]
    assert side.statistics.duplicates == 2
    [first, second] = [*side.put(b"3", route=route), *side.put(b"4", route=(side.a,))]  # two callers
    side.out()
    side.results(A, [first.id, second.id])
    assert side.ended() == [first, second]
    [first, second] = side.put(b"5", b"6", route=route)
    side.ready(B, a=1)
    side.out()
    side.results(A, [first.id, second.id])  # one of them has the other worker
    assert len(side.ended()) == 1
    assert side.statistics.forged == 3


def test_results_of_an_earlier_stage_go_on_one_by_one() -> None:
    side = Side()
    side.ready(A, a=2, b=2)
    [one, two] = side.put(b"1", b"2", route=[side.a, side.b])
    side.out()
    side.results(A, [FIRST, FIRST + 1])
    assert side.given() == {A: {FIRST + 2: b"\1", FIRST + 3: b"\1"}}
    side.results(A, [FIRST + 2, FIRST + 3])
    assert [bundle.tasks for bundle in side.bundles()] == [[one, two]]


@pytest.mark.parametrize("payload", [b"", b"\1\1", b"\xc1", b"\x92\1"])
def test_what_is_no_value_does_not_go_on_among_those_of_others(payload: bytes) -> None:
    side = Side()
    side.ready(A, a=1, b=1)
    side.put(b"1", route=[side.a, side.b])
    side.out()
    side.result(A, FIRST, payload)
    assert side.statistics.undecodable == 1
    assert side.given() == {}
    side.result(A, FIRST, b"\xc1" * (j.ALONE + 1))  # travels alone, and whoever runs it finds out
    assert list(side.given()[A]) == [FIRST + 1]


def test_nothing_ends_with_a_job_that_is_alone() -> None:
    side = Side()
    side.ready(A, a=2)
    [task] = side.put(b"1")
    side.out()
    side.machine.workers[A].alone = task
    side.results(A, [FIRST, 7])
    assert side.ended() == [task]
    assert side.machine.workers[A].alone is None


def test_a_handler_that_raises_ends_its_task() -> None:
    side = Side()
    side.ready(A)
    [task] = side.put(b"1")
    side.out()
    side.receive(A, j.failed(FIRST, Status.NOT_FOUND), w.encode_error("no such thing", {"a": 1}, 2048))
    assert side.ended() == [task]
    assert isinstance(task.failure, JobFailed)
    assert (task.failure.status, task.failure.message, task.failure.details, task.failure.stage) == (
        Status.NOT_FOUND, "no such thing", {"a": 1}, "a",
    )  # fmt: skip
    side.receive(A, j.failed(FIRST, Status.NOT_FOUND), w.encode_error("again", {}, 2048))
    assert (side.statistics.failed, side.statistics.duplicates) == (1, 1)
    side.put(b"2")
    assert side.given() == {A: {FIRST + 1: b"2"}}


# Workers that are lost ------------------------------------------------------------------------------------------------


def test_a_worker_that_is_gone_loses_its_jobs_to_others() -> None:
    side = Side()
    side.ready(A, a=2)
    side.put(b"1", b"2")
    assert len(side.given()[A]) == 2
    side.ready(B, a=5)
    [hello] = side.out()
    side.machine.link(0, Link.DOWN, 0.0)
    side.machine.link(0, Link.DOWN, 0.0)
    side.wake(PROBE)
    probes = side.out(PROBE)
    assert {message.to for message in probes} == {A, B}
    assert all(type(message.command) is j.Heartbeat for message in (hello, *probes))
    [to_a] = [message for message in probes if message.to == A]
    side.machine.sent(to_a.token, Sent.UNROUTABLE, PROBE)
    assert side.given(PROBE) == {B: {FIRST: b"1", FIRST + 1: b"2"}}
    assert (side.statistics.workers_lost, side.statistics.redelivered) == (1, 2)
    side.machine.sent(to_a.token, Sent.UNROUTABLE, PROBE)  # told twice
    side.machine.sent(None, Sent.UNROUTABLE, PROBE)
    assert side.statistics.workers_lost == 1


def test_links_without_workers_or_that_come_up_ask_nobody() -> None:
    side = Side()
    side.machine.link(0, Link.DOWN, 0.0)
    side.ready(A)
    side.out()
    side.machine.link(0, Link.UP, 0.0)
    side.wake(PROBE)
    assert side.out() == []


def test_silence_is_counted_in_looks() -> None:
    side = Side()
    side.ready(A)
    side.put(b"1")
    side.out()
    side.machine.wake(100.0)  # this process stood still: one look
    assert side.machine.workers
    side.receive(A, j.heartbeat(1), b"")
    side.wake(103.0)
    assert A in side.machine.workers
    side.wake(103.6)
    assert side.machine.workers == {}
    side.ready(B, now=104.0)
    assert side.given(104.0) == {B: {FIRST: b"1"}}


def test_everybody_hears_something_every_interval() -> None:
    side = Side()
    side.ready(A)
    side.out()
    side.wake(0.9)
    assert side.out() == []
    side.wake(1.0)
    [beat] = side.out()
    assert beat.command == j.Heartbeat(0)
    side.put(b"1")
    side.out()
    side.wake(1.9)
    assert side.out() == []
    side.machine.dispatch(2.0)


def test_a_worker_that_comes_back_on_another_connection() -> None:
    side = Side()
    side.ready(A, b"same")
    [task] = side.put(b"1")
    side.out()
    side.ready(B, b"same")
    assert list(side.machine.workers) == [B]
    side.result(B, FIRST, b"kept meanwhile")  # it waits for another worker, and is there after all
    assert side.ended() == [task]
    assert side.given() == {}


def test_ready_twice_on_one_connection() -> None:
    side = Side()
    side.ready(A, b"one")
    side.put(b"1")
    side.out()
    side.ready(A, b"two")
    assert side.given() == {A: {FIRST: b"1"}}


def test_who_is_not_known_is_asked_and_its_results_count() -> None:
    side = Side()
    side.ready(A)
    [task] = side.put(b"1")
    side.out()
    side.wake(5.0)
    assert side.machine.workers == {}
    side.result(A, FIRST, b"late")
    assert side.ended() == [task]
    *_, who = side.out()
    assert (who.to, who.command) == (A, j.Who())
    side.receive(A, j.LEAVE_HEADER, b"")
    side.result(A, 77)
    assert side.statistics.duplicates == 1


def test_a_late_result_wins_and_the_second_worker_works_in_vain() -> None:
    side = Side(stage_timeout=1.0)
    side.ready(A)
    [task] = side.put(b"1")
    side.out()
    side.ready(B)
    for now in (0.5, 1.0):
        side.receive(A, j.heartbeat(1), b"")
        side.receive(B, j.heartbeat(0), b"")
        side.wake(now)
    assert side.given(1.0) == {B: {FIRST: b"1"}}
    assert side.statistics.expired == 1
    side.put(b"2")
    assert side.given(1.0) == {}  # both may still be busy
    side.result(A, FIRST, b"after all")
    assert side.ended() == [task]
    assert side.given(1.0) == {A: {FIRST + 1: b"2"}}
    side.put(b"3")
    assert side.given(1.0) == {}
    side.result(B, FIRST, b"in vain")
    assert side.ended() == []
    assert side.given(1.0) == {B: {FIRST + 2: b"3"}}


def test_only_those_who_were_given_a_job_can_answer_it() -> None:
    side = Side()
    side.ready(A)
    task, other = side.put(b"1", b"2")
    assert side.given() == {A: {FIRST: b"1"}}
    side.ready(B)
    assert side.given() == {B: {FIRST + 1: b"2"}}
    for liar in (B, C):  # a worker that has another job, and a peer that is no worker
        side.result(liar, FIRST, b"forged")
        side.receive(liar, j.failed(FIRST, Status.INTERNAL), w.encode_error("forged", {}, 100))
    assert side.statistics.forged == 4
    assert side.ended() == []
    side.ready(b"peer-A2", incarnation=A)  # the same worker, on another connection, has kept its result
    side.result(b"peer-A2", FIRST, b"1")
    side.result(B, FIRST + 1, b"2")
    assert side.ended() == [task, other]
    assert side.statistics.duplicates == 0


def test_the_oldest_job_of_a_worker_expires_first() -> None:
    side = Side(stage_timeout=1.0)
    side.ready(A, a=5)
    side.put(b"1")
    side.out(0.0)
    side.put(b"2")
    side.out(0.9)
    side.wake(1.0)
    assert side.statistics.expired == 1
    assert [task.payload for task in side.a.again] == [b"1"]


# Deliveries -----------------------------------------------------------------------------------------------------------


def lose(side: Side, peer: bytes) -> None:
    worker = side.machine.workers[peer]
    side.machine.sent((worker, ()), Sent.UNROUTABLE, 0.0)


def test_after_so_many_deliveries_it_is_a_dead_letter() -> None:
    side = Side(limits=Limits(deliveries=3))
    [task] = side.put(b"1")
    for attempt in (1, 2, 3):
        side.ready(A)
        [jobs] = [message for message in side.out() if type(message.command) is j.Jobs]
        assert jobs.command.attempt == attempt
        lose(side, A)
    assert side.ended() == [task]
    assert isinstance(task.failure, DeadLetter)
    assert task.failure.stage == "a"
    assert (side.statistics.dead, side.statistics.redelivered) == (1, 2)


def test_from_the_third_time_on_it_has_a_worker_for_itself() -> None:
    side = Side()
    side.put(b"poison")
    for _ in range(2):
        side.ready(A, a=4)
        side.out()
        lose(side, A)
    side.ready(B, a=4)
    side.ready(C, a=4)
    side.put(*[b"%d" % number for number in range(20)])
    given = side.given()
    [alone] = [peer for peer, jobs in given.items() if b"poison" in jobs.values()]
    assert len(given[alone]) == 1
    assert sum(map(len, given.values())) == 5
    side.result(alone, FIRST, b"harmless")
    assert len(side.given()[alone]) == 4


def test_a_worker_is_kept_free_for_it() -> None:
    side = Side()
    side.ready(B, a=2)
    side.ready(C, a=2)
    side.put(b"poison", *[b"%d" % number for number in range(3)])
    side.out()
    poison = side.machine.tasks[FIRST]
    holder = poison.worker
    assert holder is not None
    poison.take_back()
    poison.deliveries = 2
    side.a.alone.append(poison)
    side.put(b"x", b"y", b"z")
    side.out()
    reserved = side.a.reserved
    assert reserved is not None
    assert reserved.load < 3
    first = next(iter(reserved.held[side.a]))
    side.result(reserved.routing_id, first)
    while reserved.load and reserved.alone is None:
        assert reserved.routing_id not in side.given()
        side.result(reserved.routing_id, next(iter(reserved.held[side.a])))
    given = side.given()
    assert list(given[reserved.routing_id].values()) == [b"poison"]
    assert side.a.reserved is None
    lose(side, reserved.routing_id)
    assert not any(task is poison for task in side.a.again)


def test_the_reserved_worker_may_die() -> None:
    side = Side()
    side.ready(B, a=2)
    side.put(b"1")
    side.out()
    [late] = [Task((side.a,), b"poison", 1)]
    side.machine.put([late], 0.0)
    side.a.fresh.remove(late)
    late.deliveries = 2
    late.earlier = (B,)
    side.a.alone.append(late)
    side.put(b"2")
    for _ in range(2):
        assert side.given() == {}
        assert side.a.reserved is side.machine.workers[B]
    lose(side, B)
    assert side.a.reserved is None
    side.result(B, late.id)  # from somebody who had it long ago
    assert not side.a.alone
    assert side.ended() == [late]


def suspect(side: Side, line: Line) -> Task:
    """A job that two workers did not end."""
    task = Task((line,), b"poison", 1)
    side.machine.put([task], 0.0)
    line.fresh.remove(task)
    task.deliveries = 2
    line.alone.append(task)
    return task


@pytest.mark.parametrize("first", ["a", "b"])
def test_a_worker_that_is_kept_free_gets_nothing_of_other_stages(first: str) -> None:
    side = Side()
    busy, other = (side.b, side.a) if first == "b" else (side.a, side.b)
    side.ready(C, a=1, b=1)
    side.put(b"1", b"2", route=(busy,))
    side.out()
    poison = suspect(side, other)
    for _ in range(2):
        assert side.given() == {}
        assert other.reserved is side.machine.workers[C]
    side.result(C, FIRST)
    for _ in range(2):  # if the busy stage comes first, it gets nothing before the other has had its turn
        side.out()
    assert poison.worker is side.machine.workers[C]
    assert side.machine.workers[C].load == 1
    side.result(C, poison.id)
    assert side.given() == {C: {FIRST + 1: b"2"}}


def test_two_stages_keep_two_workers_free() -> None:
    side = Side()
    for peer in (A, B):
        side.ready(peer, a=2, b=2)
    side.put(b"1", b"2")
    side.out()
    one, two = suspect(side, side.a), suspect(side, side.b)
    assert side.given() == {}
    assert {side.a.reserved, side.b.reserved} == set(side.machine.workers.values())
    third = suspect(side, side.machine.line("c", 60.0))
    side.ready(C, c=1)
    assert side.given() == {C: {third.id: b"poison"}}
    side.result(A, FIRST)
    side.result(B, FIRST + 1)
    side.out()
    assert {one.worker, two.worker} == {side.machine.workers[A], side.machine.workers[B]}


@pytest.mark.parametrize("end", ["cancel", "answer"])
def test_a_worker_is_not_kept_free_for_what_has_ended(end: str) -> None:
    side = Side()
    side.ready(A, a=2, b=2)
    side.put(b"1")
    side.out()
    poison, other = suspect(side, side.b), suspect(side, side.b)
    side.out()
    side.machine.cancel([other])
    side.put(b"2")
    assert side.given() == {}
    if end == "cancel":
        side.machine.cancel([poison])
    else:
        poison.earlier = (A,)
        side.result(A, poison.id)
    assert side.given() == {A: {FIRST + 3: b"2"}}


# Credit and full connections ------------------------------------------------------------------------------------------


def test_what_was_not_taken_was_not_delivered() -> None:
    side = Side()
    side.ready(A, a=2)
    one, two = side.put(b"1", b"2")
    [_, message] = side.out()
    side.machine.sent(message.token, Sent.FULL, 0.0)
    assert (one.deliveries, two.deliveries, side.statistics.delivered) == (0, 0, 0)
    assert side.given() == {}  # it is full
    side.machine.sent(message.token, Sent.FULL, 0.0)
    side.wake(0.01)
    assert side.given(0.01) == {A: {FIRST: b"1", FIRST + 1: b"2"}}


def test_jobs_that_meet_a_connection_that_is_gone() -> None:
    side = Side()
    side.ready(A)
    [task] = side.put(b"1")
    [_, message] = side.out()
    side.machine.sent(message.token, Sent.UNROUTABLE, 0.0)
    assert task.deliveries == 0
    assert side.machine.workers == {}
    assert side.statistics.redelivered == 0


def test_what_waits_behind_a_message_to_a_connection_that_is_gone_was_not_delivered_either() -> None:
    side = Side(limits=Limits(deliveries=1))
    large = b"x" * (j.ALONE + 1)
    side.ready(A, a=10)
    side.ready(B, b=1)
    side.out()
    tasks = side.put(large, large, b"1", b"2")
    [other] = side.put(b"other", route=(side.b,))
    side.machine.flush(0.0)
    side.receive(C, j.heartbeat(0), b"")
    outbox = side.machine.outbox
    message = Message(outbox.popleft())
    assert [entry[1][0] for entry in outbox] == [A, A, B, C]
    side.machine.sent(message.token, Sent.UNROUTABLE, 0.0)
    assert [entry[1][0] for entry in outbox] == [B, C]
    assert [task.deliveries for task in (*tasks, other)] == [0, 0, 0, 0, 1]
    assert (side.statistics.delivered, side.statistics.redelivered, side.statistics.dead) == (1, 0, 0)
    side.out()
    side.ready(C, a=10)
    assert side.given() == {C: {task.id: task.payload for task in tasks}}
    assert [*side.machine.workers[C].held[side.a].values()] == tasks


def test_a_worker_that_leaves_gets_no_more_and_gives_back_what_has_not_begun() -> None:
    side = Side()
    side.ready(A, a=3)
    one, two, three = side.put(b"1", b"2", b"3")
    side.out()
    side.receive(A, j.LEAVE_HEADER, b"")
    side.receive(A, *j.returned(0, [FIRST + 1]))
    side.receive(A, *j.returned(1, [FIRST + 2]))
    side.receive(A, *j.returned(0, [FIRST + 1, 99]))
    side.receive(B, *j.returned(0, [FIRST]))
    assert (one.deliveries, two.deliveries, three.deliveries) == (1, 0, 1)
    side.put(b"4")
    assert side.given() == {}
    side.ready(B, a=10)
    assert side.given() == {B: {FIRST + 1: b"2", FIRST + 2: b"3", FIRST + 3: b"4"}}


def test_a_job_that_is_always_given_back_is_a_dead_letter_in_the_end() -> None:
    side = Side(limits=Limits(deliveries=3))
    side.ready(A, a=1, b=1)
    [task] = side.put(b"1", route=(side.a, side.b))
    side.out()
    side.receive(A, *j.returned(0, [task.id]))
    side.out()
    side.result(A, task.id, b"\1")
    rounds = 0
    while side.given():
        rounds += 1
        assert task.deliveries == max(1, rounds - RETURNS)
        side.receive(A, *j.returned(0, [task.id]))
    assert rounds == RETURNS + 3
    assert side.ended() == [task]
    assert isinstance(task.failure, DeadLetter)


def test_too_many_workers_are_turned_away() -> None:
    side = Side(limits=Limits(workers=1))
    side.ready(A)
    side.ready(B)
    assert list(side.machine.workers) == [A]
    assert side.statistics.refused == 1


# The caller -----------------------------------------------------------------------------------------------------------


def test_a_cancelled_task_gets_no_event_and_its_place_is_taken_until_it_is_answered() -> None:
    side = Side()
    side.ready(A, a=1)
    one, two, three = side.put(b"1", b"2", b"3")
    never = Task((side.a,), b"never put", 1)
    side.out()
    side.machine.cancel([one, two, never])
    side.machine.cancel([one])
    assert side.given() == {}
    side.result(A, FIRST)
    assert side.ended() == []
    assert side.given() == {A: {FIRST + 2: b"3"}}
    side.result(A, FIRST + 2)
    assert side.ended() == [three]


def test_a_caller_that_leaves_cancels_what_is_on_its_route() -> None:
    side = Side()
    side.ready(A, a=1)
    route = (side.a,)
    side.put(b"1", b"2", route=route)
    [other] = side.put(b"3", route=[side.a])
    side.out()
    side.machine.cancel_route(route)
    assert list(side.machine.tasks.values()) == [other]
    side.result(A, FIRST)
    assert side.given() == {A: {FIRST + 2: b"3"}}


def test_workers_are_counted_by_what_they_serve() -> None:
    side = Side()
    side.ready(A, a=1, c=1)
    side.ready(B, a=1)
    assert [type(event) for event in side.machine.events] == [Joined, Joined]
    assert [side.machine.serving(stage) for stage in (None, "a", "c", "b")] == [2, 2, 1, 0]
    side.receive(B, j.LEAVE_HEADER, b"")
    assert [side.machine.serving(stage) for stage in (None, "a", "c")] == [1, 1, 1]


def test_nobody_serves_the_stage() -> None:
    side = Side(timeout=2.0)
    [task] = side.put(b"1", now=0.0)
    side.wake(1.9)
    assert side.ended() == []
    side.wake(2.5)
    assert side.ended() == [task]
    assert isinstance(task.failure, NoSuchService)
    side.wake(10.0)
    assert side.machine.wakes_at is None
    side.put(b"2", now=20.0)
    side.ready(A, now=21.0)
    assert side.given(21.0) == {A: {FIRST + 1: b"2"}}


def test_a_worker_that_is_leaving_does_not_serve_the_stage() -> None:
    side = Side(timeout=2.0)
    side.ready(A)
    held, left = side.put(b"1", b"2")
    side.out()
    for now in (1.0, 2.0, 3.0):
        side.receive(A, j.heartbeat(1), b"")
        side.wake(now)
    assert side.ended() == []  # it is busy, and will come to it
    side.receive(A, j.LEAVE_HEADER, b"")
    for now in (4.0, 5.0, 5.5):
        side.receive(A, j.heartbeat(1), b"")
        side.wake(now)
    assert side.ended() == [left]
    assert isinstance(left.failure, NoSuchService)
    side.result(A, FIRST)
    assert side.ended() == [held]


@pytest.mark.parametrize("late", [False, True])
def test_a_worker_whose_handlers_are_all_stuck_does_not_serve_the_stage(late: bool) -> None:
    side = Side(timeout=2.0, stage_timeout=1.0)
    side.ready(A, a=1)
    tasks = side.put(b"1", b"2")
    side.out()
    for now in (1.0, 1.5, 2.0, 2.5):
        side.receive(A, j.heartbeat(1), b"")
        side.wake(now)
    assert side.statistics.expired == 1
    if late:  # it was not stuck for ever
        side.result(A, FIRST)
        assert side.given(2.5) == {A: {FIRST + 1: b"2"}}
        assert side.ended() == [tasks[0]]
        return
    for now in (3.0, 3.5):
        side.receive(A, j.heartbeat(1), b"")
        side.wake(now)
    assert side.ended() == [tasks[0], tasks[1]]
    for task in tasks:
        assert isinstance(task.failure, NoSuchService)
        assert "every worker of stage 'a' is stuck" in str(task.failure)


def test_jobs_that_nobody_waits_for_are_not_stuck_before_they_are_due() -> None:
    """A map was left early. Its jobs take longer than others wait for a worker, and may."""
    side = Side(timeout=2.0, stage_timeout=60.0)
    side.ready(A, a=1)
    left = side.put(b"1")
    side.out()
    side.machine.cancel(left)
    [waiting] = side.put(b"2")
    for now in range(1, 60):
        side.receive(A, j.heartbeat(1), b"")
        side.wake(float(now))
    assert side.ended() == []
    for now in range(60, 64):
        side.receive(A, j.heartbeat(1), b"")
        side.wake(float(now))
    assert side.ended() == [waiting]


def test_workers_are_dismissed_until_there_is_work_again() -> None:
    side = Side()
    side.ready(A)
    side.out()
    assert not side.machine.parting
    side.machine.dismiss()
    assert side.machine.parting
    [stop] = side.out()
    assert stop.command == j.Stop()
    side.ready(B)
    assert [message.command for message in side.out()] == [j.Stop()]
    side.wake(1.0)
    assert {type(message.command) for message in side.out()} == {j.Stop}
    side.receive(A, j.LEAVE_HEADER, b"")
    assert side.machine.parting
    side.receive(B, j.LEAVE_HEADER, b"")
    assert not side.machine.parting
    side.put(b"1")
    side.ready(C)
    assert j.Heartbeat(0) in [message.command for message in side.out()]


def test_closing_ends_everything() -> None:
    side = Side()
    side.ready(A)
    tasks = side.put(b"1", b"2")
    side.out()
    side.machine.close(Closed("closed"))
    assert side.ended() == tasks
    assert all(isinstance(task.failure, Closed) for task in tasks)
    assert side.given() == {}
    assert list(side.machine.places()) == []


@pytest.mark.parametrize(
    "frames",
    [
        (b"x",),
        (b"x", b""),
        (j.STOP_HEADER, b""),
        (j.jobs("a", 1, 1, 1, 1), b"\x91\1", b""),
        (j.results(1, 2), b"\x90", b"\x90"),
        (j.results(1, 2), b"\x92\1\2", b"\x90"),
        (j.results(3, 2), b"\x92\1\2", b"\x92\1\2"),
    ],
)
def test_garbage_is_counted(frames: tuple[bytes, ...]) -> None:
    side = Side()
    side.receive(A, *frames)
    assert side.statistics.undecodable == 1
    assert side.out() == []


def test_it_looks_only_while_there_is_something() -> None:
    side = Side()
    assert side.machine.wakes_at is None
    side.put(b"1", now=1.0)
    assert side.machine.wakes_at == 1.0 + 1.0 / TICKS
    side.put(b"2", now=1.1)
    assert side.machine.wakes_at == 1.0 + 1.0 / TICKS
    assert len(side.machine.places()) == 2
    side.machine.wake(1.1)
    assert side.machine.wakes_at == 1.0 + 1.0 / TICKS
