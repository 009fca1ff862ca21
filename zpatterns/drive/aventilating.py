"""The ventilator on the asyncio driver."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

from ..core.crew import Line, Task
from ..core.ventilator import Ventilator
from ..errors import Closed
from .aio import AsyncLoop
from .pump import Pump
from .ventilating import PARTING

log: logging.Logger = logging.getLogger("zpatterns")


class AsyncRun:
    """The tasks of one ``map`` that have ended, for the coroutine that iterates it."""

    def __init__(self) -> None:
        self.ended: deque[Task] = deque()
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

    def cancel(self, tasks: Sequence[Task]) -> None:
        """Nobody waits for these any more."""
        if not self.closed:
            self.machine.cancel(tasks)

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
        self.machine.close(Closed("the pipeline was closed"))
        try:
            if not self.loop.is_closed():
                with suppress(Closed):
                    self._loop.flush()
                self._loop.hand_over()
        finally:
            self._loop.close()

    def _deliver(self, task: Any) -> None:
        run: AsyncRun = task.application[0]
        run.ended.append(task)
        run.wake()
