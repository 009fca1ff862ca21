"""What a proxy forwards, copied to a callback: over PUB, which drops, since a capture socket that is full stops the proxy."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

import zmq

from . import sockets

log: logging.Logger = logging.getLogger("zpatterns")
_END = b"zpatterns.proxy.end"


class Tap:
    """Hands captured messages to a callback, on a thread of its own. A slow callback misses some; it delays nobody."""

    def __init__(
        self,
        context: sockets.Context,
        address: str,
        callback: Callable[[list[bytes]], None],
        high_water_mark: int,
        name: str,
    ) -> None:
        self.captured: int = 0
        self.frames: int = 0
        self.failed: int = 0
        self._callback = callback
        self._name = name
        self.socket: sockets.Socket = context.socket(zmq.PUB)
        self._reader: sockets.Socket = context.socket(zmq.SUB)
        for socket in (self.socket, self._reader):
            socket.set(zmq.LINGER, 0)
            socket.set(zmq.SNDHWM if socket is self.socket else zmq.RCVHWM, high_water_mark)
        self.socket.bind(address)
        self._reader.connect(address)
        self._reader.set(zmq.SUBSCRIBE, b"")
        self._until: float | None = None
        self._within = False
        self._thread = threading.Thread(target=self._read, name=f"zpatterns-{name}-capture", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            while True:
                if self._reader.poll(0 if self._until is not None else 1000):
                    message = self._reader.recv_multipart()
                    if self._until is not None and (message == [_END] or monotonic() > self._until):
                        return
                    self._hand(message)
                elif self._until is not None:
                    return
        except zmq.ZMQError as error:
            log.debug("%s: %s", self._name, error)
        finally:
            self._reader.close(0)

    def _hand(self, message: list[bytes]) -> None:
        self.captured += 1
        self.frames += len(message)
        try:
            self._callback(message)
        except BaseException:  # what it raises must not end the capture
            self.failed += 1
            log.exception("%s: the capture callback raised", self._name)

    def asked(self) -> None:
        """Somebody closes the proxy and waits for it. If that is the callback, it must not be waited for in turn."""
        self._within = self._within or threading.current_thread() is self._thread

    def close(self, linger: float, wait: float) -> None:
        """The proxy has ended: what was captured is handed over within ``linger`` seconds; wait for it so long at most."""
        self._until = monotonic() + linger
        with suppress(zmq.ZMQError):
            self.socket.send(_END, zmq.NOBLOCK)
        self.socket.close(int(linger * 1000))
        if not self._within:
            self._thread.join(max(0.0, wait))
