"""The two sockets of a proxy, with what each kind needs so that neither a peer nor a missing one can end it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import zmq

from ..endpoint import Endpoint
from ..policy import Limits, SocketOptions
from . import sockets
from .binding import Binding
from .ports import check_transport

KINDS: dict[str, int] = {name: int(getattr(zmq, name)) for name in ("XSUB", "XPUB", "ROUTER", "DEALER", "PULL", "PUSH")}
"""By name, for rooms that do not know zmq."""
LONGEST_SUBSCRIPTION = 512
"""Bytes of a subscription that an XPUB takes: a topic has 255, and a very long one crashes a libzmq forwarder."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two sockets: its kind and where it is bound, or connected."""

    kind: int
    endpoint: Endpoint
    connect: bool

    def open(
        self,
        context: sockets.Context,
        options: SocketOptions,
        limits: Limits,
        opened: list[Binding | sockets.Socket],
    ) -> tuple[sockets.Socket, str]:
        """The socket and its real address; into ``opened`` goes what has to be closed."""
        check_transport(self.endpoint)
        if self.kind == zmq.ROUTER:  # a peer that has gone would end the proxy with EHOSTUNREACH
            options = replace(options, extra={"ROUTER_MANDATORY": 0, **options.extra})
        if self.kind == zmq.XPUB:
            limits = replace(limits, message=min(limits.message, LONGEST_SUBSCRIPTION))
        socket = sockets.open_socket(context, self.kind, options, limits, ipv6=self.endpoint.ipv6)
        try:
            if not self.connect:
                binding = Binding(context, socket, self.endpoint)
                opened.append(binding)
                return socket, binding.address
            socket.connect(str(self.endpoint))
        except BaseException as error:
            socket.close(0)
            if isinstance(error, zmq.ZMQError):
                raise sockets.translate(error, "connect to", str(self.endpoint)) from error
            raise
        opened.append(socket)
        return socket, str(self.endpoint)
