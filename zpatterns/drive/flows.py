"""A PUSH or a PULL, bound or connected, behind a port; and how a thread waits for it."""

from __future__ import annotations

import select
from collections.abc import Callable
from time import monotonic
from typing import Any

import zmq

from ..core.machine import Frames, Link, Sent
from ..endpoint import Endpoint
from ..policy import Limits, SocketOptions
from . import sockets
from .binding import Binding
from .ports import check_transport

PUSH = int(zmq.PUSH)
PULL = int(zmq.PULL)
_LONGEST = 1.0
"""Seconds after which a waiting thread looks again: the safety net under an edge-triggered descriptor."""


class Pipe:
    """One socket. While ``paused`` nothing is read from it (from a PUSH, never): its peers' queues fill up, and then they wait."""

    notify: Callable[[], None] | None = None
    receive_soon: Callable[[], Frames | None] | None = None
    """Whoever waits for a pipe does so by ``wait``."""

    def __init__(
        self,
        context: zmq.Context[Any],
        kind: int,
        endpoint: Endpoint,
        options: SocketOptions,
        limits: Limits,
        *,
        bind: bool,
    ) -> None:
        check_transport(endpoint)
        self.paused: bool = kind == PUSH
        self._limits = limits
        self._linger = options.linger
        self._closed = False
        self.socket: sockets.Socket = sockets.open_socket(context, kind, options, limits, ipv6=endpoint.ipv6)
        self._binding: Binding | None = None
        self.address: str = str(endpoint)
        try:
            if bind:
                self._binding = Binding(context, self.socket, endpoint)
                self.address = self._binding.address
            else:
                self.socket.connect(str(endpoint))
        except BaseException as error:
            self.socket.close(0)
            if isinstance(error, zmq.ZMQError):
                raise sockets.translate(error, "connect to", str(endpoint)) from error
            raise

    def receive(self) -> Frames | None:
        """One message, or None."""
        return None if self.paused else sockets.receive(self.socket, self._limits)

    def send(self, frames: Frames) -> Sent | None:
        """None when it was taken."""
        return sockets.send(self.socket, frames)

    def readable(self) -> bool:
        """Whether a message is there; asking re-arms the edge."""
        return sockets.readable(self.socket) and not self.paused

    def writable(self) -> bool:
        """Whether a message would be taken."""
        return sockets.writable(self.socket)

    def wait(self, ready: Callable[[], bool], until: float | None) -> bool:
        """Until ``ready()``, which looks at the socket; False when that did not come in time, or a second has passed."""
        poll = select.poll()
        poll.register(sockets.descriptor(self.socket), select.POLLIN)
        over = monotonic() + _LONGEST
        over = over if until is None else min(over, until)
        while not ready():
            left = over - monotonic()
            if left <= 0:
                return False
            poll.poll(-int(-left * 1000 // 1))
        return True

    def descriptors(self) -> tuple[int | None, int | None]:
        """Of the socket; it has no monitor."""
        return sockets.descriptor(self.socket), None

    def links(self) -> list[Link]:
        """Peers come and go; libzmq deals with it."""
        return []

    def reopen(self) -> None:
        """Never asked for."""

    def close(self, linger: float | None = None) -> None:
        """What libzmq has taken gets ``linger`` seconds more, in the background. Idempotent."""
        if self._closed:
            return
        self._closed = True
        seconds = self._linger if linger is None else linger
        if self._binding is not None:
            self._binding.release(seconds)
        else:
            self.socket.close(int(seconds * 1000))
