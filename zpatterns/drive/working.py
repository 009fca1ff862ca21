"""A pipeline's worker on the blocking driver: one thread turns the loop, handlers run on daemon threads or on the loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic, sleep
from typing import Any, Protocol

from ..core.calls import Reopen
from ..core.jobs import THREADS
from ..core.machine import Frames
from ..core.stage_jobs import Begin, Dismissed, StageJob
from ..core.worker import StageWorker
from .blocking import Loop
from .pump import Pump
from .replying import PARTING, Answer, Failure
from .threads import DaemonThreads


class StageWork(Protocol):
    """The application's side of one job. It does not raise; failures are values."""

    def answer(self, job: StageJob) -> Answer | list[bytes] | Failure:
        """Run the handler."""
        ...

    def answers(self, jobs: list[StageJob]) -> Iterable[tuple[StageJob, Answer | list[bytes] | Failure]]:
        """Run the handler of each, one after the other, as they are asked for."""
        ...


def finish(machine: StageWorker, job: StageJob, result: Any) -> None:
    """Hand a handler's result to the machine: an answer has a codec id in front, a failure its status."""
    if type(result[0]) is int:
        payload: Any = result[1]
        buffers: Frames = result[2]
        machine.reply(job, result[0], payload, buffers)
    else:
        machine.fail(job, *result)


class BlockingWorker:
    """One worker and its loop."""

    def __init__(self, machine: StageWorker, pump: Pump, work: StageWork, *, name: str) -> None:
        self.machine = machine
        self.dismissed: bool = False
        self.hurried: bool = False
        """Set from anywhere (then wake the loop) to give up the grace."""
        self._work = work
        threads = sum(stage.concurrency for stage in machine.stages.values() if stage.rule.lane == THREADS)
        self._threads = DaemonThreads(threads, name)
        self.loop: Loop = Loop(pump, self._deliver, works=True)

    @property
    def mine(self) -> bool:
        """Whether the calling thread runs one of its handlers."""
        return self._threads.mine

    def serve(self, stopping: Callable[[], bool], grace: Callable[[], float]) -> None:
        """Turn the loop until ``stopping()``, or until it is dismissed; then finish what it has within ``grace`` seconds."""
        loop, machine = self.loop, self.machine
        while not stopping() and not self.dismissed:
            loop.turn()
        machine.stop()
        until = monotonic() + grace()
        while machine.running and monotonic() < until and not self.hurried:
            loop.turn(lambda: not machine.running, until)
        machine.abort()
        loop.deliver()
        loop.pump.flush(monotonic())
        if machine.up:
            sleep(PARTING)

    def close(self) -> None:
        """Close the socket; threads that still run a handler are left alone."""
        self._threads.stop()
        self.loop.close()

    def _deliver(self, event: Any) -> None:
        kind = event.__class__
        if kind is Begin:
            jobs: list[StageJob] = event.jobs
            if jobs[0].rule.lane == THREADS:
                for job in jobs:
                    self._threads.run(self._run, job)
            else:
                for job, answer in self._work.answers(jobs):
                    finish(self.machine, job, answer)
        elif kind is Reopen:
            self.loop.reopen(event.port)
        elif kind is Dismissed:
            self.dismissed = True

    def _run(self, job: StageJob) -> None:
        self.loop.post(self._hand_in, job, self._work.answer(job))

    def _hand_in(self, job: StageJob, result: Any) -> None:
        self._threads.finished()
        finish(self.machine, job, result)
