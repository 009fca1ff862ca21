"""The sockets of pub/sub: an XPUB at any number of endpoints, a SUB at one; either side may bind or connect.

A SUB for each endpoint: so it is known which of them is connected, and whose echo came from where.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import zmq
from zmq.backend import Socket as BackendSocket

from ..core.machine import Frame, Frames, Link, Sent
from ..core.subscriber import Subscriber
from ..endpoint import Endpoint
from ..policy import Limits, SocketOptions
from ..wire.published import PREFIX
from . import sockets
from .binding import Binding
from .monitor import Monitor, Parting
from .ports import check_transport
from .sides import LONGEST_SUBSCRIPTION

_NOBLOCK = int(zmq.NOBLOCK)
_LARGE = 65_536
_recv: Any = BackendSocket.recv


class Xpub:
    """The socket of a publisher. ``blocks``: it takes a message when every subscriber has room for it, and for none else."""

    notify: Callable[[], None] | None = None
    receive_soon: Callable[[], Frames | None] | None = None
    waits = False
    """Whether closing waits until what was unsent has gone out, at most for the linger."""

    def __init__(
        self,
        context: zmq.Context[Any],
        endpoints: Sequence[Endpoint],
        options: SocketOptions,
        limits: Limits,
        *,
        bind: bool,
        blocks: bool,
    ) -> None:
        for endpoint in endpoints:
            check_transport(endpoint)
        self._context = context
        self._options = options
        self._limits = limits
        self._parting: Parting | None = None
        ipv6 = any(endpoint.ipv6 for endpoint in endpoints)
        taken = replace(limits, message=min(limits.message, LONGEST_SUBSCRIPTION))
        self.socket: sockets.Socket = sockets.open_socket(context, zmq.XPUB, options, taken, ipv6=ipv6)
        self._bindings: list[Binding] = []
        try:
            self.socket.set(zmq.XPUB_VERBOSER, 1)  # each subscription and each end of one is told: they can be counted
            if blocks:
                self.socket.set(zmq.XPUB_NODROP, 1)
            for endpoint in endpoints:
                if bind:
                    self._bindings.append(Binding(context, self.socket, endpoint))
                else:
                    _connect(self.socket, endpoint)
        except BaseException:
            self.close(0)
            raise
        self.addresses: list[str] = [binding.address for binding in self._bindings] or [str(each) for each in endpoints]

    def receive(self) -> Frames | None:
        """One subscription, or None."""
        return sockets.receive(self.socket, self._limits)

    def send(self, frames: Frames) -> Sent | None:
        """None when it was taken."""
        return sockets.send(self.socket, frames)

    def readable(self) -> bool:
        """Whether a subscription is there."""
        return sockets.readable(self.socket)

    def writable(self) -> bool:
        """Of an XPUB libzmq says so always: only trying tells whether there is room, and the machine tries by itself."""
        return False

    def descriptors(self) -> tuple[int | None, int | None]:
        """Of the socket; it has no monitor."""
        return sockets.descriptor(self.socket), None

    def links(self) -> list[Link]:
        """It has many connections; none of them is the link."""
        return []

    def reopen(self) -> None:
        """Publishers keep their socket."""

    def close(self, linger: float | None = None) -> None:
        """Unsent messages get ``linger`` seconds more: wait for that here, or ask ``parted``. Idempotent."""
        if self._parting is None:
            linger = self._options.linger if linger is None else linger
            self._parting = Parting(self._context, self.socket, linger)
            if self.waits or not linger:
                self.parted(linger)
                self.leave()

    def parted(self, wait: float) -> bool:
        """After ``close``: whether everything has gone out, or the time to is over."""
        over = self._parting is None or self._parting.over(wait)
        if over:
            self.leave()
        return over

    def leave(self) -> None:
        """Wait no longer."""
        if self._parting is not None:
            self._parting.leave()
        for binding in self._bindings:
            binding.release(0)
        self._bindings.clear()


class Sub:
    """One endpoint of a subscriber. ``wants()``: whether anything is to be read now; ``plain()``: whether messages may have
    any number of frames, because a foreign publisher was subscribed to.
    """

    notify: Callable[[], None] | None = None
    receive_soon: Callable[[], Frames | None] | None = None

    def __init__(
        self,
        context: zmq.Context[Any],
        endpoint: Endpoint,
        options: SocketOptions,
        limits: Limits,
        *,
        bind: bool,
        wants: Callable[[], bool],
        plain: Callable[[], bool],
    ) -> None:
        check_transport(endpoint)
        self.endpoint = endpoint
        self.wants = wants
        self._plain = plain
        self._context = context
        self._options = options
        self._limits = limits
        self._bind = bind
        self._prefixes: dict[bytes, None] = {}
        self._open()

    def _open(self) -> None:
        self.socket: sockets.Socket = sockets.open_socket(
            self._context, zmq.SUB, self._options, self._limits, ipv6=self.endpoint.ipv6
        )
        self.monitor: Monitor | None = None
        self._binding: Binding | None = None
        self.address: str = str(self.endpoint)
        try:
            for prefix in self._prefixes:
                self.socket.set(zmq.SUBSCRIBE, prefix)
            if self._bind:
                self._binding = Binding(self._context, self.socket, self.endpoint)
                self.address = self._binding.address
            else:
                if self.endpoint.transport not in ("inproc", "pgm", "epgm"):  # these have no handshake to tell of
                    self.monitor = Monitor(self._context, self.socket)
                _connect(self.socket, self.endpoint)
        except BaseException:
            self.close(0)
            raise
        self._pending = [] if self.monitor is not None else [Link.UP]

    def receive(self) -> Frames | None:
        """One message, or None."""
        return sockets.receive(self.socket, self._limits)

    def drain(self, machine: Subscriber, port: int, most: int, now: float) -> bool:
        """Give the machine what is there, as long as it wants any, at most so many messages. True if there may be more.

        Our own have two frames, so the second is asked for without asking whether there is one; one that was no message
        of ours shows by its second frame, and costs the one after it: a gap.
        """
        if self._plain():
            return self._drain_any(machine, port, most, now)
        socket, usual, counts = self.socket, machine.usual, machine.statistics
        until = counts.received + most
        topic: Any = None
        try:
            for _ in range(most):
                topic = None
                topic = _recv(socket, _NOBLOCK, True, False)
                data = _recv(socket, _NOBLOCK, True, False)
                if len(data) >= _LARGE:
                    data = memoryview(data)  # its payload is not copied once more
                if not usual(topic, data, now):
                    self._give(machine, port, self._odd(topic, data), now)
                if machine.paused or counts.received >= until:
                    return True
        except zmq.Again:
            if topic is not None:
                counts.undecodable += 1
            return False
        except zmq.ZMQError as error:
            raise sockets.translate(error, "receive") from error
        return True

    @staticmethod
    def _give(machine: Subscriber, port: int, frames: Frames, now: float) -> None:
        if frames:
            machine.receive(port, frames, now)
        else:
            machine.statistics.undecodable += 1  # over the limits, or nothing of ours, and read off

    def _odd(self, topic: bytes, data: Frame) -> Frames:
        """Buffers follow, or it is nothing of ours: an empty list then, read off to the end of its message."""
        frames: list[Frame] = [topic, data]
        kept = data[:4] == PREFIX
        size = len(data)
        more = self.socket.get(zmq.RCVMORE)
        while more:
            frame = _recv(self.socket, 0, False, False)
            more = frame.more
            size += len(frame)
            kept = kept and len(frames) < self._limits.frames and size <= self._limits.message
            if kept:
                frames.append(frame.bytes if len(frame) < _LARGE else frame.buffer)
        return frames if kept else []

    def _drain_any(self, machine: Subscriber, port: int, most: int, now: float) -> bool:
        for _ in range(most):
            frames = sockets.receive(self.socket, self._limits)
            if frames is None:
                return False
            self._give(machine, port, frames, now)
            if machine.paused:
                return True
        return True

    def send(self, frames: Frames) -> Sent | None:
        """A subscription, or the end of one: an option of the socket, which sends it on."""
        change = bytes(frames[0])
        prefix = change[1:]
        try:
            if change[:1] == b"\1":
                self._prefixes[prefix] = None
                self.socket.set(zmq.SUBSCRIBE, prefix)
            else:
                self._prefixes.pop(prefix, None)
                self.socket.set(zmq.UNSUBSCRIBE, prefix)
        except zmq.ZMQError as error:
            raise sockets.translate(error, "subscribe at", self.address) from error
        return None

    def readable(self) -> bool:
        """Whether a message is there that is wanted now. Asking re-arms the edge in any case."""
        return sockets.readable(self.socket) and self.wants()

    def writable(self) -> bool:
        """Subscriptions are taken always."""
        return True

    def descriptors(self) -> tuple[int | None, int | None]:
        """Of the socket and of its monitor."""
        watched = self.monitor.socket if self.monitor is not None else None
        return sockets.descriptor(self.socket), sockets.descriptor(watched) if watched is not None else None

    def links(self) -> list[Link]:
        """What happened to the connection since the last time; one that cannot know calls itself connected."""
        pending, self._pending = self._pending, []
        return pending + self.monitor.read() if self.monitor is not None else pending

    def reopen(self) -> None:
        """A fresh socket with the same subscriptions."""
        self.close(0)
        self._open()

    def close(self, linger: float | None = None) -> None:
        """There is nothing to send any more."""
        if self.monitor is not None:
            self.monitor.close()
        if self._binding is not None:
            self._binding.release(0)
        self.socket.close(0)


def _connect(socket: sockets.Socket, endpoint: Endpoint) -> None:
    try:
        socket.connect(str(endpoint))
    except zmq.ZMQError as error:
        with suppress(zmq.ZMQError):
            socket.close(0)
        raise sockets.translate(error, "connect to", str(endpoint)) from error
