"""A job and the rules of its method, as the replier sees them: data, no rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Any, Protocol

from ..wire.message import IDEMPOTENT, STREAM, Request
from .machine import Frame

PLAIN_PREFIX = b"zpatterns: "
"""How the server's own words to a plain peer start, before status and text: errors have no other place in a plain body."""
PLAIN_REFUSED = b"zpatterns: UNIMPLEMENTED: this server takes typed requests only; it has no handler for plain bodies"

UNREADABLE = Request("", 0, 0, 0, 0, {})
"""In place of a header that did not decode: its sender reads typed errors."""
SILENT = 10
"""Heartbeat intervals without a sign of life after which the reader of a stream is gone."""

LOOP, THREADS, ALWAYS = 0, 1, 2
"""Lanes: handlers that run on the loop itself (inline, ``async def``), those on daemon threads, and the ``zp.*`` methods,
which are answered while everything else is full, and while the server stops."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What the replier must know of a method."""

    lane: int = LOOP
    stream: bool = False
    dedupe: bool = False
    application: Any = None
    """Whatever the application wants to find again: its handler."""


_NO_RULE = Rule()


class Why(Enum):
    """Why a handler should stop."""

    CANCELLED = "the caller has cancelled"
    EXPIRED = "the caller's budget is spent"
    GONE = "the caller is gone"
    STOPPING = "the server is stopping"


class Asked(Protocol):
    """What running a handler needs to know: of a request, or of a job of a pipeline."""

    @property
    def rule(self) -> Rule: ...
    @property
    def header(self) -> Request | None: ...
    @property
    def rest(self) -> Sequence[Frame]: ...
    @property
    def expires_at(self) -> float: ...
    @property
    def stopped(self) -> Why | None: ...
    @property
    def done(self) -> bool: ...
    @property
    def method(self) -> str | None: ...


class Job:
    """One request on the server, from its arrival to its answer. As an event: run its handler."""

    __slots__ = (
        "application", "batches", "credit", "done", "due", "expires_at", "header", "heard_at", "id", "key", "lane",
        "path", "remembered", "rest", "routing_id", "rule", "running", "sequence", "stopped",
    )  # fmt: skip

    def __init__(self, routing_id: bytes, path: Sequence[bytes], header: Request | None, rest: Sequence[Frame]) -> None:
        self.routing_id: bytes = routing_id
        self.path: Sequence[bytes] = path
        """Frames between the routing id and the body, the delimiter included: they go back as they came."""
        self.header: Request | None = header
        """None for a plain body."""
        self.rest: Sequence[Frame] = rest
        """Payload and buffers; for a plain body its frames."""
        self.id: bytes = path[-2] if len(path) > 1 else b""
        self.key: object = self.id if len(self.id) == 16 else (routing_id, *path) if self.id else object()
        self.lane: int = LOOP
        self.rule: Rule = _NO_RULE
        """Of its method, once it was admitted."""
        self.expires_at: float = inf
        self.due: float = 0.0
        self.batches: int = 0
        """The BATCHES flag, if its caller reads batches and the request id is all the way back to it."""
        self.credit: int = 0
        """Streams: parts that may still be sent."""
        self.heard_at: float = 0.0
        """Streams: when the reader last gave a sign of life."""
        self.sequence: int = 0
        self.running: bool = False
        self.done: bool = False
        self.remembered: bool = False
        self.stopped: Why | None = None
        self.application: Any = None
        """Whatever the driver wants to find again: a task, a thread's event."""

    @property
    def returns(self) -> bool:
        """Whether a caller that is gone may come back and ask for it again."""
        return self.remembered or (self.header is not None and bool(self.header.flags & IDEMPOTENT))

    def ends(self, patience: float) -> tuple[float, Why]:
        """When it ends by itself, as far as is known now, and why; ``patience`` is for readers that show no life."""
        header = self.header
        if header is None or not (self.running and header.flags & STREAM):
            return self.expires_at, Why.EXPIRED
        # The budget of a stream bounded the wait for its handler; from there on its reader must be heard of.
        silent = self.heard_at + patience
        deadline = header.extra.get("deadline")
        over = inf if deadline is None else self.expires_at + (deadline - header.budget) / 1000
        return (silent, Why.GONE) if silent < over else (over, Why.EXPIRED)

    @property
    def method(self) -> str | None:
        """The method's name; None for a plain body."""
        return self.header.method if self.header is not None else None


@dataclass(frozen=True, slots=True)
class Stop:
    """Event: tell the handler of this job why nobody waits any more."""

    job: Job


@dataclass(frozen=True, slots=True)
class Credited:
    """Event: the reader of a stream granted more parts; 0: there is room again for those it granted before."""

    job: Job
    parts: int


@dataclass(slots=True)
class ReplyServerStatistics:
    """Counters of one server since it was made."""

    received: int = 0
    dispatched: int = 0
    answered: int = 0
    failed: int = 0
    """Answered with an error."""
    expired: int = 0
    """Dropped before dispatch, because their budget was spent."""
    cancelled: int = 0
    """Dropped before dispatch, because their caller cancelled."""
    stopped: int = 0
    """Handlers told to stop."""
    overloaded: int = 0
    refused: int = 0
    """Turned away before dispatch: the server stops, or another incarnation was meant."""
    unknown_method: int = 0
    duplicates: int = 0
    """Requests that were here already: not run again."""
    replayed: int = 0
    """Answered again from the dedupe window."""
    undecodable: int = 0
    plain_refused: int = 0
    """Plain bodies, without a handler for them."""
    dropped: int = 0
    """Replies that could not be delivered: the peer is gone, or does not read."""
    discarded: int = 0
    """Answers of handlers whose caller had gone."""
