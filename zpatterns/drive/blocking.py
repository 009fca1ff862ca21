"""The blocking driver: one turn waits for sockets, a wake-up or the machine's time, and moves what is there.

``Loop`` is the turn and its wake-up. ``Tenancy`` decides which thread turns it: a lone caller does it itself, which
costs no thread switch; with company an I/O thread takes over and callers hand it their work.
"""

from __future__ import annotations

import os
import select
import threading
from _thread import LockType, allocate_lock
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any

from ..core.machine import Machine
from .pump import Pump

_LONGEST = 60.0

Command = tuple[Callable[..., None], tuple[Any, ...]]


class Loop:
    """Only the thread that turns the loop touches the machine and its sockets; others ``post`` to it."""

    def __init__(self, pump: Pump, deliver: Callable[[Any], None], *, works: bool = False) -> None:
        self.pump = pump
        self.machine: Machine = pump.machine
        self._deliver = deliver
        self._works = works
        self._commands: deque[Command] = deque()
        self._sleeping = False
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)
        self._poll = select.poll()
        self._watched: dict[int, tuple[Callable[[int], None], int]] = {}
        self._watch()

    def _watch(self) -> None:
        """Watch descriptors, not zmq sockets: zmq_poll asks every socket for its EVENTS, twice a turn."""
        for descriptor in self._watched:
            self._poll.unregister(descriptor)
        self._watched = {self._wake_in: (self._woken, 0)}
        for index, port in enumerate(self.pump.ports):
            socket, monitor = port.descriptors()
            if socket is None:
                port.notify = self.wake
            else:
                self._watched[socket] = (self._ready, index)
            if monitor is not None:
                self._watched[monitor] = (self.pump.links, index)
        for descriptor in self._watched:
            self._poll.register(descriptor, select.POLLIN)
        for index in range(len(self.pump.ports)):
            self.pump.links(index)  # a first read arms the edge, and tells what happened before we watched

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
        pump.flush(monotonic())
        self._sleeping = True
        self._wait()
        self._sleeping = False
        at = pump.wakes_at
        if at is not None and at <= monotonic() and pump.wake():
            self._watch()
        self.deliver()

    def _wait(self) -> None:
        """Sleep until a descriptor wakes us, then read. The descriptors are edge-triggered: EVENTS are asked before."""
        pump = self.pump
        wait = _LONGEST
        for index, port in enumerate(pump.ports):
            if port.readable():
                self._ready(index)
                wait = 0.0
        at = pump.wakes_at
        if at is not None:
            wait = max(0.0, min(wait, at - monotonic()))
        if self._commands or self.machine.events:
            wait = 0.0
        watched = self._watched
        for descriptor, _ in self._poll.poll(-int(-wait * 1000 // 1)):
            action, index = watched[descriptor]
            action(index)

    def _ready(self, index: int) -> None:
        if index in self.pump.full:
            self.pump.writable(index)
        self.pump.drain(index, monotonic())

    def _woken(self, _: int) -> None:
        with suppress(BlockingIOError):
            os.read(self._wake_in, 4096)

    def deliver(self) -> None:
        """Hand the machine's events to the application."""
        deliver = self._deliver
        events = self.machine.events
        while True:
            if self._works:
                self.machine.dispatch(monotonic())
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
        if self._drive.acquire(False):
            loop.run_commands()
            action(*arguments)
        else:
            loop.post(action, *arguments)
            if not self._drive.acquire(False):
                return False
        try:
            while not over():
                if self._closing:
                    return False  # whoever closes takes the loop, and ends our call with it
                loop.turn()
            if loop.machine.outbox:
                loop.pump.flush(monotonic())
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
