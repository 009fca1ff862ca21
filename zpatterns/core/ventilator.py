"""The ventilator: gives jobs to workers that ask with credit, watches them, and takes each result once. Every rule once.

Invariants, asserted by the simulation after every step:

* a task that has not ended is in exactly one place: it waits in the line of its stage, or one worker holds it;
* a worker never has more of a stage than its credit, whatever it holds or is stuck with;
* a task ends exactly once, by somebody it was given to; results that come later, or from others, are counted and dropped;
* a task is delivered at most ``Limits.deliveries`` times to one stage; from the third time on its worker has nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from ..codec import MSGPACK
from ..errors import DeadLetter, DecodeError, JobFailed, NoSuchService, Status, ZPatternsError
from ..policy import DEFAULT_WORKER_TIMEOUT, Heartbeat, Limits
from ..wire import jobs as j, message as w
from .crew import Bundle, Joined, Line, PipelineStatistics, Task, Worker, answered, end_together
from .handing import SUSPECT, Handing
from .machine import Frame, Frames, Link, Sent
from .outlet import RETRY_INTERVAL

TICKS = 4
"""Looks at every worker per heartbeat interval. Silence is counted in looks: while this process stood still, it made none."""
PROBE = 0.01
"""Seconds from the end of some connection to a word to every worker: whoever is gone is then unroutable."""
RETURNS = 100
"""Times that a job of a stage may come back unbegun; each time after that counts as a delivery, or it would go round for ever."""


class Ventilator:
    """``first_id`` is drawn anew by each process, so that results meant for an earlier one match nothing here."""

    expects: bool = True
    """A worker may come at any time."""

    def __init__(
        self,
        *,
        first_id: int,
        timeout: float = DEFAULT_WORKER_TIMEOUT,
        limits: Limits | None = None,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        self.events: deque[Task | Bundle | Joined] = deque()
        """Tasks that have ended, and workers that have come."""
        self.statistics: PipelineStatistics = PipelineStatistics()
        self.lines: dict[str, Line] = {}
        self.workers: dict[bytes, Worker] = {}
        self.tasks: dict[int, Task] = {}
        """Those that have not ended, by id. A task has another id at each stage."""
        self.dismissing: bool = False
        self._limits = limits or Limits()
        beat = heartbeat or Heartbeat()
        self._tick = beat.interval / TICKS
        self._most_silent = beat.liveness * TICKS
        self._patience = timeout / self._tick
        self._next_id = first_id
        self._handing = Handing(self.statistics)
        self.outbox: deque[tuple[int, Frames, Any]] = self._handing.outbox
        self._tick_at: float | None = None
        self._retry_at: float | None = None
        self._probe_at: float | None = None

    # -- the application ----------------------------------------------------------------------------------------

    def line(self, name: str, timeout: float) -> Line:
        """The line of a stage; workers and jobs of the same name meet there."""
        line = self.lines.get(name)
        if line is None:
            line = self.lines[name] = Line(name, timeout)
            for worker in self.workers.values():
                if name in worker.offers:
                    worker.serve(line)
        return line

    def put(self, tasks: Iterable[Task], now: float) -> None:
        """New tasks, at the first stage of their route."""
        self.dismissing = False
        known, job_id = self.tasks, self._next_id
        for task in tasks:
            task.id = job_id
            known[job_id] = task
            task.route[0].fresh.append(task)
            job_id += 1
        self.statistics.started += job_id - self._next_id
        self._next_id = job_id
        if self._tick_at is None:
            self._tick_at = now + self._tick

    def cancel(self, tasks: Iterable[Task]) -> None:
        """Nobody waits for these any more. What a worker has of them keeps its place there until it is answered."""
        lines: dict[Line, None] = {}
        for task in tasks:
            if not task.done:
                task.done = True
                self.statistics.cancelled += self.tasks.pop(task.id, None) is not None  # it may never have been put
                if task.worker is None:
                    lines[task.line] = None
                else:
                    task.stick()
        for line in lines:
            line.purge()

    def cancel_route(self, route: Sequence[Line]) -> None:
        """Nobody waits for the tasks that have this very route any more."""
        self.cancel([task for task in self.tasks.values() if task.route is route])

    def serving(self, stage: str | None) -> int:
        """How many workers serve a stage, or any, and are not leaving. Any thread may ask."""
        workers = list(self.workers.values())
        return sum(not worker.leaving and (stage is None or stage in worker.offers) for worker in workers)

    def dismiss(self) -> None:
        """Tell every worker, and those that come until there is a new job, to finish what it has and end."""
        self.dismissing = True
        for worker in self.workers.values():
            self._say(worker, j.STOP_HEADER)

    @property
    def parting(self) -> bool:
        """Whether some worker was dismissed and has not said that it heard of it."""
        return self.dismissing and not all(worker.leaving for worker in self.workers.values())

    def close(self, error: ZPatternsError) -> None:
        """End every task with this."""
        self.statistics.cancelled += len(self.tasks)
        for task in list(self.tasks.values()):
            self._end(task, error)
        for line in self.lines.values():
            line.purge()

    def _enter(self, task: Task) -> None:
        """The next stage of its route."""
        task.id = self._next_id
        self._next_id += 1
        task.deliveries = task.returns = 0
        task.earlier = ()
        self.tasks[task.id] = task
        task.route[task.step].fresh.append(task)

    def _end(self, task: Task, failure: ZPatternsError | None) -> None:
        task.done = True
        task.failure = failure
        del self.tasks[task.id]
        if task.worker is not None:
            task.stick()
        self.events.append(task)

    # -- in -----------------------------------------------------------------------------------------------------

    def receive(self, port: int, frames: Frames, now: float) -> None:
        """A message of a worker: its routing id, then header and payload."""
        routing_id = bytes(frames[0])
        worker = self.workers.get(routing_id)
        try:
            if len(frames) < 3:
                raise DecodeError("a message of a worker has a header and a payload")
            command = j.parse(frames[1])
            if type(command) is j.Results:
                self._results(routing_id, worker, command, frames[2:])
            elif type(command) is j.Ready:
                self._ready(routing_id, command, now)
                return
            elif type(command) is j.Failed:
                self._failed(routing_id, worker, command, frames[2])
            elif type(command) is j.Return:
                self._returned(worker, command, frames[2])
            elif type(command) is j.Leave:
                if worker is not None:
                    worker.leaving = True
            elif type(command) is not j.Heartbeat:
                raise DecodeError(f"a {type(command).__name__} is nothing a worker says")
        except DecodeError:
            self.statistics.undecodable += 1
            return
        if worker is not None:
            worker.silent = 0
        else:
            self.outbox.append((0, (routing_id, j.WHO_HEADER, b""), None))

    def _ready(self, routing_id: bytes, command: j.Ready, now: float) -> None:
        """A worker asks for jobs. What an earlier connection of it was given may be lost: it goes to others."""
        for other in [each for each in self.workers.values() if each.incarnation == command.incarnation]:
            self._lose(other)
        if routing_id in self.workers:
            self._lose(self.workers[routing_id])
        if len(self.workers) >= self._limits.workers:
            self.statistics.refused += 1
            return
        worker = self.workers[routing_id] = Worker(routing_id, command.incarnation, command.stages)
        for name in command.stages:
            if name in self.lines:
                worker.serve(self.lines[name])
        if self._tick_at is None:
            self._tick_at = now + self._tick
        self._say(worker, j.STOP_HEADER if self.dismissing else j.heartbeat(0))
        self.events.append(Joined())

    def _results(self, routing_id: bytes, worker: Worker | None, command: j.Results, rest: Frames) -> None:
        ids, payload, buffers = j.opened(command, rest)
        codec, count = command.codec, command.count
        if count == 1:
            task = self.tasks.get(ids[0])
            if codec == MSGPACK and task is not None and task.step + 1 < len(task.route):
                j.check_one(payload)  # what is no value must not get among those of others, in an array
            self._result(routing_id, worker, ids[0], payload, codec, buffers)
            return
        payloads = None if codec == MSGPACK else j.split(codec, count, payload)
        tasks = end_together(self.tasks, worker, ids)
        if tasks is not None:
            for job_id in ids:
                del self.tasks[job_id]
            self.statistics.done += count
            self.events.append(Bundle(tasks, codec, payload, payloads))
        else:
            for job_id, each in zip(ids, payloads or j.split(codec, count, payload), strict=True):
                self._result(routing_id, worker, job_id, each, codec)

    def _result(
        self, routing_id: bytes, worker: Worker | None, job_id: int, payload: Frame, codec: int, buffers: Frames = ()
    ) -> None:
        task = answered(self.tasks, job_id, routing_id, worker, self.statistics)
        if task is None:
            return
        task.release(worker)
        task.payload, task.codec, task.buffers = payload, codec, buffers
        del self.tasks[job_id]
        if task.step + 1 < len(task.route):
            task.step += 1
            self._enter(task)
        else:
            task.done = True
            self.statistics.done += 1
            self.events.append(task)

    def _failed(self, routing_id: bytes, worker: Worker | None, command: j.Failed, payload: Any) -> None:
        task = answered(self.tasks, command.id, routing_id, worker, self.statistics)
        if task is None:
            return
        task.release(worker)
        self.statistics.failed += 1
        text, details = w.decode_error(payload)
        failure = JobFailed(Status(command.status), text, details=details)
        failure.stage = task.line.name
        self._end(task, failure)

    def _returned(self, worker: Worker | None, command: j.Return, payload: Any) -> None:
        for job_id in j.decode_ids(command.count, payload):
            task = self.tasks.get(job_id)
            if task is None or worker is None or task.worker is not worker:
                if worker is not None:
                    worker.stuck.pop(job_id, None)
                continue
            task.release(worker)
            if command.started:
                self.statistics.expired += 1
            elif task.returns < RETURNS:
                task.returns += 1
                task.deliveries -= 1
            self._again(task)

    # -- who has what -------------------------------------------------------------------------------------------

    def _again(self, task: Task) -> None:
        """It needs another worker; or it has had enough of them."""
        if task.deliveries >= self._limits.deliveries:
            self.statistics.dead += 1
            text = (
                f"a job of stage {task.line.name!r} was given to {task.deliveries} workers, and none of them ended it"
            )
            failure = DeadLetter(Status.ABORTED, text)
            failure.stage = task.line.name
            self._end(task, failure)
            return
        self.statistics.redelivered += 1
        if task.deliveries >= SUSPECT:
            task.line.alone.append(task)
        else:
            task.line.again.append(task)

    def _lose(self, worker: Worker) -> None:
        """This connection is no more."""
        self.statistics.workers_lost += 1
        del self.workers[worker.routing_id]
        for line in worker.held:
            del line.workers[worker]
        if worker.reserved is not None:
            worker.reserved.reserve(None)
        for held in worker.held.values():
            for task in list(held.values()):
                task.forfeit(worker)
                task.take_back()
                self._again(task)

    # -- out ----------------------------------------------------------------------------------------------------

    def dispatch(self, now: float) -> None:
        """Nothing: jobs are handed out when everything of this turn has come in, by ``flush``."""

    def flush(self, now: float) -> None:
        """Give what waits to those who may have more."""
        for line in self.lines.values():
            if (line.fresh or line.again or line.alone) and line.workers:
                self._handing.hand_out(line, now)

    def _say(self, worker: Worker, header: bytes) -> None:
        worker.said = 0
        self.outbox.append((0, (worker.routing_id, header, b""), (worker, ())))

    def link(self, port: int, state: Link, now: float) -> None:
        """Some connection has ended; a ROUTER does not say whose, but sending will."""
        if state is Link.DOWN and self.workers and self._probe_at is None:
            self._probe_at = now + PROBE

    def sent(self, token: Any, outcome: Sent, now: float) -> None:
        """libzmq did not take a message: its jobs were not delivered."""
        if token is None:
            return
        worker: Worker = token[0]
        self._handing.take_back(worker, token[1], all_of_it=outcome is Sent.UNROUTABLE)
        if self.workers.get(worker.routing_id) is not worker:
            return
        if outcome is Sent.UNROUTABLE:
            self._lose(worker)
        else:
            worker.blocked = True
            if self._retry_at is None:
                self._retry_at = now + RETRY_INTERVAL

    # -- time ---------------------------------------------------------------------------------------------------

    def wake(self, now: float) -> None:
        """Workers that may read again, a look at every worker, jobs that take too long."""
        if self._retry_at is not None and self._retry_at <= now:
            self._retry_at = None
            for worker in self.workers.values():
                worker.blocked = False
        if self._probe_at is not None and self._probe_at <= now:
            self._probe_at = None
            for worker in self.workers.values():
                self._say(worker, j.heartbeat(0))
        if self._tick_at is not None and self._tick_at <= now:
            self._look(now)
            self._tick_at = now + self._tick if self.workers or self.tasks else None

    def _look(self, now: float) -> None:
        for worker in list(self.workers.values()):
            worker.silent += 1
            worker.said += 1
            if worker.silent > self._most_silent:
                self._lose(worker)
                continue
            for line, held in worker.held.items():
                self._expire(worker, line, held, now)
            if worker.said >= TICKS:
                self._say(worker, j.STOP_HEADER if self.dismissing else j.heartbeat(0))
        for line in self.lines.values():
            if not line.waiting or any(worker.serves(line, now) for worker in line.workers):
                line.lonely = 0
                continue
            line.lonely += 1
            if line.lonely > self._patience:
                text = f"no worker serves stage {line.name!r}; is one running, and is the endpoint right?"
                if any(not worker.leaving for worker in line.workers):
                    text = f"every worker of stage {line.name!r} is stuck in jobs that took more than {line.timeout} s"
                for task in [*line.alone, *line.again, *line.fresh]:
                    self.statistics.unserved += 1
                    self._end(task, NoSuchService(text))
                line.purge()

    def _expire(self, worker: Worker, line: Line, held: dict[int, Task], now: float) -> None:
        """The oldest are first, and all have the same time."""
        while held:
            task = next(iter(held.values()))
            if task.assigned_at + line.timeout > now:
                return
            self.statistics.expired += 1
            task.forfeit(worker)
            task.stick()
            self._again(task)

    @property
    def wakes_at(self) -> float | None:
        """The next look, probe or retry."""
        times = [at for at in (self._tick_at, self._retry_at, self._probe_at) if at is not None]
        return min(times) if times else None

    def places(self) -> Sequence[Task]:
        """Every task that waits or is held: for the invariants."""
        waiting = [task for line in self.lines.values() for task in (*line.fresh, *line.again, *line.alone)]
        return waiting + [
            task for each in self.workers.values() for held in each.held.values() for task in held.values()
        ]
