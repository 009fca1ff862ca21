"""zmq_proxy_steerable on a thread of its own, and what it takes to steer it: pause, statistics, a stop that always works.

What libzmq 4.3.5 does there was tried, and is worked around here. PAUSE and RESUME are swapped (fixed a day after that
release). While paused it spins, and so it does while messages wait and nobody can take them. It forwards in bursts of
1000 with a send that blocks: a consumer that stops reading keeps it from hearing any command. A capture socket that is
not read stops the traffic. So a paused or stuck proxy is taken out of C and waits in Python; captures go over PUB, which
drops; and what a stopping proxy cannot get rid of is taken off by a peer of our own, and counted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from itertools import count
from struct import unpack
from time import monotonic
from typing import Any

import zmq

from ..errors import RequestTimeout
from ..policy import Limits, SocketOptions
from . import sockets
from .binding import Binding
from .sides import Side
from .tap import Tap

log: logging.Logger = logging.getLogger("zpatterns")

_FREEZE = b"RESUME" if zmq.zmq_version_info()[:3] == (4, 3, 5) else b"PAUSE"
_WATCH = 0.25
_SPINS = 0.5
"""A share of one core: a proxy that uses more in ``_WATCH`` seconds, and forwards nothing, spins."""
_ANSWER = 0.05
"""Seconds an answer may take; it takes 0.1 ms, unless a send blocks."""
_RELIEF: dict[int, int] = {int(zmq.PUSH): int(zmq.PULL), int(zmq.DEALER): int(zmq.DEALER)}
"""The only kinds whose send blocks, and who takes messages off them."""
_numbers = count(1)


@dataclass(slots=True)
class ProxyStatistics:
    """Counters since the proxy was started. libzmq counts frames, not messages."""

    frontend_received: int = 0
    """Frames that came in at the frontend."""
    frontend_received_bytes: int = 0
    frontend_sent: int = 0
    """Frames that went out at the frontend."""
    frontend_sent_bytes: int = 0
    backend_received: int = 0
    backend_received_bytes: int = 0
    backend_sent: int = 0
    backend_sent_bytes: int = 0
    undelivered: int = 0
    """Messages counted as sent that nobody would take when the proxy stopped."""
    captured: int = 0
    """Messages the capture callback has seen."""
    capture_missed: int = 0
    """Frames it has not seen: dropped because it was too slow, or still on their way to it."""
    capture_failed: int = 0
    """Times it raised."""


class SteeredProxy:
    """Two sockets, the thread that forwards between them, and one that watches it. Opening raises as `Binding` does."""

    def __init__(
        self,
        context: sockets.Context,
        front: Side,
        back: Side,
        *,
        options: SocketOptions,
        limits: Limits,
        capture: Callable[[list[bytes]], None] | None,
        name: str,
    ) -> None:
        self.name = name
        self._context = context
        self._options = options
        self._back = back
        self._base = ProxyStatistics()
        self._lock = threading.RLock()
        self._ask = threading.Event()
        self.over: threading.Event = threading.Event()
        self.frontend: str
        self.backend: str
        self.paused: bool = False
        self._stopping = False
        self._abandoned = False
        self._outside = threading.Event()
        """The proxy's thread is not in C. It clears this behind ``_gate``, after a look at who wants it outside."""
        self._outside.set()
        self._gate = threading.Lock()
        """Held for a moment only, unlike ``_lock``: whoever wants it outside keeps it there, or knows that it is in C."""
        self._leaving = False
        """It was told to leave C, and its last numbers have not been added up."""
        self._unanswered = 0
        self._last: tuple[int, ...] = (0,) * 8
        self._opened: list[Binding | sockets.Socket] = []
        self._tap: Tap | None = None
        steer = f"inproc://zpatterns.proxy.{next(_numbers)}"
        self._relief = f"{steer}.relief"
        try:
            self._front_socket, self.frontend = front.open(context, options, limits, self._opened)
            self._back_socket, self.backend = back.open(context, options, limits, self._opened)
            if back.endpoint.transport in ("pgm", "epgm"):  # no subscription comes back from there
                self._front_socket.send(b"\1")
            if back.kind in _RELIEF:
                self._back_socket.bind(self._relief)
            self._control = self._pair(steer, bind=True)
            self._steer = self._pair(steer, bind=False)
            if capture is not None:
                self._tap = Tap(context, f"{steer}.capture", capture, options.high_water_mark, name)
        except BaseException:
            self._close(0)
            raise
        self._thread = threading.Thread(target=self._run, name=f"zpatterns-{name}", daemon=True)
        self._watcher = threading.Thread(target=self._watch, name=f"zpatterns-{name}-watch", daemon=True)
        self._thread.start()
        self._watcher.start()

    def _pair(self, address: str, *, bind: bool) -> sockets.Socket:
        socket: sockets.Socket = self._context.socket(zmq.PAIR)
        self._opened.append(socket)
        socket.set(zmq.LINGER, 0)
        socket.bind(address) if bind else socket.connect(address)
        return socket

    # -- on the proxy's thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        capture = self._tap.socket if self._tap is not None else None
        try:
            while self._may_forward():
                zmq.proxy_steerable(self._front_socket, self._back_socket, capture, self._control)
                self._outside.set()
        except zmq.ContextTerminated:
            log.debug("%s: the context was terminated", self.name)
        except Exception:
            log.exception("%s: forwarding failed; the proxy has stopped", self.name)
        finally:
            self._outside.set()
            self.over.set()
            self._ask.set()

    def _may_forward(self) -> bool:
        """Wait, without spinning, until something can be forwarded. False: stop."""
        front, back, control = self._front_socket, self._back_socket, self._control
        while not self._stopping:
            if self._wanted_outside():
                control.poll()
            elif self._movable(front, back, control):
                with self._gate:
                    if not self._wanted_outside():
                        self._outside.clear()
                        return True
            with suppress(zmq.Again):  # what came while the proxy was not in C has woken it, and that is all
                while True:
                    control.recv(zmq.NOBLOCK)
        return False

    def _wanted_outside(self) -> bool:
        return self.paused or self._leaving or self._stopping

    @staticmethod
    def _movable(front: sockets.Socket, back: sockets.Socket, control: sockets.Socket) -> bool:
        """Whether a message can go one way or the other; if not, wait for what is missing."""
        front_in, front_out = sockets.readable(front), sockets.writable(front)
        back_in, back_out = sockets.readable(back), sockets.writable(back)
        if (front_in and back_out) or (back_in and front_out):
            return True
        poller = zmq.Poller()
        poller.register(control, zmq.POLLIN)
        for socket, has, other_has in ((front, front_in, back_in), (back, back_in, front_in)):
            wanted = (0 if has else zmq.POLLIN) | (zmq.POLLOUT if other_has else 0)
            if wanted:
                poller.register(socket, wanted)
        poller.poll()
        return False

    # -- on any other thread ------------------------------------------------------------------------------------

    def pause(self, timeout: float) -> None:
        """Forward nothing more, from when this returns. What comes in waits in libzmq, up to the high-water marks."""
        with self._lock:
            self.paused = True
            if not self._leave(timeout) and not self.over.is_set():
                raise RequestTimeout(
                    f"{self.name}: a peer that does not read holds up the proxy; it pauses when that peer reads again",
                    sent=True,
                )

    def resume(self) -> None:
        """Forward again."""
        with self._lock:
            self.paused = False
            if self._leaving:
                self._leave(0)
            self._send(b"WAKE")

    def statistics(self) -> ProxyStatistics:
        """What the proxy has counted; the numbers of a moment ago when a peer that does not read holds it up."""
        with self._lock:
            if self._leaving:
                self._leave(0)
            elif not self._outside.is_set():
                self._ask_numbers()
            now = [value + more for value, more in zip(_values(self._base), self._last, strict=True)]
            found = ProxyStatistics(*now)
            found.undelivered = self._base.undelivered
        tap = self._tap
        if tap is not None:
            seen, found.captured, found.capture_failed = tap.frames, tap.captured, tap.failed
            found.capture_missed = max(0, found.frontend_received + found.backend_received - seen)
        return found

    def stop(self) -> None:
        """End it soon, from any thread. Returns at once."""
        self._ask.set()

    @property
    def ending(self) -> bool:
        """Whether it was told to, or has ended by itself."""
        return self._ask.is_set()

    def abandon(self) -> None:
        """As ``stop``, for the collector, which may run on a thread that holds the lock of an Event."""
        self._abandoned = True

    def join(self, timeout: float) -> bool:
        """Wait until everything is closed."""
        if self._tap is not None:
            self._tap.asked()
        self._watcher.join(timeout)
        return not self._watcher.is_alive()

    def _send(self, command: bytes) -> None:
        with suppress(zmq.ZMQError):  # closed, or the context terminated: there is nobody to steer
            self._steer.send(command, zmq.NOBLOCK)

    def _ask_numbers(self) -> bool:
        """Ask for the counters, once: an answer that did not come in time is still to come."""
        if not self._unanswered:
            self._unanswered = 1
            self._send(b"STATISTICS")
        return self._hear(monotonic() + _ANSWER)

    def _hear(self, until: float) -> bool:
        """Read the answers that are to come. True: all of them have."""
        with suppress(zmq.ZMQError):
            while self._unanswered and self._steer.poll(max(0, int((until - monotonic()) * 1000))):
                answer = self._steer.recv_multipart()
                if len(answer) == 8:  # other commands are answered by one empty frame, in some versions
                    self._last = tuple(unpack("Q", number)[0] for number in answer)
                    self._unanswered -= 1
        return not self._unanswered

    def _leave(self, timeout: float) -> bool:
        """Take the proxy out of C with exact numbers: frozen, asked, ended. False: not yet; call again."""
        until = monotonic() + timeout
        if not self._leaving:
            with self._gate:
                outside = self._outside.is_set()
            if outside:
                self._send(b"WAKE")
                return True
            self._leaving = True
            self._unanswered += 1
            for command in (_FREEZE, b"STATISTICS", b"TERMINATE"):
                self._send(command)
        if not self._hear(until) or not self._outside.wait(max(0.0, until - monotonic())):
            return False
        self._add(self._last)
        self._last = (0,) * 8
        self._leaving = False
        self._send(b"WAKE")
        return True

    def _add(self, numbers: tuple[int, ...]) -> None:
        for field, number in zip(fields(self._base), numbers, strict=False):
            setattr(self._base, field.name, getattr(self._base, field.name) + number)

    # -- on the watcher's thread --------------------------------------------------------------------------------

    def _watch(self) -> None:
        clock = _cpu_clock(self._thread)
        used = 0.0
        while not self._ask.wait(_WATCH) and not self._abandoned:
            now = clock()
            if self._leaving or now - used > _SPINS * _WATCH:
                self._look()
            used = now
        self._end()

    def _look(self) -> None:
        """It is busy: with messages, or with nothing? Then let it wait in Python."""
        with self._lock:
            if self._leaving:
                self._leave(_ANSWER)
                return
            before = self._last
            if not self._outside.is_set() and self._ask_numbers() and self._last == before:
                log.debug("%s: messages wait and nobody takes them", self.name)
                self._leave(_ANSWER)

    def _end(self) -> None:
        linger = self._options.linger
        until = monotonic() + linger
        with self._lock:
            self._stopping = True
            if not self._leave(_ANSWER) and not self.over.is_set():
                self._relieve(linger)
            self._send(b"WAKE")
            if self.over.wait(linger):
                self._close(linger)
            else:
                log.error("%s: the proxy does not stop; please report this", self.name)
        if self._tap is not None:
            self._tap.close(linger, until - monotonic())

    def _relieve(self, linger: float) -> None:
        """A send blocks: be the peer that takes it off, until the commands behind it are heard."""
        kind = _RELIEF.get(self._back.kind)
        if kind is None:
            return
        relief: sockets.Socket = self._context.socket(kind)
        try:
            relief.set(zmq.LINGER, 0)
            relief.connect(self._relief)
            until = monotonic() + linger
            while monotonic() < until and not self.over.is_set():
                while relief.poll(5):
                    relief.recv_multipart()
                    self._base.undelivered += 1
                if self._leave(0):
                    self.over.wait(max(0.0, until - monotonic()))
            while relief.poll(0):
                relief.recv_multipart()
                self._base.undelivered += 1
        except zmq.ZMQError as error:
            log.debug("%s: %s", self.name, error)
        finally:
            relief.close(0)
        if self._base.undelivered:
            log.warning("%s: %d messages were taken and nobody would have them", self.name, self._base.undelivered)

    def _close(self, linger: float) -> None:
        for each in self._opened:
            if isinstance(each, Binding):
                each.release(linger)
            else:
                each.close(int(linger * 1000))


def _values(statistics: ProxyStatistics) -> list[int]:
    return [getattr(statistics, field.name) for field in fields(statistics)[:8]]


def _cpu_clock(thread: threading.Thread) -> Callable[[], float]:
    """The processor time of a thread, where the system tells (Linux)."""
    ask: Any = getattr(time, "pthread_getcpuclockid", None)
    clock: int | None = ask(thread.ident) if ask is not None else None

    def read() -> float:
        try:
            return time.clock_gettime(clock) if clock is not None else 0.0
        except OSError:  # it has ended
            return 0.0

    return read
