"""One end of a pair on the blocking driver: an owner thread turns its loop, the application waits on a condition."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Any

from ..core.calls import Reopen
from ..core.machine import Frames
from ..core.pairing import Pairing, Peer, Received, Refused
from ..errors import Closed, Overloaded, PairRefused, PeerUnavailable, RequestTimeout, WrongThreadError, ZPatternsError
from ..policy import Limits
from .blocking import Loop
from .owner import Owner
from .pair_port import PairPort
from .pump import Pump

log: logging.Logger = logging.getLogger("zpatterns")
Listener = Callable[[bool], None]


class PairPump(Pump):
    """Tells after each flush, for then it is known what libzmq has taken."""

    def __init__(self, machine: Pairing, port: PairPort, limits: Limits) -> None:
        super().__init__(machine, [port], limits)
        self._pairing = machine
        self._port = port
        self.settled: Callable[[int], None] = _nobody

    def drain(self, port: int, now: float, frames: Frames | None = None) -> bool:
        """As any pump; and, over inproc, find out that the peer was closed when it could not say so."""
        more = super().drain(port, now, frames)
        if self._port.deserted():
            self._pairing.gone(now)
        return more

    def flush(self, now: float) -> bool:
        """As any pump."""
        touched = super().flush(now)
        self.settled(self._pairing.settle())
        return touched


def _nobody(_: int) -> None:
    pass


class Outlook:
    """What may be said to a caller who wants to send or receive: the same words in both worlds."""

    def __init__(self, machine: Pairing, name: str, mark: int, on_connection: Listener | None) -> None:
        self.machine = machine
        self.name = name
        self.mark = mark
        self.closed: bool = False
        self.farewell: bool = False
        """The peer was closed, and no other has come since."""
        self._on_connection = on_connection

    def futile(self) -> ZPatternsError | None:
        """Why there is nothing to wait for."""
        if self.closed:
            return Closed(f"{self.name} is closed; make a new one")
        if self.machine.taken:
            return PairRefused(
                f"{self.name}: the other end is there and does not answer: it has another peer, or is stuck"
            )
        if self.machine.over:
            return PeerUnavailable(f"{self.name}: the other end was closed")
        return None

    def nobody(self) -> PeerUnavailable:
        """No peer came in time."""
        return PeerUnavailable(f"{self.name}: no peer in time; is the other end open, and is the endpoint the same?")

    def full(self) -> Overloaded:
        """The peer takes nothing."""
        return Overloaded(
            f"{self.name}: the peer does not read, and the queues on the way are full; send less, or wait longer"
        )

    def nothing(self) -> ZPatternsError:
        """Nothing came in time."""
        if self.machine.paired:
            return RequestTimeout(f"{self.name}: the peer is there and has sent nothing in time", sent=False)
        return self.nobody()

    def hear(self, event: Any) -> None:
        """The peer came or went, or somebody was refused."""
        if isinstance(event, Refused):
            log.warning("%s: %s", self.name, event.reason)
        elif isinstance(event, Peer):
            self.farewell = event.closed
            log.debug("%s: the peer %s (%s)", self.name, "is there" if event.up else "has gone", event.reason)
            if self._on_connection is not None:
                try:
                    self._on_connection(event.up)
                except Exception:
                    log.exception("on_connection raised")


class BlockingPairing:
    """``mark``: messages that ``send`` takes before libzmq has, and that wait here unread."""

    def __init__(self, machine: Pairing, pump: PairPump, outlook: Outlook, linger: float) -> None:
        self.machine = machine
        self.outlook = outlook
        self.inbox: deque[Received] = deque()
        self._linger = linger
        self._changed = threading.Condition()
        self._entered = 0
        self._taken = 0
        self._read = 0
        pump.settled = self._settled
        loop = Loop(pump, self._deliver)
        self._loop = loop
        self._owner = Owner(loop, outlook.name, last=self._last, at_exit=True)
        self._owner.start()

    # -- the application's threads ------------------------------------------------------------------------------

    def send(self, frames: Frames, deadline: float) -> None:
        """Hand one message over; wait while there is no peer, or no room."""
        outlook, machine = self.outlook, self.machine
        with self._changed:
            while True:
                failure = outlook.futile()
                if failure is not None:
                    raise failure
                if machine.paired and self._entered - self._taken < outlook.mark:
                    break
                if not self._wait(deadline):
                    raise outlook.full() if machine.paired else outlook.nobody()
            self._owner.post(machine.send, frames)  # within the lock: before the last commands are run, or not at all
            self._entered += 1

    def receive(self, deadline: float, *, iterating: float = 0.0) -> Received | None:
        """The next message. ``iterating``: None when there will be none, and so many seconds are for being without a peer:
        ``deadline`` is when they are over if none comes, and they begin anew when one has been there.
        """
        outlook, machine = self.outlook, self.machine
        with self._changed:
            while outlook.closed or not self.inbox:
                if iterating and (outlook.closed or outlook.farewell or machine.over):
                    return None
                failure = outlook.futile()
                if failure is not None:
                    raise failure
                paired, peers = machine.paired, machine.statistics.peers
                if not self._wait(inf if iterating and paired else deadline):
                    raise outlook.nothing()
                if iterating and (paired or peers != machine.statistics.peers):
                    deadline = monotonic() + iterating
            message = self.inbox.popleft()
            self._read += 1
            read = self._read if 2 * self._read >= outlook.mark else 0
            self._read -= read
        if read and not self._owner.stopping:
            self._owner.post(self.machine.read, read)
        return message

    def ready(self, deadline: float) -> None:
        """Wait for a peer."""
        with self._changed:
            while not self.machine.paired:
                failure = self.outlook.futile()
                if failure is not None and not isinstance(failure, PairRefused):
                    raise failure
                if not self._wait(deadline):
                    raise failure or self.outlook.nobody()

    def close(self) -> None:
        """Say farewell and wait, at most ``linger``, until the peer has read everything. Idempotent."""
        self._owner.stop(self._linger + 1.0)

    def abandon(self) -> None:
        """The collector found it, on whatever thread: end it soon, wait for nothing."""
        self._owner.stop(0)

    def _wait(self, deadline: float) -> bool:
        """Wait for a change. False: it is too late."""
        if self._owner.mine:
            raise WrongThreadError(f"{self.outlook.name}: a blocking call from its own callback would wait for itself")
        left = deadline - monotonic()
        if left <= 0:
            return False
        self._changed.wait(min(left, 60.0))
        return True

    # -- the owner's thread -------------------------------------------------------------------------------------

    def _deliver(self, event: Any) -> None:
        if isinstance(event, Received):
            with self._changed:
                self.inbox.append(event)
                self._changed.notify_all()
        elif isinstance(event, Reopen):
            self._loop.reopen(event.port)
        else:
            self.outlook.hear(event)
            with self._changed:
                self._changed.notify_all()

    def _settled(self, taken: int) -> None:
        if taken != self._taken:
            with self._changed:
                self._taken = taken
                self._changed.notify_all()

    def _last(self, error: BaseException | None) -> None:
        machine, loop = self.machine, self._loop
        with self._changed:
            self.outlook.closed = True
            self._changed.notify_all()
        loop.run_commands()  # what was posted a moment ago
        until = monotonic() + self._linger
        if error is None:
            try:
                loop.flush()
                while machine.paired and machine.queue and monotonic() < until:
                    loop.turn(lambda: not machine.queue, until)
                    loop.flush()  # there may be room now
                machine.close()
                while not machine.answered and monotonic() < until:
                    loop.turn(lambda: machine.answered, until)
            except ZPatternsError as failure:
                log.debug("closing: %s", failure)  # the context was terminated: nothing goes out any more
        else:
            machine.close()
        if machine.statistics.unsent:
            log.warning("%s: %d messages were never sent", self.outlook.name, machine.statistics.unsent)
