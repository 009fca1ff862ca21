"""The requester on the blocking driver: calls come in from any thread, each ends by its deadline.

A call's ``application`` is called with what happens to it, on the thread that turns the loop: with the call itself
when it has ended, with a ``Part`` for each part of a stream. None: somebody looks at ``call.done``.
"""

from __future__ import annotations

import logging
from _thread import LockType
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any

from ..core.calls import Call, Connection, Part, Reopen
from ..core.requester import Requester
from ..errors import RequestTimeout, ZPatternsError
from .blocking import Loop, Tenancy
from .pump import Pump
from .relay import waiter

log: logging.Logger = logging.getLogger("zpatterns")
_SLACK = 1.0
"""Seconds beyond a call's deadline after which a waiting thread no longer trusts the loop."""


class BlockingRequester:
    """One requester, its loop, and the agreement on who turns it."""

    def __init__(self, machine: Requester, pump: Pump, on_connection: Callable[[int, bool, str], None]) -> None:
        self.machine = machine
        self.closed: bool = False
        self._on_connection = on_connection
        self._loop = Loop(pump, self._deliver)
        self._tenancy = Tenancy(
            self._loop,
            machine.calls,
            self._broken,
            "zpatterns-client",
        )

    def run(self, call: Call) -> None:
        """Return when the call has ended: with a reply or a failure in it."""
        try:
            if self._tenancy.run(self._start, call):
                return
            lock = waiter()
            call.application = partial(_wake, self._tenancy, lock)
            if not call.done and not self._tenancy.wait(lock, max(0.0, call.deadline - monotonic()) + _SLACK):
                raise RequestTimeout("the client's loop does not turn; please report this", sent=call.taken)
        except BaseException:
            self.cancel(call)
            raise

    def submit(self, call: Call) -> None:
        """Start a call; its ``application`` hears of it."""
        self._tenancy.post(self._start, call)

    def cancel(self, call: Call) -> None:
        """Nobody waits for this call any more."""
        if not self.closed and not call.done:
            self._tenancy.post(self._drop, call)

    def read(self, call: Call) -> None:
        """One part of a stream was taken."""
        if not self.closed:
            self._tenancy.post(self._read, call)

    def close(self) -> None:
        """End every call and close the sockets. Idempotent; blocks for no longer than a turn of the loop."""
        if not self.closed:
            self.closed = True
            self._tenancy.stop(self._shut)

    def _start(self, call: Call) -> None:
        if call.done or call.id:
            return
        try:
            self.machine.start(call)
        except ZPatternsError as error:
            call.failure = error
            call.done = True
            self._deliver(call)

    def _drop(self, call: Call) -> None:
        if not call.done:
            if call.id:
                self.machine.cancel(call)
            call.done = True
            self._deliver(call)  # a cancelled future has waiters to be told (concurrent.futures.wait)

    def _read(self, call: Call) -> None:
        self.machine.read(call, monotonic())

    def _deliver(self, event: Any) -> None:
        kind = event.__class__
        if kind is Call:
            if event.application is not None:
                try:
                    event.application(event)
                except Exception:
                    log.exception("a callback of a call raised")
        elif kind is Part:
            event.call.application(event)
        elif kind is Reopen:
            self._loop.reopen(event.port)
        elif kind is Connection:
            try:
                self._on_connection(event.port, event.up, event.reason)
            except Exception:
                log.exception("on_connection raised")

    def _broken(self) -> None:
        self.closed = True
        self._shut()

    def _shut(self) -> None:
        self._loop.run_commands()
        self.machine.close()
        try:
            self._loop.pump.flush(monotonic())
        except ZPatternsError as error:
            log.debug("closing: %s", error)  # the context was terminated: nothing goes out any more
        self._loop.deliver()
        self._loop.close()


def _wake(tenancy: Tenancy, lock: LockType, _: Any) -> None:
    tenancy.wake(lock)
