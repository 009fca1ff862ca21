"""How a subscriber knows that its subscriptions are in place: it subscribes to a fresh nonce, which publishers echo.

A connection keeps the order, forwarders in between included, so whatever was subscribed before the nonce is in place at a
publisher that echoes it. A plain PUB does not echo: then nobody can know.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..wire.published import NONCE_TOPIC

FIRST_RETRY, LONGEST_RETRY = 0.1, 1.0
"""Seconds until a nonce is given up for a fresh one: its echo may have been dropped by a queue that was full."""
TRIES = 5
"""Nonces nobody echoed, after which we stop asking unless somebody waits: the publisher is not one of ours."""
_NEVER = float("inf")


class Probe:
    """One port: the nonce it asks with, and who has answered in this round."""

    __slots__ = ("heard", "interval", "nonce", "number", "retry_at", "round", "tries")

    def __init__(self) -> None:
        self.nonce: bytes | None = None
        self.number: int = 0
        """Subscriptions up to this one were sent before the nonce."""
        self.round: int = 0
        self.heard: set[bytes] = set()
        self.tries: int = 0
        self.interval: float = FIRST_RETRY
        self.retry_at: float = _NEVER


class Waiter:
    """Somebody waits until ``publishers`` of them have answered at every port."""

    __slots__ = ("application", "heard", "publishers", "round")

    def __init__(self, publishers: int, application: Any) -> None:
        self.publishers: int = publishers
        self.application: Any = application
        self.round: int = 0
        self.heard: list[tuple[str, ...]] = []
        """When it is satisfied: the incarnations that have answered, in hex, port by port."""


class Readiness:
    """The probes of all ports. ``subscribe(port, topic, yes)`` is how it changes subscriptions."""

    def __init__(self, ports: int, nonce: Callable[[], bytes], subscribe: Callable[[int, bytes, bool], None]) -> None:
        self.probes: list[Probe] = [Probe() for _ in range(ports)]
        self.waiters: list[Waiter] = []
        self._nonce = nonce
        self._subscribe = subscribe
        self._round = 0

    def ask(self, number: int, now: float, waiter: Waiter | None = None) -> None:
        """Begin a round at every port. ``number`` is that of the newest subscription."""
        self._round += 1
        if waiter is not None:
            waiter.round = self._round
            self.waiters.append(waiter)
        for port in range(len(self.probes)):
            self._begin(port, number, now)

    def again(self, port: int, number: int, now: float) -> None:
        """The connection is a new one: who answered before may be gone, and what it sent meanwhile is not known."""
        self._begin(port, number, now)

    def _begin(self, port: int, number: int, now: float) -> None:
        probe = self.probes[port]
        probe.round, probe.tries, probe.interval = self._round, 0, FIRST_RETRY
        probe.heard.clear()
        self._send(port, number, now)

    def _send(self, port: int, number: int, now: float) -> None:
        probe = self.probes[port]
        self._end(port)
        probe.nonce = NONCE_TOPIC + self._nonce()
        probe.number = number
        probe.tries += 1
        probe.retry_at = now + probe.interval
        self._subscribe(port, probe.nonce, True)

    def _end(self, port: int) -> None:
        probe = self.probes[port]
        if probe.nonce is not None:
            self._subscribe(port, probe.nonce, False)
            probe.nonce, probe.retry_at = None, _NEVER

    def echoed(self, port: int, topic: bytes, incarnation: bytes) -> tuple[int | None, list[Waiter]]:
        """A publisher answers: up to which subscription it has ours (None: an old nonce), and who need wait no longer."""
        probe = self.probes[port]
        if topic != probe.nonce:
            return None, []
        probe.heard.add(incarnation)
        ready = [waiter for waiter in self.waiters if self._satisfied(waiter)]
        self.waiters = [waiter for waiter in self.waiters if waiter not in ready]
        for waiter in ready:
            waiter.heard = [tuple(sorted(each.hex() for each in other.heard)) for other in self.probes]
        return probe.number, ready

    def _satisfied(self, waiter: Waiter) -> bool:
        return all(probe.round >= waiter.round and len(probe.heard) >= waiter.publishers for probe in self.probes)

    def wake(self, number: int, now: float) -> None:
        """Nonces that were given their time: a fresh one where somebody is still missing, else none."""
        needed = max((waiter.publishers for waiter in self.waiters), default=0)
        for port, probe in enumerate(self.probes):
            if probe.retry_at <= now:
                if len(probe.heard) >= max(needed, 1) or (not self.waiters and probe.tries >= TRIES):
                    self._end(port)
                else:
                    probe.interval = min(probe.interval * 2, LONGEST_RETRY)
                    self._send(port, number, now)

    @property
    def wakes_at(self) -> float:
        """When the first nonce has had its time."""
        return min(probe.retry_at for probe in self.probes)
