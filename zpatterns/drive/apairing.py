"""One end of a pair on the asyncio driver. Nothing here awaits libzmq, so no cancelled task can lose a message."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from math import inf
from time import monotonic
from typing import Any

from ..core.calls import Reopen
from ..core.machine import Frames
from ..core.pairing import Pairing, Received
from ..errors import Closed, PairRefused
from .aio import AsyncLoop
from .pairing import Outlook, PairPump

log: logging.Logger = logging.getLogger("zpatterns")


class Queue:
    """Tasks that wait for the same thing, the first to come in front."""

    def __init__(self) -> None:
        self._futures: deque[asyncio.Future[None]] = deque()

    async def wait(self, deadline: float) -> bool:
        """Until woken. False: it is too late."""
        left = deadline - monotonic()
        if left <= 0:
            return False
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._futures.append(future)
        timer = loop.call_later(left, _end, future) if left < inf else None
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.wake()  # it was woken for something that the next can have
            raise
        finally:
            if timer is not None:
                timer.cancel()
            if future in self._futures:
                self._futures.remove(future)
        return True

    def wake(self) -> None:
        """The first of them."""
        while self._futures:
            future = self._futures.popleft()
            if not future.done():
                future.set_result(None)
                return

    def wake_all(self) -> None:
        """All of them, to look again."""
        for _ in range(len(self._futures)):
            self.wake()


def _end(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class AsyncPairing:
    """As ``BlockingPairing``, on the running loop."""

    def __init__(self, machine: Pairing, pump: PairPump, outlook: Outlook, linger: float) -> None:
        self.machine = machine
        self.outlook = outlook
        self.inbox: deque[Received] = deque()
        self._linger = linger
        self._senders, self._readers, self._ended = Queue(), Queue(), Queue()
        self._entered = 0
        self._taken = 0
        self._read = 0
        pump.settled = self._settled
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._loop = AsyncLoop(pump, self._deliver, self._broken)  # which may deliver at once

    async def send(self, frames: Frames, deadline: float) -> None:
        """Hand one message over; wait while there is no peer, or no room."""
        outlook, machine = self.outlook, self.machine
        while True:
            failure = outlook.futile()
            if failure is not None:
                raise failure
            if machine.paired and self._entered - self._taken < outlook.mark:
                break
            if not await self._senders.wait(deadline):
                raise outlook.full() if machine.paired else outlook.nobody()
        self._entered += 1
        machine.send(frames)
        self._loop.touched()

    async def receive(self, deadline: float, *, iterating: float = 0.0) -> Received | None:
        """As ``BlockingPairing.receive``."""
        outlook, machine = self.outlook, self.machine
        while outlook.closed or not self.inbox:
            if iterating and (outlook.closed or outlook.farewell or machine.over):
                return None
            failure = outlook.futile()
            if failure is not None:
                raise failure
            paired, peers = machine.paired, machine.statistics.peers
            if not await self._readers.wait(inf if iterating and paired else deadline):
                raise outlook.nothing()
            if iterating and (paired or peers != machine.statistics.peers):
                deadline = monotonic() + iterating
        message = self.inbox.popleft()
        self._read += 1
        if 2 * self._read >= outlook.mark and not outlook.closed:
            self.machine.read(self._read)
            self._read = 0
            self._loop.touched()
        return message

    async def ready(self, deadline: float) -> None:
        """Wait for a peer."""
        while not self.machine.paired:
            failure = self.outlook.futile()
            if failure is not None and not isinstance(failure, PairRefused):
                raise failure
            if not await self._ended.wait(deadline):
                raise failure or self.outlook.nobody()

    async def close(self) -> None:
        """Say farewell and wait, at most ``linger``, until the peer has read everything."""
        machine, until = self.machine, monotonic() + self._linger
        try:
            while machine.paired and machine.queue and not self.outlook.closed:
                if not await self._ended.wait(until):
                    break
            if not self.outlook.closed:
                self._say_farewell()
            while not machine.answered:
                if not await self._ended.wait(until):
                    break
        finally:
            self.close_now()

    def close_now(self) -> None:
        """Close the sockets; waits for nobody. Idempotent."""
        if not self.machine.closed:
            self._say_farewell()
        self._loop.close()

    def _say_farewell(self) -> None:
        self.outlook.closed = True
        self._flush()  # what was sent a moment ago
        self.machine.close()
        if self.machine.statistics.unsent:
            log.warning("%s: %d messages were never sent", self.outlook.name, self.machine.statistics.unsent)
        self._flush()
        self._wake_all()

    def _flush(self) -> None:
        try:
            if self.loop.is_closed():  # nothing is heard any more; but to speak needs no loop
                self._loop.pump.flush(monotonic())
            else:
                self._loop.flush()
        except Closed as error:
            log.debug("closing: %s", error)  # the context was terminated: nothing goes out any more

    def _deliver(self, event: Any) -> None:
        if isinstance(event, Received):
            self.inbox.append(event)
            self._readers.wake()
        elif isinstance(event, Reopen):
            self._loop.reopen(event.port)
        else:
            self.outlook.hear(event)
            self._wake_all()

    def _settled(self, taken: int) -> None:
        if taken != self._taken and not self.loop.is_closed():
            for _ in range(taken - self._taken):
                self._senders.wake()
            self._taken = taken
            if not self.machine.queue:
                self._ended.wake_all()

    def _broken(self) -> None:
        """The context was terminated under us."""
        self.close_now()

    def _wake_all(self) -> None:
        if not self.loop.is_closed():
            for queue in (self._senders, self._readers, self._ended):
                queue.wake_all()
