"""Who subscribes to what, as an XPUB hears it: counted by prefix, so that a publisher can wait for its subscribers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..wire.published import LONGEST_SUBSCRIPTION


class Awaited:
    """Somebody waits until a topic has ``count`` subscriptions."""

    __slots__ = ("application", "count", "expects")

    def __init__(self, expects: Callable[[bytes], bool], count: int, application: Any) -> None:
        self.expects: Callable[[bytes], bool] = expects
        """Whether a subscription to this prefix is one to what is waited for."""
        self.count: int = count
        self.application: Any = application


class Audience:
    """Subscriptions by prefix, at most ``most`` different ones; what is beyond is served by libzmq and not counted."""

    def __init__(self, most: int) -> None:
        self.uncounted: int = 0
        self.waiting: list[Awaited] = []
        self._counts: dict[bytes, int] = {}
        self._most = most

    def change(self, prefix: bytes, by: int) -> list[Awaited]:
        """One subscription more or less; who need wait no longer."""
        count = self._counts.get(prefix, 0) + by
        if count > 0 and (
            len(prefix) > LONGEST_SUBSCRIPTION or (prefix not in self._counts and len(self._counts) >= self._most)
        ):
            self.uncounted += 1
        elif count > 0:
            self._counts[prefix] = count
        else:
            self._counts.pop(prefix, None)
        if by < 0 or not self.waiting:
            return []
        return self._enough([each for each in self.waiting if each.expects(prefix)])

    def wait(self, awaited: Awaited) -> bool:
        """Whether there are enough already; if not, ``change`` tells."""
        self.waiting.append(awaited)
        return bool(self._enough([awaited]))

    def give_up(self, awaited: Awaited) -> None:
        """Nobody waits any more."""
        if awaited in self.waiting:
            self.waiting.remove(awaited)

    def count(self, expects: Callable[[bytes], bool]) -> int:
        """Subscriptions of prefixes that fit."""
        return sum(count for prefix, count in self._counts.items() if expects(prefix))

    def _enough(self, candidates: list[Awaited]) -> list[Awaited]:
        enough = [each for each in candidates if self.count(each.expects) >= each.count]
        for each in enough:
            self.waiting.remove(each)
        return enough
