"""The subscriber: reads what publishers send, knows exactly what it missed, and keeps the rest for its readers, bounded.

Invariants, which the virtual world checks: of every topic a reader is given each message at most once and in order; what
it was not given is in ``missed`` of the next one; what did not arrive is reported as lost, once.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from typing import Any

from ..errors import DecodeError
from ..policy import Limits
from ..wire import published as wire
from .calls import Connection
from .gaps import Ledger, Line
from .heard import Arrived, Gap, Ready, SubscriberStatistics
from .intake import Chunk, Intake, Route
from .machine import Frame, Frames, Link, Sent
from .readiness import Readiness, Waiter
from .subscriptions import Subscription, Subscriptions

_NEVER = float("inf")


class Subscriber:
    """One subscriber. ``nonce`` draws 16 random bytes."""

    def __init__(self, ports: int, *, nonce: Callable[[], bytes], limits: Limits | None = None) -> None:
        self.outbox: deque[tuple[int, Frames, Any]] = deque()
        self.events: deque[Any] = deque()
        self.up: list[bool] = [False] * ports
        self.foreign: list[bool] = [False] * ports
        """Ports that brought messages which are not ours."""
        self.plain: bool = False
        """Whether anything but our own topics was ever subscribed to."""
        self.intakes: list[Intake] = []
        self.readiness: Readiness = Readiness(ports, nonce, self._subscribe_port)
        self._counts = SubscriberStatistics()
        self._limits = limits or Limits()
        self._ports = ports
        self._subscriptions = Subscriptions(self._subscribe)
        self._ledger = Ledger(self._limits.topics)
        self._lines = self._ledger.current
        self._typed = False
        self.paused: bool = False
        """A reader's queue is full and has patience: read nothing until it has room."""
        self._gaps: dict[Line, int] = {}
        self._plain: dict[int, Route] = {}
        self._unwanted: set[bytes] = set()
        """Topics that match a prefix and no subscription, as far as they were seen."""
        self._aging = False

    # -- what the application wants -------------------------------------------------------------------------------

    def open(self, intake: Intake) -> None:
        """A reader begins."""
        self.intakes.append(intake)
        intake.relieved = self._recount
        self._aging = self._aging or intake.max_age is not None

    def close(self, intake: Intake) -> None:
        """A reader has gone, with its subscriptions and what waits for it."""
        for subscription in self._subscriptions.find(intake):
            self._subscriptions.remove(subscription)
        if intake in self.intakes:
            self.intakes.remove(intake)
            counts = self._counts
            counts.delivered += intake.delivered
            counts.overflowed += intake.overflowed
            counts.stale += intake.stale
            counts.undecodable += intake.undecodable
        intake.clear()
        self._plain.pop(id(intake), None)
        self._reroute()

    def subscribe(self, subscription: Subscription, now: float) -> None:
        """Ask for a topic, a pattern or a prefix; and, for ours, whether that is in place."""
        if subscription.matches is not None and not self._typed:
            self._typed = True
            self._subscribe(wire.HEARTBEAT_TOPIC, True)
        self.plain = self.plain or subscription.matches is None
        self._subscriptions.add(subscription)
        self._reroute()
        if subscription.matches is not None:
            self.readiness.ask(self._subscriptions.number, now)

    def unsubscribe(self, subscription: Subscription) -> None:
        """No more of it; what has come already is delivered."""
        self._subscriptions.remove(subscription)
        self._reroute()

    def find(self, intake: Intake) -> list[Subscription]:
        """The subscriptions of a reader."""
        return self._subscriptions.find(intake)

    def ready(self, waiter: Waiter, now: float) -> None:
        """``Ready`` comes when enough publishers have shown at every port that everything subscribed so far is in place."""
        self.readiness.ask(self._subscriptions.number, now, waiter)

    def give_up(self, waiter: Waiter) -> None:
        """Nobody waits any more."""
        if waiter in self.readiness.waiters:
            self.readiness.waiters.remove(waiter)

    def take(self, intake: Intake, now: float) -> tuple[Chunk, int] | None:
        """The reader's next chunk, and how many messages it missed before it."""
        return intake.take(now)

    # -- what the driver tells ------------------------------------------------------------------------------------

    @property
    def statistics(self) -> SubscriberStatistics:
        """Its counters; those of open readers are in their queues."""
        return self._counts

    def totals(self) -> SubscriberStatistics:
        """The counters, those of open readers included."""
        counts = self._counts
        return SubscriberStatistics(
            received=counts.received,
            delivered=counts.delivered + sum(intake.delivered for intake in self.intakes),
            lost=counts.lost,
            overflowed=counts.overflowed + sum(intake.overflowed for intake in self.intakes),
            stale=counts.stale + sum(intake.stale for intake in self.intakes),
            duplicate=counts.duplicate,
            undecodable=counts.undecodable + sum(intake.undecodable for intake in self.intakes),
            unwanted=counts.unwanted,
        )

    @property
    def expects(self) -> bool:
        """Whether to read on: not while a reader's queue is full and has patience."""
        return not self.paused

    def receive(self, port: int, frames: Frames, now: float) -> None:
        """A message of any kind."""
        if len(frames) != 2 or not self.usual(frames[0], frames[1], now):
            self._receive(port, frames, now)

    def usual(self, topic: Frame, data: Frame, now: float) -> bool:
        """A message of two frames from the same publisher as the last one of its topic, and the next in order: it is taken.

        False: nothing has happened; it, and whatever frames follow, are for ``receive``.
        """
        line = self._lines.get(topic) if type(topic) is bytes else None
        if line is None:
            return False
        try:
            head, count, first, sent_at = wire.read(data)
        except struct.error:
            return False
        routes = line.routes
        if head != line.head or first != line.next or routes is None or not 0 < count <= wire.BATCH_COUNT_MAX:
            return False
        line.next = first + count
        if count == 1 and len(routes) == 1 and not self._aging:
            route = routes[0]
            if route.intake.join(route, first, data[wire.RECORD :]):
                self._counts.received += 1
                return True
        self._put(line, routes, first, 0, count, (topic, data), sent_at, now)
        return True

    def _receive(self, port: int, frames: Frames, now: float) -> None:
        topic = frames[0] if isinstance(frames[0], bytes) else bytes(frames[0])
        if len(frames) < 2 or not wire.is_typed(frames[1]):
            self._receive_plain(port, topic, frames, now)
            return
        data = frames[1]
        try:
            head_bytes, count, first, sent_at = wire.read(data)
            head = wire.parse_head(head_bytes)
            buffers = frames[2:]
            if topic.startswith(wire.PREFIX):
                self._told(port, topic, head.incarnation, data[wire.RECORD :], now, sent_at)
                return
            if not 0 < count <= wire.BATCH_COUNT_MAX or not 0 < first < 2**62:
                raise DecodeError("a count or sequence out of range", frames=[data])
            if len(topic) > wire.LONGEST_SUBSCRIPTION:  # topics are remembered, so they must be short
                raise DecodeError("a topic that is too long", frames=[topic])
            if bool(buffers) is not bool(head.flags & wire.BUFFERS) or (buffers and count > 1):
                raise DecodeError("frames that the header does not tell of", frames=[data])
        except (struct.error, DecodeError):
            self._counts.undecodable += 1
            return
        if topic in self._unwanted or not self._subscriptions.routes(topic):
            # No line of it: were it asked for later, what came before would look like a gap.
            self._counts.unwanted += count
            if len(self._unwanted) < self._limits.topics:
                self._unwanted.add(topic)
            return
        line = self._line(topic, head, first)
        routes = self._routes(line)
        lost, old = line.arrive(first, count)
        if lost:
            self._lose(line, lost)
        self._counts.duplicate += old
        if old == count:
            return
        line.head = head_bytes if not buffers and not head.flags else b""
        self._put(line, routes, first, old, count, frames, sent_at, now)

    def _line(self, topic: bytes, head: wire.Head, first: int) -> Line:
        """The line of a message; a new one starts where the publisher's echo or the message itself says."""
        ledger = self._ledger
        line = ledger.line(topic, head.incarnation)
        if line is not None and head.flags & wire.START and first > line.next:
            ledger.drop(line)  # the publisher has forgotten the topic and begins again
            line = None
        if line is None:
            line = ledger.add(topic, head.incarnation, 0)
            if not head.flags & wire.START and self._covered(topic, head.incarnation):
                line.next = 1
        return line

    def _covered(self, topic: bytes, incarnation: bytes) -> bool:
        """Whether everything this publisher ever sent of the topic should have come."""
        return self._subscriptions.since(topic) <= self._ledger.peer(incarnation).covers

    def _routes(self, line: Line) -> tuple[Route, ...]:
        routes: tuple[Route, ...] | None = line.routes
        if routes is None:
            made: list[Route] = []
            for route in self._subscriptions.routes(line.topic):
                route.line, route.expected = line, line.next
                made.append(route)
            routes = line.routes = tuple(made)
        return routes

    def _put(
        self,
        line: Line,
        routes: tuple[Route, ...],
        first: int,
        start: int,
        count: int,
        frames: Frames,
        sent_at: int,
        now: float,
    ) -> None:
        self._counts.received += count - start
        data = frames[1]
        codec, payload = data[4], data[wire.RECORD :]
        came_at = self._ledger.peer(line.incarnation).fresh(sent_at, now) if self._aging else 0.0
        for route in routes:
            intake = route.intake
            fresh_until = came_at + intake.max_age if intake.max_age is not None else _NEVER
            if route.application is None:
                chunk = Chunk(route, 0, 1, 0, b"", frames, fresh_until)
            else:
                if not route.expected:  # nobody knows what went before
                    route.expected = first + start
                chunk = Chunk(route, first, count, codec, payload, frames[2:], fresh_until)
                chunk.start = start
            self._enter(intake, chunk, now)

    def _receive_plain(self, port: int, topic: bytes, frames: Frames, now: float) -> None:
        self.foreign[port] = True
        intakes = self._subscriptions.plain(topic)
        if not intakes:
            self._counts.unwanted += 1
            return
        self._counts.received += 1
        for intake in intakes:
            route = self._plain.get(id(intake))
            if route is None:
                route = self._plain[id(intake)] = Route(None, intake, None)
            self._enter(intake, Chunk(route, 0, 1, 0, b"", frames, _NEVER), now)

    def _enter(self, intake: Intake, chunk: Chunk, now: float) -> None:
        intake.put(chunk, now)
        if intake.full_until is not None and intake.full_until > now:
            self.paused = True
        if not intake.announced:
            intake.announced = True
            self.events.append(Arrived(intake))

    def _told(self, port: int, topic: bytes, incarnation: bytes, payload: Any, now: float, sent_at: int) -> None:
        """A heartbeat or an echo: last sequences."""
        told = wire.parse_table(payload)
        peer = self._ledger.peer(incarnation)
        peer.fresh(sent_at, now)
        covers: int | None = None
        forgotten = self._ledger.forgotten
        if topic.startswith(wire.NONCE_TOPIC):
            covers, ready = self.readiness.echoed(port, topic, incarnation)
            self.events.extend(map(Ready, ready))
        for name, last in told.last.items():
            line = self._ledger.line(name, incarnation)
            if line is None:
                number = self._subscriptions.since(name)
                if number <= peer.covers:
                    line = self._ledger.add(name, incarnation, 1)  # it had no messages yet when we asked for it
                elif covers is not None and number <= covers:
                    line = self._ledger.add(name, incarnation, last + 1)
                else:
                    continue  # we may have asked for it later than that
            self._routes(line)
            lost = line.told(last)
            if lost:
                self._lose(line, lost)
        if covers is not None and told.complete and self._ledger.forgotten == forgotten:
            peer.covers = max(peer.covers, covers)

    def _lose(self, line: Line, lost: int) -> None:
        self._counts.lost += lost
        self._gaps[line] = self._gaps.get(line, 0) + lost

    def link(self, port: int, state: Link, now: float) -> None:
        """A new connection has all subscriptions again, by libzmq; who is at its other end is not known."""
        if state is Link.UP:
            self.up[port] = True
            if self._typed:
                self.readiness.again(port, self._subscriptions.number, now)
        elif state is not Link.WRITABLE:
            self.foreign[port] = False
            if not self.up[port]:
                return
            self.up[port] = False
        else:
            return
        self.events.append(Connection(port, self.up[port], state.value))

    def sent(self, token: Any, outcome: Sent, now: float) -> None:
        """Subscriptions are options of a socket, which takes them always."""

    def wake(self, now: float) -> None:
        """Patience with a reader is over, or a nonce has had its time."""
        self._recount(now)
        self.readiness.wake(self._subscriptions.number, now)

    def dispatch(self, now: float) -> None:
        """Everything that came in is in: tell of the gaps, once for each topic."""
        if self._gaps:
            gaps, self._gaps = self._gaps, {}
            for line, lost in gaps.items():
                self.events.append(Gap(line.name, line.publisher, lost, "lost"))
        for intake in self.intakes:
            if intake.shedding:
                shedding, intake.shedding = intake.shedding, []
                for route in shedding:
                    dropped, route.shed = route.shed, 0
                    if route.line is not None:
                        self.events.append(Gap(route.line.name, route.line.publisher, dropped, "overflow"))

    def flush(self, now: float) -> None:
        """Nothing waits for the end of a tick."""

    @property
    def wakes_at(self) -> float | None:
        """The end of the next patience, or of a nonce's time."""
        at = self.readiness.wakes_at
        if self.paused:
            at = min(at, *(intake.full_until for intake in self.intakes if intake.full_until is not None), _NEVER)
        return None if at == _NEVER else at

    # -- subscriptions on the wire --------------------------------------------------------------------------------

    def _subscribe(self, prefix: bytes, yes: bool) -> None:
        for port in range(self._ports):
            self._subscribe_port(port, prefix, yes)

    def _subscribe_port(self, port: int, prefix: bytes, yes: bool) -> None:
        self.outbox.append((port, ((b"\1" if yes else b"\0") + prefix,), None))

    def _reroute(self) -> None:
        """Subscriptions have changed: look routes up again, keeping how far each reader has come; forget what nobody wants."""
        self._unwanted.clear()
        for line in self._ledger.lines():
            before: dict[int, Route] = {id(route.intake): route for route in (*line.away, *(line.routes or ()))}
            line.routes = None
            kept: list[Route] = []
            for new in self._routes(line):
                route = before.pop(id(new.intake), new)
                route.application = new.application
                route.resume(line.next)
                kept.append(route)
            line.routes = tuple(kept)
            line.away = tuple(route for route in before.values() if route.intake in self.intakes)
            for route in line.away:
                route.pause(line.next)
            if not kept:
                self._ledger.drop(line)

    def _recount(self, now: float = -_NEVER) -> None:
        self.paused = any(intake.full_until is not None and intake.full_until > now for intake in self.intakes)
