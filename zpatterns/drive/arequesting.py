"""The requester on the asyncio driver. Nothing here awaits libzmq, so no cancelled task can lose a message."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any

from ..core.calls import Call, Connection, Part, Reopen
from ..core.requester import Requester
from ..errors import Closed
from .aio import AsyncLoop
from .pump import Pump

log: logging.Logger = logging.getLogger("zpatterns")


class AsyncRequester:
    """One requester on the running loop."""

    def __init__(self, machine: Requester, pump: Pump, on_connection: Callable[[int, bool, str], None]) -> None:
        self.machine = machine
        self.closed: bool = False
        self._on_connection = on_connection
        self._burst = 0
        self._loop = AsyncLoop(pump, self._deliver, self.close)
        self.loop: asyncio.AbstractEventLoop = self._loop.loop
        self._create_future = self.loop.create_future

    def start(self, call: Call) -> None:
        """Enter a call. A lone call goes out at once; what more is started in the same tick goes out together."""
        machine = self.machine
        alone = not machine.calls and self._burst < 2
        machine.start(call)
        if alone:
            self._burst = 1
            self._loop.flush_now()
        else:
            self._burst += 1
            self._loop.soon(self._flush)

    def _flush(self) -> None:
        # A burst of one since the last flush means that calls come one at a time again.
        self._burst = 0 if self._burst < 2 else 2
        self._loop.flush()

    def run(self, call: Call) -> asyncio.Future[None]:
        """Start a call; the future is done when it has ended: with a reply or a failure in it."""
        future = call.application = self._create_future()
        if self._loop.flushing:  # the usual case in a burst: the flush at the end of this tick takes it along
            self.machine.start(call)
            self._burst += 1
        else:
            self.start(call)
        return future

    def cancel(self, call: Call) -> None:
        """Nobody waits for this call any more."""
        if not self.closed and not call.done:
            self.machine.cancel(call)
            self._loop.touched()

    def read(self, call: Call) -> None:
        """One part of a stream was taken."""
        if not self.closed:
            self.machine.read(call, monotonic())
            if self.machine.outbox:
                self._loop.touched()

    def abandon(self, call: Call) -> None:
        """The collector found a stream that nobody holds: on whatever thread it ran."""
        if self.loop.is_running() and asyncio._get_running_loop() is not self.loop:
            with suppress(RuntimeError):  # the loop was closed just now
                self.loop.call_soon_threadsafe(self.cancel, call)
        elif not self.loop.is_closed():
            self.cancel(call)

    def close(self) -> None:
        """End every call with Closed and close the sockets. Idempotent."""
        if self.closed:
            return
        self.closed = True
        self.machine.close()
        try:
            if not self.loop.is_closed():
                self._loop.flush()
        except Closed as error:
            log.debug("closing: %s", error)  # the context was terminated: nothing goes out any more
            self._loop.hand_over()
        finally:
            self._loop.close()

    def _deliver(self, event: Any) -> None:
        kind = event.__class__
        if kind is Call:
            application: Any = event.application
            if event.stream:
                application(event)
            elif not application.done():
                application.set_result(None)
        elif kind is Part:
            event.call.application(event)
        elif kind is Reopen:
            self._loop.reopen(event.port)
        elif kind is Connection:
            try:
                self._on_connection(event.port, event.up, event.reason)
            except Exception:
                log.exception("on_connection raised")
