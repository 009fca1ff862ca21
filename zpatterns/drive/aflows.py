"""PUSH and PULL on the asyncio driver: nothing here awaits libzmq, so no cancelled task can lose an item."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from ..core.flow import Inflow, Outflow
from ..core.machine import Frame, Frames
from ..errors import DecodeError
from ..policy import Limits
from .aio import AsyncLoop
from .flows import PULL, PUSH, Pipe
from .pump import Pump

log: logging.Logger = logging.getLogger("zpatterns")
_NOWHERE = object()


class _Waiting:
    """Tasks that wait for something to change."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.closed: bool = False
        self._waiters: list[asyncio.Future[None]] = []

    async def until(self, condition: Callable[[], bool], timeout: float | None) -> bool:
        """False when it is closed, or the condition does not come true in time."""
        over = None if timeout is None else self.loop.time() + timeout
        while not self.closed:
            if condition():
                return True
            waiter = self.loop.create_future()
            self._waiters.append(waiter)
            try:
                if over is None:
                    await waiter
                else:
                    async with asyncio.timeout_at(over):
                        await waiter
            except TimeoutError:
                return condition()
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        return False

    def changed(self) -> None:
        """Have all of them look again."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


class AsyncOutflow:
    """One PUSH on the running loop."""

    def __init__(self, batch: int, open_: Callable[[int], Pipe], limits: Limits) -> None:
        self.machine: Outflow = Outflow(batch)
        self._pipe = open_(PUSH)
        self.address: str = self._pipe.address
        self._waiting = _Waiting()
        self.loop: asyncio.AbstractEventLoop = self._waiting.loop
        self.home: object = self.loop
        """The loop it may be used on; nothing once it is closed."""
        self._loop = AsyncLoop(_Telling(self.machine, self._pipe, limits, self._waiting), _nothing, self.close)

    def put(self, codec: int, payload: Frame, buffers: Frames) -> None:
        """One typed item that travels alone."""
        self.machine.put(codec, payload, buffers)
        if not self._loop.flushing:
            self._loop.soon(self._loop.flush)

    def put_small(self, codec: int, payload: bytes) -> None:
        """One typed item: with the others of this tick."""
        self.machine.put_small(codec, payload)
        if not self._loop.flushing:
            self._loop.soon(self._loop.flush)

    def put_many(self, codec: int, payloads: list[bytes]) -> None:
        """Small typed items."""
        self.machine.put_many(codec, payloads)
        if not self._loop.flushing:
            self._loop.soon(self._loop.flush)

    def put_list(self, payload: bytes, count: int) -> None:
        """Items that are one array already."""
        self.machine.put_list(payload, count)
        if not self._loop.flushing:
            self._loop.soon(self._loop.flush)

    def put_bare(self, frames: Frames) -> None:
        """One bare message."""
        self.machine.put_bare(frames)
        if not self._loop.flushing:
            self._loop.soon(self._loop.flush)

    def flush(self) -> None:
        """Now."""
        if not self.closed:
            self._loop.flush_now()

    async def wait_below(self, most: int, timeout: float) -> bool:
        """Until fewer items wait; False when it is closed or the time is over."""
        return await self._waiting.until(lambda: self.machine.waiting < most, timeout)

    @property
    def closed(self) -> bool:
        """Whether it was closed, or its context terminated."""
        return self._waiting.closed

    def close(self) -> None:
        """Close the socket; what it would not take is given up. Idempotent."""
        if not self._waiting.closed:
            self._waiting.closed = True
            self.home = _NOWHERE
            self._loop.close()
            self.machine.close()
            if self.machine.statistics.unsent:
                log.warning("the Push at %s: %d items were never sent", self.address, self.machine.statistics.unsent)
            self._waiting.changed()


class AsyncInflow:
    """One PULL on the running loop; it stops reading while ``limits.queue`` messages wait to be taken."""

    def __init__(self, open_: Callable[[int], Pipe], limits: Limits, *, bare: bool) -> None:
        self.machine: Inflow = Inflow(bare=bare)
        self._pipe = open_(PULL)
        self.address: str = self._pipe.address
        self._most = limits.queue
        self._waiting = _Waiting()
        self.loop: asyncio.AbstractEventLoop = self._waiting.loop
        self.home: object = self.loop
        """The loop it may be used on; nothing once it is closed."""
        self._loop = AsyncLoop(_Filling(self.machine, self._pipe, limits, self._waiting), _nothing, self.close)

    def take(self) -> tuple[int, list[Frame], Frames] | DecodeError | None:
        """What came in with one message, or None."""
        machine = self.machine
        if not machine.chunks:
            return None
        machine.waiting -= 1
        if self._pipe.paused and machine.waiting * 2 < self._most:
            self._pipe.paused = False
            self._loop.soon(self._loop.flush)  # which looks at the socket again
        return machine.chunks.popleft()

    async def wait(self, timeout: float | None) -> bool:
        """Until something has come in; False when it is closed or the time is over."""
        return await self._waiting.until(lambda: bool(self.machine.chunks), timeout)

    @property
    def closed(self) -> bool:
        """Whether it was closed, or its context terminated."""
        return self._waiting.closed

    def close(self) -> None:
        """Close the socket. Idempotent."""
        if not self._waiting.closed:
            self._waiting.closed = True
            self.home = _NOWHERE
            self.machine.chunks.clear()
            self._loop.close(0)
            self._waiting.changed()


class _Telling(Pump):
    """A pump that says when something was taken."""

    def __init__(self, machine: Outflow, pipe: Pipe, limits: Limits, waiting: _Waiting) -> None:
        super().__init__(machine, [pipe], limits)
        self._outflow = machine
        self._waiting = waiting

    def flush(self, now: float) -> bool:
        machine = self._outflow
        machine.flush(now)
        outbox = machine.outbox
        if not outbox:
            return False
        send = self.ports[0].send
        while outbox:
            _, frames, token = outbox[0]
            outcome = send(frames)  # if it raises Closed, the message is still there, and is counted
            outbox.popleft()
            if outcome is not None:
                self.full.add(0)
                machine.sent(token, outcome, now)
        if self._waiting._waiters:
            self._waiting.changed()
        return True


class _Filling(Pump):
    """A pump that says when something has come in, and stops when too much has."""

    def __init__(self, machine: Inflow, pipe: Pipe, limits: Limits, waiting: _Waiting) -> None:
        super().__init__(machine, [pipe], limits)
        self._most = limits.queue
        self._inflow = machine
        self._pipe = pipe
        self._waiting = waiting
        self._drain = min(self._drain, limits.queue)

    def drain(self, port: int, now: float, frames: Frames | None = None) -> bool:
        more = super().drain(port, now, frames)
        machine = self._inflow
        if machine.waiting >= self._most:
            self._pipe.paused = True
        if machine.chunks:
            self._waiting.changed()
        return more


def _nothing(_: Any) -> None:
    """Neither machine has events."""
