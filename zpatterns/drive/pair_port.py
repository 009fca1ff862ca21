"""The PAIR socket behind one end of a pair: bound or connected, watched, and read only while somebody wants to read."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count

import zmq

from ..core.machine import Frames, Link, Sent
from ..endpoint import Endpoint, parse
from ..policy import Limits, SocketOptions
from . import sockets
from .binding import Binding
from .monitor import Arrivals, Monitor
from .ports import check_transport

_OURS = os.urandom(8)
"""How the incarnations of inproc ends begin, which are all of this process."""
_numbers = count(1)
_open: set[bytes] = set()
"""Incarnations of inproc ends whose sockets are open: libzmq tells nobody when the other end is closed."""


def incarnation_for(endpoint: Endpoint) -> bytes:
    """A new name for one end."""
    return _OURS + next(_numbers).to_bytes(8, "big") if endpoint.transport == "inproc" else os.urandom(8)


class PairPort:
    """``wanted``: whether the machine takes messages now; if not, they stay in libzmq, and the peer's send waits.

    ``incarnation``: this end. ``peer``: that of the peer, as long as it has not said farewell, or empty.
    """

    notify: Callable[[], None] | None = None
    receive_soon: Callable[[], Frames | None] | None = None

    def __init__(
        self,
        context: sockets.Context,
        endpoint: Endpoint,
        options: SocketOptions,
        limits: Limits,
        wanted: Callable[[], bool],
        incarnation: bytes,
        peer: Callable[[], bytes],
        *,
        bind: bool,
        greets: bool,
    ) -> None:
        check_transport(endpoint)
        self.address: str = str(endpoint)
        self._context = context
        self._endpoint = endpoint
        self._options = options
        self._limits = limits
        self._wanted = wanted
        self._incarnation = incarnation
        self._peer = peer
        self._bind = bind
        # Over inproc nobody reports links. Whoever connects greets at once; plain ends take it that somebody is there.
        self._up = endpoint.transport == "inproc" and not (bind and greets)
        self._open()
        if endpoint.transport == "inproc":
            _open.add(incarnation)

    def _open(self) -> None:
        self._pending = [Link.UP] if self._up else []
        self.socket: sockets.Socket = sockets.open_socket(
            self._context, zmq.PAIR, self._options, self._limits, ipv6=self._endpoint.ipv6
        )
        self._monitor: Monitor | Arrivals | None = None
        self._binding: Binding | None = None
        try:
            if self._endpoint.transport != "inproc":
                self._monitor = (Arrivals if self._bind else Monitor)(self._context, self.socket)
            if self._bind:
                self._binding = Binding(self._context, self.socket, self._endpoint)
                self.address = self._binding.address
            else:
                # Not IMMEDIATE: when a connection breaks, that drops what has come in and was not read yet.
                self.socket.connect(str(self._endpoint))
        except BaseException as error:
            self._shut(0)
            if isinstance(error, zmq.ZMQError):
                raise sockets.translate(error, "connect to", str(self._endpoint)) from error
            raise

    def receive(self) -> Frames | None:
        """One message, or None, also while nobody wants one."""
        return sockets.receive(self.socket, self._limits) if self._wanted() else None

    def send(self, frames: Frames) -> Sent | None:
        """None when it was taken."""
        return sockets.send(self.socket, frames)

    def readable(self) -> bool:
        """Whether a message is there and wanted. The socket is asked in any case: its descriptor stays readable else.

        Also True when the peer's end was closed, for that is news too.
        """
        return self._wanted() if sockets.readable(self.socket) else self._left()

    def deserted(self) -> bool:
        """Whether the peer's end was closed, and nothing of it is left to read."""
        return self._left() and not sockets.readable(self.socket)

    def _left(self) -> bool:
        peer = self._peer()
        return peer.startswith(_OURS) and peer not in _open

    def writable(self) -> bool:
        """Whether a message would be taken."""
        return sockets.writable(self.socket)

    def descriptors(self) -> tuple[int | None, int | None]:
        """Of the socket and of its monitor."""
        watched = self._monitor.socket if self._monitor is not None else None
        return sockets.descriptor(self.socket), sockets.descriptor(watched) if watched is not None else None

    def links(self) -> list[Link]:
        """What happened to the connection since the last time."""
        pending, self._pending = self._pending, []
        return pending + self._monitor.read() if self._monitor is not None else pending

    def reopen(self) -> None:
        """A fresh socket, to try again; or, bound to the same address, without the connection that held the place."""
        self._shut(0)
        if self._bind:
            self._endpoint = parse(self.address, bind=True)
        self._open()

    def close(self, linger: float | None = None) -> None:
        """Unsent messages get ``linger`` seconds more, in the background."""
        _open.discard(self._incarnation)  # before the peer is woken by it
        self._shut(self._options.linger if linger is None else linger)

    def _shut(self, linger: float) -> None:
        if self._monitor is not None:
            self._monitor.close()
        if self._binding is not None:
            self._binding.release(linger)
        else:
            self.socket.close(int(linger * 1000))
