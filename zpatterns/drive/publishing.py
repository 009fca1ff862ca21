"""The publisher on the blocking driver: whoever publishes sends at once, under a lock; a thread hears subscribers and beats."""

from __future__ import annotations

import logging
from _thread import LockType
from collections.abc import Callable, Iterable, Sequence
from time import monotonic, sleep
from typing import Any

from ..core.audience import Awaited
from ..core.machine import Frame, Frames
from ..core.publisher import RETRY, Enough, Publisher
from ..errors import Closed, Overloaded, RequestTimeout
from .blocking import Loop
from .fan import Xpub
from .owner import Owner
from .pump import Pump
from .relay import waiter

log: logging.Logger = logging.getLogger("zpatterns")
_LOOK = 0.0005
"""Seconds between two looks for subscribers while we publish: sending takes the edge of the descriptor only when libzmq
looks at its commands, and in a send it does that once in 3 million ticks of the processor (its max_command_delay)."""


class BlockingPublisher:
    """One publisher and its loop."""

    def __init__(self, machine: Publisher, pump: Pump, port: Xpub, *, patience: float, blocks: bool) -> None:
        self.machine = machine
        self._blocks = blocks
        self._looked_at = 0.0
        self._pump = pump
        self._port = port
        port.waits = True
        self._patience = patience
        self._loop = Loop(pump, self._deliver)
        self._owner = Owner(self._loop, "zpatterns-publisher", last=self._last, at_exit=True)
        self._lock = self._owner.lock
        self._owner.start()

    @property
    def closed(self) -> bool:
        """Whether nothing can be published any more."""
        return self._owner.stopping

    def publish(self, topic: bytes, codec: int, payload: bytes, buffers: Sequence[Frame]) -> None:
        """One typed message, now."""
        with self._lock:
            if self._owner.stopping:
                raise _closed()
            now = monotonic()
            if buffers or self._blocks:
                self.machine.publish(topic, codec, payload, buffers, now)
                self._send(now)
                return
            self._port.send(self.machine.publish_one(topic, codec, payload, now))
            if now - self._looked_at > _LOOK:
                self._look(now)

    def publish_many(self, topic: bytes, codec: int, encoded: Sequence[tuple[bytes, Sequence[Frame]]]) -> None:
        """Messages that share frames; where they are waited for, one after the other."""
        with self._lock:
            if self._owner.stopping:
                raise _closed()
            now = monotonic()
            machine = self.machine
            left = of = len(encoded)
            for payload, buffers in encoded:
                try:
                    machine.publish(topic, codec, payload, buffers, now)
                except Overloaded as error:
                    raise Overloaded(f"{error}: {unsent(left, of)}") from error
                if machine.outbox or machine.blocked:
                    self._send(now, left, of)
                    now = monotonic()
                left -= 1
            if not self._blocks:
                self._send(now)

    def publish_lists(self, topic: bytes, codec: int, lists: Iterable[tuple[bytes, int]]) -> None:
        """The same where each so many are encoded as one array."""
        with self._lock:
            if self._owner.stopping:
                raise _closed()
            now = monotonic()
            for payload, count in lists:
                self.machine.publish_list(topic, codec, payload, count, now)
            self._send(now)

    def publish_plain(self, frames: Frames) -> None:
        """Frames as they are, now."""
        with self._lock:
            if self._owner.stopping:
                raise _closed()
            now = monotonic()
            self.machine.publish_plain(frames, now)
            self._send(now)

    def _send(self, now: float, left: int = 1, of: int = 1) -> None:
        machine = self.machine
        self._pump.flush(now)
        if machine.blocked:
            self._wait(machine.ticket, now + self._patience, left, of)
        self._look(now)

    def _look(self, now: float) -> None:
        self._looked_at = now
        if self._port.readable():
            self._loop.wake()  # subscribers have come or gone, and our sending took the edge

    def _wait(self, ticket: int, deadline: float, left: int, of: int) -> None:
        """The slowest subscriber has no room."""
        machine = self.machine
        while machine.waits(ticket):
            now = monotonic()
            if self._owner.stopping or now >= deadline:
                machine.withdraw(ticket, ticket)
                raise gone(left, of) if self._owner.stopping else overloaded(self._patience, left, of)
            self._lock.release()
            try:
                sleep(min(RETRY, deadline - now))
            finally:
                self._lock.acquire()
            if not self._owner.stopping:
                now = monotonic()
                machine.wake(now)
                self._pump.flush(now)

    def wait(self, expects: Callable[[bytes], bool], count: int, timeout: float) -> int:
        """Until so many subscriptions are there; how many there are. Raises RequestTimeout with what there was."""
        lock = waiter()
        awaited = Awaited(expects, count, lock)
        with self._lock:
            if self._owner.stopping:
                raise _closed()
            there = self.machine.wait(awaited)
        if not there and not lock.acquire(timeout=timeout):
            with self._lock:
                self.machine.audience.give_up(awaited)
                there_are = self.machine.audience.count(expects)
            raise RequestTimeout(f"{there_are} of {count} subscriptions within {timeout} s", sent=False)
        with self._lock:
            if self._owner.stopping:
                raise _closed()
            return self.machine.audience.count(expects)

    def close(self, linger: float) -> None:
        """Send the last sequences, and wait until everything has gone out, at most ``linger`` seconds."""
        self._owner.stop(linger + 2.0)

    def abandon(self) -> None:
        """Nobody holds it any more; the collector must not wait."""
        self._owner.stop(0.0)

    def _last(self, error: BaseException | None) -> None:
        if error is None:
            self.machine.close(monotonic())
        for awaited in self.machine.audience.waiting:
            _release(awaited.application)

    def _deliver(self, event: Any) -> None:
        if event.__class__ is Enough:
            _release(event.awaited.application)


def _release(lock: LockType) -> None:
    if lock.locked():
        lock.release()


def unsent(left: int, of: int) -> str:
    """What became of the last so many of what was to be published."""
    return "the message was not sent" if of == 1 else f"{left} of {of} messages were not sent"


def overloaded(patience: float, left: int, of: int) -> Overloaded:
    """There was no room in time."""
    return Overloaded(
        f"a subscriber had no room within {patience} s: {unsent(left, of)}. With Overflow.BLOCK the slowest subscriber holds up "
        "all; give it more time, or publish less"
    )


def gone(left: int, of: int) -> Closed:
    """It was closed while a message waited for room."""
    return Closed(f"the publisher was closed, and a subscriber had no room: {unsent(left, of)}")


def _closed() -> Closed:
    return Closed("the publisher is closed; make a new one")
