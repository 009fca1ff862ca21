"""The replier: what a server does with requests before and after its handlers. Every rule once.

The driver drains its socket into ``receive`` before it calls ``dispatch``, so a cancel that has arrived wins, and work
that expired while it waited is never started. Invariants, asserted by the simulation after every step:

* a request id that is here, or in the dedupe window, is not dispatched a second time;
* every request is dispatched, refused, dropped or answered from the window, and counted as one of these;
* a job is answered at most once; after that nothing more is sent for it;
* no queue is longer than its limit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import DecodeError, Status
from ..policy import Heartbeat, Limits
from ..wire import message as w
from . import compose
from .dedupe import Window
from .jobs import ALWAYS, Credited, Dispatch, Job, ReplierStatistics, Rule, Stop, Why
from .machine import Frame, Frames, Link, Sent
from .timers import Timers

PLAIN_PREFIX = b"zpatterns: "
"""How the server's own words to a plain peer start: refusals have no other place in a plain body."""
PLAIN_REFUSED = PLAIN_PREFIX + b"this server takes typed requests only; it has no handler for plain bodies"
_RETRY_BLOCKED = 0.005
_CREDIT_MAX = 2**20
"""Far above what readers grant: credit that is cut off is never granted again, and the stream would stand still."""
_SILENT = 10
"""Heartbeat intervals without a sign of life after which the reader of a stream is gone."""


class Replier:
    """``rules`` by method name (None: plain bodies); ``threads`` handlers run at once on the THREADS lane."""

    def __init__(
        self,
        rules: Mapping[str | None, Rule],
        *,
        incarnation: bytes,
        threads: int = 8,
        limits: Limits | None = None,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        self.outbox: deque[tuple[int, Frames, Any]] = deque()
        self.events: deque[Any] = deque()
        self.statistics = ReplierStatistics()
        self.incarnation = incarnation
        self.stopping = False
        self._rules = rules
        self._limits = limits or Limits()
        self._heartbeat = heartbeat or Heartbeat()
        self._jobs: dict[object, Job] = {}
        self._queues: tuple[deque[Job], ...] = (deque(), deque(), deque())
        self._running = [0, 0, 0]
        self._capacity = (self._limits.concurrency, threads, 2**31)
        self._started: list[Job] = []
        self._replies: dict[bytes, list[tuple[bytes, bytes, bytes]]] = {}
        self._blocked: dict[bytes, deque[Frames]] = {}
        self._retry_at: float | None = None
        self._window = Window(self._limits.dedupe, self._limits.dedupe_window)
        self._timers: Timers[Job] = Timers()

    expects = True
    """A request can come at any time."""

    @property
    def running(self) -> int:
        """Handlers that have not answered."""
        return sum(self._running)

    @property
    def queued(self) -> int:
        """Requests that wait for a handler."""
        return sum(map(len, self._queues))

    # -- in -----------------------------------------------------------------------------------------------------

    def receive(self, port: int, frames: Frames, now: float) -> None:
        """A message came: its routing id first, then the address stack, the delimiter and the body."""
        del port
        routing_id = bytes(frames[0])
        if len(frames) >= 5 and not len(frames[2]) and w.is_typed(frames[3]):
            self._typed(routing_id, (bytes(frames[1]), b""), frames[3], frames[4:], now)
            return
        for at, frame in enumerate(frames):
            if at and not len(frame):
                path = tuple(bytes(part) for part in frames[1 : at + 1])
                body = frames[at + 1 :]
                break
        else:
            path, body = (), frames[1:]  # a bare DEALER: no delimiter, no address stack
        if len(body) >= 2 and w.is_typed(body[0]):
            self._typed(routing_id, path, body[0], body[1:], now)
        elif body and w.is_typed(body[0]):
            self._undecodable(routing_id, path, "a typed body has a header and a payload")
        else:
            self._plain(routing_id, path, body)

    def _typed(self, routing_id: bytes, path: Sequence[bytes], header: Frame, rest: Frames, now: float) -> None:
        try:
            command = w.parse(header)
            if type(command) is w.Request:
                self._admit(Job(routing_id, path, command, rest), now)
            elif type(command) is w.Batch:
                items = w.decode_batch(command, rest[0])
                for at in range(0, len(items), 3):
                    self._typed(routing_id, (items[at], b""), items[at + 1], (items[at + 2],), now)
            else:
                self._control(routing_id, path, command, now)
        except DecodeError as error:
            self._undecodable(routing_id, path, str(error))

    def _undecodable(self, routing_id: bytes, path: Sequence[bytes], why: str) -> None:
        self.statistics.undecodable += 1
        self._send_error(Job(routing_id, path, None, ()), Status.INVALID_ARGUMENT, why, {}, w.NOT_TAKEN)

    def _plain(self, routing_id: bytes, path: Sequence[bytes], body: Frames) -> None:
        rule = self._rules.get(None)
        if rule is None:
            self.statistics.plain_refused += 1
            self._out((routing_id, *path, PLAIN_REFUSED))
            return
        self.statistics.received += 1
        job = Job(routing_id, path, None, body)
        if job.key in self._jobs:
            self.statistics.duplicates += 1
        elif self._has_room(job, rule):
            self._queue(job, rule)

    def _control(self, routing_id: bytes, path: Sequence[bytes], command: w.Command, now: float) -> None:
        job = self._jobs.get(Job(routing_id, path, None, ()).key)
        if isinstance(command, w.Cancel):
            if job is not None:
                self._stop(job, Why.CANCELLED)
        elif isinstance(command, w.Credit):
            if job is not None and job.header is not None and job.header.flags & w.STREAM:
                job.heard_at = now
                if command.parts and not job.stopped:
                    parts = min(command.parts, _CREDIT_MAX - job.credit)
                    job.credit += parts
                    self.events.append(Credited(job, parts))
        else:
            self.statistics.undecodable += 1

    def _admit(self, job: Job, now: float) -> None:
        header = job.header
        assert header is not None
        self.statistics.received += 1
        job.batches = bool(header.flags & w.BATCHES) and len(job.path) == 2
        here = self._jobs.get(job.key)
        if here is not None:
            self.statistics.duplicates += 1
            here.routing_id, here.path = job.routing_id, job.path  # it came over a new connection: answer there
            return
        rule = self._rules.get(header.method)
        if rule is None or rule.stream is not bool(header.flags & w.STREAM):
            self._no_method(job, rule)
            return
        expected = header.extra.get("incarnation", self.incarnation)
        if expected != self.incarnation:
            self.statistics.refused += 1
            self._refuse(job, Status.FAILED_PRECONDITION, "the request was meant for another incarnation of this server")
            return
        job.expires_at = now + header.budget / 1000
        if rule.lane == ALWAYS:
            self._queue(job, rule)
            return
        if (rule.dedupe or header.flags & w.DEDUPE) and not rule.stream and not self._remember(job, now):
            return
        if not self._has_room(job, rule):
            return
        if rule.stream:
            job.credit = min(header.extra.get("credit", 1), _CREDIT_MAX)
            job.heard_at = now
        self._queue(job, rule)

    def _has_room(self, job: Job, rule: Rule) -> bool:
        """Whether one more can wait here; refuses it otherwise."""
        if self.stopping:
            self.statistics.refused += 1
            self._refuse(job, Status.UNAVAILABLE, "the server is stopping")
            return False
        waiting = len(self._queues[rule.lane])
        if waiting >= self._limits.intake + max(0, self._capacity[rule.lane] - self._running[rule.lane]):
            self.statistics.overloaded += 1
            text = f"{waiting} requests already wait for a handler (Limits.intake)"
            self._refuse(job, Status.RESOURCE_EXHAUSTED, text)
            return False
        return True

    def _no_method(self, job: Job, rule: Rule | None) -> None:
        self.statistics.unknown_method += 1
        if rule is None:
            text = f"this server has no method {job.method!r:.256}; zp.info lists those it has"
        elif rule.stream:
            text = f"{job.method!r} answers with a stream: call it with stream()"
        else:
            text = f"{job.method!r} answers once: call it with request()"
        self._send_error(job, Status.UNIMPLEMENTED, text, {}, 0)

    def _remember(self, job: Job, now: float) -> bool:
        """True when the request is new and may go on."""
        if len(job.id) != 16:
            return True
        known = self._window.find(job.id)
        if known is not None:
            self.statistics.duplicates += 1
            if known.answer is not None:
                self.statistics.replayed += 1
                self._out((job.routing_id, *job.path, *known.answer))
            return False
        job.remembered = self._window.enter(job.id, job.expires_at, now)
        if not job.remembered:
            self.statistics.overloaded += 1
            self._refuse(job, Status.RESOURCE_EXHAUSTED, "the dedupe window is full (Limits.dedupe)")
        return job.remembered

    def _queue(self, job: Job, rule: Rule) -> None:
        job.lane = rule.lane
        self._jobs[job.key] = job
        self._queues[rule.lane].append(job)

    # -- dispatch -----------------------------------------------------------------------------------------------

    def dispatch(self, now: float) -> None:
        """The socket is drained: start what still makes sense, as far as there are free handlers."""
        for lane, queue in enumerate(self._queues):
            while queue and self._running[lane] < self._capacity[lane]:
                job = queue.popleft()
                if job.done:
                    continue
                if job.expires_at <= now:
                    self.statistics.expired += 1
                    self._forget(job)
                    continue
                job.running = True
                self._running[lane] += 1
                self.statistics.dispatched += 1
                self._started.append(job)
                self.events.append(Dispatch(job))

    def _stop(self, job: Job, why: Why) -> None:
        if job.stopped or job.done:
            return
        job.stopped = why
        if job.running:
            self.statistics.stopped += 1
            self.events.append(Stop(job))
        else:
            self.statistics.cancelled += 1
            self._forget(job)

    def _forget(self, job: Job) -> None:
        """Dropped before any handler saw it."""
        if job.remembered:
            self._window.release(job.id)
        self._close(job)

    def _close(self, job: Job) -> None:
        job.done = True
        if self._jobs.get(job.key) is job:
            del self._jobs[job.key]
        self._timers.remove(job)
        if job.running:
            job.running = False
            self._running[job.lane] -= 1

    # -- answers ------------------------------------------------------------------------------------------------

    def reply(self, job: Job, codec: int, payload: Frame, buffers: Frames = ()) -> None:
        """The handler's answer to a unary request."""
        if self._finish(job):
            self._send(job, w.final(0, codec, w.BATCHES, self.incarnation), payload, buffers)
            self.statistics.answered += 1

    def reply_plain(self, job: Job, frames: Frames) -> None:
        """The handler's answer to a plain body."""
        if self._finish(job):
            self._out((job.routing_id, *job.path, *frames))
            self.statistics.answered += 1

    def part(self, job: Job, codec: int, payload: Frame, buffers: Frames = ()) -> None:
        """One part of a stream; the caller has checked that ``job.credit`` is not 0."""
        if job.done or job.stopped:
            return
        job.credit -= 1
        self._send(job, w.partial(job.sequence, codec, 0), payload, buffers)
        job.sequence += 1

    def end(self, job: Job) -> None:
        """The stream is complete."""
        if self._finish(job):
            self._send(job, w.final(job.sequence, 0, w.BATCHES, self.incarnation), b"", ())
            self.statistics.answered += 1

    def fail(self, job: Job, status: Status, text: str, details: Mapping[str, Any] | None = None) -> None:
        """The handler's answer is an error."""
        if self._finish(job):
            self.statistics.failed += 1
            self._send_error(job, status, text, details or {}, 0)

    def _finish(self, job: Job) -> bool:
        """Close a running job; False if it has ended already or nobody waits for its answer."""
        if job.done:
            return False
        self._close(job)
        if job.stopped is not None and not job.remembered:
            self.statistics.discarded += 1
            return False
        return True

    def _refuse(self, job: Job, status: Status, text: str) -> None:
        if job.remembered:
            self._window.release(job.id)
        if job.header is None:
            self._out((job.routing_id, *job.path, PLAIN_PREFIX + text.encode()))
        else:
            self._send_error(job, status, text, {}, w.NOT_TAKEN)

    def _send_error(self, job: Job, status: Status, text: str, details: Mapping[str, Any], flags: int) -> None:
        payload = w.encode_error(text, details, self._limits.error_text)
        self._send(job, w.error(status, flags | w.BATCHES, self.incarnation), payload, ())

    def _out(self, frames: Frames) -> None:
        """Send, behind whatever already waits for a peer that is full."""
        if self._blocked and frames[0] in self._blocked:
            self._keep(frames)
        else:
            self.outbox.append((0, frames, frames))

    def _keep(self, frames: Frames) -> None:
        kept = self._blocked.setdefault(bytes(frames[0]), deque())
        if len(kept) >= self._limits.peer_queue:
            self.statistics.dropped += 1
        else:
            kept.append(frames)

    def _send(self, job: Job, header: bytes, payload: Frame, buffers: Frames) -> None:
        if job.remembered:
            self._window.answered(job.id, (header, payload, *buffers))
        if job.batches and not buffers and type(payload) is bytes and len(payload) <= compose.BATCH_ITEM:
            replies = self._replies.get(job.routing_id)
            if replies is None:
                replies = self._replies[job.routing_id] = []
            replies.append((job.id, header, payload))
        else:
            if job.sequence and job.routing_id in self._replies:
                self._batch(job.routing_id, self._replies.pop(job.routing_id))  # no part overtakes another
            self._out((job.routing_id, *job.path, header, payload, *buffers))

    def flush(self, now: float) -> None:
        """Write what this tick answered: one message per peer where the peer reads batches."""
        if self._replies:
            for routing_id, replies in self._replies.items():
                self._batch(routing_id, replies)
            self._replies.clear()
        if self._started:
            for job in self._started:
                if not job.done:
                    self._time(job)
            self._started.clear()
        del now

    def _batch(self, routing_id: bytes, replies: list[tuple[bytes, bytes, bytes]]) -> None:
        if len(replies) == 1:
            one = replies[0]
            self._out((routing_id, one[0], b"", one[1], one[2]))
        else:
            for _, frames in compose.batches(replies):
                self._out((routing_id, *frames))

    def _time(self, job: Job) -> None:
        header = job.header
        if header is None:
            return
        when = job.expires_at
        if header.flags & w.STREAM:  # its budget bounded the wait for a handler; from here it is the reader's life
            deadline = header.extra.get("deadline", 0)
            when = job.heard_at + self._heartbeat.interval * _SILENT
            if deadline:
                when = min(when, job.expires_at + (deadline - header.budget) / 1000)
        self._timers.set(job, when)

    # -- the driver ---------------------------------------------------------------------------------------------

    def link(self, port: int, state: Link, now: float) -> None:
        """A ROUTER has many peers and is told nothing about one: nothing to do."""

    def sent(self, token: Any, outcome: Sent, now: float) -> None:
        """A reply was not taken: kept for a peer that is full, dropped for one that is gone."""
        frames: Frames = token
        if outcome is Sent.UNROUTABLE:
            routing_id = bytes(frames[0])
            self.statistics.dropped += 1 + len(self._blocked.pop(routing_id, ()))
            for job in [job for job in self._jobs.values() if job.routing_id == routing_id]:
                self._stop(job, Why.GONE)
            return
        self._keep(frames)
        if any(entry[1][0] == frames[0] for entry in self.outbox):  # nothing may overtake it
            for entry in self.outbox:
                if entry[1][0] == frames[0]:
                    self._keep(entry[1])
            self.outbox = deque(entry for entry in self.outbox if entry[1][0] != frames[0])
        if self._retry_at is None:
            self._retry_at = now + _RETRY_BLOCKED

    def wake(self, now: float) -> None:
        """Budgets that are spent, readers that are gone, peers that may read again."""
        for job in self._timers.expired(now):
            header = job.header
            if header is not None and header.flags & w.STREAM:
                silent = now - job.heard_at >= self._heartbeat.interval * _SILENT
                deadline = header.extra.get("deadline", 0)
                over = bool(deadline) and now >= job.expires_at + (deadline - header.budget) / 1000
                if silent or over:
                    self._stop(job, Why.EXPIRED if over else Why.GONE)
                else:
                    self._time(job)
            else:
                self._stop(job, Why.EXPIRED)
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
            blocked, self._blocked = self._blocked, {}
            for kept in blocked.values():
                self.outbox.extend((0, frames, frames) for frames in kept)

    @property
    def wakes_at(self) -> float | None:
        """No later than the next budget that ends, or the next try for a peer that was full."""
        first = self._timers.wakes_at
        if self._retry_at is None:
            return first
        return self._retry_at if first is None else min(first, self._retry_at)

    # -- stopping -----------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Take nothing more; what no handler has seen is refused, so that callers try elsewhere."""
        self.stopping = True
        for queue in self._queues[:ALWAYS]:
            for job in queue:
                if not job.done:
                    self.statistics.refused += 1
                    self._refuse(job, Status.UNAVAILABLE, "the server is stopping")
                    self._close(job)
            queue.clear()

    def abort(self) -> None:
        """The grace is over: answer what still runs UNAVAILABLE, and tell its handlers."""
        for job in [job for job in self._jobs.values() if job.running]:
            if job.stopped is None:
                self._stop(job, Why.STOPPING)
                self.statistics.failed += 1
                self._send_error(job, Status.UNAVAILABLE, "the server stopped before the handler was done", {}, 0)
            else:
                self.statistics.discarded += 1
            self._close(job)
