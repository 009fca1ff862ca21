"""What must hold of every call, whatever the world did to it; it knows what was asked and what came, not how.

A call is known by its content: the payload names it, and a reply or a part names the execution that made it.
"""

from __future__ import annotations

from zpatterns.core.calls import Call
from zpatterns.core.jobs import PLAIN_PREFIX, Job
from zpatterns.errors import (
    Closed,
    OutcomeUnknown,
    Overloaded,
    PeerUnavailable,
    ReplyError,
    RequestTimeout,
    Status,
    ZPatternsError,
)


class Violation(AssertionError):
    """A rule was broken."""


def must(holds: object, *what: object) -> None:
    if not holds:
        raise Violation(" ".join(map(str, what)))


class Asked:
    """One call, as its caller knows it."""

    __slots__ = (
        "attempts", "call", "cancelled", "credit", "deadline", "dedupe", "ended", "executions", "failure", "idempotent", "kind",
        "name", "parts", "probe", "read", "sent", "started_at", "total", "wait_for_ready",
    )  # fmt: skip

    def __init__(self, name: bytes, kind: str, call: Call, now: float) -> None:
        self.name = name
        self.kind = kind  # unary, stream, plain
        self.call = call
        self.started_at = now
        self.deadline = call.deadline
        self.idempotent = call.idempotent
        self.dedupe = call.dedupe
        self.wait_for_ready = call.wait_for_ready
        self.attempts = call.attempts
        self.ended = False
        self.cancelled = False
        self.failure: ZPatternsError | None = None
        self.executions: list[int] = []
        self.parts = 0
        self.read = 0
        self.total = 0
        self.credit = 0
        self.probe = False
        self.sent: dict[int, float] = {}  # attempt -> when it was first seen

    def __repr__(self) -> str:
        kind = self.kind + " idempotent" * self.idempotent + " dedupe" * self.dedupe
        return f"<{self.name.decode()} {kind} executions={self.executions} {self.failure or 'no failure'}>"


class Checker:
    """Told of everything callers and handlers see."""

    def __init__(self, *, calm: bool) -> None:
        self.asked: dict[bytes, Asked] = {}
        self.calm = calm
        self.executions = 0

    def start(self, asked: Asked) -> None:
        self.asked[asked.name] = asked

    def executed(self, content: bytes, job: Job, now: float, arrived_at: float | None) -> int:
        """A handler starts. Returns the number of this execution."""
        asked = self.asked.get(content)
        must(asked is not None, "a handler got what nobody asked:", content)
        assert asked is not None
        header = job.header
        if header is not None and asked.kind == "unary":
            left = asked.deadline - asked.sent[header.attempt]
            expired = arrived_at is not None and arrived_at + header.budget / 1000 <= now
            must(not expired, "its budget was spent, and it started:", asked)
            must(header.budget <= left * 1000 + 1.001, "a budget of more than was left:", header, left, asked)
        self.executions += 1
        asked.executions.append(self.executions)
        must(asked.idempotent or len(asked.executions) == 1, "executed twice:", asked)
        return self.executions

    def part(self, asked: Asked, payload: bytes) -> None:
        must(not asked.ended and not asked.cancelled, "a part after the end of", asked)
        name, execution, number = payload.rstrip(b".").split(b"|")
        must(name == asked.name, "a part of another stream:", payload, "for", asked)
        must(int(execution) in asked.executions, "a part of no execution", payload, asked)
        must(int(number) == asked.parts, "a hole in the stream", asked, "got", int(number), "after", asked.parts)
        asked.parts += 1
        must(asked.parts - asked.read <= asked.credit, "more parts than credit:", asked)

    def end(self, asked: Asked, now: float, stalled_at: float, stalled_until: float) -> None:
        """The caller is told how a call ended."""
        must(not asked.ended, "ended twice:", asked)
        must(not asked.cancelled, "an event after its cancel:", asked)
        asked.ended = True
        call = asked.call
        failure = asked.failure = call.failure
        in_time = now <= asked.deadline or (now == stalled_until and asked.deadline >= stalled_at)
        must(in_time, "late by", now - asked.deadline, asked)
        if self.calm or asked.probe:
            must(failure is None, "failed in a world without faults:", asked, now)
        if failure is None:
            self._answered(asked, call)
        elif isinstance(failure, RequestTimeout):
            late = now >= asked.deadline or asked.kind == "stream"
            must(late, "a time-out before its time:", asked, asked.deadline - now)
        elif isinstance(failure, OutcomeUnknown):
            must(not asked.idempotent or call.attempt == call.attempts, "gave up too early:", asked)
        elif isinstance(failure, ReplyError):
            self._replied(asked, failure)
        else:
            must(isinstance(failure, PeerUnavailable | Overloaded | Closed), "not to be expected:", asked)
        must(call.attempt <= asked.attempts, "sent too often:", asked, call.attempt)

    def _answered(self, asked: Asked, call: Call) -> None:
        if asked.kind == "stream":
            must(asked.parts == asked.total, "a stream ended well after", asked.parts, "of", asked.total, asked)
            return
        frames = [bytes(frame) for frame in call.reply]
        if asked.kind == "plain" and frames[0].startswith(PLAIN_PREFIX) and not asked.probe:
            return  # the server's own words: refused, or the handler raised
        must(len(frames) == 1, "a reply of", len(frames), "frames for", asked)
        name, _, execution = frames[0].rstrip(b".").partition(b"|")
        must(name == asked.name, "another call's reply:", frames, "for", asked)
        must(execution.isdigit() and int(execution) in asked.executions, "a reply of no execution", frames, asked)

    def _replied(self, asked: Asked, failure: ReplyError) -> None:
        """What handlers raise names its execution; what the server says by itself is said for few reasons."""
        if failure.status is Status.INTERNAL:
            must(failure.message.encode() in [b"%d raised" % n for n in asked.executions], "an alien error", asked)
        elif failure.status is Status.DATA_LOSS:
            must(asked.kind == "stream", "data loss without a stream", asked)
        else:
            must(failure.status in (Status.UNAVAILABLE, Status.CANCELLED), "an error nobody raised:", asked)
            must(asked.executions, "taken, and no handler has seen it:", asked)

    def finish(self) -> None:
        """Nothing happens any more."""
        for asked in self.asked.values():
            must(asked.ended or asked.cancelled, "never ended:", asked)
            failure = asked.failure
            not_taken = isinstance(failure, PeerUnavailable | Overloaded) or (
                isinstance(failure, RequestTimeout) and not failure.sent
            )
            must(not (not_taken and asked.executions), "told that it did not run, and it ran:", asked)
