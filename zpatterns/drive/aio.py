"""The asyncio driver: the socket's file descriptor with ``add_reader``, drained in bounded batches. Not zmq.asyncio.

The descriptor is edge-triggered, and any call on the socket may take the edge (pyzmq #1021, #2173), so EVENTS are
asked again after every receive and send, and once a second in any case. No user ``await`` ever sits on libzmq:
a cancelled task can lose no message.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from time import monotonic
from typing import Any

from ..core.machine import Machine
from ..errors import Closed, ConfigurationError
from .pump import Pump

_TICK = 1.0
_SHARE = 32
"""Requests answered before their replies are sent, when many came at once, so that the peer works while we do the rest:
1.4x at 64 in flight. On one core nobody can, and two messages for one cost a tenth."""
_ALL = 2**31


def _cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class AsyncLoop:
    """A pump on an event loop. Everything runs in callbacks of that loop; nothing here awaits."""

    def __init__(
        self,
        pump: Pump,
        deliver: Callable[[Any], None],
        broken: Callable[[], None],
        settle: Callable[[], None] | None = None,
    ) -> None:
        self.pump = pump
        self._broken = broken
        self._settle = settle
        self._share = _SHARE if _cores() > 1 else _ALL
        self.machine: Machine = pump.machine
        self._deliver = deliver
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._readers: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self.flushing: bool = False
        self._turning = False
        self._closed = False
        try:
            self._watch()
        except NotImplementedError as error:
            raise ConfigurationError(
                f"{type(self.loop).__name__} has no add_reader, which zpatterns.asyncio needs; on Windows use "
                "asyncio.Runner(loop_factory=asyncio.SelectorEventLoop), elsewhere the default loop or uvloop"
            ) from error
        for port in range(len(pump.ports)):
            self._links(port)
        self._tick()

    def _watch(self) -> None:
        for index, port in enumerate(self.pump.ports):
            socket, monitor = port.descriptors()
            if socket is None:
                port.notify = self._notifier(index)
            else:
                self._add(socket, self._ready, index)
            if monitor is not None:
                self._add(monitor, self._links, index)

    def _notifier(self, index: int) -> Callable[[], None]:
        def notify() -> None:
            self.loop.call_soon_threadsafe(self._ready, index)

        return notify

    def _add(self, descriptor: int, callback: Callable[[int], None], index: int) -> None:
        self.loop.add_reader(descriptor, callback, index)
        self._readers.append(descriptor)

    def soon(self, flush: Callable[[], None]) -> None:
        """Flush at the end of this tick, once: what several tasks start in one tick travels together."""
        if not self.flushing:
            self.flushing = True
            self.loop.call_soon(self._flush_later, flush)

    def _flush_later(self, flush: Callable[[], None]) -> None:
        self.flushing = False
        if not self._closed:
            try:
                flush()
            except Closed:
                self._broken()

    def flush_now(self) -> None:
        """Not at the end of the tick."""
        try:
            self.flush()
        except Closed:
            self._broken()

    def flush(self) -> None:
        """The application did something: send what came of it, and look again at the sockets, whose edge that took."""
        pump = self.pump
        if self._settle is not None:
            self.hand_over()
        pump.flush(monotonic())
        if self.machine.events:
            self.hand_over()
        for index, port in enumerate(pump.ports):
            if port.readable() or (index in pump.full and port.writable()):
                self.loop.call_soon(self._ready, index)
        self._arm()

    def _ready(self, index: int) -> None:
        """A socket may have something: read, hand over, send what came of it, until there is no more."""
        if self._closed:
            return
        pump = self.pump
        try:
            if pump.full:
                pump.writable(index)
            now = monotonic()
            more = pump.drain(index, now)
            sent = self.hand_over()
            sent = pump.flush(now) or sent
            if self.machine.events:  # a flush may end calls, too
                self.hand_over()
            full = index in pump.full
            if more or (sent and (pump.ports[index].readable() or (full and pump.ports[index].writable()))):
                self.loop.call_soon(self._ready, index)
            self._arm()
        except Closed:  # the context was terminated under us
            self._broken()

    def _links(self, index: int) -> None:
        if self._closed:
            return
        try:
            self.pump.links(index)
            self.hand_over()
            self.flush()
        except Closed:
            self._broken()

    def touched(self) -> None:
        """The machine has something new to send, maybe from within a turn, which sends it by itself."""
        if not self._turning:
            self.soon(self.flush)

    def hand_over(self) -> bool:
        """Give events to the application, and the work that became possible by it, until there is none.

        True if replies went out meanwhile.
        """
        sent = False
        machine, deliver, settle = self.machine, self._deliver, self._settle
        events = machine.events
        if settle is None:
            while events:
                deliver(events.popleft())
            return sent
        self._turning = True
        try:
            while True:
                machine.dispatch(monotonic())
                if not events:
                    break
                while events:
                    for _ in range(min(self._share, len(events))):
                        deliver(events.popleft())
                    settle()
                    if events:  # what is ready goes out now, so that the peer works while we do
                        sent = self.pump.flush(monotonic()) or sent
        finally:
            self._turning = False
        return sent

    def _arm(self) -> None:
        at = self.pump.wakes_at
        if at is not None and at < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = at
            # loop.time() is another monotonic clock than ours under some loops: give the distance, not the instant
            self._timer = self.loop.call_later(max(0.0, at - monotonic()) + 0.0005, self._wake)

    def _wake(self) -> None:
        self._timer, self._timer_at = None, float("inf")
        if self._closed:
            return
        try:
            self._take_time(monotonic())
        except Closed:
            self._broken()

    def _take_time(self, now: float) -> None:
        for index in range(len(self.pump.ports)):
            self.pump.drain(index, now)  # what has come in wins over what has run out
        if self.pump.reopens:
            self._unwatch()
            self.pump.wake()
            self._watch()
            for index in range(len(self.pump.ports)):
                self.loop.call_soon(self._links, index)
        else:
            self.pump.wake()
        self.hand_over()
        self.flush()

    def _tick(self) -> None:
        """The safety net under the edge-triggered descriptors."""
        if self._closed:
            return
        for index in range(len(self.pump.ports)):
            self._links(index)
            self._ready(index)
        self._ticker = self.loop.call_later(_TICK, self._tick)

    def reopen(self, port: int) -> None:
        """The machine asked for a fresh socket."""
        self._unwatch()
        self.pump.reopen(port)
        self._watch()
        self.loop.call_soon(self._links, port)

    def _unwatch(self) -> None:
        for descriptor in self._readers:
            self.loop.remove_reader(descriptor)
        self._readers.clear()

    def close(self, linger: float | None = None) -> None:
        """Close the sockets; callbacks that are still scheduled do nothing."""
        if self._closed:
            return
        self._closed = True
        if not self.loop.is_closed():
            self._unwatch()
            self._ticker.cancel()
            if self._timer is not None:
                self._timer.cancel()
        self.pump.close(linger)
