"""The subscriber on the asyncio driver. Nothing here awaits libzmq, so no cancelled task can lose a message."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic
from typing import Any

from ..core.calls import Connection
from ..core.heard import Arrived, Gap, Ready
from ..core.intake import Chunk, Intake
from ..core.readiness import Waiter
from ..core.subscriber import Subscriber
from ..core.subscriptions import Subscription
from ..errors import Closed, ConfigurationError
from .aio import AsyncLoop
from .bulk import SubscriberPump

log: logging.Logger = logging.getLogger("zpatterns")


class AsyncSubscriber:
    """One subscriber on the running loop."""

    def __init__(
        self,
        machine: Subscriber,
        pump: SubscriberPump,
        on_gap: Callable[[Gap], None],
        on_connection: Callable[[int, bool, str], None],
    ) -> None:
        self.machine = machine
        self.closed: bool = False
        self.failed: bool = False
        self._on_gap = on_gap
        self._on_connection = on_connection
        self._loop = AsyncLoop(pump, self._deliver, self._broken)
        self.loop: asyncio.AbstractEventLoop = self._loop.loop

    def open(self, intake: Intake) -> None:
        """A reader begins."""
        self.machine.open(intake)

    def leave(self, intake: Intake) -> None:
        """A reader has gone; if it waits, it waits no longer."""
        intake.gone = True
        self._wake(intake)
        if not self.closed:
            self.machine.close(intake)
            self._loop.touched()

    def subscribe(self, subscription: Subscription) -> None:
        """Ask for more."""
        self.machine.subscribe(subscription, monotonic())
        self._loop.flush_now()

    def unsubscribe(self, subscriptions: list[Subscription]) -> None:
        """Ask for less."""
        for subscription in subscriptions:
            self.machine.unsubscribe(subscription)
        self._loop.flush_now()

    def take(self, intake: Intake) -> tuple[Chunk, int] | None:
        """A reader's next chunk, if there is one."""
        machine = self.machine
        paused = not machine.expects
        taken = intake.take(monotonic())
        if paused and machine.expects and not self.closed:
            self._loop.touched()  # there is room again: look at the sockets
        return taken

    async def wait(self, intake: Intake) -> None:
        """Until there may be something, or nothing comes any more."""
        before: asyncio.Future[None] | None = intake.application
        if before is not None and not before.done():  # one that was cancelled has only not heard of it yet
            raise ConfigurationError("another task waits for the next message already: each queue has one reader")
        waiting: asyncio.Future[None] = self.loop.create_future()
        intake.application = waiting
        try:
            await waiting
        finally:
            if intake.application is waiting:
                intake.application = None

    async def ready(self, publishers: int, timeout: float) -> list[tuple[str, ...]] | None:
        """The publishers that have shown, so many at every port, that all subscriptions are in place; None: not in time."""
        future: asyncio.Future[None] = self.loop.create_future()
        asked = Waiter(publishers, future)
        self.machine.ready(asked, monotonic())
        self._loop.flush_now()
        try:
            async with asyncio.timeout(timeout):
                await future
        except TimeoutError:
            return None
        finally:
            self.machine.give_up(asked)
        if self.closed:
            raise Closed("the subscriber is closed; make a new one")
        return asked.heard

    def interrupt(self, intake: Intake) -> None:
        """A reader that waits looks again."""
        self._wake(intake)

    def close(self) -> None:
        """Close the sockets; readers end. Idempotent."""
        if self.closed:
            return
        self.closed = True
        self._loop.close()
        if self.loop.is_closed():
            return
        for intake in self.machine.intakes:
            self._wake(intake)
        for asked in self.machine.readiness.waiters:
            if not asked.application.done():
                asked.application.set_result(None)

    def _broken(self) -> None:
        self.failed = True
        self.close()

    @staticmethod
    def _wake(intake: Intake) -> None:
        waiting: asyncio.Future[None] | None = intake.application
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def _deliver(self, event: Any) -> None:
        kind = event.__class__
        if kind is Arrived:
            self._wake(event.intake)
        elif kind is Ready:
            if not event.waiter.application.done():
                event.waiter.application.set_result(None)
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
