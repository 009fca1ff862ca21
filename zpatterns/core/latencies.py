"""How long requests took: a histogram with steps of a fifth, so that percentiles of any number of requests cost 200 integers."""

from __future__ import annotations

from math import log

_STEP = log(1.2)
_FIRST = 1e-5
_BUCKETS = 100
"""From 10 us to 13 minutes."""


class Latencies:
    """Seconds in, percentiles out, right to within a fifth."""

    __slots__ = ("_counts", "count")

    def __init__(self) -> None:
        self._counts: list[int] = [0] * _BUCKETS
        self.count: int = 0

    def add(self, seconds: float, count: int = 1) -> None:
        """So many more requests."""
        self.count += count
        at = int(log(seconds / _FIRST) / _STEP) + 1 if seconds > _FIRST else 0
        self._counts[at if at < _BUCKETS else -1] += count

    def percentile(self, share: float) -> float:
        """Seconds within which this share of the requests was answered; 0.0 before the first."""
        wanted = share * self.count
        seen = 0
        for at, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return float(_FIRST * 1.2**at)
        return 0.0
