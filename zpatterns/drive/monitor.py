"""What libzmq says of a connection, as link states. One PAIR per watched socket, at an address of our own.

pyzmq's own monitor address is made of the file descriptor, which is reused (pyzmq #1554).
"""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from struct import unpack
from time import monotonic
from typing import Any

import zmq

from ..core.machine import Link

_numbers = count(1)
_RELEASE_MS = 500
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


def release(context: zmq.Context[Any], bound: zmq.Socket[bytes], endpoint: str) -> None:
    """Unbind, and wait until that is done: in libzmq's own thread, within a millisecond mostly.

    Closing alone returns before: the next bind finds the address in use, or its new ipc path unlinked by the old socket.
    """
    with suppress(zmq.ZMQError):  # the context was terminated: nothing is bound any more
        if endpoint.startswith("inproc:"):
            bound.unbind(endpoint)  # done when it returns
            return
        address = f"inproc://zpatterns.monitor.{next(_numbers)}"
        bound.monitor(address, zmq.EVENT_CLOSED | zmq.EVENT_CLOSE_FAILED)
        watcher: zmq.Socket[bytes] = context.socket(zmq.PAIR)
        try:
            watcher.set(zmq.LINGER, 0)
            watcher.connect(address)
            bound.unbind(endpoint)
            watcher.poll(_RELEASE_MS)
        finally:
            bound.disable_monitor()
            watcher.close(0)


class Parting:
    """Closes a socket; ``over()`` when what was unsent has gone out, or its linger has passed, and its address is free.

    libzmq does that in threads of its own and tells nobody but a monitor, whose socket is closed together with the watched
    one: the other end of it can then send no more. Asking for EVENT_MONITOR_STOPPED is no way: libzmq sends it with a call
    that blocks, and when we have left, the thread that closes all sockets of the context would wait for ever.
    """

    def __init__(self, context: zmq.Context[Any], closing: zmq.Socket[bytes], linger: float) -> None:
        address = f"inproc://zpatterns.monitor.{next(_numbers)}"
        self._watcher: zmq.Socket[bytes] | None = None
        with suppress(zmq.ZMQError):  # the context was terminated: there is nothing to wait for
            closing.monitor(address, zmq.EVENT_BIND_FAILED)  # which cannot happen any more
            watcher: zmq.Socket[bytes] = context.socket(zmq.PAIR)
            watcher.set(zmq.LINGER, 0)
            watcher.connect(address)
            self._watcher = watcher
        closing.close(int(linger * 1000))

    def over(self, wait: float = 0.0) -> bool:
        """Whether it is, after at most ``wait`` seconds. Ask until it is, or call ``leave``."""
        watcher = self._watcher
        if watcher is None:
            return True
        until = monotonic() + wait
        with suppress(zmq.ZMQError):
            changes = select.poll()
            changes.register(int(watcher.get(zmq.FD)), select.POLLIN)
            while int(watcher.get(zmq.EVENTS)) & zmq.POLLOUT:
                left = until - monotonic()
                if left <= 0:
                    return False
                changes.poll(int(left * 1000) + 1)
        self.leave()
        return True

    def leave(self) -> None:
        """Wait no longer."""
        if self._watcher is not None:
            self._watcher.close(0)
            self._watcher = None


class Watch:
    """The events of one socket, in order, by libzmq's numbers."""

    def __init__(self, context: zmq.Context[Any], watched: zmq.Socket[bytes], mask: int) -> None:
        address = f"inproc://zpatterns.monitor.{next(_numbers)}"
        watched.monitor(address, mask)
        self._watched = watched
        self.socket: zmq.Socket[bytes] = context.socket(zmq.PAIR)
        self.socket.set(zmq.LINGER, 0)
        self.socket.connect(address)

    def events(self) -> Iterator[tuple[int, int]]:
        """Number and value (a descriptor, mostly) of what has happened since the last time."""
        while True:
            try:
                event = self.socket.recv(zmq.NOBLOCK)
                self.socket.recv()
            except zmq.ZMQError:
                return
            yield unpack("=HI", event)

    def close(self) -> None:
        """Stop watching first: a monitor that outlives its address is EADDRINUSE for the next."""
        with suppress(zmq.ZMQError):  # the context was terminated: there is nothing to stop any more
            self._watched.disable_monitor()
        self.socket.close(0)


class Monitor(Watch):
    """The link states of one socket that connects, in order."""

    def __init__(self, context: zmq.Context[Any], watched: zmq.Socket[bytes]) -> None:
        super().__init__(context, watched, _WATCHED)
        self._shaken = False

    def read(self) -> list[Link]:
        """What has happened since the last time."""
        states: list[Link] = []
        for number, _ in self.events():
            state = _STATES[number]
            if number == zmq.EVENT_DISCONNECTED and not self._shaken:
                # A socket of another kind, for one: libzmq says no more than this, and does not try again (#4196). If
                # it does, CONNECT_RETRIED follows.
                state = Link.REFUSED
            self._shaken = state is Link.UP
            states.append(state)
        return states


class Arrivals(Watch):
    """Who comes and goes at a bound socket that takes one peer: UP, DOWN, and SECOND for each that libzmq drops.

    Handshakes do not say whose they are, so of several connections the oldest counts as the peer's. When that one goes
    and another is left or has come, that one may be the peer already: then this says UP, not DOWN, and asking tells.
    """

    def __init__(self, context: zmq.Context[Any], watched: zmq.Socket[bytes]) -> None:
        super().__init__(context, watched, zmq.EVENT_ACCEPTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        self._alive: list[int] = []
        self._shaken = 0

    def read(self) -> list[Link]:
        """What has happened since the last time."""
        states: list[Link] = []
        for number, value in self.events():
            if number == zmq.EVENT_ACCEPTED:
                self._alive.append(value)
            elif number == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._shaken += 1
                if self._shaken == 1:
                    states = [state for state in states if state is not Link.DOWN]
                states.append(Link.UP if self._shaken == 1 else Link.SECOND)
            elif value in self._alive:
                first, was = self._alive[0] == value, self._shaken
                self._alive.remove(value)
                self._shaken = min(was, len(self._alive))
                if first and was:
                    states.append(Link.UP if self._shaken else Link.DOWN)
        return states
