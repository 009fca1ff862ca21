"""The dedupe window: what a server remembers, so that a request with the same id never runs twice.

An entry lives from the arrival of its request until its budget has ended and the window after it has passed. A full
window refuses new requests instead of forgetting old ones: forgetting would be running twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from .machine import Frames


@dataclass(slots=True)
class Remembered:
    """One request id: its answer once there is one."""

    forget_at: float
    answer: Frames | None = None
    """Header, payload and buffers."""


class Window:
    """At most ``size`` request ids, each kept ``keep`` seconds beyond its request's budget."""

    __slots__ = ("_entries", "_keep", "_order", "_size")

    def __init__(self, size: int, keep: float) -> None:
        self._size = size
        self._keep = keep
        self._entries: dict[bytes, Remembered] = {}
        self._order: list[tuple[float, bytes]] = []
        """A heap by the time to forget; ids that were released stay in it for a while."""

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, request_id: bytes) -> Remembered | None:
        """The entry of a request that was here before."""
        return self._entries.get(request_id)

    def enter(self, request_id: bytes, expires_at: float, now: float) -> bool:
        """Remember a new request; False when the window is full."""
        entries, order = self._entries, self._order
        while order and order[0][0] <= now:
            due = heappop(order)[1]
            if due in entries and entries[due].forget_at <= now:  # not released and entered again since
                del entries[due]
        if len(entries) >= self._size:
            return False
        if len(order) >= 2 * self._size:  # mostly released ones
            order[:] = [(entry.forget_at, each) for each, entry in entries.items()]
            heapify(order)
        entry = entries[request_id] = Remembered(expires_at + self._keep)
        heappush(order, (entry.forget_at, request_id))
        return True

    def answered(self, request_id: bytes, answer: Frames) -> None:
        """Keep the answer, for the next time the request comes."""
        entry = self._entries.get(request_id)
        if entry is not None:
            entry.answer = answer

    def release(self, request_id: bytes) -> None:
        """The request was dropped before any handler saw it: it may come again."""
        self._entries.pop(request_id, None)
