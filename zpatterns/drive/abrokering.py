"""The broker on the asyncio driver: everything happens in callbacks of the running loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any

from ..core.broker_peers import Misplaced, WorkerChanged
from ..core.jobs import Job
from ..core.majordomo_broker import MajordomoBroker
from ..core.staffing import Awaited, Staffing
from ..errors import Closed
from .aio import AsyncLoop
from .brokering import ends, too_few
from .pump import Pump
from .replying import PARTING, Work, finish

_LOOK = 0.01


class AsyncBroker:
    """One broker on the running loop."""

    def __init__(
        self, machine: MajordomoBroker, pump: Pump, work: Work, *, changed: Callable[[WorkerChanged | Misplaced], None]
    ) -> None:
        self.machine = machine
        self.closed: bool = False
        self.broken: Callable[[], None] | None = None
        """Called when the sockets went away by themselves."""
        self._staffing = Staffing(machine.exchange.directory)
        self._work = work
        self._changed = changed
        self._loop = AsyncLoop(pump, self._deliver, self._break, _nothing)
        self.loop: asyncio.AbstractEventLoop = self._loop.loop

    async def wait(self, service: bytes, count: int, timeout: float) -> int:
        """Until a service has so many workers; how many it has. Raises RequestTimeout with what there was."""
        future: asyncio.Future[None] = self.loop.create_future()
        awaited = Awaited(service, count, future)
        if not self._staffing.wait(awaited):
            try:
                async with asyncio.timeout(timeout):
                    await future
            except TimeoutError:
                raise too_few(self._staffing.count(service), awaited, timeout) from None
            finally:
                self._staffing.give_up(awaited)
        if self.closed:
            raise Closed("the broker has stopped")
        return self._staffing.count(service)

    async def stop(self, grace: float) -> None:
        """Take nothing more; wait up to ``grace`` seconds for what workers have; tell whoever waits, and every worker."""
        if self.closed:
            return
        machine = self.machine
        before = ends(machine)
        machine.stop()
        self._loop.flush_now()
        until = monotonic() + grace
        try:
            while machine.running and monotonic() < until and not self.closed:  # noqa: ASYNC110  no event says so
                await asyncio.sleep(_LOOK)
        finally:  # cancelled: a second signal, somebody is in a hurry
            if not self.closed:
                machine.abort()
                self._loop.flush_now()
                if ends(machine) != before:
                    await asyncio.sleep(PARTING)

    def touched(self) -> None:
        """The application changed something."""
        self._loop.touched()

    def close(self) -> None:
        """Close the sockets. Idempotent."""
        if self.closed:
            return
        self.closed = True
        try:
            if not self.loop.is_closed():
                for awaited in self._staffing.waiting:
                    if not awaited.application.done():
                        awaited.application.set_result(None)
                self.machine.stop()
                self.machine.abort()
                with suppress(Closed):  # the context was terminated: nothing goes out any more
                    self._loop.flush()
        finally:
            self._loop.close()

    def _break(self) -> None:
        self.close()
        if self.broken is not None:
            self.broken()

    def _deliver(self, event: Any) -> None:
        kind = event.__class__
        if kind is Job:
            finish(self.machine.own, event, self._work.answer(event))
        elif kind is Misplaced:
            self._changed(event)
        elif kind is WorkerChanged:
            self._changed(event)
            for awaited in self._staffing.changed():
                if not awaited.application.done():
                    awaited.application.set_result(None)


def _nothing() -> None:
    """Work is done as it is handed over."""
