"""One end of a pair: it greets, it numbers, and it finds out what a PAIR socket keeps to itself.

A bound PAIR takes one peer. It lets a second one connect, shakes hands with it and drops whatever it sends, without a word
to either side, also after the first has gone (tried, libzmq 4.3.5). So the end that connects greets first, sends nothing
before it is greeted back, and tries again on a fresh socket when nobody greets; the end that is bound counts connections.
What the two ends say they have sent, at each greeting and at the farewell, tells how much a broken connection swallowed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from ..errors import DecodeError
from ..wire import pair as w
from .calls import Reopen
from .machine import Frame, Frames, Link, Sent

_HELLO, _WELCOME, _PROBE, _BYE = "hello", "welcome", "probe", "bye"
_EARLIER = 16
"""Earlier peers that are remembered."""


@dataclass(slots=True)
class PairStatistics:
    """Counters of one end."""

    sent: int = 0
    """Messages handed to libzmq for a peer that had greeted."""
    received: int = 0
    missed: int = 0
    """Messages the peer sent that never came: a connection broke. Known when it greets again, or says farewell."""
    unsent: int = 0
    """Messages that ``send`` had taken and no peer would have when this end was closed."""
    undecodable: int = 0
    refused: int = 0
    """Bound: peers that came while this end had one. Connected: greetings that nobody answered."""
    peers: int = 0
    """How often a peer was there, after none was."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The peer is there, or has gone. ``closed``: it has said that it will not come back."""

    up: bool
    closed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Received:
    """One item: payload and buffers. ``codec`` 0: bare frames; below 0: not what the peer should have sent."""

    codec: int
    frames: Frames


@dataclass(frozen=True, slots=True)
class Refused:
    """A second peer was refused; or, on the side that connects, this end was."""

    reason: str


class Pairing:
    """``accepts``: this end is bound. ``linked``: its port reports links (not inproc). ``lasting``: another peer may come.

    An end that is not greeted back tries again on a fresh socket, after pauses that double within ``backoff``: a peer whose
    predecessor has just gone is refused, too. After ``patience`` seconds of it there is another peer. ``high_water_mark``:
    messages that may wait here unread before no more are taken from the socket.
    """

    def __init__(
        self,
        *,
        incarnation: bytes,
        accepts: bool,
        linked: bool = True,
        lasting: bool = True,
        plain: bool = False,
        patience: float = 5.0,
        backoff: tuple[float, float] = (0.1, 2.0),
        high_water_mark: int = 1000,
    ) -> None:
        self.outbox: deque[tuple[int, Frames, Any]] = deque()
        self.events: deque[Any] = deque()
        self.statistics: PairStatistics = PairStatistics()
        self.paired: bool = False
        self.taken: bool = False
        """The other end does not answer: it has another peer."""
        self.over: bool = False
        """The peer has said farewell, and no other can come."""
        self.closed: bool = False
        """This end says farewell, or has."""
        self.answered: bool = False
        """... and the peer has read all that came before it."""
        self.queue: deque[Frames] = deque()
        """What waits for room, or for a peer."""
        self._incarnation = incarnation
        self._accepts = accepts
        self._linked = linked
        self._lasting = lasting
        self._plain = plain
        self._patience = patience
        self._backoff = backoff
        self._pause = backoff[0]
        self._mark = high_water_mark
        self._unread = 0
        self._entered = 0
        self._base = 0
        """Of all that was sent, what was before the present peer first greeted."""
        self._blocked = False
        self._owes_hello = False
        self._owes_welcome = False
        self._owes_bye = False
        self._reopening = False
        self._peer: bytes = b""
        self._parted: bytes = b""
        """The peer that said farewell last."""
        self._received = 0
        self._earlier: dict[bytes, int] = {}
        """Peers that had their turn, and how many items came from each: one may come back."""
        self._greet_at: float | None = None
        """When a greeting is overdue."""
        self._refused_at: float | None = None
        """When to say that there is another peer."""
        self._reopen_at: float | None = None
        self._told = False

    # -- the application ----------------------------------------------------------------------------------------

    def send(self, frames: Frames) -> None:
        """One message more. How many may wait is the driver's to see to."""
        if self.closed:
            self.statistics.unsent += 1
            return
        self._entered += 1
        self.queue.append(frames)

    def read(self, messages: int) -> None:
        """The application has taken so many."""
        self._unread -= messages

    def settle(self) -> int:
        """After a flush: how many messages of all that were given to ``send`` have been taken by libzmq."""
        sent = self.statistics.sent = self._sent
        return sent

    def close(self) -> None:
        """Say farewell; what is still in the queue is given up, and counted."""
        self.statistics.unsent += len(self.queue)
        self._entered -= len(self.queue)
        self.queue.clear()
        self.closed = True
        if self.paired and not self._plain:
            self._bye()
        else:
            self.answered = True

    def _bye(self) -> None:
        self._owes_bye = False
        self.outbox.append((0, w.bye(self._sent - self._base), _BYE))

    @property
    def _sent(self) -> int:
        return self._entered - len(self.queue)

    # -- the driver ---------------------------------------------------------------------------------------------

    @property
    def expects(self) -> bool:
        """Not while the application is behind: then libzmq's queues fill, and the peer waits."""
        return self._unread < self._mark

    def receive(self, port: int, frames: Frames, now: float) -> None:
        """A message of the one peer: libzmq drops those of others."""
        if self._plain:
            self._deliver(0, frames)
            return
        try:
            command = w.parse(frames[0])
            if len(frames) < 2:
                raise DecodeError("a header alone")
        except DecodeError:
            self.statistics.undecodable += 1
            self._deliver(-1, frames)
            return
        if isinstance(command, w.Item):
            self._received += 1
            self._deliver(command.codec, frames[1:])
        elif isinstance(command, w.Hello):
            self._greeted(command)
        else:
            self._count(command.sent)
            if not self.closed:
                self._bye()  # the answer: all that came before is here
            self.gone(now)

    @property
    def peer(self) -> bytes:
        """The incarnation that greeted last; empty when it has said farewell."""
        return b"" if self._peer == self._parted else self._peer

    def gone(self, now: float) -> None:
        """The peer is closed and all it sent has been read: it said so, or, over inproc, it did not get round to it."""
        self._parted = self._peer
        self._owes_welcome = self._owes_bye = False
        self._part("it was closed", closed=True)
        if not self._linked and self._lasting and not self._accepts:
            self._reopen_at = now + self._pause  # inproc does not connect again by itself

    def _deliver(self, codec: int, frames: Frames) -> None:
        self.statistics.received += codec >= 0
        self._unread += 1
        self.events.append(Received(codec, frames))

    def _greeted(self, hello: w.Hello) -> None:
        if hello.incarnation == self._parted:
            return  # it is closing, and answers a greeting that was under way
        if hello.incarnation != self._peer:
            if self.paired:
                self._part("another has taken its place", closed=False)
            self._earlier[self._peer] = self._received
            if len(self._earlier) > _EARLIER:
                del self._earlier[next(iter(self._earlier))]
            self._peer, self._base = hello.incarnation, self._sent
            self._received = self._earlier.pop(hello.incarnation, 0)
        if hello.to == self._incarnation:
            self._count(hello.sent)
        else:
            self._received = 0
        self._greet_at = self._refused_at = None
        self._pause = self._backoff[0]
        if not isinstance(hello, w.Welcome):
            self._welcome()
        self._pair()

    def _count(self, sent: int) -> None:
        """The peer says how many it has sent: what has not come by now will not."""
        self.statistics.missed += max(0, sent - self._received)
        self._received = sent

    def _pair(self) -> None:
        self.taken = self._told = False
        if not self.paired:
            self.paired = True
            self.statistics.peers += 1
            self.events.append(Peer(up=True, closed=False, reason="it greeted" if not self._plain else "connected"))

    def _part(self, reason: str, *, closed: bool) -> None:
        self.over = self.over or (closed and not self._lasting)
        if self.paired or closed:
            self.paired = False
            self.answered = True
            self.events.append(Peer(up=False, closed=closed, reason=reason))

    def link(self, port: int, state: Link, now: float) -> None:
        """A bound port says UP when there may be a new peer behind it; what a message says about it is surer."""
        if state is Link.UP or (state is Link.SECOND and not self.paired):
            self._connected(now)
        elif state is Link.WRITABLE:
            self._blocked = False
            if self._owes_hello:
                self._hello(_HELLO)
            if self._owes_welcome:
                self._welcome()
            if self._owes_bye:
                self._bye()
        elif state is Link.SECOND:
            self._refuse("one more peer has connected, and is refused: a pair has one")
        else:
            self._blocked = self._owes_hello = self._owes_welcome = self._owes_bye = False
            self._greet_at = None
            self.outbox.clear()  # greetings for a connection that is gone
            if self._reopening:
                self._reopening = False
            else:
                self.taken, self._refused_at = False, None
            self._part("the connection is gone" if state is Link.DOWN else "the handshake failed", closed=False)

    def _connected(self, now: float) -> None:
        """Greet whoever is there: a bound end, too, since one connection may have taken the place of another unseen."""
        if self._plain:
            self._pair()
            return
        if not self._accepts:
            if not self.paired:  # its greeting may have come before the news that it is connected
                self._greet_at = now + self._pause
        elif self._greet_at is None:  # else one that came before does not greet, and others must not prolong its time
            self._greet_at = now + self._patience
        if self._refused_at is None:
            self._refused_at = now + self._patience
        self._hello(_HELLO)

    def _hello(self, token: str) -> None:
        self._owes_hello = False
        self.outbox.append((0, w.hello(self._incarnation, self._sent - self._base, self._peer), token))

    def _welcome(self) -> None:
        self._owes_welcome = False
        self.outbox.append((0, w.welcome(self._incarnation, self._sent - self._base, self._peer), _WELCOME))

    def sent(self, token: Any, outcome: Sent, now: float) -> None:
        """It was not taken: no room, or no peer."""
        was_blocked, self._blocked = self._blocked, True
        if token is _HELLO:
            self._owes_hello = True
            if self._accepts and not was_blocked:  # there was room: now there is no pipe
                self._part("the connection is gone", closed=False)
        elif token is _WELCOME:
            self._owes_welcome = True
        elif token is _PROBE:  # over inproc, a pipe that is refused is closed
            self._refused(now)
        elif token is _BYE:
            self._owes_bye = self.closed  # an answer is for whoever still reads, not for the next peer
        else:
            behind = [entry[1] for entry in self.outbox if not isinstance(entry[2], str)]
            self.outbox = deque(entry for entry in self.outbox if isinstance(entry[2], str))
            self.queue.extendleft(reversed(behind))
            self.queue.appendleft(token)

    def wake(self, now: float) -> None:
        """Nobody has greeted back, or it is time to try again."""
        if self._greet_at is not None and now >= self._greet_at:
            self._greet_at = None
            if self._accepts:
                self.events.append(
                    Refused("the peer does not greet: it is no Pair, or plain=True at one end, or stuck")
                )
                if self.paired:
                    self._part("it does not answer", closed=False)
                else:
                    self._reopen()  # or it would hold the place for ever
            elif self._linked:
                self._refused(now)
            else:  # nobody may be bound there yet: that too is a pipe
                self._greet_at = now + self._longer()
                self._hello(_PROBE)
        if self._reopen_at is not None and now >= self._reopen_at:
            self._reopen_at = None
            self._reopen()

    def _refused(self, now: float) -> None:
        if self._refused_at is not None and now >= self._refused_at:
            self.taken = True
            self._refuse("the other end does not answer: it has another peer")
        self._greet_at = None
        self._longer()
        self._reopen()

    def _refuse(self, reason: str) -> None:
        """Counted each time, and told once until somebody is paired."""
        self.statistics.refused += 1
        if not self._told:
            self._told = True
            self.events.append(Refused(reason))

    def _longer(self) -> float:
        pause, self._pause = self._pause, min(self._backoff[1], 2 * self._pause)
        return pause

    def _reopen(self) -> None:
        self._reopening = True
        self.events.append(Reopen(0))

    def dispatch(self, now: float) -> None:
        """There is no work to hand out."""

    def flush(self, now: float) -> None:
        """Send what waits, as far as there is a peer with room."""
        if self.paired and not self.closed and not self._blocked and self.queue:
            self.outbox.extend((0, frames, frames) for frames in self.queue)
            self.queue.clear()

    @property
    def wakes_at(self) -> float | None:
        """When a greeting is overdue, or a refused end tries again."""
        if self._greet_at is None or self._reopen_at is None:
            return self._reopen_at if self._greet_at is None else self._greet_at
        return min(self._greet_at, self._reopen_at)


def frames_of(codec: int, payload: Frame, buffers: Frames) -> Frames:
    """One item as it travels."""
    return (w.item(codec), payload, *buffers)
