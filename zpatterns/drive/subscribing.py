"""The subscriber on the blocking driver: a thread reads eagerly into bounded queues, readers take from them."""

from __future__ import annotations

import logging
from _thread import LockType
from collections.abc import Callable
from contextlib import suppress
from math import ceil
from time import monotonic, sleep
from typing import Any

from ..core.calls import Connection
from ..core.heard import Arrived, Gap, Ready
from ..core.intake import Chunk, Intake
from ..core.readiness import Waiter
from ..core.subscriber import Subscriber
from ..core.subscriptions import Subscription
from ..errors import Closed, WrongThreadError
from .blocking import Loop
from .bulk import SubscriberPump
from .owner import Owner
from .relay import waiter

log: logging.Logger = logging.getLogger("zpatterns")
_MANY, _BREATH = 8, 0.001
"""After so many messages in one turn, the next turn comes so many seconds later: twice as many a second get through."""


class BlockingSubscriber:
    """One subscriber and its loop."""

    def __init__(
        self,
        machine: Subscriber,
        pump: SubscriberPump,
        on_gap: Callable[[Gap], None],
        on_connection: Callable[[int, bool, str], None],
    ) -> None:
        self.machine = machine
        self._on_gap = on_gap
        self._on_connection = on_connection
        self._loop = Loop(pump, self._deliver)
        self._owner = Owner(self._loop, "zpatterns-subscriber", last=self._last)
        self._lock = self._owner.lock
        self._rest, self._loop.rest = self._loop.rest, self._breathe
        self._received = 0
        self._owner.start()

    @property
    def closed(self) -> bool:
        """Whether nothing comes any more."""
        return self._owner.stopping

    @property
    def failed(self) -> bool:
        """Whether it ended without being asked to."""
        return self._failed

    _failed = False

    def _breathe(self, milliseconds: int) -> list[tuple[int, int]]:
        """Under load, read a little later and more at once: else the interpreter goes to and fro with every few messages."""
        received = self.machine.statistics.received
        many, self._received = received - self._received >= _MANY, received
        if many:
            self._lock.release()
            sleep(_BREATH)
            self._lock.acquire()
            at = self._loop.pump.wakes_at  # sooner than before, if somebody has subscribed meanwhile
            if at is not None:
                milliseconds = max(0, min(milliseconds, ceil((at - monotonic()) * 1000)))
        return self._rest(milliseconds)

    def open(self, intake: Intake) -> None:
        """A reader begins."""
        with self._lock:
            self._check()
            intake.application = waiter()
            self.machine.open(intake)

    def leave(self, intake: Intake) -> None:
        """A reader has gone; if it waits, it waits no longer."""
        with self._lock:
            intake.gone = True
            self._wake(intake)
            if not self._owner.stopping:
                self.machine.close(intake)
                self._owner.settle()

    def subscribe(self, subscription: Subscription) -> None:
        """Ask for more."""
        with self._lock:
            self._check()
            self.machine.subscribe(subscription, monotonic())
            self._owner.settle()

    def unsubscribe(self, subscriptions: list[Subscription]) -> None:
        """Ask for less."""
        with self._lock:
            self._check()
            for subscription in subscriptions:
                self.machine.unsubscribe(subscription)
            self._owner.settle()

    def check_wait(self) -> None:
        """Raises WrongThreadError in a callback of ours: what it would wait for comes when it has returned."""
        if self._owner.mine:
            raise WrongThreadError(
                "on_gap and on_connection cannot wait for messages or ready(): they come by the same thread. Wait elsewhere"
            )

    def take(self, intake: Intake, timeout: float | None) -> tuple[Chunk, int] | None:
        """A reader's next chunk; None: nothing came in time, or nothing comes any more."""
        deadline = None if timeout is None else monotonic() + timeout
        lock: LockType = intake.application
        while True:
            with self._lock:
                paused = self.machine.paused
                taken = intake.take(monotonic())
                if paused and not self.machine.paused:
                    self._loop.wake()
            if taken is not None or self._owner.stopping:
                return taken
            if deadline is None:
                lock.acquire()
            elif not lock.acquire(timeout=max(0.0, deadline - monotonic())):
                return None
            if intake.gone:
                return None

    def take_once(self, intake: Intake, enough: Callable[[], bool]) -> tuple[Chunk, int] | None:
        """As ``take``, and None as soon as anything happens that is no message, as a signal, or it is enough."""
        taken = self.take(intake, 0.0)
        if taken is None and not self._owner.stopping and not enough():  # its wake-up may be spent already
            intake.application.acquire()
            taken = self.take(intake, 0.0)
        return taken

    def ready(self, publishers: int, timeout: float) -> list[tuple[str, ...]] | None:
        """The publishers that have shown, so many at every port, that all subscriptions are in place; None: not in time."""
        self.check_wait()
        lock = waiter()
        asked = Waiter(publishers, lock)
        with self._lock:
            self._check()
            self.machine.ready(asked, monotonic())
            self._owner.settle()
        ready = lock.acquire(timeout=timeout)
        with self._lock:
            self._check()
            self.machine.give_up(asked)
        return asked.heard if ready else None

    def interrupt(self, intake: Intake) -> None:
        """From a signal handler: a reader that waits looks again."""
        self._wake(intake)

    def close(self) -> None:
        """Close the sockets; readers end. Idempotent."""
        self._owner.stop()

    def abandon(self) -> None:
        """Nobody holds it any more; the collector must not wait."""
        self._owner.stop(0.0)

    def _check(self) -> None:
        if self._owner.stopping:
            raise Closed("the subscriber is closed; make a new one")

    def _last(self, error: BaseException | None) -> None:
        self._failed = error is not None
        for intake in self.machine.intakes:
            self._wake(intake)
        for asked in self.machine.readiness.waiters:
            asked.application.release()

    @staticmethod
    def _wake(intake: Intake) -> None:
        lock: LockType = intake.application
        if lock.locked():
            with suppress(RuntimeError):  # somebody else was quicker
                lock.release()

    def _deliver(self, event: Any) -> None:
        kind = event.__class__
        if kind is Arrived:
            self._wake(event.intake)
        elif kind is Ready:
            event.waiter.application.release()
        elif kind is Gap:
            try:
                self._on_gap(event)
            except Exception:
                log.exception("on_gap raised")
        elif kind is Connection:
            try:
                self._on_connection(event.port, event.up, event.reason)
            except Exception:
                log.exception("on_connection raised")
