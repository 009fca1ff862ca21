"""A daemon thread that turns a ``Loop`` for its whole life, for machines whose application may be busy elsewhere.

The application is one more peer: it posts to the loop from any thread, or calls and waits, never longer than it said.
However the loop ends, whoever waits for it is told, and its sockets are closed.
"""

from __future__ import annotations

import atexit
import logging
import threading
from _thread import allocate_lock, get_ident
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any, TypeVar
from weakref import WeakSet

from ..errors import Closed, RequestTimeout, ZPatternsError
from .blocking import Loop
from .forks import ForkGuard
from .pump import PortSocket

log: logging.Logger = logging.getLogger("zpatterns")
T = TypeVar("T")

PATIENCE = 5.0
"""Seconds a call waits for the loop: a turn takes milliseconds, so a loop that needs longer is stuck in a callback."""
_EXIT = 1.5
"""Seconds that the owners of a process together may hold up the interpreter's exit."""


class Owner:
    """One loop and the thread that turns it. ``start()`` it, or ``run()`` it on a thread of your own.

    ``last`` is called on the loop when it ends, with the error that ended it or None: the place to end whatever waits
    for the machine. It may turn the loop on for a while. What it leaves in the machine's outbox is sent; then the
    sockets are closed. ``at_exit``: the interpreter's exit stops it too, so that nothing it was given is lost.
    """

    def __init__(
        self,
        loop: Loop,
        name: str,
        *,
        last: Callable[[BaseException | None], None] | None = None,
        at_exit: bool = False,
    ) -> None:
        self.loop = loop
        self.stopping: bool = False
        self.ended: bool = False
        self._name = name
        self._last = last
        self._at_exit = at_exit
        self._fork = ForkGuard(name)
        self._ident = 0
        self._thread: threading.Thread | None = None
        self._over = threading.Event()
        self.lock: Any = threading.RLock()
        """Held while the loop's thread touches the machine and its sockets, not while it sleeps: whoever holds it may."""
        self._rests_until = 0.0
        loop.rest = self._rest

    @property
    def mine(self) -> bool:
        """Whether the calling thread is the one that turns the loop."""
        return self._ident == get_ident()

    def start(self) -> None:
        """Turn the loop on a daemon thread of its own from now on."""
        self._thread = threading.Thread(target=self.run, name=self._name, daemon=True)
        self._thread.start()

    def run(self) -> None:
        """Turn the loop on this thread until ``stop()``. Raises what the loop raised, on a thread of the caller's only."""
        self._ident = get_ident()
        if self._at_exit:
            _owners.add(self)
        loop = self.loop
        failure: BaseException | None = None
        self.lock.acquire()
        try:
            while not self.stopping:
                loop.turn()
            loop.run_commands()
            self._finish(None)
        except Closed as error:
            failure = error
            log.debug("%s: %s", self._name, error)  # the context was terminated under us
            if self._thread is None:
                raise
        except BaseException as error:
            failure = error
            if self._thread is None:
                raise
            log.exception("%s: its loop failed; what waits for it ends with Closed", self._name)
        finally:
            self.stopping = True
            try:
                if failure is not None:
                    self._finish(failure)
            except Exception:
                log.exception("%s: ending failed", self._name)
            finally:
                self.ended = True
                loop.close()
                self._refuse()
                self._ident = 0
                self._over.set()
                self.lock.release()

    def _rest(self, milliseconds: int) -> list[tuple[int, int]]:
        self._rests_until = monotonic() + milliseconds / 1000
        self.lock.release()
        try:
            return self.loop.poll(milliseconds)
        finally:
            self.lock.acquire()

    def settle(self) -> None:
        """With ``lock`` held, after something was done to the machine: send what came of it, and let the loop see the rest."""
        loop = self.loop
        pump = loop.pump
        pump.flush(monotonic())
        at = pump.wakes_at
        if (at is not None and at < self._rests_until) or loop.machine.events or any(map(_readable, pump.ports)):
            loop.wake()  # its edge was taken, or it would sleep too long

    def post(self, action: Callable[..., None], *arguments: Any) -> None:
        """From any thread: have the loop run ``action`` soon. Raises Closed when it will not turn any more."""
        self._fork.check()
        if self.stopping:
            raise Closed(f"{self._name} is closed; make a new one")
        self.loop.post(action, *arguments)
        if self.ended:
            self._refuse()

    def call(self, action: Callable[..., T], *arguments: Any, timeout: float = PATIENCE) -> T:
        """From any thread: run ``action`` on the loop; its result, or what it raised.

        Raises Closed when the loop ends or has ended, RequestTimeout when it does not come to it in time: then
        ``action`` has not run and will not, unless ``sent`` says that it was begun.
        """
        if self._ident == get_ident():
            return action(*arguments)
        call = _Call(action, arguments)
        self.post(call.run)
        if not call.lock.acquire(timeout=timeout) and not call.abandon():
            raise RequestTimeout(
                f"{self._name}: its loop did not come to it within {timeout} s; does a callback block it?",
                sent=call.begun,
            )
        if call.error is not None:
            raise call.error
        result: T = call.result
        return result

    def stop(self, timeout: float = PATIENCE) -> bool:
        """End the loop and wait until it has ended, ``last`` included, at most ``timeout`` seconds. Idempotent.

        From the loop's own thread, and in a forked child, it does not wait. True when the loop has ended.
        """
        if self._fork.forked:
            return True
        self.stopping = True
        self.loop.wake()
        if (
            not self._ident and not self.ended and self._thread is None
        ):  # it was never turned: there is nobody to close it
            with suppress(Closed):
                self.run()
        return self._ident != get_ident() and self._over.wait(timeout)

    def _finish(self, error: BaseException | None) -> None:
        """The last words, as far as the sockets still take them."""
        loop = self.loop
        last, self._last = self._last, None
        if last is not None:
            last(error)
        loop.deliver()
        if error is None:  # else half a message may be in a socket
            with suppress(ZPatternsError):
                loop.pump.flush(monotonic())
                loop.deliver()

    def _refuse(self) -> None:
        """Calls that came too late for the last turn."""
        for action, _ in self.loop.withdraw():
            call = getattr(action, "__self__", None)
            if isinstance(call, _Call):
                call.fail(Closed(f"{self._name} was closed"))


def _readable(port: PortSocket) -> bool:
    return port.readable()


class _Call:
    """One call from another thread, and where that thread waits."""

    __slots__ = ("_action", "_arguments", "_claim", "begun", "error", "lock", "result")

    def __init__(self, action: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._action = action
        self._arguments = arguments
        self._claim = allocate_lock()  # whoever gets it decides whether the action runs
        self.begun = False
        self.lock = allocate_lock()
        self.lock.acquire()
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """On the loop."""
        if self._claim.acquire(False):
            self.begun = True
            try:
                self.result = self._action(*self._arguments)
            except Exception as error:  # noqa: BLE001  it belongs to whoever waits
                self.error = error
            self.lock.release()

    def fail(self, error: ZPatternsError) -> None:
        """The loop will not come to it."""
        if self._claim.acquire(False):
            self.error = error
            self.lock.release()

    def abandon(self) -> bool:
        """Nobody waits any more. True if it has ended after all."""
        self._claim.acquire(False)
        return self.lock.acquire(False)


_owners: WeakSet[Owner] = WeakSet()


def _at_exit() -> None:
    """The interpreter ends: daemon threads are frozen soon, so whoever has something to send does it now."""
    owners = [owner for owner in _owners if not owner.ended]
    for owner in owners:
        owner.stop(0)
    until = monotonic() + _EXIT
    for owner in owners:
        owner.stop(max(0.0, until - monotonic()))


atexit.register(_at_exit)
