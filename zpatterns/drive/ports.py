"""The sockets behind a machine's ports: a DEALER that connects to one endpoint, a ROUTER that binds one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import zmq

from ..core.machine import Frames, Link, Sent
from ..endpoint import Endpoint
from ..errors import TransportUnavailable
from ..policy import Limits, SocketOptions
from . import sockets
from .binding import Binding
from .monitor import Monitor

Receive = Callable[[], Frames | None]
"""One message, of a ROUTER with its routing id first; or None."""
Send = Callable[[Frames], Sent | None]
"""None when it was taken."""


def check_transport(endpoint: Endpoint) -> None:
    """Say it in our words before libzmq says it in its own."""
    if not sockets.has_transport(endpoint.transport):
        raise TransportUnavailable(
            f"{endpoint}: this libzmq was built without {endpoint.transport}; wheels of pyzmq have inproc, ipc and tcp. "
            "Use tcp://, or install a libzmq with it and build pyzmq against that"
        )


class Dealer:
    """One endpoint of a client. IMMEDIATE: what it takes goes to a server that is connected now, or is refused."""

    notify: Callable[[], None] | None = None

    def __init__(self, context: zmq.Context[Any], endpoint: Endpoint, options: SocketOptions, limits: Limits) -> None:
        check_transport(endpoint)
        self.endpoint = endpoint
        self._context = context
        self._options = options
        self._limits = limits
        self._open()

    def _open(self) -> None:
        self.socket: sockets.Socket = sockets.open_socket(
            self._context, zmq.DEALER, self._options, self._limits, ipv6=self.endpoint.ipv6
        )
        inproc = self.endpoint.transport == "inproc"
        self.monitor: Monitor | None = None if inproc else Monitor(self._context, self.socket)
        self._pending = [Link.UP] if inproc else []  # inproc reports no links: sending tells
        # C calls sockets.receive and the like: a method of ours in between would cost a tenth of a small request
        sockets.wait_briefly(self.socket)
        self.receive: Receive = partial(sockets.receive, self.socket, self._limits)
        self.receive_soon: Receive = partial(sockets.receive, self.socket, self._limits, 0)
        self.send: Send = partial(sockets.send, self.socket)
        self.readable: Callable[[], bool] = partial(sockets.readable, self.socket)
        try:
            self.socket.connect(str(self.endpoint))
        except zmq.ZMQError as error:
            self.close()
            raise sockets.translate(error, "connect to", str(self.endpoint)) from error

    def writable(self) -> bool:
        """Whether a message would be taken."""
        return sockets.writable(self.socket)

    def descriptors(self) -> tuple[int | None, int | None]:
        """Of the socket and of its monitor."""
        watched = self.monitor.socket if self.monitor is not None else None
        return sockets.descriptor(self.socket), sockets.descriptor(watched) if watched is not None else None

    def links(self) -> list[Link]:
        """What happened to the connection since the last time."""
        pending, self._pending = self._pending, []
        return pending + self.monitor.read() if self.monitor is not None else pending

    def reopen(self) -> None:
        """A fresh socket: what may still come in on the old one is dropped."""
        self.close(0)
        self._open()

    def close(self, linger: float | None = None) -> None:
        """Unsent messages get ``linger`` seconds more, in the background."""
        if self.monitor is not None:
            self.monitor.close()
        self.socket.close(int((self._options.linger if linger is None else linger) * 1000))


class Router:
    """The endpoint of a server. MANDATORY and never blocking: a peer that is gone or full is told of, not waited for."""

    notify: Callable[[], None] | None = None

    def __init__(self, context: zmq.Context[Any], endpoint: Endpoint, options: SocketOptions, limits: Limits) -> None:
        check_transport(endpoint)
        self._options = options
        self._limits = limits
        self.socket: sockets.Socket = sockets.open_socket(context, zmq.ROUTER, options, limits, ipv6=endpoint.ipv6)
        try:
            self._binding = Binding(context, self.socket, endpoint)
        except BaseException:
            self.socket.close(0)
            raise
        sockets.wait_briefly(self.socket)
        self.receive: Receive = partial(sockets.receive_routed, self.socket, limits)
        self.receive_soon: Receive = partial(sockets.receive_routed, self.socket, limits, 0)
        self.send: Send = partial(sockets.send, self.socket)
        self.readable: Callable[[], bool] = partial(sockets.readable, self.socket)
        self.address: str = self._binding.address

    def writable(self) -> bool:
        """Of a ROUTER this says nothing about any one peer."""
        return True

    def descriptors(self) -> tuple[int | None, int | None]:
        """Of the socket; it has no monitor."""
        return sockets.descriptor(self.socket), None

    def links(self) -> list[Link]:
        """A ROUTER has many connections; none of them is the link."""
        return []

    def reopen(self) -> None:
        """Servers keep their socket."""

    def close(self, linger: float | None = None) -> None:
        """Unsent replies get ``linger`` seconds more, in the background. The address is free for the next at once."""
        self._binding.release(self._options.linger if linger is None else linger)
