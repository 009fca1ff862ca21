"""The PAIR socket behind one end of a pair: bound or connected, watched, and read only while somebody wants to read."""

from __future__ import annotations

from collections.abc import Callable

import zmq

from ..core.machine import Frames, Link, Sent
from ..endpoint import Endpoint, parse
from ..policy import Limits, SocketOptions
from . import sockets
from .binding import Binding
from .monitor import Arrivals, Monitor
from .ports import check_transport


class PairPort:
    """``wanted``: whether the machine takes messages now; if not, they stay in libzmq, and the peer's send waits."""

    notify: Callable[[], None] | None = None
    receive_soon: Callable[[], Frames | None] | None = None

    def __init__(
        self,
        context: sockets.Context,
        endpoint: Endpoint,
        options: SocketOptions,
        limits: Limits,
        wanted: Callable[[], bool],
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
        self._bind = bind
        # Over inproc nobody reports links. Whoever connects greets at once; plain ends take it that somebody is there.
        self._up = endpoint.transport == "inproc" and not (bind and greets)
        self._open()

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
            self.close(0)
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
        """Whether a message is there and wanted. The socket is asked in any case: its descriptor stays readable else."""
        there = sockets.readable(self.socket)
        return there and self._wanted()

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
        self.close(0)
        if self._bind:
            self._endpoint = parse(self.address, bind=True)
        self._open()

    def close(self, linger: float | None = None) -> None:
        """Unsent messages get ``linger`` seconds more, in the background."""
        linger = self._options.linger if linger is None else linger
        if self._monitor is not None:
            self._monitor.close()
        if self._binding is not None:
            self._binding.release(linger)
        else:
            self.socket.close(int(linger * 1000))
