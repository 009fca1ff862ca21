"""A call and a port, as the requester sees them: data, no rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ZPatternsError
from .machine import Frame


class Call:
    """One request of the application, from its start to exactly one end. Whoever makes it fills the first block."""

    __slots__ = (
        "application", "attempt", "attempts", "avoid", "bare", "buffers", "codec", "deadline", "dedupe", "done", "due",
        "extra", "failure", "flags", "id", "idempotent", "incarnation", "keepalive_at", "lost", "method", "parts",
        "payload", "ports", "queued", "quiet_at", "refusal", "reply", "reply_codec", "stream", "timeout", "unread",
        "wait_for_ready",
    )  # fmt: skip

    def __init__(
        self,
        method: str | None,
        payload: Frame,
        deadline: float,
        attempts: int,
        *,
        codec: int = 1,
        buffers: Sequence[Frame] = (),
        idempotent: bool = False,
        dedupe: bool = False,
        application: Any = None,
    ) -> None:
        self.method = method
        """None for a plain call: then payload and buffers are the peer's frames, as they are."""
        self.payload = payload
        self.buffers = buffers
        self.deadline = deadline
        self.attempts = attempts
        """Sends in all."""
        self.codec = codec
        self.idempotent = idempotent
        self.dedupe = dedupe
        self.application = application
        """Whatever the driver wants to find again: a future, a lock, a queue."""
        self.wait_for_ready = True
        self.bare: int = ID
        self.stream = False
        self.timeout = 0.0
        """Streams: seconds to the first part and between parts."""
        self.quiet_at = 0.0
        """Streams: when that time is over."""
        self.extra: Mapping[str, Any] | None = None

        self.id = b""
        self.flags = 0
        self.attempt = 0
        self.ports: tuple[Port, ...] = ()
        """Where it is under way now."""
        self.avoid: Port | None = None
        self.queued = True
        """Waits to be sent (again): in the queue, in a pause, or for its server's incarnation."""
        self.lost = False
        """Some attempt was taken and its connection is gone: it may have run."""
        self.done = False
        self.due = 0.0
        self.incarnation = b""
        """``dedupe``: the server incarnation it was first sent to; no other may get it."""
        self.refusal: ZPatternsError | None = None
        self.failure: ZPatternsError | None = None
        self.reply: Sequence[Frame] = ()
        self.reply_codec = 0
        self.parts = 0
        self.unread = 0
        self.keepalive_at = 0.0

    @property
    def taken(self) -> bool:
        """A server may have it: handed to libzmq, and not refused before dispatch."""
        return bool(self.ports) or self.lost

    @property
    def name(self) -> str:
        """For error texts."""
        return f"{self.method!r}" if self.method is not None else "the plain request"


ID, EMPTY, NONE = 0, 1, 2
"""Envelopes of a plain call: ``[id] []`` before the body, ``[]`` alone (as a REQ sends), or nothing (as a DEALER)."""


class Port:
    """One endpoint, behind one DEALER of its own."""

    __slots__ = (
        "bare", "batches", "blocked", "failed", "in_flight", "incarnation", "index", "last_header", "ping_id",
        "pinned", "tick", "up",
    )  # fmt: skip

    def __init__(self, index: int) -> None:
        self.index = index
        self.up = False
        self.failed = False
        """The last thing heard is that it could not connect, or that the connection went away."""
        self.blocked = False
        self.in_flight: dict[bytes, Call] = {}
        self.bare: Call | None = None
        self.batches = False
        self.incarnation = b""
        self.last_header: object = None
        self.pinned: list[Call] = []
        """``dedupe`` calls that only this server incarnation may get again."""
        self.ping_id = b""
        """A ``zp.ping`` is under way, to learn the incarnation."""
        self.tick: list[Call] = []
        """What this flush sends here."""

    def forget(self) -> None:
        """The link is gone: nothing that was known of the server behind it holds for the next."""
        self.up, self.failed = False, True
        self.batches, self.incarnation, self.last_header, self.ping_id = False, b"", None, b""


@dataclass(slots=True)
class RequesterStatistics:
    """Counters of one client since it was made."""

    started: int = 0
    answered: int = 0
    failed: int = 0
    retried: int = 0
    timed_out: int = 0
    cancelled: int = 0
    outcome_unknown: int = 0
    refused: int = 0
    """Answers that said: not taken (overloaded, stopping)."""
    late: int = 0
    """Replies to calls that had ended, and second replies."""
    undecodable: int = 0
    """Messages that are not of the protocol; dropped."""
    disconnects: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """Event: one part of a stream."""

    call: Call
    codec: int
    frames: Sequence[Frame]


@dataclass(frozen=True, slots=True)
class Reopen:
    """Event: this port needs a fresh socket, because a reply that may still come could not be told from the next."""

    port: int


@dataclass(frozen=True, slots=True)
class Connection:
    """Event: the link of a port changed."""

    port: int
    up: bool
    reason: str
