"""The virtual world's clock, its dice and its calendar: everything that happens is entered here, with its time.

The same seed and the same calls give the same story, to the bit: no wall clock, no ids of objects, no order of sets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from heapq import heappop, heappush
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .virtual_network import VirtualRouter

Span = tuple[float, float]
"""Least and most, in seconds; what happens lies anywhere between."""

START = 1000.0
"""When a world begins: machines use 0.0 for "never"."""
_SPINS = 10_000


@dataclass(frozen=True, slots=True)
class Faults:
    """Everything that may go wrong, and how often. A float is the chance that it happens as a message is sent."""

    delay: float = 0.0
    """The message, and all behind it on its connection, waits ``delay_for``."""
    disconnect: float = 0.0
    """The connection breaks; both ends are told."""
    half_open: float = 0.0
    """The connection breaks; each end is told when its keepalive runs out."""
    partition: float = 0.0
    """Nothing passes for ``partition_for``, neither here nor on a new connection. Who loses patience is told DOWN."""
    full: float = 0.0
    """The connection takes no more for ``full_for``: as if its high-water mark were reached."""
    crash: float = 0.0
    """The server dies, and a new one with another incarnation is there after ``down_for``."""
    stop: float = 0.0
    """The server is told to stop, finishes within its grace, and comes back as a new one."""
    stall_server: float = 0.0
    """SIGSTOP: what comes in piles up, the clock jumps for it when it goes on."""
    stall_client: float = 0.0
    blink: float = 0.0
    """The server crashes and comes back while the client is stalled, which then learns both at once."""
    refuse: float = 0.0
    """The chance that a handshake fails for good (libzmq does not try again)."""

    latency: Span = (0.0002, 0.002)
    delay_for: Span = (0.02, 1.0)
    notice: Span = (0.0, 0.002)
    """From the break of a connection, or its making, until the monitor says so."""
    keepalive: Span = (0.5, 4.0)
    partition_for: Span = (0.05, 3.0)
    full_for: Span = (0.001, 0.5)
    down_for: Span = (0.01, 1.0)
    stall_for: Span = (0.02, 3.0)
    reconnect: Span = (0.005, 0.3)
    high_water_mark: int = 1000


CHANCES: tuple[str, ...] = tuple(each.name for each in fields(Faults) if each.type == "float" and each.name != "refuse")
"""The faults that a message on its way can meet."""

Trace = Callable[..., None]


class World:
    """The clock and what is going to happen. The same seed and the same calls give the same story, to the bit."""

    def __init__(self, seed: int, faults: Faults | None = None, trace: Trace | None = None) -> None:
        self.random: Random = Random(seed)
        self.now: float = START
        self.listeners: dict[str, VirtualRouter] = {}
        self.trace: Trace | None = trace
        """Called with what happens, when somebody wants to know: ``trace("sent", "client 0", ...)``."""
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._sequence = 0
        self._routing_id = self.random.getrandbits(31)
        self._chances: list[tuple[float, str]] = []
        self._any = 0.0
        self.faults: Faults = Faults()
        self.set_faults(faults or Faults())

    def set_faults(self, faults: Faults) -> None:
        """From now on, these."""
        self.faults = faults
        self._chances, self._any = [], 0.0
        for name in CHANCES:
            chance: float = getattr(faults, name)
            if chance:
                self._any += chance
                self._chances.append((self._any, name))

    def fault(self) -> str | None:
        """Roll the dice for one message."""
        if not self._any:
            return None
        roll = self.random.random()
        if roll >= self._any:
            return None
        return next(name for bound, name in self._chances if roll < bound)

    def span(self, span: Span) -> float:
        """Some time within a span."""
        return span[0] + (span[1] - span[0]) * self.random.random()

    def at(self, when: float, action: Callable[..., None], *arguments: Any) -> None:
        """Have something happen at an instant; what is due at the same instant happens in the order it was entered."""
        self._sequence += 1
        heappush(self._heap, (max(when, self.now), self._sequence, action, arguments))

    def after(self, seconds: float, action: Callable[..., None], *arguments: Any) -> None:
        """Have something happen in a while."""
        self.at(self.now + seconds, action, *arguments)

    def run(self, until: float) -> None:
        """Let everything happen up to an instant, and be there."""
        heap = self._heap
        spins = 0
        while heap and heap[0][0] <= until:
            when, _, action, arguments = heappop(heap)
            spins = spins + 1 if when == self.now else 0
            if spins > _SPINS:
                raise RuntimeError(f"the world spins: {spins} things at one instant, the last is {action} {arguments}")
            self.now = when
            action(*arguments)
        self.now = max(self.now, until)

    def step(self, until: float) -> bool:
        """Let happen what is next, if anything is before that instant."""
        heap = self._heap
        if not heap or heap[0][0] > until:
            return False
        self.run(heap[0][0])
        return True

    def routing_id(self) -> bytes:
        """As libzmq makes them: a zero byte and a counter that starts anywhere."""
        self._routing_id = (self._routing_id + 1) & 0xFFFFFFFF
        return b"\0" + self._routing_id.to_bytes(4, "big")
