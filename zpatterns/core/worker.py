"""A pipeline's worker: asks with credit, runs what it is given, acknowledges with the result, and shows that it is alive.

Invariants, asserted by the simulation after every step:

* it never runs more of a stage than its concurrency, nor holds more than twice that;
* every job it was given is answered, given back, or forgotten when its connection is: then the ventilator knows by itself;
* a result is sent once, and kept while there is no connection.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..codec import MSGPACK
from ..errors import DecodeError, Status
from ..policy import Heartbeat, Limits
from ..wire import jobs as j, message as w
from .calls import Reopen
from .jobs import Rule, Why
from .machine import Frame, Frames, Link, Sent
from .stage_jobs import Begin, Dismissed, Halt, Parcel, Stage, StageJob
from .ventilator import TICKS

UNSAID = 4096
"""Messages, and answers that are in none yet, that wait for a ventilator that gives jobs and takes no answers; from then on its
jobs are forgotten."""


@dataclass(slots=True)
class PipelineWorkerStatistics:
    """Counters of one worker since it was started."""

    received: int = 0
    dispatched: int = 0
    answered: int = 0
    failed: int = 0
    """Handlers that raised."""
    expired: int = 0
    """Handlers that took longer than the stage's ``timeout``."""
    returned: int = 0
    """Jobs given back, for another worker."""
    forgotten: int = 0
    """Jobs that had not begun when the connection was lost, or came while the ventilator took no more answers."""
    connections: int = 0
    undecodable: int = 0
    """Messages that are not of the protocol; dropped."""


class StageWorker:
    """``stages``: by name, the rule of the handler and how many of it run at once, which is the credit."""

    expects: bool = True
    """A job may come at any time."""

    def __init__(
        self,
        stages: Mapping[str, tuple[Rule, int]],
        *,
        incarnation: bytes,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        beat = heartbeat or Heartbeat()
        self.outbox: deque[tuple[int, Frames, Any]] = deque()
        self.events: deque[Any] = deque()
        self.statistics: PipelineWorkerStatistics = PipelineWorkerStatistics()
        self.stages: dict[str, Stage] = {name: Stage(rule, most) for name, (rule, most) in stages.items()}
        self.jobs: dict[StageJob, None] = {}
        """Those that run."""
        self.leaving: bool = False
        self.up: bool = False
        self._greeting = j.ready(incarnation, {name: stage.concurrency for name, stage in self.stages.items()})
        self._greeted = False
        self._blocked = False
        self._letters: deque[Frames] = deque()
        """Everything but small results to be said, in order."""
        self._tick = beat.interval / TICKS
        self._most_silent = beat.liveness * TICKS
        self._silent = 0
        self._said = 0
        self._tick_at: float | None = None

    @property
    def running(self) -> int:
        """Handlers that have not ended."""
        return len(self.jobs)

    # -- in -----------------------------------------------------------------------------------------------------

    def receive(self, port: int, frames: Frames, now: float) -> None:
        """A message of the ventilator: header and payload."""
        try:
            if len(frames) < 2:
                raise DecodeError("a message of a ventilator has a header and a payload")
            command = j.parse(frames[0])
            if type(command) is j.Jobs:
                self._admit(command, frames[1:], now)
            elif type(command) is j.Who:
                self._greet()
            elif type(command) is j.Stop:
                self.events.append(Dismissed())
            elif type(command) is not j.Heartbeat:
                raise DecodeError(f"a {type(command).__name__} is nothing a ventilator says")
        except DecodeError:
            self.statistics.undecodable += 1
            return
        self._silent = 0

    def _admit(self, command: j.Jobs, rest: Frames, now: float) -> None:
        ids, payload, buffers = j.opened(command, rest)
        codec, count = command.codec, command.count
        split = None if count == 1 or codec == MSGPACK else j.split(codec, count, payload)
        self.statistics.received += count
        if self._blocked and len(self._letters) + self._done >= UNSAID:
            self.statistics.forgotten += count
            return
        stage = self.stages.get(command.stage)
        room = 0 if stage is None or self.leaving else stage.concurrency - len(stage.waiting)
        if count > room:  # it may have been on its way when we left; else it is beyond our credit
            self._return(ids[room:], started=0)
            ids = ids[:room]
        if stage is not None:
            parcel = Parcel(_header(command), count, payload, buffers, split, now + command.budget / 1000)
            stage.waiting.extend([StageJob(job_id, index, stage, parcel) for index, job_id in enumerate(ids)])

    # -- handlers -----------------------------------------------------------------------------------------------

    def dispatch(self, now: float) -> None:
        """Start what waits, as far as there are free handlers."""
        for stage in self.stages.values():
            waiting = stage.waiting
            count = min(len(waiting), stage.concurrency - stage.running)
            if count > 0:
                jobs = [waiting.popleft() for _ in range(count)]
                stage.running += count
                self.jobs.update(dict.fromkeys(jobs))
                self.statistics.dispatched += count
                self.events.append(Begin(jobs))

    def reply(self, job: StageJob, codec: int, payload: Frame, buffers: Frames = ()) -> None:
        """The handler's result: the acknowledgement of its job."""
        if job.done:
            return
        job.done = True
        stage = job.stage
        stage.running -= 1
        del self.jobs[job]
        self.statistics.answered += 1
        if buffers or type(payload) is not bytes or len(payload) > j.ALONE:
            self._letters.append((j.results(codec, 1), j.encode_array([job.id]), payload, *buffers))
            return
        if codec != stage.codec:
            self._close(stage)
            stage.codec = codec
        stage.ids.append(job.id)
        stage.payloads.append(payload)

    def fail(self, job: StageJob, status: Status, text: str, details: Mapping[str, Any] | None = None) -> None:
        """The handler raised."""
        if self._take(job):
            self.statistics.failed += 1
            self._letters.append((j.failed(job.id, status), w.encode_error(text, details or {}, _ERROR_TEXT)))

    def give_back(self, job: StageJob) -> None:
        """The handler was stopped before its end."""
        if self._take(job):
            self._return([job.id], started=1)

    def _take(self, job: StageJob) -> bool:
        if job.done:
            return False
        job.done = True
        job.stage.running -= 1
        del self.jobs[job]
        return True

    def _close(self, stage: Stage) -> None:
        """What is done becomes messages."""
        if stage.ids:
            for ids, payloads in j.chunks(stage.ids, stage.payloads):
                count = len(ids)
                payload = payloads[0] if count == 1 else j.encode_items(stage.codec, payloads)
                self._letters.append((j.results(stage.codec, count), j.encode_array(ids), payload))
            stage.ids, stage.payloads = [], []

    @property
    def _done(self) -> int:
        """Results that are in no message yet."""
        return sum(len(stage.ids) for stage in self.stages.values())

    def _return(self, ids: list[int], *, started: int) -> None:
        self.statistics.returned += len(ids)
        for at in range(0, len(ids), j.CHUNK):
            self._letters.append(j.returned(started, ids[at : at + j.CHUNK]))

    # -- out ----------------------------------------------------------------------------------------------------

    def _greet(self) -> None:
        """A new connection, or a ventilator that has lost sight of us. What has not begun went to others meanwhile."""
        self._greeted = False
        for stage in self.stages.values():
            self.statistics.forgotten += len(stage.waiting)
            stage.waiting.clear()

    def flush(self, now: float) -> None:
        """Say what there is to say, if there is somebody to take it: first who we are."""
        if self._tick_at is None:
            self._tick_at = now + self._tick
        if not self.up or self._blocked:
            return
        if not self._greeted:
            self._greeted = True
            self.statistics.connections += 1
            if not self.leaving:
                self._send((self._greeting, b""))
            elif self.jobs or self._done or self._letters:  # results are taken from those that are known
                self._send((self._greeting, b""))
                self._send((j.LEAVE_HEADER, b""))
        for stage in self.stages.values():
            self._close(stage)
        if self._letters:
            for frames in self._letters:
                self._send(frames)
            self._letters.clear()

    def _send(self, frames: Frames) -> None:
        self._said = 0
        self.outbox.append((0, frames, frames))

    def link(self, port: int, state: Link, now: float) -> None:
        """Connected, or not any more, or there is room again."""
        self._blocked = False
        if state is not Link.WRITABLE:
            self.up = state is Link.UP
            self._silent = 0
            self._greet()

    def sent(self, token: Any, outcome: Sent, now: float) -> None:
        """libzmq took no more: what is left is kept, in its order."""
        left: list[Frames] = [token, *(entry[2] for entry in self.outbox)]
        self.outbox.clear()
        self._blocked = True
        for frames in reversed(left):
            if frames[0] is self._greeting:
                self._greeted = False
            elif not bytes(frames[0]).startswith(_HEARTBEAT):
                self._letters.appendleft(frames)

    # -- time ---------------------------------------------------------------------------------------------------

    def wake(self, now: float) -> None:
        """A sign of life, a look for the ventilator's, and handlers that take too long."""
        if self._tick_at is None or self._tick_at > now:
            return
        self._tick_at = now + self._tick
        for job in self.jobs:
            if job.expires_at <= now and job.stopped is None:
                job.stopped = Why.EXPIRED
                self.statistics.expired += 1
                self.events.append(Halt(job))
        if not self.up:
            return
        self._silent += 1
        self._said += 1
        if self._silent > self._most_silent:
            self.up = False
            self.events.append(Reopen(0))
        elif self._said >= TICKS and self._greeted and not self._blocked:
            self._send((j.heartbeat(len(self.jobs)), b""))

    @property
    def wakes_at(self) -> float | None:
        """The next look."""
        return self._tick_at

    # -- stopping -----------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Take nothing more; what no handler has seen goes to other workers."""
        if self.leaving:
            return
        self.leaving = True
        self._letters.append((j.LEAVE_HEADER, b""))
        for stage in self.stages.values():
            self._return([job.id for job in stage.waiting], started=0)
            stage.waiting.clear()

    def abort(self) -> None:
        """The grace is over: what still runs goes to other workers, too."""
        for job in list(self.jobs):
            if job.stopped is None:
                job.stopped = Why.STOPPING
                self.events.append(Halt(job))
            self.give_back(job)


_ERROR_TEXT = Limits().error_text
_HEARTBEAT = j.heartbeat(0)[:-1]
"""How the header of a heartbeat begins: one that was not taken is not worth keeping."""


@lru_cache(1024)
def _header(command: j.Jobs) -> w.Request:
    """What a handler's context looks into."""
    return w.Request(command.stage, command.budget, command.attempt, command.codec, 0, {})
