"""A pipeline's worker on the asyncio driver: ``async def`` handlers on carriers, ``def`` on daemon threads or inline."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from time import monotonic
from typing import Any, Protocol

from ..core.calls import Reopen
from ..core.jobs import THREADS
from ..core.stage_jobs import Begin, Halt, StageJob
from ..core.worker import StageWorker
from ..errors import Closed
from .aio import AsyncLoop
from .carrier import Carriers
from .pump import Pump
from .replying import PARTING
from .threads import DaemonThreads
from .working import StageWork, finish

log: logging.Logger = logging.getLogger("zpatterns")


class AsyncStageWork(StageWork, Protocol):
    """The application's side of jobs, with coroutines."""

    def is_async(self, job: StageJob) -> bool:
        """Whether the handler of this job is ``async def``."""
        ...

    def coroutines(
        self, jobs: list[StageJob], failed: Callable[[StageJob, Any], None]
    ) -> Iterable[tuple[StageJob, Coroutine[Any, Any, Any]]]:
        """The coroutine of the handler for each; ``failed`` hears why there is none."""
        ...

    def result(self, job: StageJob, value: Any, error: BaseException | None) -> Any:
        """The answer, from what the coroutine returned or raised."""
        ...


class AsyncWorker:
    """One worker on the running loop. ``dismissed`` is called when the ventilator has no more work."""

    def __init__(
        self, machine: StageWorker, pump: Pump, work: AsyncStageWork, *, name: str, dismissed: Callable[[], None]
    ) -> None:
        self.machine = machine
        self._work = work
        self._dismissed = dismissed
        threads = sum(stage.concurrency for stage in machine.stages.values() if stage.rule.lane == THREADS)
        self._threads = DaemonThreads(threads, name)
        self._carriers: Carriers[StageJob] = Carriers(self._done, self._waits)
        self.closed: bool = False
        self.broken: Callable[[], None] | None = None
        """Called when the sockets went away by themselves."""
        self._changed: asyncio.Event | None = None
        self._loop = AsyncLoop(pump, self._deliver, self._break, self._carriers.go)
        self.loop: asyncio.AbstractEventLoop = self._loop.loop

    async def stop(self, grace: float) -> None:
        """Take nothing more; wait up to ``grace`` seconds for running handlers; what is left goes to other workers."""
        if self.closed:
            return
        machine = self.machine
        machine.stop()
        self._loop.flush()
        until = monotonic() + grace
        changed = self._changed = asyncio.Event()
        try:
            while machine.running and (left := until - monotonic()) > 0:
                changed.clear()
                await asyncio.wait_for(changed.wait(), left)
        except TimeoutError:
            pass
        finally:  # cancelled: a second signal, somebody is in a hurry
            if not self.closed:
                machine.abort()
                self._loop.flush()
                if machine.up:
                    await asyncio.sleep(PARTING)

    def close(self) -> None:
        """Close the socket and cancel what still runs. Idempotent."""
        if self.closed:
            return
        self.closed = True
        self._threads.stop()
        try:
            if not self.loop.is_closed():
                self.machine.stop()
                self.machine.abort()
                self._carriers.close()
                self._loop.flush()
        except Closed as error:
            log.debug("closing: %s", error)  # the context was terminated: nothing goes out any more
        finally:
            self._loop.close()

    def _break(self) -> None:
        self.close()
        if self.broken is not None:
            self.broken()

    def _deliver(self, event: Any) -> None:
        kind = event.__class__
        if kind is Begin:
            jobs: list[StageJob] = event.jobs
            if jobs[0].rule.lane == THREADS:
                for job in jobs:
                    self._threads.run(self._run, job)
            elif self._work.is_async(jobs[0]):
                self._carriers.extend(self._work.coroutines(jobs, self._fail))
            else:
                for job, answer in self._work.answers(jobs):
                    finish(self.machine, job, answer)
        elif kind is Halt:
            if event.job.application is not None:
                event.job.application.cancel()
        elif kind is Reopen:
            self._loop.reopen(event.port)
        else:
            self._dismissed()

    # -- async def ----------------------------------------------------------------------------------------------

    def _fail(self, job: StageJob, failure: Any) -> None:
        finish(self.machine, job, failure)

    def _waits(self, job: StageJob, task: asyncio.Task[None]) -> None:
        """A handler has not finished at once: from here on it can be cancelled."""
        job.application = task
        if job.stopped is not None:
            task.cancel()

    def _done(self, job: StageJob, value: Any, error: BaseException | None) -> None:
        """A coroutine has ended. If it was cancelled, by us or with the loop, another worker gets its job."""
        if error is not None and self._is_cancel(job, error):
            self.machine.give_back(job)
        else:
            result = self._work.result(job, value, error)
            if type(result[0]) is int:
                self.machine.reply(job, *result)
            else:
                self.machine.fail(job, *result)
        self._touch()

    def _is_cancel(self, job: StageJob, error: BaseException) -> bool:
        """A handler may raise CancelledError by itself; that is a failure like others."""
        return isinstance(error, asyncio.CancelledError) and (job.stopped is not None or self.closed or _cancelling())

    def _touch(self) -> None:
        if self._changed is not None:
            self._changed.set()
        self._loop.touched()

    # -- def ----------------------------------------------------------------------------------------------------

    def _run(self, job: StageJob) -> None:
        result = self._work.answer(job)
        if not self.closed:
            try:
                self.loop.call_soon_threadsafe(self._hand_in, job, result)
            except RuntimeError:  # the loop has ended
                return

    def _hand_in(self, job: StageJob, result: Any) -> None:
        if not self.closed:
            self._threads.finished()
            finish(self.machine, job, result)
            self._touch()


def _cancelling() -> bool:
    """Whether somebody cancels this task, as the end of a loop does; a handler may raise CancelledError by itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
