"""How a ventilator hands out what waits: evenly, within every worker's credit, what goes to one worker as one message."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from ..wire import jobs as j
from .crew import Line, PipelineStatistics, Task, Worker
from .machine import Frames

SUSPECT = 2
"""Deliveries after which a job may be what kills its workers: from then on it has a worker for itself."""


class Handing:
    """``outbox`` is the ventilator's own; a token is the worker and the tasks that it would then hold."""

    __slots__ = ("_statistics", "outbox")

    def __init__(self, statistics: PipelineStatistics) -> None:
        self.outbox: deque[tuple[int, Frames, Any]] = deque()
        self._statistics = statistics

    def hand_out(self, line: Line, now: float) -> None:
        """As much of a line as its workers may have."""
        while line.alone and self._give_alone(line, now):
            pass
        left = len(line.again) + len(line.fresh)
        if not left:
            return
        ready = [(worker, free) for worker in line.workers if (free := worker.free(line)) > 0]
        if line.reserved is not None:
            ready = [each for each in ready if each[0] is not line.reserved]
        if not ready:
            return
        for at, (worker, free) in enumerate(ready):
            share = min(free, -(-left // (len(ready) - at)))
            self._give(line, worker, share, now)
            left -= share
            del line.workers[worker]  # whoever got something is asked last the next time
            line.workers[worker] = None
            if left <= 0:
                return

    def _give_alone(self, line: Line, now: float) -> bool:
        """A task that may be what kills workers, to one that has nothing else to lose."""
        able = [worker for worker in line.workers if worker.free(line) > 0]
        idle = next((worker for worker in able if not worker.load), None)
        if idle is None:
            if line.reserved not in able:
                line.reserve(min(able, key=_load, default=None))
            return False
        task = line.alone.popleft()
        idle.alone = task
        line.reserve(None)
        self._send(line, idle, [task], now)
        return True

    def _give(self, line: Line, worker: Worker, share: int, now: float) -> None:
        """So many, in messages of those that look alike and are not too large together."""
        again, fresh = line.again, line.fresh
        while share:
            count = min(share, j.CHUNK)
            share -= count
            if again or count == 1:
                tasks = [again.popleft() if again else fresh.popleft() for _ in range(count)]
            else:
                tasks = [fresh.popleft() for _ in range(count)]
            payloads = [task.payload for task in tasks]
            sizes = [*map(len, payloads)]
            small = max(sizes) <= j.ALONE and sum(sizes) <= j.CHUNK_BYTES
            if small and {*map(type, payloads)} == {bytes} and _alike(tasks):
                self._send(line, worker, tasks, now)
            else:
                self._give_apart(line, worker, tasks, now)

    def _give_apart(self, line: Line, worker: Worker, tasks: Sequence[Task], now: float) -> None:
        """Those that cannot all share one message."""
        alike: list[Task] = []
        size = 0
        for task in tasks:
            payload = task.payload
            if task.buffers or type(payload) is not bytes or len(payload) > j.ALONE:
                self._send(line, worker, [task], now)
                continue
            if alike and (size >= j.CHUNK_BYTES or not _alike((alike[0], task))):
                self._send(line, worker, alike, now)
                alike, size = [], 0
            size += len(payload)
            alike.append(task)
        if alike:
            self._send(line, worker, alike, now)

    def _send(self, line: Line, worker: Worker, tasks: Sequence[Task], now: float) -> None:
        held = worker.held[line]
        first = tasks[0]
        deliveries = first.deliveries + 1
        ids: list[int] = []
        for task in tasks:
            task.deliveries = deliveries
            task.worker = worker
            task.assigned_at = now
            job_id = task.id
            held[job_id] = task
            ids.append(job_id)
        count = len(ids)
        self._statistics.delivered += count
        worker.said = 0
        header = j.jobs(line.name, first.codec, deliveries, line.budget, count)
        if count == 1:
            rest: Frames = (first.payload, *first.buffers)
        else:
            rest = (j.encode_items(first.codec, [task.payload for task in tasks]),)  # type: ignore[misc]
        self.outbox.append((0, (worker.routing_id, header, j.encode_array(ids), *rest), (worker, tasks)))

    def take_back(self, worker: Worker, tasks: Sequence[Task], *, all_of_it: bool) -> None:
        """Its connection did not take these, nor will it take ``all_of_it``: what has not been sent was not delivered."""
        untaken = [*tasks]
        if all_of_it:
            kept: list[tuple[int, Frames, Any]] = []
            for entry in self.outbox:
                if entry[2] is not None and entry[2][0] is worker:
                    untaken += entry[2][1]
                else:
                    kept.append(entry)
            self.outbox.clear()
            self.outbox.extend(kept)
        for task in reversed(untaken):
            if task.worker is worker and not task.done:
                task.take_back()
                task.deliveries -= 1
                self._statistics.delivered -= 1
                (task.line.alone if task.deliveries >= SUSPECT else task.line.again).appendleft(task)


def _alike(tasks: Sequence[Task]) -> bool:
    """Whether one header is right for all of them."""
    first = tasks[0]
    codec, deliveries = first.codec, first.deliveries
    for task in tasks:  # noqa: SIM110  a generator expression takes twice as long
        if task.buffers or task.codec != codec or task.deliveries != deliveries:
            return False
    return True


def _load(worker: Worker) -> int:
    return worker.load
