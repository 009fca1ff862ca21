"""The ventilator on the asyncio driver."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

from ..core.crew import Bundle, Joined, Line, Task
from ..core.ventilator import Ventilator
from ..errors import Closed
from .aio import AsyncLoop
from .forks import ForkGuard
from .pump import Pump
from .ventilating import PARTING

log: logging.Logger = logging.getLogger("zpatterns")


class AsyncRun:
    """The tasks of one ``map`` that have ended, for the coroutine that iterates it."""

    def __init__(self) -> None:
        self.ended: deque[Task | Bundle] = deque()
        self.waiter: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """End the wait."""
        if self.waiter is not None:
            _release(self.waiter)

    async def wait(self, seconds: float) -> None:
        """Until a task has ended, at most so long."""
        if self.ended:
            return
        loop = asyncio.get_running_loop()
        waiter = self.waiter = loop.create_future()
        timer = loop.call_later(seconds, _release, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self.waiter = None


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class AsyncVentilator:
    """One ventilator on the running loop."""

    def __init__(self, machine: Ventilator, pump: Pump) -> None:
        self.machine = machine
        self.closed: bool = False
        self.fork: ForkGuard = ForkGuard("Pipeline")
        self.feeds: set[asyncio.Future[None]] = set()
        """What brings it jobs, and has to end with it."""
        self._joined = asyncio.Event()
        self._loop = AsyncLoop(pump, self._deliver, self.close)
        self.loop: asyncio.AbstractEventLoop = self._loop.loop

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.closed

    def lines(self, stages: Sequence[tuple[str, float]]) -> list[Line]:
        """The lines of these stages, by name and timeout."""
        return [self.machine.line(*stage) for stage in stages]

    def put(self, tasks: Sequence[Task]) -> None:
        """Start these."""
        self.machine.put(tasks, monotonic())
        self._loop.touched()

    def cancel(self, route: Sequence[Line]) -> None:
        """Nobody waits for the tasks of this route any more."""
        if not self.closed:
            self.machine.cancel_route(route)

    def dismiss(self) -> None:
        """Tell the workers to finish and end."""
        self.machine.dismiss()
        self._loop.touched()

    async def part(self) -> None:
        """Let workers that were dismissed hear of it before their connection ends."""
        until = monotonic() + PARTING
        while not self.closed and self.machine.parting and monotonic() < until:  # noqa: ASYNC110  once, for a moment
            await asyncio.sleep(0.01)

    def close(self) -> None:
        """End every task with Closed, and close the socket. Idempotent."""
        if self.closed:
            return
        self.closed = True
        self._joined.set()
        self.machine.close(Closed("the pipeline was closed"))
        try:
            if not self.loop.is_closed():
                for feed in tuple(self.feeds):
                    feed.cancel()
                with suppress(Closed):
                    self._loop.flush()
                self._loop.hand_over()
        finally:
            self._loop.close()

    async def wait_for_workers(self, stage: str | None, count: int, timeout: float) -> int:
        """Until so many workers serve a stage; how many do when it is over, in time or not."""
        joined = self._joined
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not self.closed and self.machine.serving(stage) < count:
                    joined.clear()
                    await joined.wait()
        return self.machine.serving(stage)

    def _deliver(self, event: Any) -> None:
        if event.__class__ is Joined:
            self._joined.set()
            return
        task: Task = event if event.__class__ is Task else event.tasks[0]
        run: AsyncRun = task.application[0]
        run.ended.append(event)
        run.wake()
