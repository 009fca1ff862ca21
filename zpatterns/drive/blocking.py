"""The blocking driver: one turn waits for sockets, a wake-up or the machine's time, and moves what is there.

``Loop`` is the turn and its wake-up. ``Tenancy`` decides which thread turns it: a lone caller does it itself, which
costs no thread switch; with company an I/O thread takes over and callers hand it their work.
"""

from __future__ import annotations

import logging
import os
import select
import threading
from _thread import LockType, get_ident
from collections import deque
from collections.abc import Callable, Sized
from contextlib import suppress
from time import monotonic
from typing import Any, Protocol

from ..core.machine import Machine
from ..errors import WrongThreadError
from .pump import Pump
from .relay import Relay, waiter
from .sockets import BRIEFLY

log: logging.Logger = logging.getLogger("zpatterns")
_LONGEST = 60.0
_MAIN = threading.main_thread().ident

Command = tuple[Callable[..., None], tuple[Any, ...]]


class Loop:
    """Only the thread that turns the loop touches the machine and its sockets; others ``post`` to it."""

    def __init__(self, pump: Pump, deliver: Callable[[Any], None], *, works: bool = False) -> None:
        self.pump = pump
        self.machine: Machine = pump.machine
        self._deliver = deliver
        self._works = works
        self.posted: deque[Command] = deque()
        """Commands that wait to be run."""
        self._sleeping = False
        self._waking = threading.RLock()  # reentrant: a signal handler wakes, too
        self._closed = False
        self._torn = False
        """A turn was begun and not ended, and it was not in its wait: Ctrl-C may have hit between two frames."""
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)
        self._poll = select.poll()
        self.rest: Callable[[int], list[tuple[int, int]]] = self.poll
        """How a turn sleeps: nothing of the machine or its sockets is touched meanwhile."""
        self._watched: dict[int, tuple[Callable[[int], None], int]] = {}
        self._watch()

    def _watch(self) -> None:
        """Watch descriptors, not zmq sockets: zmq_poll asks every socket for its EVENTS, twice a turn."""
        self._poll = select.poll()
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

    def post(self, action: Callable[..., None], *arguments: Any) -> None:
        """From any thread: have the loop call ``action`` soon."""
        self.posted.append((action, arguments))
        if self._sleeping:
            self._sleeping = False  # one write wakes it: whoever posts meanwhile need not
            self.wake()

    def wake(self) -> None:
        """From any thread, or a signal handler: end the wait of the current turn."""
        with self._waking, suppress(OSError):
            if not self._closed:  # the descriptor may be somebody else's by now
                os.write(self._wake_out, b"w")

    def run_commands(self) -> None:
        """What other threads asked for."""
        commands = self.posted
        while commands:  # taken out when done: an interrupt must not swallow one
            action, arguments = commands[0]
            try:
                action(*arguments)
            except Exception:
                commands.popleft()
                raise
            commands.popleft()

    def withdraw(self) -> list[Command]:
        """Commands that will not be run: the loop has ended."""
        withdrawn: list[Command] = []
        with suppress(IndexError):  # somebody else may empty it at the same time
            while True:
                withdrawn.append(self.posted.popleft())
        return withdrawn

    def turn(self, over: Callable[[], bool] | None = None, until: float | None = None, *, alone: bool = False) -> None:
        """Send what there is to send, wait for something to happen, take it in and hand it over.

        ``over``: what the commands may have brought about, so that there is nothing left to wait for; ``until``: when
        to wait no longer; ``alone``: nobody posts anything just now, or can wait ``BRIEFLY`` for it.
        """
        pump = self.pump
        if self._torn:
            self._mend()
        self._torn = True
        if self.posted:
            self.run_commands()
            self.deliver()
            if over is not None and over():
                self._torn = False
                return
        now = monotonic()
        pump.flush(now)
        if not (alone and self._heard_soon(now)):
            self._sleeping = True
            self._wait(until)
            self._sleeping = False
            at = pump.wakes_at
            if at is not None and at <= monotonic() and pump.wake():
                self._watch()
        self.deliver()
        self._torn = False

    def _heard_soon(self, now: float) -> bool:
        """Whether something came at the only port within ``BRIEFLY``: libzmq waits with half the calls that we need."""
        pump = self.pump
        receive_soon = pump.ports[0].receive_soon
        if receive_soon is None or len(pump.ports) > 1 or pump.full or self.machine.events:
            return False
        at = pump.wakes_at
        if at is not None and at - now < 2 * BRIEFLY:
            return False
        self._torn = False
        frames = receive_soon()
        self._torn = True
        if frames is None:
            return False
        pump.drain(0, monotonic(), frames)
        return True

    def _wait(self, until: float | None) -> None:
        """Sleep until a descriptor wakes us, then read. The descriptors are edge-triggered: EVENTS are asked before."""
        pump = self.pump
        wait = _LONGEST
        for index, port in enumerate(pump.ports):
            if port.readable() or (index in pump.full and port.writable()):  # asking took the edge of both
                self._ready(index)
                wait = 0.0
        at = pump.wakes_at
        if until is not None:
            at = until if at is None else min(at, until)
        if at is not None:
            wait = max(0.0, min(wait, at - monotonic()))
        if self.posted or self.machine.events:
            wait = 0.0
        watched = self._watched
        self._torn = False
        woken = self.rest(-int(-wait * 1000 // 1))
        self._torn = True
        for descriptor, _ in woken:
            action, index = watched[descriptor]
            action(index)

    def poll(self, milliseconds: int) -> list[tuple[int, int]]:
        """Wait until a descriptor wakes us, at most so long."""
        return self._poll.poll(milliseconds)

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
            while events:  # taken out when delivered, as commands are
                try:
                    deliver(events[0])
                except Exception:
                    events.popleft()
                    raise
                events.popleft()

    def reopen(self, port: int) -> None:
        """The machine asked for a fresh socket."""
        self.pump.reopen(port)
        self._watch()

    def flush(self) -> None:
        """Send what there is to send, without a turn."""
        self._torn = True
        self.pump.flush(monotonic())
        self._torn = False

    def _mend(self) -> None:
        """Half a message may be in a socket: start with fresh ones. If this is interrupted, the next turn does it again."""
        for index in range(len(self.pump.ports)):
            self.pump.reopen(index)
        self._watch()

    def close(self, linger: float | None = None) -> None:
        """Close the sockets. Only where no other thread turns the loop."""
        with self._waking:
            if self._closed:
                return
            self._closed = True
            os.close(self._wake_in)
            os.close(self._wake_out)
        self.pump.close(linger)


class Ending(Protocol):
    """What ends."""

    done: bool


class Tenancy:
    """Who turns a client's loop. Whoever holds ``_drive`` does; whoever enqueued and did not get it waits.

    No request can be left behind: a caller enqueues first and then tries for the lock; a driver releases the lock
    first and then looks at the queue again. One of the two sees the other. The same holds for ``_closing``: it is set
    first and the queue looked at then; who enqueues looks at it afterwards, and empties the queue itself.
    """

    def __init__(
        self,
        loop: Loop,
        open_calls: Sized,
        broken: Callable[[], None],
        name: str,
    ) -> None:
        self._loop = loop
        self._open_calls = open_calls
        self._broken = broken
        self._name = name
        self._drive = threading.RLock()  # reentrant for its owner's release alone: see run()
        self._driver = 0
        self._work = waiter()
        self._relay = Relay()
        self._serving = False
        """The I/O thread turns the loop."""
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._closing = False
        self._last: Callable[[], None] | None = None

    def run(self, start: Callable[[Any], None], call: Ending) -> bool:
        """``start`` a call and, if nobody else does, turn the loop until it is done. False: somebody else turns it."""
        loop, me = self._loop, get_ident()
        if self._driver == me:
            raise WrongThreadError(
                "a blocking call from a callback of the same client would wait for itself; use submit(), or call it "
                "from another thread"
            )
        mine = True  # until we know: an interrupt may hit as soon as the lock is taken, and it must not stay so
        try:
            if self._drive.acquire(False):
                self._driver = me
                if loop.posted:
                    loop.run_commands()
                start(call)
            else:
                loop.post(start, call)
                mine = self._drive.acquire(False)
                if not mine:
                    if self._closing:
                        self._run_late()
                    return False
                self._driver = me
            while not call.done and not self._closing:  # whoever closes takes the loop, and ends our call with it
                alone = len(self._open_calls) < 2
                if not alone and me == _MAIN:
                    return False  # Ctrl-C hits the main thread, between any two instructions: not in a call of others
                loop.turn(alone=alone)
            if loop.machine.outbox and not self._closing:
                loop.flush()
        finally:
            if mine:
                if self._last is not None:
                    self._leave()
                else:  # as _leave does, but before any call: Ctrl-C hits as calls begin
                    if self._driver == me:
                        self._driver = 0
                    try:
                        self._drive.release()
                    except RuntimeError:  # it was not ours after all
                        pass
                if loop.posted or self._open_calls or loop.machine.events:
                    self._hand_over()
        return call.done

    def post(self, action: Callable[..., None], *arguments: Any) -> None:
        """Have the loop run ``action`` without waiting for it; the I/O thread turns it if nobody does."""
        self._loop.post(action, *arguments)
        if self._closing:
            self._run_late()
        elif not self._driver:
            self._hand_over()

    def wait(self, lock: LockType, seconds: float) -> bool:
        """For another thread to ``wake`` us; False: it did not come to it."""
        woken = lock.acquire(timeout=seconds)
        self._relay.pass_on()
        return woken

    def wake(self, lock: LockType) -> None:
        """From the thread that turns the loop: whoever waits for this lock may go on."""
        (self._relay.add if self._serving else LockType.release)(lock)

    def _busy(self) -> bool:
        return bool(self._loop.posted or self._open_calls or self._loop.machine.events)

    def _leave(self) -> None:
        """Give the loop back; close it if somebody could not wait for it."""
        me = get_ident()
        try:
            if self._last is not None and self._driver == me:
                last, self._last = self._last, None
                last()
        finally:
            if self._driver == me:
                self._driver = 0
            with suppress(RuntimeError):  # it was not ours after all
                self._drive.release()

    def _run_late(self) -> None:
        """Posted while somebody closed: the machine refuses it."""
        if self._driver != get_ident():
            with self._drive:
                self._loop.run_commands()

    def _hand_over(self) -> None:
        if self._thread is None and self._starting.acquire(False):  # taken: somebody starts it just now
            try:
                if self._thread is None and not self._closing:
                    thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
                    thread.start()
                    self._thread = thread
            finally:
                self._starting.release()
        with suppress(RuntimeError):  # released twice: it is awake already
            self._work.release()

    def _serve(self) -> None:
        loop = self._loop
        while not self._closing:
            self._work.acquire()
            while not self._closing and self._busy():
                if not self._drive.acquire(timeout=0.05):
                    continue
                self._driver = get_ident()
                self._serving = True
                try:
                    while not self._closing and self._busy():
                        loop.turn()
                        self._relay.run()
                except Exception:
                    log.exception("the client's loop failed; its calls end with Closed")
                    if self._last is None:
                        self._closing, self._last = True, self._broken
                finally:
                    self._serving = False
                    self._relay.run()
                    self._leave()

    def stop(self, last: Callable[[], None]) -> None:
        """Take the loop from whoever turns it, run ``last`` on it, and end the I/O thread."""
        self._closing = True
        if self._driver == get_ident():  # from a callback, or from the collector: when this turn is over
            self._last = last
        else:
            self._loop.wake()
            with self._drive:
                last()
        with suppress(RuntimeError):
            self._work.release()
