"""The replier on the asyncio driver: ``async def`` handlers start at once on carriers, ``def`` on daemon threads or inline."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from time import monotonic
from typing import Any, Protocol

from ..core.calls import Connection, Reopen
from ..core.jobs import THREADS, Credited, Job, Stop
from ..core.replier import Replier
from ..errors import Closed, Status
from .aio import AsyncLoop
from .carrier import Carriers
from .pump import Pump
from .replying import (
    PARTING,
    Answer,
    Failure,
    Gate,
    Work,
    advance,
    finish,
    hand_in,
    hand_on,
    is_failure,
    run_on_thread,
    spoken,
    told,
)
from .threads import DaemonThreads

log: logging.Logger = logging.getLogger("zpatterns")


class AsyncWork(Work, Protocol):
    """The application's side of one job, with coroutines."""

    def is_async(self, job: Job) -> bool:
        """Whether the handler is ``async def``."""
        ...

    def begin(self, job: Job) -> Coroutine[Any, Any, Any] | Answer | list[bytes] | Failure:
        """The coroutine of a unary handler, or why there is none; of a ``def``, its answer."""
        ...

    def result(self, job: Job, value: Any, error: BaseException | None) -> Any:
        """The answer, from what the coroutine returned or raised."""
        ...

    def parts_async(self, job: Job) -> AsyncIterator[Answer | Failure]:
        """Run an async generator; a Failure is the last item."""
        ...


def _cancelled_from_outside() -> bool:
    """Whether somebody cancels this task, as the end of a loop does; a handler may raise CancelledError by itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class _Running:
    """An ``async def`` handler that runs: its task, and for a stream where it waits for credit."""

    __slots__ = ("credited", "task")

    def __init__(self, task: asyncio.Task[None] | None) -> None:
        self.task = task
        self.credited: asyncio.Future[None] | None = None


class AsyncReplier:
    """One replier on the running loop."""

    def __init__(self, machine: Replier, pump: Pump, work: AsyncWork, *, threads: int, name: str) -> None:
        self.machine = machine
        self._work = work
        self._name = name
        self._threads = DaemonThreads(threads, name)
        self._carriers: Carriers[Job] = Carriers(self._done, self._waits)
        self._closed = False
        self.broken: Callable[[], None] | None = None
        """Called when the sockets went away by themselves."""
        self._waiting_to_stop: asyncio.Event | None = None
        self._loop = AsyncLoop(pump, self._deliver, self._break, self._carriers.go)
        self.loop: asyncio.AbstractEventLoop = self._loop.loop

    async def stop(self, grace: float) -> None:
        """Take nothing more; wait up to ``grace`` seconds for running handlers; answer the rest UNAVAILABLE."""
        if self._closed:
            return
        machine = self.machine
        said = spoken(machine)
        machine.stop()
        self._loop.flush()
        until = monotonic() + grace
        changed = self._waiting_to_stop = asyncio.Event()
        try:
            while machine.running and (left := until - monotonic()) > 0:
                changed.clear()
                await asyncio.wait_for(changed.wait(), left)
        except TimeoutError:
            pass
        finally:  # cancelled: a second signal, somebody is in a hurry
            if not self._closed:
                machine.abort()
                self._loop.flush()
                if spoken(machine) != said:
                    await asyncio.sleep(PARTING)

    def close(self) -> None:
        """Close the sockets and cancel what still runs. Idempotent."""
        if not self._closed:
            self._closed = True
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
        if kind is Job:
            job: Job = event
            if job.lane == THREADS:
                self._threads.run(run_on_thread, self._work, job, self._post)
            elif job.rule.stream:
                self._begin_stream(job)
            else:
                begun = self._work.begin(job)
                if type(begun) is tuple or type(begun) is list:
                    finish(self.machine, job, begun)
                else:
                    self._carriers.add(job, begun)  # type: ignore[arg-type]
        elif kind is Credited:
            self._credit(event.job, event.parts)
        elif kind is Stop:
            self._stop(event.job)
        elif kind is Reopen:
            self._loop.reopen(event.port)
        elif kind is Connection:
            told(self._name, event)

    def _credit(self, job: Job, parts: int) -> None:
        application = job.application
        if isinstance(application, Gate):
            application.grant(parts)
            hand_on(self.machine, job)
        elif isinstance(application, _Running):
            if application.credited is not None and not application.credited.done():
                application.credited.set_result(None)
        elif application is not None:
            advance(self.machine, job)

    def _stop(self, job: Job) -> None:
        application = job.application
        if isinstance(application, Gate):
            application.stop()
            hand_on(self.machine, job)
        elif isinstance(application, _Running):
            if application.task is not None:
                application.task.cancel()
        elif application is not None:
            application.close()
            self.machine.end(job)

    # -- async def ----------------------------------------------------------------------------------------------

    def _begin_stream(self, job: Job) -> None:
        if self._work.is_async(job):
            self._carriers.add(job, self._run_stream(job))
        else:
            job.application = self._work.parts(job)
            advance(self.machine, job)

    def _waits(self, job: Job, task: asyncio.Task[None]) -> None:
        """A handler has not finished at once: from here on it can be cancelled."""
        if isinstance(job.application, _Running):
            job.application.task = task
        else:
            job.application = _Running(task)
        if job.stopped is not None:
            task.cancel()

    def _done(self, job: Job, value: Any, error: BaseException | None) -> None:
        """A coroutine has ended. A cancel that was not ours is the loop's end: whoever can still be told is told."""
        result: Any = None
        if error is None and job.rule.stream:
            result = value
        elif isinstance(error, asyncio.CancelledError) and (job.stopped is not None or self._closed):
            pass
        elif isinstance(error, asyncio.CancelledError) and _cancelled_from_outside():
            result = Status.UNAVAILABLE, "the server's event loop ended before the handler was done", {}
        else:
            result = self._work.result(job, value, error)
        finish(self.machine, job, result)
        if self._waiting_to_stop is not None:
            self._waiting_to_stop.set()
        self._loop.touched()

    async def _run_stream(self, job: Job) -> Any:
        running = job.application = _Running(None)
        parts: Any = self._work.parts_async(job)
        try:
            async for part in parts:
                if is_failure(part):
                    return part
                while not job.done and job.stopped is None and self.machine.pauses(job):
                    running.credited = self.loop.create_future()
                    await running.credited
                self.machine.part(job, *part)
                self._loop.touched()
        finally:
            await parts.aclose()
        return None

    # -- def ----------------------------------------------------------------------------------------------------

    def _post(self, action: Callable[..., None], *arguments: Any) -> None:
        """From a handler's thread."""
        if not self._closed:
            try:
                self.loop.call_soon_threadsafe(self._hand_in, action, arguments)
            except RuntimeError:  # the loop has ended: nobody waits for this answer
                return

    def _hand_in(self, action: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        if self._closed:
            return
        if action is finish:
            self._threads.finished()
        hand_in(self.machine, action, arguments)
        if self._waiting_to_stop is not None:
            self._waiting_to_stop.set()
        self._loop.touched()
