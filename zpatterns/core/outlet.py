"""The way out of a server: what one turn answers to a peer goes as one message, and a peer that is full delays nobody else.

A ROUTER never blocks here: what it does not take is kept for that peer, in order and bounded, and tried again soon.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

from . import compose
from .jobs import Job
from .machine import Frame, Frames

RETRY_INTERVAL = 0.005
"""Seconds after which a peer that was full is tried again: libzmq does not tell when it has room."""
AHEAD = 256
"""Messages of one turn after which streams wait for the next: with those of others, fewer than a socket takes at once."""


class Dropping(Protocol):
    """The counter that is kept here."""

    dropped: int


class Outlet:
    """Of one ROUTER, ``port``. ``outbox`` is the machine's own. At most ``peer_queue`` messages are kept for one peer.

    The token of what is in ``outbox`` is the port and the frames.
    """

    __slots__ = ("_peer_queue", "_statistics", "blocked", "lost", "outbox", "paused", "port", "replies", "retry_at")

    def __init__(
        self,
        peer_queue: int,
        statistics: Dropping,
        outbox: deque[tuple[int, Frames, Any]] | None = None,
        port: int = 0,
    ) -> None:
        self.port: int = port
        self.outbox: deque[tuple[int, Frames, Any]] = deque() if outbox is None else outbox
        self.replies: dict[bytes, list[tuple[bytes, bytes, bytes]]] = {}
        """Id, header and payload of what this turn answers to peers that read batches."""
        self.blocked: dict[bytes, deque[Frames]] = {}
        """What is kept for peers that are full."""
        self.retry_at: float | None = None
        self.lost: list[Frames] | None = None
        """Messages that a peer's queue had no room for, where somebody asks for them (and takes them out)."""
        self.paused: dict[Job, None] = {}
        """Streams that wait for room."""
        self._peer_queue = peer_queue
        self._statistics = statistics

    def send(self, job: Job, header: bytes, payload: Frame, buffers: Frames) -> None:
        """An answer, or a part of one: with the others of this turn where the peer reads batches."""
        if job.batches and not buffers and type(payload) is bytes and len(payload) <= compose.BATCH_ITEM:
            replies = self.replies.get(job.routing_id)
            if replies is None:
                replies = self.replies[job.routing_id] = []
            replies.append((job.id, header, payload))
        else:
            if job.sequence and job.routing_id in self.replies:
                self._batch(job.routing_id, self.replies.pop(job.routing_id))  # no part overtakes another
            self.put((job.routing_id, *job.path, header, payload, *buffers))

    def pauses(self, job: Job) -> bool:
        """Whether the next part of a stream must wait: for its reader's credit, or for room on the way to its peer."""
        if not job.credit:
            return True
        if len(self.outbox) < AHEAD and not (self.blocked and job.routing_id in self.blocked):
            return False
        self.paused[job] = None
        self._look_again()
        return True

    def resumed(self) -> list[Job]:
        """Streams that need not wait for room any more."""
        if len(self.outbox) >= AHEAD:
            self._look_again()
            return []
        jobs = [job for job in self.paused if job.routing_id not in self.blocked]
        for job in jobs:
            del self.paused[job]
        return jobs

    def _look_again(self) -> None:
        if self.retry_at is None:
            self.retry_at = 0.0

    def put(self, frames: Frames) -> None:
        """One message, behind whatever already waits for a peer that is full."""
        if self.blocked and frames[0] in self.blocked:
            self._keep(frames)
        else:
            port = self.port
            self.outbox.append((port, frames, (port, frames)))

    def flush(self) -> None:
        """The turn is over: no more answers will go with those that are here."""
        for routing_id, replies in self.replies.items():
            if len(replies) == 1:
                call_id, header, payload = replies[0]
                self.put((routing_id, call_id, b"", header, payload))
            else:
                self._batch(routing_id, replies)
        self.replies.clear()

    def full(self, frames: Frames, now: float) -> None:
        """libzmq did not take this message. Nothing for the same peer may overtake it."""
        self._keep(frames)
        outbox = self.outbox
        peer = (self.port, frames[0])
        behind = [entry for entry in outbox if (entry[0], entry[1][0]) == peer]
        if behind:
            others = [entry for entry in outbox if (entry[0], entry[1][0]) != peer]
            outbox.clear()
            outbox.extend(others)
            for entry in behind:
                self._keep(entry[1])
        if self.retry_at is None:
            self.retry_at = now + RETRY_INTERVAL

    def gone(self, frames: Frames) -> bytes:
        """libzmq does not know this peer any more: this message, and what was kept for it, is dropped. Its routing id."""
        routing_id = bytes(frames[0])
        self._statistics.dropped += 1 + len(self.blocked.pop(routing_id, ()))
        return routing_id

    def wake(self, now: float) -> None:
        """Try again what was kept, once it is time."""
        if self.retry_at is not None and now >= self.retry_at:
            self.retry_at = None
            for kept in self.blocked.values():
                self.outbox.extend((self.port, frames, (self.port, frames)) for frames in kept)
            self.blocked.clear()

    def _keep(self, frames: Frames) -> None:
        kept = self.blocked.setdefault(bytes(frames[0]), deque())
        if len(kept) >= self._peer_queue:
            self._statistics.dropped += 1
            if self.lost is not None:
                self.lost.append(frames)
        else:
            kept.append(frames)

    def _batch(self, routing_id: bytes, replies: list[tuple[bytes, bytes, bytes]]) -> None:
        for _, frames in compose.batches(replies):
            self.put((routing_id, *frames))
