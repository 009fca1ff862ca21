"""What libzmq says of a connection, as link states. One PAIR per watched socket, at an address of our own.

pyzmq's own monitor address is made of the file descriptor, which is reused (pyzmq #1554).
"""

from __future__ import annotations

from itertools import count
from struct import unpack
from typing import Any

import zmq

from ..core.machine import Link

_numbers = count(1)
_WATCHED = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CONNECT_RETRIED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
_STATES: dict[int, Link] = {
    int(zmq.EVENT_HANDSHAKE_SUCCEEDED): Link.UP,
    int(zmq.EVENT_DISCONNECTED): Link.DOWN,
    int(zmq.EVENT_CONNECT_RETRIED): Link.DOWN,
    int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL): Link.DOWN,
    int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL): Link.REFUSED,
    int(zmq.EVENT_HANDSHAKE_FAILED_AUTH): Link.REFUSED,
}


class Monitor:
    """The link states of one socket, in order."""

    def __init__(self, context: zmq.Context[Any], watched: zmq.Socket[bytes]) -> None:
        address = f"inproc://zpatterns.monitor.{next(_numbers)}"
        watched.monitor(address, _WATCHED)
        self._watched = watched
        self.socket: zmq.Socket[bytes] = context.socket(zmq.PAIR)
        self.socket.set(zmq.LINGER, 0)
        self.socket.connect(address)

    def read(self) -> list[Link]:
        """What has happened since the last time."""
        states: list[Link] = []
        while True:
            try:
                event = self.socket.recv(zmq.NOBLOCK)
                self.socket.recv()
            except zmq.ZMQError:
                return states
            number: int = unpack("=HI", event)[0]
            states.append(_STATES[number])

    def close(self) -> None:
        """Stop watching first: a monitor that outlives its address is EADDRINUSE for the next."""
        self._watched.disable_monitor()
        self.socket.close(0)
