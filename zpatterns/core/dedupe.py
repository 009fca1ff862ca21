"""The dedupe window: what a server remembers, so that a request with the same id never runs twice.

An entry lives from the arrival of its request until its budget has ended and the window after it has passed. A full
window refuses new requests instead of forgetting old ones: forgetting would be running twice.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

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
        self._order: deque[tuple[float, bytes]] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, request_id: bytes) -> Remembered | None:
        """The entry of a request that was here before."""
        return self._entries.get(request_id)

    def enter(self, request_id: bytes, expires_at: float, now: float) -> bool:
        """Remember a new request; False when the window is full."""
        if len(self._entries) >= self._size:
            self._forget(now)
            if len(self._entries) >= self._size:
                return False
        forget_at = expires_at + self._keep
        self._entries[request_id] = Remembered(forget_at)
        self._order.append((forget_at, request_id))
        return True

    def answered(self, request_id: bytes, answer: Frames) -> None:
        """Keep the answer, for the next time the request comes."""
        entry = self._entries.get(request_id)
        if entry is not None:
            entry.answer = answer

    def release(self, request_id: bytes) -> None:
        """The request was dropped before any handler saw it: it may come again."""
        self._entries.pop(request_id, None)

    def _forget(self, now: float) -> None:
        """Entries in order of arrival; a long budget in front delays the others, and never forgets too early."""
        order = self._order
        while order and (order[0][1] not in self._entries or order[0][0] <= now):
            self._entries.pop(order.popleft()[1], None)
