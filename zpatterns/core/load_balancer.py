"""Which of the workers with room gets the next request: the one used longest ago, or the one with the fewest in hand.

A worker has room while it has fewer requests than its credit. Every operation is O(1), whatever the number of workers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sized
from typing import Generic, Protocol, TypeVar


class Loaded(Protocol):
    """What a balancer looks at."""

    credit: int

    @property
    def jobs(self) -> Sized: ...


W = TypeVar("W", bound=Loaded)


class Balancer(Protocol[W]):
    """Told of every change of a worker's load."""

    def next(self) -> W | None:
        """Whose turn it is; None when no worker has room."""
        ...

    def used(self, worker: W) -> None:
        """It was given one more."""
        ...

    def freed(self, worker: W) -> None:
        """It has come, or has room again, or another credit."""
        ...

    def remove(self, worker: W) -> None:
        """It has gone."""
        ...


class LeastRecentlyUsed(Generic[W]):
    """The load balancer of the guide (ch. 3), with more than one request per worker: round robin over those with room."""

    __slots__ = ("_ready",)

    def __init__(self) -> None:
        self._ready: OrderedDict[W, None] = OrderedDict()

    def next(self) -> W | None:
        """The one used longest ago."""
        for worker in self._ready:
            return worker
        return None

    def used(self, worker: W) -> None:
        """To the end, if it still has room."""
        if len(worker.jobs) < worker.credit:
            self._ready.move_to_end(worker)
        else:
            del self._ready[worker]

    def freed(self, worker: W) -> None:
        """Whoever has room already keeps its place."""
        if len(worker.jobs) >= worker.credit:
            self._ready.pop(worker, None)
        elif worker not in self._ready:
            self._ready[worker] = None

    def remove(self, worker: W) -> None:
        """It has gone."""
        self._ready.pop(worker, None)


class LeastLoaded(Generic[W]):
    """The one with the fewest requests in hand; among equals the one used longest ago."""

    __slots__ = ("_at", "_levels", "_lowest")

    def __init__(self) -> None:
        self._levels: list[OrderedDict[W, None]] = []
        self._at: dict[W, int] = {}
        self._lowest = 0

    def next(self) -> W | None:
        """From the lowest level that is not empty."""
        levels = self._levels
        while self._lowest < len(levels):
            for worker in levels[self._lowest]:
                return worker
            self._lowest += 1
        return None

    def used(self, worker: W) -> None:
        """A level up."""
        self._place(worker)

    def freed(self, worker: W) -> None:
        """A level down."""
        self._place(worker)

    def remove(self, worker: W) -> None:
        """It has gone."""
        at = self._at.pop(worker, None)
        if at is not None:
            del self._levels[at][worker]

    def _place(self, worker: W) -> None:
        self.remove(worker)
        load = len(worker.jobs)
        if load < worker.credit:
            while len(self._levels) <= load:
                self._levels.append(OrderedDict())
            self._levels[load][worker] = None
            self._at[worker] = load
            self._lowest = min(self._lowest, load)
