"""The publisher on the asyncio driver: what one tick publishes goes out at its end, together where it may."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator, Iterable, Sequence
from time import monotonic
from typing import Any

from ..core.audience import Awaited
from ..core.machine import Frame, Frames
from ..core.publisher import Enough, Publisher
from ..errors import Closed, Overloaded, RequestTimeout
from .aio import AsyncLoop
from .fan import Xpub
from .pump import Pump

log: logging.Logger = logging.getLogger("zpatterns")
_TICKFUL = 1024
"""Messages after which a tick that goes on publishing sends them, and whoever awaits ``publish`` lets the loop turn."""


class Done:
    """Awaitable, and over already."""

    def __await__(self) -> Generator[None, None, None]:
        return iter(())  # type: ignore[return-value]


class Turn:
    """Awaitable, and over in the next turn of the loop."""

    def __await__(self) -> Generator[None, None, None]:
        yield


DONE = Done()
TURN = Turn()


class AsyncPublisher:
    """One publisher on the running loop."""

    def __init__(self, machine: Publisher, pump: Pump, port: Xpub, *, patience: float) -> None:
        self.machine = machine
        self.closed: bool = False
        self._port = port
        self._patience = patience
        self._burst = 0
        """Messages of this tick, or since it sent some."""
        self._now = 0.0
        self._loop = AsyncLoop(pump, self._deliver, self._broken)
        self.loop: asyncio.AbstractEventLoop = self._loop.loop

    def publish(
        self, topic: bytes, codec: int, payload: bytes, buffers: Sequence[Frame], blocks: bool
    ) -> Done | Turn | asyncio.Task[None]:
        """One typed message, with the others of this tick."""
        burst = self._burst
        if not burst:
            self._now = monotonic()
            self.loop.call_soon(self._tick)
        self._burst = burst + 1
        self.machine.publish(topic, codec, payload, buffers, self._now)
        if blocks:
            return self._blocking()
        if burst >= _TICKFUL:
            self._flush()
            return TURN
        return DONE

    def publish_many(
        self, topic: bytes, codec: int, encoded: Iterable[tuple[bytes, Sequence[Frame]]], blocks: bool
    ) -> Done | Turn | asyncio.Task[None]:
        """Messages that share frames."""
        self._begin()
        now, publish = self._now, self.machine.publish
        count = 0
        for payload, buffers in encoded:
            publish(topic, codec, payload, buffers, now)
            count += 1
        self._burst += count
        return self._blocking() if blocks else self._sent()

    def publish_plain(self, frames: Frames, blocks: bool) -> Done | Turn | asyncio.Task[None]:
        """Frames as they are."""
        self._begin()
        self.machine.publish_plain(frames, self._now)
        self._burst += 1
        return self._blocking() if blocks else self._sent()

    def _begin(self) -> None:
        """The first of a tick has what is published sent at its end."""
        if not self._burst:
            self._now = monotonic()
            self.loop.call_soon(self._tick)

    def _sent(self) -> Done | Turn:
        if self._burst >= _TICKFUL:
            self._flush()
            return TURN
        return DONE

    def _tick(self) -> None:
        self._flush()
        self._burst = 0

    def _flush(self) -> None:
        self._burst = 1  # the end of the tick is still to come
        self._now = monotonic()
        if not self.closed:
            self._loop.flush_now()

    def _blocking(self) -> Done | asyncio.Task[None]:
        self._flush()
        ticket = self.machine.ticket
        if not self.machine.waits(ticket):
            return DONE
        return self.loop.create_task(self._wait(ticket))

    async def _wait(self, ticket: int) -> None:
        """The slowest subscriber has no room."""
        deadline = monotonic() + self._patience
        while self.machine.waits(ticket) and not self.closed:
            if monotonic() >= deadline:
                self.machine.withdraw(ticket)
                raise Overloaded(
                    f"a subscriber had no room within {self._patience} s: the message was not sent. With Overflow.BLOCK the "
                    "slowest subscriber holds up all; give it more time, or publish less"
                )
            await asyncio.sleep(0.002)  # the machine tries again by itself; this only looks

    async def wait(self, expects: Any, count: int, timeout: float) -> int:
        """Until so many subscriptions are there; how many there are. Raises RequestTimeout with what there was."""
        future: asyncio.Future[None] = self.loop.create_future()
        awaited = Awaited(expects, count, future)
        audience = self.machine.audience
        if not self.machine.wait(awaited):
            try:
                async with asyncio.timeout(timeout):
                    await future
            except TimeoutError:
                raise RequestTimeout(
                    f"{audience.count(expects)} of {count} subscribers within {timeout} s", sent=False
                ) from None
            finally:
                audience.give_up(awaited)
        if self.closed:
            raise Closed("the publisher is closed; make a new one")
        return audience.count(expects)

    async def close(self, linger: float) -> None:
        """Send the last sequences, and wait until everything has gone out, at most ``linger`` seconds."""
        self.shut()
        until = monotonic() + linger
        try:
            while not self._port.parted(0.0) and monotonic() < until:  # noqa: ASYNC110  only its monitor tells
                await asyncio.sleep(0.001)
        finally:
            self._port.leave()

    def shut(self) -> None:
        """The same without waiting. Idempotent."""
        if self.closed:
            return
        self.machine.close(monotonic())
        try:
            if not self.loop.is_closed():
                self._loop.flush()
        except Closed as error:
            log.debug("closing: %s", error)  # the context was terminated: nothing goes out any more
        self._broken()

    def abandon(self) -> None:
        """Nobody holds it any more: on whatever thread the collector ran."""
        if self.loop.is_running() and asyncio._get_running_loop() is not self.loop:
            try:
                self.loop.call_soon_threadsafe(self.shut)
            except RuntimeError:  # the loop was closed just now
                return
        else:
            self.shut()
            self._port.leave()

    def _broken(self) -> None:
        self.closed = True
        self._loop.close()
        for awaited in self.machine.audience.waiting:
            if not self.loop.is_closed() and not awaited.application.done():
                awaited.application.set_result(None)

    def _deliver(self, event: Any) -> None:
        if event.__class__ is Enough and not event.awaited.application.done():
            event.awaited.application.set_result(None)
