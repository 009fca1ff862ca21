"""A network that exists in memory alone: connections between DEALERs and ROUTERs, and what happens to them.

It has the faults of ZeroMQ, not those of IP: within a live connection nothing is lost, reordered or sent twice. A
DEALER without a connection takes nothing (IMMEDIATE), a ROUTER refuses routing ids it does not know (MANDATORY), a
queue that is full says so, and what was under way on a connection that breaks is lost, but for a first part of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from ..core.machine import Frames, Link, Sent
from .virtual_world import Span, World


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
        self.held: int = 0
        self.held_back: int = 0
        """Arrivals that a partition keeps from happening."""
        self.arrives_at: float = 0.0
        """Of the last one: nothing overtakes it."""


class Wire:
    """One connection, from its handshake to its end."""

    __slots__ = (
        "alive", "back", "choked_until", "cut_until", "dealer", "out", "router", "routing_id", "unread", "world",
    )  # fmt: skip

    def __init__(self, world: World, dealer: VirtualDealer, router: VirtualRouter) -> None:
        self.world: World = world
        self.dealer: VirtualDealer = dealer
        self.router: VirtualRouter = router
        self.routing_id: bytes = world.routing_id()
        self.out: _Lane = _Lane()
        self.back: _Lane = _Lane()
        self.alive: bool = True
        self.cut_until: float = 0.0
        self.choked_until: float = 0.0
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
        elif fault == "blink":
            seconds = faults.down_for[1] * (0.3 + world.random.random())
            self.dealer.process.stall(seconds)
            world.after(seconds * 0.1 * world.random.random(), self.router.process.suffer, "crash")
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
        self.world: World = world
        self.process: Process = process
        self.address: str = address
        self.inbox: deque[tuple[Wire, Frames]] = deque()
        self.wire: Wire | None = None
        self.cut_until: float = 0.0
        self.wants_room: bool = False
        """Said FULL: tell when that is over."""
        self.known: Link = Link.DOWN
        """What the machine was told last."""
        self.reports: list[Link] = []
        """What the monitor has said and nobody has read."""
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
            self.reports.append(state)
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
        reports, self.reports = self.reports, []
        if reports:
            self.known = reports[-1]
        return reports

    def reopen(self) -> None:
        """A fresh socket: what may still come in on the old one is dropped."""
        self.close()
        self.wants_room = False
        self.known = Link.DOWN
        self.world.after(self.world.span(self.world.faults.latency), self._connect, self._life)

    def close(self) -> None:
        """Gone: the server is told by the end of the connection, after what was sent on it has got through."""
        self._life += 1
        self.reports.clear()
        self.inbox.clear()
        wire, self.wire = self.wire, None
        if wire is not None and wire.alive:
            self.world.at(max(self.world.now, wire.out.arrives_at), wire.cut, (0.0, 0.0), (0.0, 0.0))


class VirtualRouter:
    """A ROUTER bound to one address, MANDATORY."""

    wants_room: bool = False
    writable: bool = True
    reports: Sequence[Link] = ()

    def __init__(self, world: World, process: Process, address: str) -> None:
        self.world: World = world
        self.process: Process = process
        self.address: str = address
        self.inbox: deque[Wire] = deque()
        """Connections with unread messages, in turn: fair queueing."""
        self.routes: dict[bytes, Wire] = {}
        world.listeners[address] = self

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
