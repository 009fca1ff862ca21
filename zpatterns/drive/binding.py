"""Binding a socket: an ipc path is claimed before libzmq takes it, the real address is read back, both are given back."""

from __future__ import annotations

import zmq

from ..endpoint import Endpoint
from . import sockets
from .ipc import IpcPath
from .monitor import release


class Binding:
    """One socket bound to one endpoint. Raises what `IpcPath` does, AddressInUse or ConfigurationError."""

    def __init__(self, context: sockets.Context, socket: sockets.Socket, endpoint: Endpoint) -> None:
        self._context = context
        self._socket = socket
        self._ipc: IpcPath | None = IpcPath(endpoint.address) if endpoint.transport == "ipc" else None
        try:
            socket.bind(str(endpoint))
        except BaseException as error:
            self._give_back()
            if isinstance(error, zmq.ZMQError):
                raise sockets.translate(error, "bind", str(endpoint)) from error
            raise
        if self._ipc is not None:
            self._ipc.bound()
        self.address: str = str(endpoint)
        if endpoint.transport != "inproc":  # pyzmq cannot read back a long inproc name
            self.address = bytes(socket.get(zmq.LAST_ENDPOINT)).rstrip(b"\0").decode()

    def release(self, linger: float) -> None:
        """Close the socket; unsent messages get ``linger`` seconds more. The address is free for the next at once."""
        release(self._context, self._socket, self.address)
        self._socket.close(int(linger * 1000))
        self._give_back()

    def _give_back(self) -> None:
        if self._ipc is not None:
            self._ipc.release()
