"""The calls of a client that wait to be sent, or to be sent again: in its queue, in a pause, or for one server alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ..policy import Retry
from . import verdicts
from .calls import Call, Port


class Waiting:
    """At most ``limit`` calls in the queue and in pauses; ``random`` gives [0, 1)."""

    __slots__ = ("_limit", "_random", "_retry", "pausing", "queue")

    def __init__(self, limit: int, retry: Retry, random: Callable[[], float]) -> None:
        self.queue: deque[Call] = deque()
        self.pausing: set[Call] = set()
        self._limit = limit
        self._retry = retry
        self._random = random

    def make_room(self) -> None:
        """The queue is full: what has ended takes no room; raises Overloaded if there is none then."""
        self.queue = deque(call for call in self.queue if not call.done)
        waits = len(self.queue) + len(self.pausing)
        if waits >= self._limit:
            raise verdicts.queue_full(waits)

    def back(self, call: Call, port: Port) -> None:
        """It was not taken, and waits again, in front; if some incarnation may have it, for that one alone."""
        call.queued = True
        if call.bound:
            port.pinned.append(call)
        else:
            self.queue.appendleft(call)

    def pause(self, call: Call, port: Port, now: float) -> float:
        """Wait a while after a port failed it; returns until when. Full jitter: up to the doubled bound."""
        call.avoid = port
        call.queued = True
        self.pausing.add(call)
        bound = min(self._retry.backoff_max, self._retry.backoff * 2.0 ** (call.attempt - 1))
        until = min(call.deadline, now + bound * self._random())
        return min(until, call.quiet_at) if call.stream else until

    def resume(self, call: Call) -> None:
        """The pause is over."""
        self.pausing.discard(call)
        if call.avoid is not None and call.bound:
            call.avoid.pinned.append(call)
        else:
            self.queue.append(call)
