"""A call and a port, as the requester sees them: data, no rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import DecodeError, ZPatternsError
from ..wire.message import BATCHES, Error, Final, parse
from .machine import Frame


class Call:
    """One request of the application, from its start to exactly one end. Whoever makes it fills the first block."""

    __slots__ = (
        "application", "attempt", "attempts", "avoid", "bare", "buffers", "codec", "deadline", "dedupe", "done", "due",
        "extra", "failure", "flags", "id", "idempotent", "incarnation", "keepalive_at", "lost", "method", "owed",
        "parts", "payload", "ports", "queued", "quiet_at", "refusal", "reply", "reply_codec", "stream", "timeout", "unread",
        "wait_for_ready",
    )  # fmt: skip

    def __init__(
        self,
        method: str | None,
        payload: Frame,
        deadline: float,
        attempts: int,
        codec: int = 1,
        buffers: Sequence[Frame] = (),
        idempotent: bool = False,
        dedupe: bool = False,
        *,
        application: Any = None,
    ) -> None:
        self.method: str | None = method
        """None for a plain call: then payload and buffers are the peer's frames, as they are."""
        self.payload: Frame = payload
        self.buffers: Sequence[Frame] = buffers
        self.deadline: float = deadline
        self.attempts: int = attempts
        """Sends in all."""
        self.codec: int = codec
        self.idempotent: bool = idempotent
        self.dedupe: bool = dedupe
        self.application: Any = application
        """Whatever the driver wants to find again: a future, a lock, a queue."""
        self.wait_for_ready: bool = True
        self.bare: int = ID
        self.stream: bool = False
        self.timeout: float = 0.0
        """Streams: seconds to the first part and between parts."""
        self.quiet_at: float = 0.0
        """Streams: when that time is over."""
        self.extra: Mapping[str, Any] | None = None

        self.id: bytes = b""
        self.flags: int = 0
        self.attempt: int = 0
        self.ports: tuple[Port, ...] = ()
        """Where it is under way now; a port that it was sent to twice is in here twice."""
        self.avoid: Port | None = None
        self.queued: bool = True
        """Waits to be sent (again): in the queue, in a pause, or for its server's incarnation."""
        self.lost: bool = False
        """Some attempt was taken and its connection is gone: it may have run."""
        self.done: bool = False
        self.due: float = 0.0
        self.incarnation: bytes = b""
        """``dedupe``: the server incarnation it was first sent to; no other may get it."""
        self.refusal: ZPatternsError | None = None
        self.failure: ZPatternsError | None = None
        self.reply: Sequence[Frame] = ()
        self.reply_codec: int = 0
        self.parts: int = 0
        self.unread: int = 0
        self.owed: int = 0
        """Streams: credit that could not be sent; it goes with the next."""
        self.keepalive_at: float = 0.0

    @property
    def taken(self) -> bool:
        """A server may have it: handed to libzmq, and not refused before dispatch."""
        return bool(self.ports) or self.lost

    @property
    def bound(self) -> bool:
        """Some incarnation may have it, and no other may get it."""
        return self.taken and self.dedupe and not self.idempotent

    @property
    def name(self) -> str:
        """For error texts."""
        return f"{self.method!r}" if self.method is not None else "the plain request"


ID, EMPTY, NONE = 0, 1, 2
"""Envelopes of a plain call: ``[id] []`` before the body, ``[]`` alone (as a REQ sends), or nothing (as a DEALER)."""


class Port:
    """One endpoint, behind one DEALER of its own."""

    __slots__ = (
        "bare", "batches", "blocked", "failed", "in_flight", "incarnation", "index", "last_header", "owing",
        "ping_id", "pinned", "room", "tick", "up",
    )  # fmt: skip

    def __init__(self, index: int, room: int) -> None:
        self.index: int = index
        self.room: int = room
        """Calls that may be under way at once."""
        self.up: bool = False
        self.failed: bool = False
        """The last thing heard is that it could not connect, or that the connection went away."""
        self.blocked: bool = False
        self.in_flight: dict[bytes, Call] = {}
        self.bare: Call | None = None
        self.batches: bool = False
        self.incarnation: bytes = b""
        self.last_header: Final | Error | None = None
        self.pinned: list[Call] = []
        """``dedupe`` calls that only this server incarnation may get again."""
        self.owing: list[Call] = []
        """Streams with credit that could not be sent."""
        self.ping_id: bytes = b""
        """A ``zp.ping`` is under way, to learn the incarnation."""
        self.tick: list[Call] = []
        """What this flush sends here."""

    def learn(self, command: Final | Error) -> None:
        """Every answer says which server incarnation it is from, and whether that one reads batches."""
        self.last_header = command
        self.batches = bool(command.flags & BATCHES)
        self.incarnation = command.incarnation

    def pong(self, header: Frame) -> bool:
        """The answer to the ``zp.ping`` has come, whatever it is; False if it does not decode."""
        self.ping_id = b""
        try:
            command = parse(header)
        except DecodeError:
            return False
        if isinstance(command, Final | Error):
            self.learn(command)
        return True

    def leave(self, call: Call) -> None:
        """It has this call no longer, however often it was sent here."""
        if self in call.ports:
            call.ports = tuple(port for port in call.ports if port is not self)
            del self.in_flight[call.id]
            if self.bare is call:
                self.bare = None

    def undo(self, call: Call) -> None:
        """One send was not taken, or was refused; another one may still be under way here."""
        if call.ports.count(self) > 1:
            at = call.ports.index(self)
            call.ports = call.ports[:at] + call.ports[at + 1 :]
        else:
            self.leave(call)

    def forget(self) -> None:
        """The link is gone: nothing that was known of the server behind it holds for the next."""
        self.up, self.failed = False, True
        self.batches, self.incarnation, self.last_header, self.ping_id = False, b"", None, b""
        self.tick, self.owing = [], []


@dataclass(slots=True)
class RequestClientStatistics:
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
