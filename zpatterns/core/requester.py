"""The requester: lazy pirate with many in flight. Every rule of a call lives here, once.

A call waits in a bounded queue until a port can take it, is sent, and ends exactly once: with its reply, with a typed
error, by its deadline or by a cancel. Invariants, asserted by the simulation after every step:

* every call ends exactly once, never after its deadline;
* a reply is given to the call whose id it carries, and to no other;
* what is neither ``idempotent`` nor ``dedupe`` is never sent again once it was taken;
* a ``dedupe`` call is sent again only to the server incarnation that took it;
* ``in_flight`` of a port holds exactly the calls that are under way there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any

from ..errors import Closed, DecodeError, OutcomeUnknown, Status, ZPatternsError
from ..policy import Heartbeat, Limits, Retry
from ..wire import message as w
from . import verdicts
from .calls import EMPTY, ID, Call, Connection, Part, Port, Reopen, RequestClientStatistics
from .machine import Frame, Frames, Link, Sent
from .sending import Sending
from .timers import Timers
from .waiting import Waiting


class Requester:
    """``ports`` endpoints, one DEALER each. ``prefix`` is this client's 8 random bytes; ``random`` gives [0, 1)."""

    def __init__(
        self,
        ports: int,
        *,
        prefix: bytes,
        random: Callable[[], float],
        retry: Retry | None = None,
        limits: Limits | None = None,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        self.events: deque[Any] = deque()
        self.statistics: RequestClientStatistics = RequestClientStatistics()
        self.closed: bool = False
        self._limits = limits or Limits()
        self._heartbeat = heartbeat or Heartbeat()
        self._sending = Sending(ports, prefix, self._limits)
        self._half = max(1, self._sending.credit // 2)
        self.outbox: deque[tuple[int, Frames, Any]] = self._sending.outbox
        self.ports: list[Port] = self._sending.ports
        self.calls: dict[bytes, Call] = {}
        """By id, those that have not ended."""
        self._waiting = Waiting(self._limits.queue, retry or Retry(), random)
        self._untimed: list[Call] = []
        self._timers: Timers[Call] = Timers()

    # -- the application ----------------------------------------------------------------------------------------

    @property
    def expects(self) -> bool:
        """Without an open call, whatever comes is late."""
        return bool(self.calls)

    def start(self, call: Call) -> None:
        """Enter a call. It goes out with the next ``flush``; raises Overloaded when the queue is full."""
        if self.closed:
            raise Closed("the client is closed; make a new one")
        if len(self._waiting.queue) + len(self._waiting.pausing) >= self._limits.queue:
            self._waiting.make_room()
        call_id = call.id = self._sending.new_id()
        if call.method is not None:
            call.flags = w.BATCHES | w.IDEMPOTENT if call.idempotent else w.BATCHES
            if call.stream or call.dedupe:
                call.flags |= call.stream * w.STREAM | call.dedupe * w.DEDUPE
        self.statistics.started += 1
        self.calls[call_id] = call
        self._waiting.queue.append(call)
        self._untimed.append(call)

    def cancel(self, call: Call) -> None:
        """The application has lost interest: no event follows; a server that has the request is told."""
        if not call.done:
            self.statistics.cancelled += 1
            self._end(call, tell=True)

    def read(self, call: Call, now: float) -> None:
        """The application took one part of a stream: the server may send another."""
        call.unread -= 1
        if call.done or (call.parts - call.unread) % self._half:
            return
        self._sending.grant(call, self._half)
        call.quiet_at = now + call.timeout
        self._time(call)

    def close(self) -> None:
        """End every call with Closed, and take no more."""
        self.closed = True
        for call in list(self.calls.values()):
            self._fail(call, Closed(f"the client was closed before the reply to {call.name} came"), tell=True)

    # -- the driver ---------------------------------------------------------------------------------------------

    def dispatch(self, now: float) -> None:
        """A client starts nothing."""

    def flush(self, now: float) -> None:
        """Send what waits, as far as ports can take it."""
        for port in self.ports:
            if port.owing and not port.blocked:
                self._sending.grant_owed(port)
            if port.pinned:
                for call in self._sending.unpin(port, now):
                    if call.incarnation == port.incarnation:
                        self._assign(call, port, now)
                    else:
                        self._fail(call, verdicts.replaced(call))
        waiting = self._waiting.queue
        while waiting:
            call = waiting[0]
            if not call.done:
                if call.deadline <= now:
                    break  # it ends with the wake that is due
                port_or_none = self._sending.choose(call)
                if port_or_none is None:
                    if all(port.failed for port in self.ports):
                        self._give_up()
                    break
                self._assign(call, port_or_none, now)
            waiting.popleft()
        for port in self.ports:
            if port.tick:
                self._sending.emit(port, now)
        if self._untimed:
            for call in self._untimed:
                if not call.due and not call.done:
                    self._time(call)
            self._untimed.clear()

    def receive(self, port: int, frames: Frames, now: float) -> None:
        """A message came from a server."""
        where = self.ports[port]
        if where.bare is not None and not self._sending.has_id(frames):
            self._receive_bare(where.bare, frames)
        elif len(frames) >= 3 and not frames[1]:
            self._reply(where, bytes(frames[0]), frames[2], frames[3:], now)
        elif len(frames) == 3 and not frames[0]:
            self._receive_batch(where, frames, now)
        else:
            self.statistics.undecodable += 1

    def link(self, port: int, state: Link, now: float) -> None:
        """The connection of a port changed; everything that came in before was fed before."""
        where = self.ports[port]
        if state is Link.WRITABLE:
            where.blocked = False
        elif state is Link.UP:
            where.up, where.failed, where.blocked = True, False, False
            self.events.append(Connection(port, up=True, reason="connected"))
        else:
            reason = "the handshake was refused" if state is Link.REFUSED else "no connection"
            self.statistics.disconnects += where.up
            self.events.append(Connection(port, up=False, reason=reason))
            if where.bare is not None:  # on the next connection already, maybe: its reply would pass for another's
                self.events.append(Reopen(port))
            where.forget()
            for call in list(where.in_flight.values()):
                where.leave(call)
                call.lost = True
                if not call.ports and not call.queued:
                    self._lost(call, where, now)

    def sent(self, token: Any, outcome: Sent, now: float) -> None:
        """libzmq did not take a message: its calls wait again, in front, as if never sent."""
        del outcome, now  # a DEALER is never UNROUTABLE
        port, calls = self._sending.refused(token)
        for call in reversed(calls):
            if call.done:
                continue
            port.undo(call)
            call.attempt -= 1
            self._waiting.back(call, port)
            self._time(call)

    def wake(self, now: float) -> None:
        """Deadlines, attempts that took their share, pauses that are over, streams that must show life."""
        for call in self._timers.expired(now):
            if now >= call.deadline or (call.stream and now >= call.quiet_at):
                self._time_out(call)
            elif call in self._waiting.pausing:
                self._waiting.resume(call)
                self._time(call)
            elif call.stream and not call.queued:
                call.keepalive_at = now + self._heartbeat.interval
                self._sending.grant(call, 0)
                self._time(call)
            else:
                self._attempt_over(call, now)

    @property
    def wakes_at(self) -> float | None:
        """No later than the next deadline, retry or sign of life."""
        return self._timers.wakes_at

    # -- sending ------------------------------------------------------------------------------------------------

    def _give_up(self) -> None:
        """No server is connected: what was never taken, and does not want to wait for one, ends."""
        for call in list(self._waiting.queue):
            if not (call.wait_for_ready or call.lost or call.done):
                self._fail(call, verdicts.unavailable(f"{call.name} was not sent: no server is connected"))

    def _assign(self, call: Call, port: Port, now: float) -> None:
        call.attempt += 1
        call.queued = False
        call.ports = (*call.ports, port) if call.ports else (port,)
        port.in_flight[call.id] = call
        port.tick.append(call)
        if call.attempt > 1:
            self.statistics.retried += 1
        if call.bare != ID:
            port.bare = call
        if call.dedupe and call.attempts > 1:
            call.incarnation = port.incarnation
        if call.stream:
            call.keepalive_at = now + self._heartbeat.interval
            self._time(call)
        elif call.attempt < call.attempts and (call.idempotent or call.dedupe):
            self._timers.set(call, now + (call.deadline - now) / (call.attempts - call.attempt + 1))
        elif call.due != call.deadline:
            self._timers.set(call, call.deadline)

    def _time(self, call: Call) -> None:
        """Wake at the next thing that can happen to this call by itself."""
        when = call.deadline
        if call.stream:
            when = min(when, call.quiet_at, inf if call.queued else call.keepalive_at)
        self._timers.set(call, when)

    # -- replies ------------------------------------------------------------------------------------------------

    def _receive_batch(self, port: Port, frames: Frames, now: float) -> None:
        try:
            items = w.decode_batch(w.parse(frames[1]), frames[2])
        except DecodeError:
            self.statistics.undecodable += 1
            return
        for at in range(0, len(items), 3):
            self._reply(port, items[at], items[at + 1], (items[at + 2],), now)

    def _reply(self, port: Port, call_id: bytes, first: Frame, rest: Frames, now: float) -> None:
        call = self.calls.get(call_id)
        if call is None:
            self._stray(port, call_id, first)
        elif call.method is None:
            call.reply = (first, *rest)
            self._answer(call)
        else:
            command = w.parsed.get(first) if type(first) is bytes else None
            if command is None:
                try:
                    command = w.parse(first)
                except DecodeError as error:
                    self.statistics.undecodable += 1
                    self._fail(call, verdicts.not_typed(call, error, [first, *rest]))
                    return
            kind = type(command)
            if (kind is w.Final or kind is w.Error) and command is not port.last_header:
                port.learn(command)  # type: ignore[arg-type]
            if kind is w.Final and rest and not call.stream:
                call.reply_codec = command.codec  # type: ignore[union-attr]
                call.reply = rest
                self._answer(call)
            elif kind is w.Error:
                self._refuse(call, port, command, rest[0] if rest else b"", now)
            elif kind is w.Partial and rest and call.stream:
                self._part(call, command, rest, now)
            elif kind is w.Final and call.stream:
                if command.parts == call.parts:  # type: ignore[union-attr]
                    self._answer(call)
                else:
                    self._fail(call, verdicts.lost_part(call))
            else:
                self.statistics.undecodable += 1
                self._fail(call, verdicts.answers_nothing(call, kind.__name__))

    def _receive_bare(self, call: Call, frames: Frames) -> None:
        """Without an id in the envelope, one call is under way at a time, and what comes is its reply."""
        if call.bare == EMPTY and len(frames) > 1 and not len(frames[0]):
            frames = frames[1:]
        call.reply = tuple(frames)
        self._answer(call)

    def _stray(self, port: Port, call_id: bytes, first: Frame) -> None:
        if not call_id or call_id != port.ping_id:
            self.statistics.late += 1
        elif not port.pong(first):
            self.statistics.undecodable += 1

    def _part(self, call: Call, command: Any, frames: Frames, now: float) -> None:
        if command.sequence != call.parts:
            self._fail(call, verdicts.lost_part(call), tell=True)
            return
        call.parts += 1
        call.unread += 1
        read = call.parts - call.unread
        used = call.unread + read % self._half  # of the credit: what was read is granted by halves
        if used > self._sending.credit:
            self._fail(call, verdicts.too_many_parts(call), tell=True)
            return
        # A reader that holds all the credit is slow itself: the server may not send, so it is not late.
        call.quiet_at = inf if used == self._sending.credit else now + call.timeout
        self._time(call)
        self.events.append(Part(call, command.codec, frames))

    def _refuse(self, call: Call, port: Port, command: Any, payload: Frame, now: float) -> None:
        text, details = w.decode_error(payload)
        status = Status(command.status)
        if not command.flags & w.NOT_TAKEN:
            self._fail(call, verdicts.failed(call, command.flags, status, text, details))
            return
        self.statistics.refused += 1
        port.undo(call)
        call.lost |= bool(command.flags & w.LOST)  # by a broker, with the worker that had it
        if call.lost and call.bound and status is Status.FAILED_PRECONDITION:
            self._fail(call, verdicts.replaced(call))
            return
        call.refusal = verdicts.refused(status, text, details)
        if call.queued:  # its next attempt waits already
            if not call.bound and call in port.pinned:  # and may now go to any server
                port.pinned.remove(call)
                self._waiting.queue.append(call)
            return
        if call.attempt < call.attempts and (call.idempotent or not call.ports):
            self._timers.set(call, self._waiting.pause(call, port, now))
        elif not call.ports:
            self._fail(call, verdicts.unknown(call, "the retry was refused") if call.lost else call.refusal)

    # -- endings ------------------------------------------------------------------------------------------------

    def _answer(self, call: Call) -> None:
        self.statistics.answered += 1
        self._end(call, tell=len(call.ports) > 1)
        self.events.append(call)

    def _fail(self, call: Call, failure: ZPatternsError, *, tell: bool = False) -> None:
        self.statistics.failed += 1
        if isinstance(failure, OutcomeUnknown):
            self.statistics.outcome_unknown += 1
        call.failure = failure
        self._end(call, tell=tell)
        self.events.append(call)

    def _end(self, call: Call, *, tell: bool) -> None:
        """The one place where a call ends. ``tell``: servers that still have it get a CANCEL."""
        call.done = True
        del self.calls[call.id]
        self._timers.remove(call)
        if call.queued:
            self._waiting.pausing.discard(call)
        for port in call.ports:
            if port.in_flight.pop(call.id, None) is None:
                continue  # sent there twice
            if port.bare is call:
                port.bare = None
                if tell:
                    port.up = False
                    self.events.append(Reopen(port.index))
            elif tell and call.method is not None:
                self._sending.cancel(call, port)

    def _time_out(self, call: Call) -> None:
        self.statistics.timed_out += 1
        self._fail(call, verdicts.timed_out(call, self.ports, self.statistics.undecodable), tell=call.taken)

    # -- again --------------------------------------------------------------------------------------------------

    def _lost(self, call: Call, port: Port, now: float) -> None:
        """The link of the only port that had it went down: the attempt is over."""
        if call.stream:
            self._fail(call, verdicts.unknown(call, f"the connection was lost after {call.parts} parts"))
        elif call.idempotent and call.attempt < call.attempts:
            self._timers.set(call, self._waiting.pause(call, port, now))
        elif call.dedupe and call.incarnation and call.attempt < call.attempts:
            call.queued = True
            port.pinned.append(call)
            self._time(call)
        else:
            self._fail(call, verdicts.unknown(call, "the connection was lost before the reply came"))

    def _attempt_over(self, call: Call, now: float) -> None:
        """No reply within this attempt's share. The earlier send stays valid: the first reply wins."""
        self._time(call)
        if call.idempotent:
            call.avoid = call.ports[-1]
            call.queued = True
            self._waiting.queue.append(call)
        elif call.dedupe and call.ports[0].incarnation == call.incarnation and not call.ports[0].blocked:
            self._assign(call, call.ports[0], now)
