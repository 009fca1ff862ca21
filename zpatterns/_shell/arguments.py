"""Arguments that cannot work are refused where they are given, not at the first message or on another thread."""

from __future__ import annotations

from inspect import iscoroutinefunction
from typing import Any, TypeVar

from ..contract import Topic
from ..errors import ConfigurationError
from ..policy import Overflow, is_finite, is_whole

S = TypeVar("S")


def chosen(given: S | None, kind: type[S]) -> S:
    """Settings of this kind, the usual ones if none were given."""
    if given is None:
        return kind()
    if not isinstance(given, kind):
        raise ConfigurationError(f"{given!r} is no {kind.__name__}: pass {kind.__name__}(...), or leave it out")
    return given


def checked_count(name: str, count: int, least: int = 0) -> int:
    """A whole number, not below the least."""
    if not is_whole(count) or count < least:
        raise ConfigurationError(f"{name}={count!r}: must be a whole number, {least} or more")
    return count


def check_callbacks(**callbacks: object) -> None:
    """Something to call, or None."""
    for name, callback in callbacks.items():
        if callback is not None and not callable(callback):
            raise ConfigurationError(f"{name}={callback!r}: must be a function")


def check_handler(handler: object, *, coroutines: bool) -> None:
    """What ``on`` decorates."""
    if not callable(handler):
        raise ConfigurationError(f"{handler!r} is no function: @subscriber.on(TOPIC) decorates one")
    if not coroutines and iscoroutinefunction(handler):
        raise ConfigurationError(
            f"{handler!r} is async: nobody would await it here; zpatterns.asyncio has a Subscriber that does"
        )


def checked_grace(grace: float) -> float:
    """Seconds that end, or ConfigurationError."""
    if not is_finite(grace) or grace < 0:
        raise ConfigurationError(f"grace={grace!r}: must be seconds, 0 or more; nothing waits for ever")
    return grace


def check_intake(overflow: Overflow, max_age: float | None) -> None:
    """How a reader's queue is filled."""
    if not isinstance(overflow, Overflow):
        raise ConfigurationError(f"overflow={overflow!r}: must be Overflow.DROP_OLDEST, DROP_NEWEST, LATEST or BLOCK")
    if max_age is not None and not (is_finite(max_age) and max_age > 0):
        raise ConfigurationError(f"max_age={max_age!r}: must be seconds greater than 0, or None: any age will do")


class Types:
    """What one reader of a subscriber asks for. It reads a name as one type, so topics that share one agree on it."""

    def __init__(self) -> None:
        self._by: list[tuple[Any, list[Topic[Any]]]] = []

    def add(self, topic: Topic[Any]) -> None:
        """One topic more. Raises ConfigurationError for one that some name belongs to which is read as another type."""
        same: list[Topic[Any]] | None = None
        for body, topics in self._by:
            if body is topic.body or body == topic.body:
                same = topics
                continue
            for other in topics:
                if topic.overlaps(other):
                    raise ConfigurationError(
                        f"{topic!r} and {other!r} share names, which are read as one type: give both the same, or read one "
                        "of them with stream(), or with a Subscriber of its own"
                    )
        if same is None:
            self._by.append((topic.body, [topic]))
        else:
            same.append(topic)

    def remove(self, topic: Topic[Any] | bytes) -> None:
        """It is not asked for any more."""
        for _, topics in self._by:
            if topic in topics:
                topics[:] = [each for each in topics if each != topic]
