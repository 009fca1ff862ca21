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
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import DecodeError, Status
from ..policy import Heartbeat, Limits
from ..wire import message as w
from . import jobs, verdicts
from .dedupe import Window
from .jobs import ALWAYS, Credited, Job, ReplyServerStatistics, Rule, Stop, Why
from .lanes import Lanes
from .machine import Frame, Frames, Link, Sent
from .outlet import Outlet
from .timers import Timers


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
        answers_all: bool = False,  # also what nobody waits for: to a broker it says that there is room
    ) -> None:
        self.events: deque[Any] = deque()
        self.statistics: ReplyServerStatistics = ReplyServerStatistics()
        self.incarnation: bytes = incarnation
        self.stopping: bool = False
        self.expects: bool = True  # a request can come at any time
        self._rules = rules
        self._answers_all = answers_all
        self._limits = limits or Limits()
        self._patience = (heartbeat or Heartbeat()).interval * jobs.SILENT
        self._jobs: dict[object, Job] = {}
        self._lanes = Lanes(self._limits.concurrency, threads, self._limits.intake)
        self._untimed: list[Job] = []
        self._outlet = Outlet(self._limits.peer_queue, self.statistics)
        self.outbox: deque[tuple[int, Frames, Any]] = self._outlet.outbox
        self.pauses: Callable[[Job], bool] = self._outlet.pauses
        self._window = Window(self._limits.dedupe, self._limits.dedupe_window)
        self._timers: Timers[Job] = Timers()

    @property
    def running(self) -> int:
        """Handlers that have not answered."""
        return sum(self._lanes.running)

    @property
    def queued(self) -> int:
        """Requests that wait for a handler."""
        return self._lanes.waiting

    # -- in -----------------------------------------------------------------------------------------------------

    def receive(self, port: int, frames: Frames, now: float) -> None:
        """A message came: its routing id first, then the address stack, the delimiter and the body."""
        routing_id = bytes(frames[0])
        if len(frames) >= 5 and frames[1] and not frames[2] and frames[3][:3] == w.MAGIC:
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
            command = (w.parsed.get(header) if type(header) is bytes else None) or w.parse(header)
            if type(command) is w.Request:
                self._admit(Job(routing_id, path, command, rest), now)
            elif type(command) is w.Batch and len(path) == len(rest) == 1:  # no request id: so never inside another
                items = w.decode_batch(command, rest[0])
                for at in range(0, len(items), 3):
                    known = w.parsed.get(items[at + 1])
                    if type(known) is w.Request:  # the usual case: what _typed does, without the call
                        self._admit(Job(routing_id, (items[at], b""), known, (items[at + 2],)), now)
                    else:
                        self._typed(routing_id, (items[at], b""), items[at + 1], (items[at + 2],), now)
            else:
                self._control(routing_id, path, command, now)
        except DecodeError as error:
            self._undecodable(routing_id, path, str(error))

    def _undecodable(self, routing_id: bytes, path: Sequence[bytes], why: str) -> None:
        self.statistics.undecodable += 1
        self._send_error(Job(routing_id, path, jobs.UNREADABLE, ()), Status.INVALID_ARGUMENT, why, {}, w.NOT_TAKEN)

    def _plain(self, routing_id: bytes, path: Sequence[bytes], body: Frames) -> None:
        if (rule := self._rules.get(None)) is None:
            self.statistics.plain_refused += 1
            self._outlet.put((routing_id, *path, jobs.PLAIN_REFUSED))
            return
        self.statistics.received += 1
        job = Job(routing_id, path, None, body)
        if (here := self._jobs.get(job.key)) is not None:
            self.statistics.duplicates += 1
            here.routing_id, here.path = job.routing_id, job.path  # where it came from last
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
                    parts = min(command.parts, w.CREDIT_MAX - job.credit)
                    job.credit += parts
                    self.events.append(Credited(job, parts))
        else:
            raise DecodeError(f"a {type(command).__name__} asks for nothing here")

    def _admit(self, job: Job, now: float) -> None:
        header = job.header
        assert header is not None
        self.statistics.received += 1
        job.batches = header.flags & w.BATCHES if len(job.id) == w.ID_BYTES and len(job.path) == 2 else 0
        here = self._jobs.get(job.key)
        if here is not None:
            self.statistics.duplicates += 1
            here.routing_id, here.path, here.batches = job.routing_id, job.path, job.batches  # where it came from last
            return
        rule = self._rules.get(header.method)
        if rule is None or rule.stream is not bool(header.flags & w.STREAM):
            self.statistics.unknown_method += 1
            self._send_error(job, Status.UNIMPLEMENTED, verdicts.no_method(header.method, rule), {}, 0)
            return
        if header.extra and header.extra.get("incarnation", self.incarnation) != self.incarnation:
            self.statistics.refused += 1
            self._refuse(job, Status.FAILED_PRECONDITION, "it was meant for another incarnation of this server")
            return
        job.expires_at = now + header.budget / 1000
        if rule.lane == ALWAYS:
            self._queue(job, rule)
            return
        if (rule.dedupe or header.flags & w.DEDUPE) and not rule.stream and not self._remember(job, now):
            return
        lanes = self._lanes
        if (self.stopping or len(lanes.queues[rule.lane]) >= lanes.intake) and not self._has_room(job, rule):
            return
        if rule.stream:
            job.credit = min(header.extra.get("credit", 1), w.CREDIT_MAX)
            job.heard_at = now
        self._queue(job, rule)

    def _has_room(self, job: Job, rule: Rule) -> bool:
        """Whether one more can wait here; refuses it otherwise."""
        if self.stopping:
            self.statistics.refused += 1
            self._refuse(job, Status.UNAVAILABLE, "the server is stopping")
        elif not self._lanes.has_room(rule.lane):
            self.statistics.overloaded += 1
            text = f"{len(self._lanes.queues[rule.lane])} requests already wait for a handler (Limits.intake)"
            self._refuse(job, Status.RESOURCE_EXHAUSTED, text)
        else:
            return True
        return False

    def _remember(self, job: Job, now: float) -> bool:
        """True when the request is new and may go on."""
        if len(job.id) != w.ID_BYTES:
            return True
        known = self._window.find(job.id)
        if known is not None:
            self.statistics.duplicates += 1
            if known.answer is not None:
                self.statistics.replayed += 1
                self._outlet.put((job.routing_id, *job.path, *known.answer))
            return False
        job.remembered = self._window.enter(job.id, job.expires_at, now)
        if not job.remembered:
            self.statistics.overloaded += 1
            self._refuse(job, Status.RESOURCE_EXHAUSTED, "the dedupe window is full (Limits.dedupe)")
        return job.remembered

    def _queue(self, job: Job, rule: Rule) -> None:
        job.lane = rule.lane
        job.rule = rule
        self._jobs[job.key] = job
        self._lanes.queues[rule.lane].append(job)
        self._untimed.append(job)

    # -- dispatch -----------------------------------------------------------------------------------------------

    def dispatch(self, now: float) -> None:
        """The socket is drained: start what still makes sense, as far as there are free handlers."""
        lanes, running = self._lanes, self._lanes.running
        for lane, queue in enumerate(lanes.queues):
            while queue and running[lane] < lanes.capacity[lane]:
                job = queue.popleft()
                if job.done:
                    lanes.dead[lane] -= 1
                    continue
                if job.expires_at <= now:
                    self.statistics.expired += 1
                    self._forget(job)
                    continue
                job.running = True
                running[lane] += 1
                self.statistics.dispatched += 1
                if job.due:  # it had to wait; now that it runs, other times count
                    self._untimed.append(job)
                self.events.append(job)

    def _stop(self, job: Job, why: Why) -> None:
        if job.stopped or job.done:
            return
        job.stopped = why
        if job.running:
            self.statistics.stopped += 1
            self.events.append(Stop(job))
        else:
            self.statistics.expired += why is Why.EXPIRED
            self.statistics.cancelled += why is not Why.EXPIRED
            self._lanes.dead[job.lane] += 1
            self._forget(job)

    def _forget(self, job: Job) -> None:
        """Dropped before any handler saw it."""
        if job.remembered:
            self._window.release(job.id)
        self._close(job)
        self._mention(job, w.NOT_TAKEN)

    def _mention(self, job: Job, flags: int) -> None:
        if self._answers_all:  # it ends without an answer
            self._send_error(job, *verdicts.unanswered(job), {}, flags)

    def _close(self, job: Job) -> None:
        job.done = True
        del self._jobs[job.key]
        if job.due:  # most jobs are done before they were timed
            self._timers.remove(job)
        if job.running:
            job.running = False
            self._lanes.running[job.lane] -= 1

    # -- answers ------------------------------------------------------------------------------------------------

    def reply(self, job: Job, codec: int, payload: Frame, buffers: Frames = ()) -> None:
        """The handler's answer to a unary request."""
        if self._finish(job):
            header = w.final(0, codec, job.batches, self.incarnation)
            if job.remembered:
                self._window.answered(job.id, (header, payload, *buffers))
            self._outlet.send(job, header, payload, buffers)
            self.statistics.answered += 1

    def reply_plain(self, job: Job, frames: Frames) -> None:
        """The handler's answer to a plain body."""
        if self._finish(job):
            self._outlet.put((job.routing_id, *job.path, *frames))
            self.statistics.answered += 1

    def part(self, job: Job, codec: int, payload: Frame, buffers: Frames = ()) -> None:
        """One part of a stream, unless it ``pauses``; then an event ``Credited`` tells when to go on."""
        if job.done or job.stopped:
            return
        job.credit -= 1
        self._outlet.send(job, w.partial(job.sequence, codec, 0), payload, buffers)
        job.sequence += 1

    def end(self, job: Job) -> None:
        """The stream is complete."""
        if self._finish(job):
            self._outlet.send(job, w.final(job.sequence, 0, job.batches, self.incarnation), b"", ())
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
            self._mention(job, 0)
            return False
        return True

    def _refuse(self, job: Job, status: Status, text: str) -> None:
        if job.remembered:
            self._window.release(job.id)
        self._send_error(job, status, text, {}, w.NOT_TAKEN)

    def _send_error(self, job: Job, status: Status, text: str, details: Mapping[str, Any], flags: int) -> None:
        if job.header is None:
            self._outlet.put((job.routing_id, *job.path, verdicts.plain(status, text, self._limits.error_text)))
            return
        payload = w.encode_error(text, details, self._limits.error_text)
        header = w.error(status, flags | job.batches, self.incarnation)
        if job.remembered:
            self._window.answered(job.id, (header, payload))
        self._outlet.send(job, header, payload, ())

    def flush(self, now: float) -> None:
        """Write what this tick answered: one message per peer where the peer reads batches."""
        if self._outlet.replies:
            self._outlet.flush()
        if self._outlet.paused:
            self.events.extend(Credited(job, 0) for job in self._outlet.resumed() if not job.done)
        if self._untimed:
            for job in self._untimed:
                if not job.done and job.header is not None:
                    self._timers.set(job, job.ends(self._patience)[0])
            self._untimed.clear()

    # -- the driver ---------------------------------------------------------------------------------------------

    def link(self, port: int, state: Link, now: float) -> None:
        """A ROUTER has many peers and is told nothing about one: nothing to do."""

    def sent(self, token: Any, outcome: Sent, now: float) -> None:
        """A reply was not taken: kept for a peer that is full, dropped for one that is gone."""
        if outcome is Sent.FULL:
            self._outlet.full(token[1], now)
        else:
            self.gone(self._outlet.gone(token[1]))

    def gone(self, routing_id: bytes) -> None:
        """A peer is not there any more: what it may not come back for is stopped."""
        for job in [job for job in self._jobs.values() if job.routing_id == routing_id]:
            if not (job.returns or (self._answers_all and job.header is None)):  # 7/MDP: a broker may give it again
                self._stop(job, Why.GONE)

    def wake(self, now: float) -> None:
        """Budgets that are spent, readers that are gone, peers that may read again."""
        for job in self._timers.expired(now):
            at, why = job.ends(self._patience)
            if at > now:
                self._timers.set(job, at)
            else:
                self._stop(job, why)
        self._outlet.wake(now)

    @property
    def wakes_at(self) -> float | None:
        """No later than the next budget that ends, or the next try for a peer that was full."""
        first, retry_at = self._timers.wakes_at, self._outlet.retry_at
        if retry_at is None:
            return first
        return retry_at if first is None else min(first, retry_at)

    # -- stopping -----------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Take nothing more; what no handler has seen is refused, so that callers try elsewhere."""
        self.stopping = True
        for lane in range(ALWAYS):
            for job in self._lanes.empty(lane):
                self.statistics.refused += 1
                self._refuse(job, Status.UNAVAILABLE, "the server is stopping")
                self._close(job)

    def abort(self) -> None:
        """The grace is over: answer what still runs UNAVAILABLE, and tell its handlers."""
        for job in [job for job in self._jobs.values() if job.running]:
            if job.stopped is None:
                self._stop(job, Why.STOPPING)
                self.statistics.failed += 1
                self._send_error(job, Status.UNAVAILABLE, "the server stopped before the handler was done", {}, 0)
            else:
                self.statistics.discarded += 1
                self._mention(job, 0)
            self._close(job)
