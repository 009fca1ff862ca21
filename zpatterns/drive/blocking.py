"""The blocking driver: one turn waits for sockets, a wake-up or the machine's time, and moves what is there.

``Loop`` is the turn and its wake-up. ``Tenancy`` decides which thread turns it: a lone caller does it itself, which
costs no thread switch; with company an I/O thread takes over and callers hand it their work.
"""

from __future__ import annotations

import os
import threading
from _thread import LockType, allocate_lock
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any

import zmq
from zmq.backend import zmq_poll

from ..core.machine import Machine
from .pump import Pump

_IN, _OUT = int(zmq.POLLIN), int(zmq.POLLOUT)
_LONGEST = 60.0

Command = tuple[Callable[..., None], tuple[Any, ...]]


class Loop:
    """Only the thread that turns the loop touches the machine and its sockets; others ``post`` to it."""

    def __init__(self, pump: Pump, deliver: Callable[[Any], None]) -> None:
        self.pump = pump
        self.machine: Machine = pump.machine
        self._deliver = deliver
        self._commands: deque[Command] = deque()
        self._sleeping = False
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)
        self._watched: list[tuple[Any, int]] = []
        self._watch()

    def _watch(self) -> None:
        self._watched = [(port.socket, _IN) for port in self.pump.ports]
        self._watched.append((self._wake_in, _IN))
        self._watched += [(port.monitor.socket, _IN) for port in self.pump.ports if port.monitor is not None]

    @property
    def posted(self) -> bool:
        """Whether commands wait to be run."""
        return bool(self._commands)

    def post(self, action: Callable[..., None], *arguments: Any) -> None:
        """From any thread: have the loop call ``action`` soon."""
        self._commands.append((action, arguments))
        if self._sleeping:
            self.wake()

    def wake(self) -> None:
        """From any thread, or a signal handler: end the wait of the current turn."""
        with suppress(BlockingIOError, OSError):
            os.write(self._wake_out, b"w")

    def run_commands(self) -> None:
        """What other threads asked for."""
        commands = self._commands
        while commands:
            action, arguments = commands.popleft()
            action(*arguments)

    def turn(self) -> None:
        """Send what there is to send, wait for something to happen, take it in and hand it over."""
        pump = self.pump
        if self._commands:
            self.run_commands()
            self.deliver()
        pump.flush()
        self._sleeping = True
        ready = self._poll()
        self._sleeping = False
        if ready:
            self._take(ready)
        at = pump.wakes_at
        if at is not None and at <= monotonic() and pump.wake():
            self._watch()
        self.deliver()

    def _poll(self) -> list[tuple[Any, int]]:
        at = self.pump.wakes_at
        wait = _LONGEST if at is None else min(_LONGEST, at - monotonic())
        if wait < 0 or self._commands or self.machine.events:
            wait = 0.0
        watched = self._watched
        if self.pump.full:
            full = {self.pump.ports[port].socket for port in self.pump.full}
            watched = [(socket, _IN | _OUT if socket in full else _IN) for socket, _ in watched]
        try:
            ready: list[tuple[Any, int]] = zmq_poll(watched, -int(-wait * 1000 // 1))
        except zmq.error.InterruptedSystemCall:  # a signal: its handler has run
            return []
        return ready

    def _take(self, ready: list[tuple[Any, int]]) -> None:
        pump = self.pump
        for socket, events in ready:
            if socket == self._wake_in:
                with suppress(BlockingIOError):
                    os.read(self._wake_in, 4096)
                continue
            for index, port in enumerate(pump.ports):
                if socket is port.socket:
                    if events & _OUT and index in pump.full:
                        pump.writable(index)
                    if events & _IN:
                        pump.drain(index)
                elif port.monitor is not None and socket is port.monitor.socket:
                    pump.links(index)

    def deliver(self) -> None:
        """Hand the machine's events to the application."""
        machine, deliver = self.machine, self._deliver
        events = machine.events
        while True:
            machine.dispatch(monotonic())
            if not events:
                return
            while events:
                deliver(events.popleft())

    def reopen(self, port: int) -> None:
        """The machine asked for a fresh socket."""
        self.pump.reopen(port)
        self._watch()

    def close(self, linger: float | None = None) -> None:
        """Close the sockets. Only where no other thread turns the loop."""
        self.pump.close(linger)
        os.close(self._wake_in)
        os.close(self._wake_out)


class Tenancy:
    """Who turns a client's loop. Whoever holds ``_drive`` does; whoever enqueued and did not get it waits.

    No request can be left behind: a caller enqueues first and then tries for the lock; a driver releases the lock
    first and then looks at the queue again. One of the two sees the other.
    """

    def __init__(self, loop: Loop, busy: Callable[[], bool], name: str) -> None:
        self._loop = loop
        self._busy = busy
        self._name = name
        self._drive = threading.Lock()
        self._work = allocate_lock()
        self._work.acquire()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._closing = False

    def run(self, action: Callable[..., None], arguments: tuple[Any, ...], over: Callable[[], bool]) -> bool:
        """Post ``action`` and, if nobody else does, turn the loop until ``over()``. False: somebody else turns it."""
        loop = self._loop
        if not self._drive.acquire(False):
            loop.post(action, *arguments)
            if not self._drive.acquire(False):
                return False
        else:
            loop._commands.append((action, arguments))  # noqa: SLF001  nobody sleeps: no wake-up needed
        try:
            while not over():
                loop.turn()
            if loop.machine.outbox:
                loop.pump.flush()
        finally:
            self._drive.release()
            if loop.posted or self._busy():
                self._hand_over()
        return True

    def post(self, action: Callable[..., None], *arguments: Any) -> None:
        """Have the loop run ``action`` without waiting for it; the I/O thread turns it if nobody does."""
        self._loop.post(action, *arguments)
        if not self._drive.locked():
            self._hand_over()

    def _hand_over(self) -> None:
        if self._thread is None:
            with self._starting:
                if self._thread is None and not self._closing:
                    self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
                    self._thread.start()
        with suppress(RuntimeError):  # released twice: it is awake already
            self._work.release()

    def _serve(self) -> None:
        while True:
            self._work.acquire()
            while not self._closing and (self._loop.posted or self._busy()):
                if not self._drive.acquire(timeout=0.05):
                    continue
                try:
                    while not self._closing and (self._loop.posted or self._busy()):
                        self._loop.turn()
                finally:
                    self._drive.release()
            if self._closing:
                return

    def stop(self, last: Callable[[], None]) -> None:
        """Take the loop from whoever turns it, run ``last`` on it, and end the I/O thread."""
        self._closing = True
        self._loop.wake()
        with self._drive:
            last()
        with suppress(RuntimeError):
            self._work.release()


def waiter() -> LockType:
    """A lock that is taken: whoever finishes the call releases it."""
    lock = allocate_lock()
    lock.acquire()
    return lock
