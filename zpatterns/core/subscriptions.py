"""Which messages a subscriber wants, and to which of its readers each goes: looked up once for a topic, not per message."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from .intake import Intake, Route


class Subscription:
    """One topic, pattern or raw prefix that one reader asked for."""

    __slots__ = ("application", "intake", "matches", "number", "prefix")

    def __init__(
        self, prefix: bytes, intake: Intake, *, matches: Callable[[bytes], bool] | None = None, application: Any = None
    ) -> None:
        self.prefix: bytes = prefix
        """What libzmq filters by."""
        self.matches: Callable[[bytes], bool] | None = matches
        """Whether a topic with its terminator belongs to it; None: a raw prefix, which takes frames as they are."""
        self.intake: Intake = intake
        self.application: Any = application
        self.number: int = 0

    def takes(self, topic: bytes) -> bool:
        """Whether libzmq brings typed messages of a topic because of it, and it wants them."""
        return topic.startswith(self.prefix) if self.matches is None else self.matches(topic)


class Subscriptions:
    """All of them, in order. ``changed(prefix, yes)`` hears when a prefix is asked for first, and given up last."""

    def __init__(self, changed: Callable[[bytes, bool], None]) -> None:
        self.number: int = 0
        """Of the newest one."""
        self._changed = changed
        self._all: list[Subscription] = []
        self._prefixes: dict[bytes, int] = {}

    def add(self, subscription: Subscription) -> None:
        """One more."""
        self.number += 1
        subscription.number = self.number
        self._all.append(subscription)
        prefix = subscription.prefix
        self._prefixes[prefix] = self._prefixes.get(prefix, 0) + 1
        if self._prefixes[prefix] == 1:  # libzmq counts them too, and a publisher would count us twice
            self._changed(prefix, True)

    def remove(self, subscription: Subscription) -> None:
        """One less; nothing happens if it is not there."""
        if subscription not in self._all:
            return
        self._all.remove(subscription)
        prefix = subscription.prefix
        self._prefixes[prefix] -= 1
        if not self._prefixes[prefix]:
            del self._prefixes[prefix]
            self._changed(prefix, False)

    def prefixes(self) -> list[bytes]:
        """What libzmq filters by now."""
        return list(self._prefixes)

    def find(self, intake: Intake) -> list[Subscription]:
        """Those of one reader."""
        return [each for each in self._all if each.intake is intake]

    def routes(self, topic: bytes) -> list[Route]:
        """Where a typed message of a topic goes: once to each reader that wants it, and to the main one only if no other does."""
        found: dict[int, Subscription] = {}
        for each in self._all:
            taken = found.get(id(each.intake))
            if each.matches is None:
                if taken is None and topic.startswith(each.prefix):
                    found[id(each.intake)] = each
            elif (taken is None or taken.matches is None) and each.matches(topic):
                found[id(each.intake)] = each
        typed = [each for each in found.values() if each.matches is not None]
        if any(not each.intake.main for each in typed):
            found = {key: each for key, each in found.items() if not each.intake.main}
        return [Route(None, each.intake, each.application) for each in found.values()]

    def since(self, topic: bytes) -> float:
        """The number of the first one by which messages of a topic come; infinite if there is none."""
        return min((each.number for each in self._all if each.takes(topic)), default=inf)

    def plain(self, first: bytes) -> list[Intake]:
        """Who wants a message that is not ours, by its first frame."""
        found = {
            id(each.intake): each.intake for each in self._all if each.matches is None and first.startswith(each.prefix)
        }
        return list(found.values())
