"""A ventilator's data: a task from its start to its end, a worker and what it holds, and the line of a stage."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from ..errors import ZPatternsError
from ..wire import jobs as j
from .machine import Frame


class Task:
    """One job of the caller: through every stage of its route, to exactly one end."""

    __slots__ = (
        "application", "assigned_at", "buffers", "codec", "deliveries", "done", "earlier", "failure", "id", "payload",
        "returns", "route", "step", "worker",
    )  # fmt: skip

    def __init__(
        self, route: Sequence[Line], payload: Frame, codec: int, buffers: Sequence[Frame] = (), application: Any = None
    ) -> None:
        self.route: Sequence[Line] = route
        """Tasks that share this very list have one caller: their ends may come in one `Bundle`."""
        self.step: int = 0
        self.payload: Frame = payload
        """What the next stage gets; in the end the result."""
        self.codec: int = codec
        self.buffers: Sequence[Frame] = buffers
        self.application: Any = application
        """Whatever the caller wants to find again."""
        self.id: int = 0
        self.deliveries: int = 0
        """To workers, of the stage it is at."""
        self.returns: int = 0
        """How often a worker gave it back there, without having begun."""
        self.worker: Worker | None = None
        """Who has it."""
        self.earlier: tuple[bytes, ...] = ()
        """Routing ids and incarnations of those who had it before, at this stage: they may answer after all."""
        self.assigned_at: float = 0.0
        self.done: bool = False
        self.failure: ZPatternsError | None = None

    def answerable(self, routing_id: bytes, worker: Worker | None) -> bool:
        """Whether this peer was given it: now, or before it was taken for lost, on this connection or another."""
        if worker is not None and self.worker is worker:
            return True
        return routing_id in self.earlier or (worker is not None and worker.incarnation in self.earlier)

    def forfeit(self, worker: Worker) -> None:
        """Its worker is taken for lost, or for too slow."""
        self.earlier += (worker.routing_id, worker.incarnation)

    def release(self, worker: Worker | None) -> None:
        """This worker has answered it: it has it no longer, and if another one does, it does so in vain."""
        holder = self.worker
        if holder is None:  # it waits for another worker, and the first one has answered after all
            self.line.withdraw(self)
        elif holder is worker:
            self.take_back()
            return
        else:
            self.stick()
        if worker is not None:
            worker.stuck.pop(self.id, None)

    def take_back(self) -> None:
        """Its worker has it no longer."""
        holder = self.worker
        assert holder is not None
        del holder.held[self.route[self.step]][self.id]
        self.worker = None
        if holder.alone is self:
            holder.alone = None

    def stick(self) -> None:
        """Its worker may still be busy with it, so the place there is taken, though nobody waits."""
        holder = self.worker
        assert holder is not None
        self.take_back()
        holder.stuck[self.id] = (self.line, self.assigned_at + self.line.timeout)

    @property
    def line(self) -> Line:
        """The stage it is at."""
        return self.route[self.step]


class Bundle:
    """As an event: tasks that have ended together, all with a result. Whoever wants the results opens it."""

    __slots__ = ("codec", "payload", "payloads", "tasks")

    def __init__(self, tasks: Sequence[Task], codec: int, payload: Frame, payloads: Sequence[bytes] | None) -> None:
        self.tasks: Sequence[Task] = tasks
        self.codec: int = codec
        self.payload: Frame = payload
        """An array of the results, in the order of the tasks."""
        self.payloads: Sequence[bytes] | None = payloads
        """Each for itself, where they are no msgpack."""

    def split(self) -> Sequence[bytes]:
        """Each result for itself. Raises DecodeError for a payload that is no such array."""
        return self.payloads if self.payloads is not None else j.split(self.codec, len(self.tasks), self.payload)


class Joined:
    """As an event: a worker has come."""


class Line:
    """The jobs that wait for one stage, and the workers that may have more of it."""

    __slots__ = ("again", "alone", "budget", "fresh", "lonely", "name", "reserved", "timeout", "workers")

    def __init__(self, name: str, timeout: float) -> None:
        self.name: str = name
        self.timeout: float = timeout
        """Seconds a worker may take."""
        self.budget: int = ceil(timeout * 1000)
        self.fresh: deque[Task] = deque()
        self.again: deque[Task] = deque()
        """Delivered before: they go first."""
        self.alone: deque[Task] = deque()
        """Delivered so often that they may be what kills workers: each gets a worker for itself."""
        self.reserved: Worker | None = None
        """Gets nothing more, of any stage, until it is idle, for the first of those."""
        self.workers: dict[Worker, None] = {}
        """Who serves it, the least recently given to first."""
        self.lonely: int = 0
        """Ticks that something has waited here and nobody served it."""

    @property
    def waiting(self) -> int:
        """Jobs that no worker has."""
        return len(self.fresh) + len(self.again) + len(self.alone)

    def reserve(self, worker: Worker | None) -> None:
        """Keep this worker free, or none, and no longer the one before."""
        if self.reserved is not None:
            self.reserved.reserved = None
        self.reserved = worker
        if worker is not None:
            worker.reserved = self

    def withdraw(self, task: Task) -> None:
        """It waits here no more: its result came from somebody who was thought lost."""
        for waiting in (self.again, self.alone):
            if task in waiting:
                waiting.remove(task)
        self._relax()

    def purge(self) -> None:
        """What has ended waits no more."""
        for name in ("fresh", "again", "alone"):
            waiting: deque[Task] = getattr(self, name)
            setattr(self, name, deque(task for task in waiting if not task.done))
        self._relax()

    def _relax(self) -> None:
        if not self.alone:
            self.reserve(None)


class Worker:
    """One connection of one worker process."""

    __slots__ = (
        "alone", "blocked", "held", "incarnation", "leaving", "offers", "reserved", "routing_id", "said", "silent",
        "stuck",
    )  # fmt: skip

    def __init__(self, routing_id: bytes, incarnation: bytes, offers: Mapping[str, int]) -> None:
        self.routing_id: bytes = routing_id
        self.incarnation: bytes = incarnation
        self.offers: Mapping[str, int] = offers
        """Its stages, and its credit for each."""
        self.held: dict[Line, dict[int, Task]] = {}
        """What it was given and has not answered, the oldest first."""
        self.stuck: dict[int, tuple[Line, float]] = {}
        """What it was given and nobody waits for any more, and when it was due: its handler may still be busy with it."""
        self.alone: Task | None = None
        self.reserved: Line | None = None
        """Whose next job is to be alone here: until then it gets nothing else."""
        self.leaving: bool = False
        self.blocked: bool = False
        """Its connection takes no more for now."""
        self.silent: int = 0
        """Ticks since it was heard."""
        self.said: int = 0
        """Ticks since it was told something."""

    def serve(self, line: Line) -> None:
        """It may have jobs of this stage from now on."""
        self.held[line] = {}
        line.workers[self] = None

    @property
    def load(self) -> int:
        """Jobs that it has."""
        return sum(map(len, self.held.values()))

    def free(self, line: Line) -> int:
        """How many more of this stage it may have."""
        if self.leaving or self.blocked or self.alone is not None:
            return 0
        if self.reserved is not None and self.reserved is not line:
            return 0
        used = len(self.held[line])
        if self.stuck:
            used += sum(stuck is line for stuck, _ in self.stuck.values())
        return self.offers[line.name] - used

    def serves(self, line: Line, now: float) -> bool:
        """Whether it will have more of this stage some time: it is not leaving, nor are all its handlers overdue."""
        overdue = sum(stuck is line and due <= now for stuck, due in self.stuck.values())
        return not self.leaving and overdue < self.offers[line.name]


@dataclass(slots=True)
class PipelineStatistics:
    """Counters of one ventilator since it was opened."""

    started: int = 0
    """Jobs taken from callers."""
    delivered: int = 0
    """Jobs given to workers, every stage and every time."""
    done: int = 0
    """Jobs that came back from the last of their stages."""
    failed: int = 0
    """Jobs whose handler raised."""
    redelivered: int = 0
    """Jobs that had to be given to another worker."""
    dead: int = 0
    """Jobs given up after ``Limits.deliveries``."""
    cancelled: int = 0
    """Jobs that nobody waited for any more: a ``map`` was left, or the pipeline closed, before they were done."""
    unserved: int = 0
    """Jobs that ended because no worker served their stage."""
    duplicates: int = 0
    """Results of jobs that had one already, or that nobody waits for; dropped."""
    forged: int = 0
    """Results and failures of jobs that their sender was never given; dropped."""
    expired: int = 0
    """Jobs that a worker did not end in time."""
    workers_lost: int = 0
    """Workers that died, fell silent or came back on another connection."""
    refused: int = 0
    """Workers turned away: there are too many."""
    undecodable: int = 0
    """Messages that are not of the protocol; dropped."""


def answered(
    tasks: Mapping[int, Task], job_id: int, routing_id: bytes, worker: Worker | None, statistics: PipelineStatistics
) -> Task | None:
    """The task that a peer answers, if it may: it was given to that peer, and has no answer yet."""
    task = tasks.get(job_id)
    if task is None or not task.deliveries:
        if worker is not None:
            worker.stuck.pop(job_id, None)
        statistics.duplicates += 1
        return None
    if task.answerable(routing_id, worker):
        return task
    statistics.forged += 1
    return None


def end_together(known: Mapping[int, Task], worker: Worker | None, ids: Sequence[int]) -> list[Task] | None:
    """End the tasks of these ids, if this worker has all of them, at the last stage of one caller. Else None, and nothing is done."""
    if worker is None or worker.alone is not None or len({*ids}) != len(ids):
        return None
    try:
        tasks = [known[job_id] for job_id in ids]
    except KeyError:
        return None
    route = tasks[0].route
    last = len(route) - 1
    for task in tasks:
        if task.worker is not worker or task.route is not route or task.step != last:
            return None
    held = worker.held[route[last]]
    for task in tasks:
        del held[task.id]
        task.done = True
    return tasks
