"""The publisher on the asyncio driver: what one tick publishes goes out at its end, together where it may."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from functools import partial
from time import monotonic
from typing import Any

from ..core.audience import Awaited
from ..core.machine import Frame, Frames
from ..core.publisher import Enough, Publisher
from ..errors import Closed, RequestTimeout
from .aio import AsyncLoop
from .fan import Xpub
from .publishing import gone, overloaded
from .pump import Pump

log: logging.Logger = logging.getLogger("zpatterns")
_TICKFUL = 1024
"""Messages after which a tick that goes on publishing sends them, and whoever awaits ``publish`` lets the loop turn."""


class Turn:
    """Awaitable, and over in the next turn of the loop."""

    def __await__(self) -> Generator[None, None, None]:
        yield


TURN = Turn()


class AsyncPublisher:
    """One publisher on the running loop."""

    def __init__(self, machine: Publisher, pump: Pump, port: Xpub, *, patience: float) -> None:
        self.machine = machine
        self.closed: bool = False
        self._port = port
        self._patience = patience
        self._ticking = False
        """The end of this tick is still to come."""
        self._sent = 0
        """Messages that were published when the last ones were sent."""
        self._now = 0.0
        self._loop = AsyncLoop(pump, self._deliver, self._broken)
        self.loop: asyncio.AbstractEventLoop = self._loop.loop
        self.join: Callable[[bytes, int, bytes], bool] = machine.join
        """For the next of several messages: whether it goes with those of this tick, and nothing is left to do but that."""
        self.done: asyncio.Future[None] = self.loop.create_future()
        """What ``publish`` returns when there is nothing to wait for. Awaiting a future that is done costs least."""
        self.done.set_result(None)

    def publish(
        self, topic: bytes, codec: int, payload: bytes, buffers: Sequence[Frame], blocks: bool
    ) -> Awaitable[None]:
        """One typed message, with the others of this tick."""
        self._begin()
        self.machine.publish(topic, codec, payload, buffers, self._now)
        return self._blocking(self.machine.ticket) if blocks else self._turn()

    def publish_many(
        self, topic: bytes, codec: int, encoded: Sequence[tuple[bytes, Sequence[Frame]]], blocks: bool
    ) -> Awaitable[None]:
        """Messages that share frames. If not all of them may wait, none is published."""
        self.machine.admit(len(encoded))
        self._begin()
        now, publish = self._now, self.machine.publish
        first = self.machine.ticket + 1
        for payload, buffers in encoded:
            publish(topic, codec, payload, buffers, now)
        return self._blocking(first) if blocks else self._turn()

    def publish_lists(self, topic: bytes, codec: int, lists: Iterable[tuple[bytes, int]]) -> Awaitable[None]:
        """The same where each so many are encoded as one array."""
        self._begin()
        for payload, count in lists:
            self.machine.publish_list(topic, codec, payload, count, self._now)
        return self._turn()

    def publish_plain(self, frames: Frames, blocks: bool) -> Awaitable[None]:
        """Frames as they are."""
        self._begin()
        self.machine.publish_plain(frames, self._now)
        return self._blocking(self.machine.ticket) if blocks else self._turn()

    def _begin(self) -> None:
        """The first of a tick has what is published sent at its end."""
        if not self._ticking:
            self._ticking = True
            self._now = monotonic()
            self.loop.call_soon(self._tick)

    def _turn(self) -> Awaitable[None]:
        if self.machine.statistics.published - self._sent < _TICKFUL:
            return self.done
        self._flush()
        return TURN

    def _tick(self) -> None:
        self._ticking = False
        self._flush()

    def _flush(self) -> None:
        self._now = monotonic()
        if not self.closed:
            self._loop.flush_now()
        self._sent = self.machine.statistics.published

    def _blocking(self, first: int) -> Awaitable[None]:
        self._flush()
        last = self.machine.ticket
        if not self.machine.waits(last):
            return self.done
        waiting = self.loop.create_task(self._wait(first, last))
        waiting.add_done_callback(partial(self._waited, first, last))
        return waiting

    async def _wait(self, first: int, last: int) -> None:
        """The slowest subscriber has no room for these."""
        deadline = monotonic() + self._patience
        while self.machine.waits(last):
            if self.closed or monotonic() >= deadline:
                left, of = self.machine.withdraw(first, last), last - first + 1
                raise gone(left, of) if self.closed else overloaded(self._patience, left, of)
            await asyncio.sleep(0.002)  # the machine tries again by itself; this only looks

    def _waited(self, first: int, last: int, waiting: asyncio.Task[None]) -> None:
        if waiting.cancelled():  # maybe before it had begun; whoever cancels does not expect that it goes out later
            self.machine.withdraw(first, last)

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
                    f"{audience.count(expects)} of {count} subscriptions within {timeout} s", sent=False
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

    def release(self) -> None:
        """Close without waiting for anything. Idempotent."""
        self.shut()
        self._port.leave()

    def _broken(self) -> None:
        self.closed = True
        self.machine.end_run(monotonic())  # nothing joins what will not be sent
        self._loop.close()
        for awaited in self.machine.audience.waiting:
            if not self.loop.is_closed() and not awaited.application.done():
                awaited.application.set_result(None)

    def _deliver(self, event: Any) -> None:
        if event.__class__ is Enough and not event.awaited.application.done():
            event.awaited.application.set_result(None)
