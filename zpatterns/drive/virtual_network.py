"""A network that exists in memory alone: a seeded clock, connections between DEALERs and ROUTERs, and their faults.

It has the faults of ZeroMQ, not those of IP: within a live connection nothing is lost, reordered or sent twice. A
DEALER without a connection takes nothing (IMMEDIATE), a ROUTER refuses routing ids it does not know (MANDATORY), a
queue that is full says so, and what was under way on a connection that breaks is lost, but for a first part of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from heapq import heappop, heappush
from random import Random
from typing import Any, Protocol

from ..core.machine import Frames, Link, Sent

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


_CHANCES = [name.name for name in fields(Faults) if name.type == "float" and name.name != "refuse"]

Trace = Callable[..., None]


class World:
    """The clock and what is going to happen. The same seed and the same calls give the same story, to the bit."""

    def __init__(self, seed: int, faults: Faults | None = None, trace: Trace | None = None) -> None:
        self.random = Random(seed)
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
        for name in _CHANCES:
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
        heappush(self._heap, (when if when > self.now else self.now, self._sequence, action, arguments))

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

    def routing_id(self) -> bytes:
        """As libzmq makes them: a zero byte and a counter that starts anywhere."""
        self._routing_id = (self._routing_id + 1) & 0xFFFFFFFF
        return b"\0" + self._routing_id.to_bytes(4, "big")


class Process(Protocol):
    """What a socket needs of the process it is in."""

    name: str
    suffer: Callable[[str], None]
    """``crash`` or ``stop``."""

    def poke(self) -> None:
        """There is something to read, or room to write."""
        ...

    def stall(self, seconds: float) -> None:
        """Do nothing for so long."""
        ...


class _Lane:
    """One direction of a connection: what is under way, and how much of it the receiver has not read."""

    __slots__ = ("arrives_at", "flying", "held", "held_back")

    def __init__(self) -> None:
        self.flying: deque[Frames] = deque()
        self.held = 0
        self.held_back = 0
        """Arrivals that a partition keeps from happening."""
        self.arrives_at = 0.0
        """Of the last one: nothing overtakes it."""


class Wire:
    """One connection, from its handshake to its end."""

    __slots__ = (
        "alive", "back", "choked_until", "cut_until", "dealer", "out", "router", "routing_id", "unread", "world",
    )  # fmt: skip

    def __init__(self, world: World, dealer: VirtualDealer, router: VirtualRouter) -> None:
        self.world = world
        self.dealer = dealer
        self.router = router
        self.routing_id = world.routing_id()
        self.out = _Lane()
        self.back = _Lane()
        self.alive = True
        self.cut_until = 0.0
        self.choked_until = 0.0
        self.unread: deque[Frames] = deque()
        """What the server has not read."""

    def writable(self, lane: _Lane) -> bool:
        """Whether a message would be taken now."""
        return lane.held < self.world.faults.high_water_mark and self.world.now >= self.choked_until

    def send(self, lane: _Lane, frames: Frames) -> Sent | None:
        """Take a message, or say FULL. What is taken on a broken connection is lost."""
        world = self.world
        if lane.held >= world.faults.high_water_mark or world.now < self.choked_until:
            return Sent.FULL
        fault = world.fault() if self.alive else None
        if fault == "full":
            self.choked_until = world.now + world.span(world.faults.full_for)
            world.at(self.choked_until, self._room, self.out)
            return Sent.FULL
        lane.held += 1
        if self.alive:
            lane.flying.append(frames)
            latency = world.span(world.faults.latency)
            if fault == "delay":
                latency += world.span(world.faults.delay_for)
            lane.arrives_at = max(lane.arrives_at, world.now + latency)
            world.at(lane.arrives_at, self._arrive, lane)
            if fault is not None and fault != "delay":
                # at any time of its way: before it arrives, or after
                world.after(latency * 2 * world.random.random(), self._suffer, fault)
        return None

    def _arrive(self, lane: _Lane) -> None:
        if not lane.flying:
            return
        if self.world.now < self.cut_until:
            lane.held_back += 1
            return
        self._hand_in(lane)

    def _hand_in(self, lane: _Lane) -> None:
        frames = lane.flying.popleft()
        if lane is self.out:
            self.router.take(self, (self.routing_id, *frames))
        else:
            self.dealer.take(self, frames)

    def read(self, lane: _Lane) -> None:
        """The receiver has read one message: there is room again, as soon as half is read."""
        lane.held -= 1
        if lane is self.out and lane.held * 2 < self.world.faults.high_water_mark:
            self._room(lane)

    def _room(self, lane: _Lane) -> None:
        if lane is self.out and self.dealer.wire is self and self.writable(lane):
            self.dealer.room()

    def _suffer(self, fault: str) -> None:
        world, faults = self.world, self.world.faults
        if not self.alive:
            return
        if world.trace is not None:
            world.trace("fault", fault, self.dealer.process.name, self.router.process.name)
        if fault == "disconnect":
            self.cut(faults.notice, faults.notice)
        elif fault == "half_open":
            self.cut(faults.keepalive, faults.keepalive)
        elif fault == "partition":
            self.cut_until = self.dealer.cut_until = world.now + world.span(faults.partition_for)
            world.at(self.cut_until, self._heal)
            patience = world.span(faults.keepalive)
            if world.now + patience < self.cut_until:
                world.after(patience, self._impatient)
        elif fault == "stall_client":
            self.dealer.process.stall(world.span(faults.stall_for))
        elif fault == "stall_server":
            self.router.process.stall(world.span(faults.stall_for))
        else:
            self.router.process.suffer(fault)

    def _heal(self) -> None:
        """The partition is over: TCP sends again what it has not got through."""
        if self.alive and self.world.now >= self.cut_until:
            for lane in (self.out, self.back):
                for _ in range(lane.held_back):
                    self.world.after(0.0, self._arrive, lane)
                lane.held_back = 0

    def _impatient(self) -> None:
        if self.alive and self.world.now < self.cut_until:
            first, second = (0.0, 0.0), self.world.faults.keepalive
            self.cut(*((first, second) if self.world.random.random() < 0.5 else (second, first)), survives=False)

    def cut(self, client: Span, server: Span, *, survives: bool = True) -> None:
        """The connection is dead from here on. Each end is told within its span."""
        if not self.alive:
            return
        world = self.world
        self.alive = False
        for lane in (self.out, self.back):
            if survives and lane.flying and world.now >= self.cut_until:
                for _ in range(int(world.random.random() * (len(lane.flying) + 1))):
                    self._hand_in(lane)
            lane.flying.clear()
        world.after(world.span(client), self.dealer.lost, self)
        world.after(world.span(server), self.router.lost, self)


class VirtualDealer:
    """A DEALER that connects to one address, with IMMEDIATE and a monitor."""

    def __init__(self, world: World, process: Process, address: str) -> None:
        self.world = world
        self.process = process
        self.address = address
        self.inbox: deque[tuple[Wire, Frames]] = deque()
        self.wire: Wire | None = None
        self.cut_until: float = 0.0
        self.wants_room = False
        """Said FULL: tell when that is over."""
        self._reports: list[Link] = []
        self._reported_at = 0.0
        self._life = 0
        self._tries = 0
        world.after(world.span(world.faults.latency), self._connect, self._life)

    def _connect(self, life: int) -> None:
        if life != self._life:
            return
        world = self.world
        router = world.listeners.get(self.address)
        if world.now < self.cut_until or router is None:
            self._report(Link.DOWN)
            self._again()
        elif world.faults.refuse and world.random.random() < world.faults.refuse:
            self._report(Link.REFUSED)
        else:
            self._tries = 0
            self.wire = Wire(world, self, router)
            router.routes[self.wire.routing_id] = self.wire
            self._report(Link.UP)
            if self.wants_room:
                self.room()

    def _again(self) -> None:
        low, high = self.world.faults.reconnect
        self._tries += 1
        pause = min(high, low * 2**self._tries)
        self.world.after(pause * (0.5 + self.world.random.random()), self._connect, self._life)

    def _report(self, state: Link) -> None:
        """Through the monitor: a little later, in order."""
        world = self.world
        self._reported_at = max(self._reported_at, world.now + world.span(world.faults.notice))
        world.at(self._reported_at, self._tell, state, self._life)

    def _tell(self, state: Link, life: int) -> None:
        if life == self._life:
            self._reports.append(state)
            self.process.poke()

    def lost(self, wire: Wire) -> None:
        """This end has noticed."""
        if self.wire is wire:
            self.wire = None
            self._report(Link.DOWN)
            self._again()

    def take(self, wire: Wire, frames: Frames) -> None:
        """A message arrives."""
        if self.wire is wire:
            self.inbox.append((wire, frames))
            self.process.poke()

    def room(self) -> None:
        """POLLOUT."""
        if self.wants_room:
            self.process.poke()

    @property
    def writable(self) -> bool:
        """Whether a message would be taken now."""
        return self.wire is not None and self.wire.writable(self.wire.out)

    def receive(self) -> Frames:
        """The next message of ``inbox``."""
        wire, frames = self.inbox.popleft()
        wire.read(wire.back)
        return frames

    def send(self, frames: Frames) -> Sent | None:
        """None when it was taken."""
        outcome = self.wire.send(self.wire.out, frames) if self.wire is not None else Sent.FULL
        self.wants_room = self.wants_room or outcome is Sent.FULL
        return outcome

    def links(self) -> list[Link]:
        """What happened to the connection since the last time."""
        reports, self._reports = self._reports, []
        return reports

    def reopen(self) -> None:
        """A fresh socket: what may still come in on the old one is dropped."""
        self.close()
        self.wants_room = False
        self.world.after(self.world.span(self.world.faults.latency), self._connect, self._life)

    def close(self) -> None:
        """Gone: the server is told by the end of the connection, after what was sent on it has got through."""
        self._life += 1
        self._reports.clear()
        self.inbox.clear()
        wire, self.wire = self.wire, None
        if wire is not None and wire.alive:
            self.world.at(max(self.world.now, wire.out.arrives_at), wire.cut, (0.0, 0.0), (0.0, 0.0))


class VirtualRouter:
    """A ROUTER bound to one address, MANDATORY."""

    wants_room = False

    def __init__(self, world: World, process: Process, address: str) -> None:
        self.world = world
        self.process = process
        self.address = address
        self.inbox: deque[Wire] = deque()
        """Connections with unread messages, in turn: fair queueing."""
        self.routes: dict[bytes, Wire] = {}
        world.listeners[address] = self

    writable = True

    def lost(self, wire: Wire) -> None:
        """This end has noticed."""
        self.routes.pop(wire.routing_id, None)

    def take(self, wire: Wire, frames: Frames) -> None:
        """A message arrives."""
        if wire.routing_id in self.routes:
            if not wire.unread:
                self.inbox.append(wire)
            wire.unread.append(frames)
            self.process.poke()

    def receive(self) -> Frames:
        """The next message, its routing id first: one from each connection in turn."""
        wire = self.inbox.popleft()
        frames = wire.unread.popleft()
        if wire.unread:
            self.inbox.append(wire)
        wire.read(wire.out)
        return frames

    def send(self, frames: Frames) -> Sent | None:
        """None when it was taken."""
        wire = self.routes.get(bytes(frames[0]))
        if wire is None:
            return Sent.UNROUTABLE
        return wire.send(wire.back, frames[1:])

    def links(self) -> list[Link]:
        """A ROUTER has many connections; none of them is the link."""
        return []

    def reopen(self) -> None:
        """Servers keep their socket."""

    def wires(self) -> Iterator[Wire]:
        """Its connections."""
        return iter(list(self.routes.values()))

    def close(self, *, died: bool = False) -> None:
        """Gone: with a process that died go its unread messages, and perhaps the news that it died."""
        faults = self.world.faults
        if self.world.listeners.get(self.address) is self:
            del self.world.listeners[self.address]
        silent = died and self.world.random.random() < 0.2  # its host went with it: nobody says goodbye
        for wire in self.wires():
            if died:
                wire.cut(faults.keepalive if silent else faults.notice, (0.0, 0.0))
            else:  # linger: replies that were taken get through
                self.world.at(max(self.world.now, wire.back.arrives_at), wire.cut, faults.notice, (0.0, 0.0))
        if died:
            self.routes.clear()
            self.inbox.clear()
