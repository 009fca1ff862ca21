"""How a ventilator hands out what waits: evenly, within every worker's credit, what goes to one worker as one message."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from ..wire import jobs as j
from .crew import Line, Task, VentilatorStatistics, Worker
from .machine import Frames


class Handing:
    """``outbox`` is the ventilator's own; a token is the worker and the tasks that it would then hold."""

    __slots__ = ("_statistics", "outbox")

    def __init__(self, statistics: VentilatorStatistics) -> None:
        self.outbox: deque[tuple[int, Frames, Any]] = deque()
        self._statistics = statistics

    def hand_out(self, line: Line, now: float) -> None:
        """As much of a line as its workers may have."""
        while line.alone and self._give_alone(line, now):
            pass
        if not line.alone:
            line.reserved = None
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
                line.reserved = min(able, key=_load, default=None)
            return False
        task = line.alone.popleft()
        idle.alone = task
        line.reserved = None
        self._send(line, idle, [task], now)
        return True

    def _give(self, line: Line, worker: Worker, share: int, now: float) -> None:
        """So many, in messages of those that look alike and are not too large together."""
        alike: list[Task] = []
        kind: tuple[int, int] | None = None
        size = 0
        for _ in range(share):
            task = line.take()
            payload = task.payload
            if type(payload) is not bytes or task.buffers or len(payload) > j.ALONE:
                self._send(line, worker, [task], now)
                continue
            this = (task.codec, task.deliveries)
            if alike and (this != kind or size >= j.CHUNK_BYTES or len(alike) == j.CHUNK):
                self._send(line, worker, alike, now)
                alike, size = [], 0
            kind = this
            size += len(payload)
            alike.append(task)
        if alike:
            self._send(line, worker, alike, now)

    def _send(self, line: Line, worker: Worker, tasks: Sequence[Task], now: float) -> None:
        held = worker.held[line]
        flat: list[int | bytes] = []
        for task in tasks:
            task.deliveries += 1
            task.worker = worker
            task.assigned_at = now
            held[task.id] = task
            flat.append(task.id)
            flat.append(task.payload)  # type: ignore[arg-type]
        self._statistics.delivered += len(tasks)
        worker.said = 0
        first = tasks[0]
        header = j.jobs(line.name, first.codec, first.deliveries, line.budget, len(tasks))
        if len(tasks) == 1 and (first.buffers or type(first.payload) is not bytes or len(first.payload) > j.ALONE):
            rest: Frames = (j.encode_id(first.id), first.payload, *first.buffers)
        else:
            rest = (j.encode_array(flat),)
        self.outbox.append((0, (worker.routing_id, header, *rest), (worker, tasks)))


def _load(worker: Worker) -> int:
    return worker.load
