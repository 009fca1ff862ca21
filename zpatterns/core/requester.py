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
from typing import Any

from ..errors import Closed, DecodeError, OutcomeUnknown, Overloaded, ProtocolViolation, RequestTimeout, ZPatternsError
from ..errors import Status
from ..policy import Heartbeat, Limits, Retry
from ..wire import message as w
from . import compose, verdicts
from .calls import EMPTY, ID, Call, Connection, Part, Port, Reopen, RequesterStatistics
from .machine import Frame, Frames, Link, Sent
from .timers import Timers

_NEVER = float("inf")


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
        self.outbox: deque[tuple[int, Frames, Any]] = deque()
        self.events: deque[Any] = deque()
        self.statistics = RequesterStatistics()
        self.ports = [Port(index) for index in range(ports)]
        self.closed = False
        self._prefix = prefix
        self._counter = 0
        self._random = random
        self._retry = retry or Retry()
        self._limits = limits or Limits()
        self._heartbeat = heartbeat or Heartbeat()
        self._calls: dict[bytes, Call] = {}
        self._waiting: deque[Call] = deque()
        self._untimed: list[Call] = []
        self._pausing: set[Call] = set()
        self._timers: Timers[Call] = Timers()
        self._rotation = 0

    # -- the application ----------------------------------------------------------------------------------------

    @property
    def open_calls(self) -> int:
        """Calls that have not ended."""
        return len(self._calls)

    @property
    def expects(self) -> bool:
        """Without an open call, whatever comes is late."""
        return bool(self._calls)

    def start(self, call: Call) -> None:
        """Enter a call. It goes out with the next ``flush``; raises Overloaded when the queue is full."""
        if self.closed:
            raise Closed("the client is closed; make a new one")
        if len(self._waiting) >= self._limits.queue:
            self._waiting = deque(waiting for waiting in self._waiting if not waiting.done)
        if len(self._waiting) >= self._limits.queue:
            raise Overloaded(
                f"{len(self._waiting)} requests already wait for a server (Limits.queue); "
                "send fewer at once, or raise the limit"
            )
        call.id = self._new_id()
        if call.method is not None:
            call.flags = (
                w.BATCHES
                | (w.STREAM if call.stream else 0)
                | (w.DEDUPE if call.dedupe else 0)
                | (w.IDEMPOTENT if call.idempotent else 0)
            )
        self.statistics.started += 1
        self._calls[call.id] = call
        self._waiting.append(call)
        self._untimed.append(call)

    def cancel(self, call: Call) -> None:
        """The application has lost interest: no event follows; a server that has the request is told."""
        if not call.done:
            self.statistics.cancelled += 1
            self._end(call, tell=True)

    def read(self, call: Call, now: float) -> None:
        """The application took one part of a stream: the server may send another."""
        call.unread -= 1
        half = max(1, self._limits.credit // 2)
        if call.done or (call.parts - call.unread) % half:
            return
        self._grant(call, half)
        call.quiet_at = now + call.timeout
        self._time(call)

    def close(self) -> None:
        """End every call with Closed, and take no more."""
        self.closed = True
        for call in list(self._calls.values()):
            self._fail(call, Closed(f"the client was closed before the reply to {call.name} came"), tell=True)

    # -- the driver ---------------------------------------------------------------------------------------------

    def dispatch(self, now: float) -> None:
        """A client starts nothing by itself."""

    def flush(self, now: float) -> None:
        """Send what waits, as far as ports can take it."""
        for port in self.ports:
            if port.pinned:
                self._flush_pinned(port, now)
        waiting = self._waiting
        while waiting:
            call = waiting[0]
            if not call.done:
                port_or_none = self._choose(call)
                if port_or_none is None:
                    if call.wait_for_ready or not all(port.failed for port in self.ports):
                        break
                    self._fail(call, verdicts.unavailable(f"{call.name} was not sent: no server is connected"))
                else:
                    self._assign(call, port_or_none, now)
            waiting.popleft()
        for port in self.ports:
            if port.tick:
                self._emit(port, now)
        if self._untimed:
            for call in self._untimed:
                if not call.due and not call.done:
                    self._time(call)
            self._untimed.clear()

    def receive(self, port: int, frames: Frames, now: float) -> None:
        """A message came from a server."""
        where = self.ports[port]
        count = len(frames)
        if where.bare is not None:
            self._receive_bare(where.bare, frames)
        elif count >= 3 and not len(frames[1]):
            self._reply(where, bytes(frames[0]), frames[2], frames[3:], now)
        elif count == 3 and not len(frames[0]):
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
            if where.up:
                self.statistics.disconnects += 1
            self.events.append(Connection(port, up=False, reason=reason))
            where.forget()
            for call in list(where.in_flight.values()):
                self._leave(call, where)
                call.lost = True
                if not call.ports and not call.queued:
                    self._lost(call, where, now)

    def sent(self, token: Any, outcome: Sent, now: float) -> None:
        """libzmq did not take a message: its calls wait again, in front, as if never sent."""
        del outcome, now  # a DEALER is never UNROUTABLE
        port: Port = token[0]
        calls: tuple[Call, ...] = token[1]
        port.blocked = True
        port.ping_id = b""
        for call in reversed(calls):
            if call.done:
                continue
            self._leave(call, port)
            call.attempt -= 1
            call.queued = True
            if call.incarnation and call.attempt:
                port.pinned.append(call)
            else:
                self._waiting.appendleft(call)
            self._time(call)

    def wake(self, now: float) -> None:
        """Deadlines, attempts that took their share, pauses that are over, streams that must show life."""
        for call in self._timers.expired(now):
            if now >= call.deadline or (call.stream and now >= call.quiet_at):
                self._time_out(call)
            elif call in self._pausing:
                self._pausing.discard(call)
                self._waiting.append(call)
                self._time(call)
            elif call.stream and not call.queued:
                call.keepalive_at = now + self._heartbeat.interval
                self._grant(call, 0)
                self._time(call)
            else:
                self._attempt_over(call, now)

    @property
    def wakes_at(self) -> float | None:
        """No later than the next deadline, retry or sign of life."""
        return self._timers.wakes_at

    # -- sending ------------------------------------------------------------------------------------------------

    def _new_id(self) -> bytes:
        self._counter += 1
        return self._prefix + self._counter.to_bytes(8, "big")

    def _choose(self, call: Call) -> Port | None:
        """The usable port with the fewest in flight; another than the one that just failed, if there is one."""
        ports = self.ports
        if len(ports) == 1:
            return ports[0] if self._usable(ports[0], call) else None
        best: Port | None = None
        best_load = 0
        self._rotation += 1
        for offset in range(len(ports)):
            port = ports[(self._rotation + offset) % len(ports)]
            if self._usable(port, call):
                load = len(port.in_flight)
                if port is call.avoid or port in call.ports:
                    load += self._limits.in_flight
                if best is None or load < best_load:
                    best, best_load = port, load
        return best

    def _usable(self, port: Port, call: Call) -> bool:
        if not port.up or port.blocked or len(port.in_flight) >= self._limits.in_flight or port.bare is not None:
            return False
        if call.bare != ID:
            return not port.in_flight
        if call.dedupe and not port.incarnation:
            self._ping(port)
            return False
        return True

    def _assign(self, call: Call, port: Port, now: float) -> None:
        call.attempt += 1
        call.queued = False
        if port not in call.ports:
            call.ports = (*call.ports, port) if call.ports else (port,)
        port.in_flight[call.id] = call
        port.tick.append(call)
        if call.attempt > 1:
            self.statistics.retried += 1
        if call.bare != ID:
            port.bare = call
        if call.stream:
            call.quiet_at = now + call.timeout
            call.keepalive_at = now + self._heartbeat.interval
            self._time(call)
        elif call.attempt < call.attempts and (call.idempotent or call.dedupe):
            self._timers.set(call, now + (call.deadline - now) / (call.attempts - call.attempt + 1))
            call.incarnation = port.incarnation if call.dedupe else b""
        elif call.due != call.deadline:
            self._timers.set(call, call.deadline)

    def _emit(self, port: Port, now: float) -> None:
        calls, port.tick = port.tick, []
        credit = self._limits.credit
        together: list[Call] = []
        for call in calls:
            if (
                port.batches
                and call.method is not None
                and not call.buffers
                and type(call.payload) is bytes
                and len(call.payload) <= compose.BATCH_ITEM
            ):
                together.append(call)
            else:
                self.outbox.append((port.index, compose.frames(call, now, credit), (port, (call,))))
        if len(together) == 1:
            self.outbox.append((port.index, compose.frames(together[0], now, credit), (port, together)))
        elif together:
            items = [(call.id, compose.header(call, now, credit), call.payload) for call in together]
            at = 0
            for count, frames in compose.batches(items):  # type: ignore[arg-type]
                self.outbox.append((port.index, frames, (port, together[at : at + count])))
                at += count

    def _grant(self, call: Call, parts: int) -> None:
        for port in call.ports:
            self.outbox.append((port.index, (call.id, b"", w.credit(parts), b""), (port, ())))

    def _time(self, call: Call) -> None:
        """Wake at the next thing that can happen to this call by itself."""
        when = call.deadline
        if call.stream:
            when = min(when, call.quiet_at, _NEVER if call.queued else call.keepalive_at)
        self._timers.set(call, when)

    # -- replies ------------------------------------------------------------------------------------------------

    def _receive_batch(self, port: Port, frames: Frames, now: float) -> None:
        try:
            command = w.parse(frames[1])
            items = w.decode_batch(command, frames[2])
        except DecodeError:
            self.statistics.undecodable += 1
            return
        for at in range(0, len(items), 3):
            self._reply(port, items[at], items[at + 1], (items[at + 2],), now)

    def _reply(self, port: Port, call_id: bytes, first: Frame, rest: Frames, now: float) -> None:
        call = self._calls.get(call_id)
        if call is None:
            self._stray(port, call_id, first)
        elif call.method is None:
            call.reply = (first, *rest)
            self._answer(call)
        else:
            try:
                command = w.parse(first)
            except DecodeError as error:
                self.statistics.undecodable += 1
                self._fail(call, verdicts.not_typed(call, error, [first, *rest]))
                return
            kind = type(command)
            if kind is w.Final or kind is w.Error:
                if command is not port.last_header:
                    self._learn(port, command)
                if kind is w.Error:
                    self._refuse(call, port, command, rest[0] if rest else b"", now)
                    return
                if not call.stream and rest:
                    call.reply_codec = command.codec  # type: ignore[union-attr]
                    call.reply = rest
                    self._answer(call)
                    return
                if call.stream and command.parts == call.parts:  # type: ignore[union-attr]
                    self._answer(call)
                    return
                if call.stream:
                    self._fail(call, verdicts.lost_part(call))
                    return
            elif kind is w.Partial and call.stream and rest:
                self._part(call, command, rest, now)
                return
            self.statistics.undecodable += 1
            self._fail(call, ProtocolViolation(f"the reply to {call.name} is a {kind.__name__}, which answers nothing"))

    def _receive_bare(self, call: Call, frames: Frames) -> None:
        """Without an id in the envelope, one call is under way at a time, and what comes is its reply."""
        if call.bare == EMPTY and len(frames) > 1 and not len(frames[0]):
            frames = frames[1:]
        call.reply = tuple(frames)
        self._answer(call)

    def _stray(self, port: Port, call_id: bytes, first: Frame) -> None:
        if call_id and call_id == port.ping_id:
            port.ping_id = b""
            try:
                command = w.parse(first)
            except DecodeError:
                self.statistics.undecodable += 1
                return
            if isinstance(command, w.Final | w.Error):
                self._learn(port, command)
        else:
            self.statistics.late += 1

    def _learn(self, port: Port, command: Any) -> None:
        """Every answer says which server incarnation it is from, and whether that one reads batches."""
        port.last_header = command
        port.batches = bool(command.flags & w.BATCHES)
        port.incarnation = command.incarnation

    def _part(self, call: Call, command: Any, frames: Frames, now: float) -> None:
        if command.sequence != call.parts:
            self._fail(call, verdicts.lost_part(call), tell=True)
            return
        call.parts += 1
        call.unread += 1
        # A reader that holds all the credit is slow itself: the server may not send, so it is not late.
        call.quiet_at = _NEVER if call.unread >= self._limits.credit else now + call.timeout
        self._time(call)
        self.events.append(Part(call, command.codec, frames))

    def _refuse(self, call: Call, port: Port, command: Any, payload: Frame, now: float) -> None:
        text, details = w.decode_error(payload)
        status = Status(command.status)
        if not command.flags & w.NOT_TAKEN:
            self._fail(call, verdicts.error_of(status, text, details))
            return
        self.statistics.refused += 1
        self._leave(call, port)
        if call.lost and call.dedupe and status is Status.FAILED_PRECONDITION:
            self._fail(call, verdicts.unknown(call, "its server was replaced by another incarnation"))
            return
        call.refusal = verdicts.refused(status, text, details)
        if call.attempt < call.attempts:
            self._pause(call, port, now)
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
        del self._calls[call.id]
        self._timers.remove(call)
        if call.queued:
            self._pausing.discard(call)
        for port in call.ports:
            del port.in_flight[call.id]
            if port.bare is call:
                port.bare = None
                if tell:
                    port.up = False
                    self.events.append(Reopen(port.index))
            elif tell and call.method is not None:
                self.outbox.append((port.index, compose.cancel(call), (port, ())))

    def _leave(self, call: Call, port: Port) -> None:
        """A port has this call no longer."""
        if port in call.ports:
            call.ports = tuple(other for other in call.ports if other is not port)
            del port.in_flight[call.id]
            if port.bare is call:
                port.bare = None

    def _time_out(self, call: Call) -> None:
        self.statistics.timed_out += 1
        if call.taken:
            self._fail(call, RequestTimeout(verdicts.late(call), sent=True), tell=True)
        elif call.refusal is not None:
            self._fail(call, call.refusal)
        elif any(port.up for port in self.ports):
            text = f"{call.name} was never sent: no connected server could take more (Limits.in_flight)"
            self._fail(call, RequestTimeout(text, sent=False))
        else:
            self._fail(call, verdicts.unavailable(f"{call.name} was never sent: no server answered at the endpoint"))

    # -- again --------------------------------------------------------------------------------------------------

    def _lost(self, call: Call, port: Port, now: float) -> None:
        """The link of the only port that had it went down: the attempt is over."""
        if call.stream:
            self._fail(call, verdicts.unknown(call, f"the connection was lost after {call.parts} parts"))
        elif call.idempotent and call.attempt < call.attempts:
            self._pause(call, port, now)
        elif call.dedupe and call.incarnation and call.attempt < call.attempts:
            call.queued = True
            port.pinned.append(call)
            self._time(call)
        else:
            self._fail(call, verdicts.unknown(call, "the connection was lost before the reply came"))

    def _attempt_over(self, call: Call, now: float) -> None:
        """No reply within this attempt's share. The earlier send stays valid: the first reply wins."""
        self._time(call)
        if call.queued or call.attempt >= call.attempts:
            return
        if call.idempotent:
            call.avoid = call.ports[-1]
            call.queued = True
            self._waiting.append(call)
        elif call.dedupe and call.ports[0].incarnation == call.incarnation and not call.ports[0].blocked:
            self._assign(call, call.ports[0], now)

    def _pause(self, call: Call, port: Port, now: float) -> None:
        """Full jitter: anywhere between nothing and the doubled bound."""
        call.avoid = port
        call.queued = True
        bound = min(self._retry.backoff_max, self._retry.backoff * 2.0 ** (call.attempt - 1))
        self._pausing.add(call)
        self._timers.set(call, min(call.deadline, now + bound * self._random()))

    # -- dedupe: only the incarnation that took it may get it again ---------------------------------------------

    def _ping(self, port: Port) -> None:
        """Ask the server behind a new link which incarnation it is."""
        if not port.ping_id:
            port.ping_id = self._new_id()
            header = w.request("zp.ping", 60_000, 1, 1, w.BATCHES | w.IDEMPOTENT)
            self.outbox.append((port.index, (port.ping_id, b"", header, w.EMPTY_BODY), (port, ())))

    def _flush_pinned(self, port: Port, now: float) -> None:
        if not port.up or port.blocked:
            return
        if not port.incarnation:
            self._ping(port)
            return
        calls, port.pinned = port.pinned, []
        for call in calls:
            if call.done:
                continue
            if call.incarnation == port.incarnation:
                self._assign(call, port, now)
            else:
                self._fail(call, verdicts.unknown(call, "its server was replaced by another incarnation"))
