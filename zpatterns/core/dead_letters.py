"""Requests that were lost with every worker they were given to: kept, bounded, to be looked at and given out again."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from ..wire.message import BATCHES, Request, request
from .broker_peers import Pending
from .machine import Frame


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One of them. Nobody waits for its answer any more."""

    id: bytes
    service: bytes
    header: Request | None
    body: tuple[Frame, ...]
    deliveries: int

    @property
    def method(self) -> str:
        """The name of its method; empty for a plain body."""
        return self.header.method if self.header is not None else ""

    def again(self, seconds: float) -> tuple[Request | None, tuple[Frame, ...]]:
        """Header and body, with so much time anew and nobody in particular to answer to."""
        old = self.header
        if old is None:
            return None, self.body
        new = Request(old.method, int(seconds * 1000), old.attempt, old.codec, old.flags & ~BATCHES, {})
        return new, (request(new.method, new.budget, new.attempt, new.codec, new.flags), *self.body[1:])


class DeadLetters:
    """At most ``size``; the oldest make room."""

    __slots__ = ("_letters", "_size", "forgotten")

    def __init__(self, size: int) -> None:
        self._letters: OrderedDict[bytes, DeadLetter] = OrderedDict()
        self._size = size
        self.forgotten: int = 0

    def add(self, pending: Pending) -> None:
        """Keep a request that has ended so."""
        body = tuple(frame if type(frame) is bytes else bytes(frame) for frame in pending.body)
        letter = DeadLetter(pending.id, pending.service.name, pending.header, body, pending.deliveries)
        if len(self._letters) >= self._size:
            self._letters.popitem(last=False)
            self.forgotten += 1
        self._letters[pending.id] = letter

    def take(self, letter_id: bytes) -> DeadLetter | None:
        """Take one out."""
        return self._letters.pop(letter_id, None)

    def list(self) -> list[DeadLetter]:
        """All that are kept, oldest first."""
        return list(self._letters.values())
