"""Moves messages between sockets and a machine: what the blocking and the asyncio driver have in common.

It knows no waiting. A driver decides when to call it: after a socket woke, after the application did something, or
when the machine's time has come.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Protocol

from ..core.machine import Frames, Link, Machine, Sent
from ..policy import Limits

_REFUSED_PAUSE = 1.0


class PortSocket(Protocol):
    """What a driver needs of a port: a Dealer, a Router, or one that is only memory."""

    notify: Callable[[], None] | None
    """Called when a message has come in, by ports that have no descriptor."""

    def descriptors(self) -> tuple[int | None, int | None]:
        """The edge-triggered descriptors of the socket and of its monitor."""
        ...

    @property
    def readable(self) -> Callable[[], bool]:
        """Whether a message is there; asking re-arms the edge."""
        ...

    @property
    def receive(self) -> Callable[[], Frames | None]:
        """One message, or None; an empty one was over the limits."""
        ...

    @property
    def receive_soon(self) -> Callable[[], Frames | None] | None:
        """The same, after a moment's wait for one; None where nothing can wait."""
        ...

    @property
    def send(self) -> Callable[[Frames], Sent | None]:
        """None when it was taken."""
        ...

    def writable(self) -> bool:
        """Whether a message would be taken."""
        ...

    def links(self) -> list[Link]: ...
    def reopen(self) -> None: ...
    def close(self, linger: float | None = None) -> None: ...


class Pump:
    """One machine and the sockets of its ports."""

    def __init__(self, machine: Machine, ports: Sequence[PortSocket], limits: Limits) -> None:
        self.machine = machine
        self.ports = ports
        self.full: set[int] = set()
        """Ports that took no more: the driver watches them for POLLOUT."""
        self.reopen_at: dict[int, float] = {}
        """Ports whose handshake was refused: libzmq does not try again (libzmq #4196), so we do."""
        self._drain = limits.drain

    def drain(self, port: int, now: float, frames: Frames | None = None) -> bool:
        """Read what is there, bounded, into the machine; ``frames`` are a message that was read already.

        True if there may be more.
        """
        source, machine = self.ports[port], self.machine
        for _ in range(self._drain):
            if frames is None:
                frames = source.receive()
                if frames is None:
                    return False
            if frames:
                machine.receive(port, frames, now)
            else:
                machine.statistics.undecodable += 1  # over the limits, and read off
            if not machine.expects or not source.readable():
                return False
            frames = None
        return True

    def links(self, port: int) -> None:
        """Read what happened to the connection; what came in before it is fed before."""
        states = self.ports[port].links()
        if states:
            now = monotonic()
            self.drain(port, now)
            for state in states:
                if state is Link.REFUSED:
                    self.reopen_at[port] = now + _REFUSED_PAUSE
                else:  # connected, or libzmq tries again by itself
                    self.reopen_at.pop(port, None)
                self.machine.link(port, state, now)

    def writable(self, port: int) -> None:
        """A full port may take messages again."""
        if self.ports[port].writable():
            self.full.discard(port)
            self.machine.link(port, Link.WRITABLE, monotonic())

    def flush(self, now: float) -> bool:
        """Send what the machine has to say. True if a socket was touched."""
        machine, ports = self.machine, self.ports
        machine.flush(now)
        outbox = machine.outbox
        if not outbox:
            return False
        while outbox:
            port, frames, token = outbox.popleft()
            outcome = ports[port].send(frames)
            if outcome is not None:
                if outcome is Sent.FULL:
                    self.full.add(port)
                machine.sent(token, outcome, now)
                outbox = machine.outbox
        return True

    @property
    def reopens(self) -> bool:
        """Whether ``wake`` will give a port a fresh socket."""
        return bool(self.reopen_at) and min(self.reopen_at.values()) <= monotonic()

    def wake(self) -> bool:
        """Give the machine its time, and refused ports a new try. True if a port got a fresh socket."""
        now = monotonic()
        at = self.machine.wakes_at
        if at is not None and at <= now:
            self.machine.wake(now)
        due = [port for port, when in self.reopen_at.items() if when <= now]
        for port in due:
            del self.reopen_at[port]
            self.reopen(port)
        return bool(due)

    def reopen(self, port: int) -> None:
        """A fresh socket for one port."""
        self.ports[port].reopen()
        self.full.discard(port)
        self.machine.link(port, Link.DOWN, monotonic())

    @property
    def wakes_at(self) -> float | None:
        """When ``wake`` has something to do."""
        at = self.machine.wakes_at
        if not self.reopen_at:
            return at
        first = min(self.reopen_at.values())
        return first if at is None else min(at, first)

    def close(self, linger: float | None = None) -> None:
        """Close every socket; unsent messages get ``linger`` seconds more."""
        for port in self.ports:
            port.close(linger)
