"""What a subscriber knows of the sequences of its publishers: exactly how many messages of a topic did not arrive.

A publisher numbers the messages of each topic from 1 on, anew in each incarnation. Within a connection ZeroMQ keeps the
order, so a number that is skipped did not arrive; what is missing at the end shows by the publisher's heartbeat.
"""

from __future__ import annotations

from typing import Any

_DRIFT = 0.0002
"""Two honest clocks drift apart by less than this (seconds a second): by so much the smallest delay may be out of date."""


class Line:
    """One topic of one publisher incarnation."""

    __slots__ = ("away", "head", "incarnation", "name", "next", "publisher", "routes", "topic")

    def __init__(self, topic: bytes, incarnation: bytes, next_: int) -> None:
        self.topic: bytes = topic
        self.incarnation: bytes = incarnation
        self.name: str = topic[:-1].decode(errors="replace")
        self.publisher: str = incarnation.hex()
        self.head: bytes = b""
        """The last header's constant part: the same again needs no second look."""
        self.next: int = next_
        """The next sequence expected; 0 while it is not known what went before."""
        self.routes: tuple[Any, ...] | None = None
        """Where its messages go; None until that is looked up."""
        self.away: tuple[Any, ...] = ()
        """Where they went before, and will again when no stream has the topic for itself."""

    def arrive(self, first: int, count: int) -> tuple[int, int]:
        """Messages ``first`` to ``first + count - 1`` have come: how many before them were lost, how many are old."""
        expected = self.next
        if not expected:
            self.next = first + count
            return 0, 0
        if first >= expected:
            self.next = first + count
            return first - expected, 0
        old = min(count, expected - first)
        self.next = max(expected, first + count)
        return 0, old

    def told(self, last: int) -> int:
        """The publisher says what it has sent so far: how many of these have not come, and will not."""
        if not self.next or last < self.next:
            return 0
        lost = last - self.next + 1
        self.next = last + 1
        return lost


class Peer:
    """One publisher incarnation: what its echo covered, and how far its clock is from ours."""

    __slots__ = ("covers", "incarnation", "offset", "seen_at")

    def __init__(self, incarnation: bytes) -> None:
        self.incarnation: bytes = incarnation
        self.covers: int = -1
        """Subscriptions up to this number were in place when it last echoed; topics it did not name had no messages."""
        self.offset: float = float("inf")
        """Our clock minus its clock minus the shortest way between: what a message took longer is its age."""
        self.seen_at: float = 0.0

    def fresh(self, sent_at: int, now: float) -> float:
        """When, on our clock, a message would have come that was sent then and took the shortest way."""
        sent = sent_at / 1e6
        offset = self.offset + _DRIFT * (now - self.seen_at)
        self.seen_at = now
        self.offset = min(offset, now - sent)
        return sent + self.offset


class Ledger:
    """Every line and peer a subscriber remembers, at most ``most`` lines; the oldest are forgotten first."""

    def __init__(self, most: int) -> None:
        self.current: dict[bytes, Line] = {}
        """By topic: the line of the publisher that was heard last."""
        self.forgotten: int = 0
        self._lines: dict[tuple[bytes, bytes], Line] = {}
        self._peers: dict[bytes, Peer] = {}
        self._most = most

    def peer(self, incarnation: bytes) -> Peer:
        """Known or new."""
        peer = self._peers.get(incarnation)
        if peer is None:
            if len(self._peers) >= self._most:
                del self._peers[next(iter(self._peers))]
            peer = self._peers[incarnation] = Peer(incarnation)
        return peer

    def line(self, topic: bytes, incarnation: bytes) -> Line | None:
        """The line of a topic, if there is one; it is the current one of its topic from now on."""
        line = self._lines.get((topic, incarnation))
        if line is not None:
            self.current[topic] = line
        return line

    def add(self, topic: bytes, incarnation: bytes, next_: int) -> Line:
        """A new line."""
        if len(self._lines) >= self._most:
            oldest = next(iter(self._lines.values()))
            self._forget(oldest)
            self.forgotten += 1
            peer = self._peers.get(oldest.incarnation)
            if peer is not None:
                peer.covers = -1  # of one topic we know no more now than if it had just been asked for
        line = self._lines[topic, incarnation] = self.current[topic] = Line(topic, incarnation, next_)
        return line

    def lines(self) -> list[Line]:
        """All of them."""
        return list(self._lines.values())

    def drop(self, line: Line) -> None:
        """Nobody subscribes to it any more: what comes later is no gap."""
        self._forget(line)

    def _forget(self, line: Line) -> None:
        del self._lines[line.topic, line.incarnation]
        if self.current.get(line.topic) is line:
            del self.current[line.topic]
