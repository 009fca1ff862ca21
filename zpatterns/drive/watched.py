"""A ROUTER that says when some connection has ended: its machine then finds out whose, by saying something to each."""

from __future__ import annotations

from typing import Any

import zmq

from ..core.machine import Link
from ..endpoint import Endpoint
from ..policy import Limits, SocketOptions
from . import sockets
from .monitor import Monitor
from .ports import Router


class WatchedRouter(Router):
    """A Router whose links say DOWN, and nothing else."""

    def __init__(self, context: zmq.Context[Any], endpoint: Endpoint, options: SocketOptions, limits: Limits) -> None:
        super().__init__(context, endpoint, options, limits)
        self.monitor: Monitor | None = None if endpoint.transport == "inproc" else Monitor(context, self.socket)

    def descriptors(self) -> tuple[int | None, int | None]:
        """Of the socket and of its monitor."""
        watched = self.monitor.socket if self.monitor is not None else None
        return sockets.descriptor(self.socket), sockets.descriptor(watched) if watched is not None else None

    def links(self) -> list[Link]:
        """DOWN if a connection has ended since the last time: one for all."""
        states = self.monitor.read() if self.monitor is not None else []
        return [Link.DOWN] if any(state is not Link.UP for state in states) else []

    def close(self, linger: float | None = None) -> None:
        """The monitor first: unbinding watches the socket by itself."""
        if self.monitor is not None:
            self.monitor.close()
        super().close(linger)
