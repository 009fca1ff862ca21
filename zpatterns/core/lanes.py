"""The lanes of a server: how many handlers run in each, and which jobs wait for one. Numbers and queues, no frames."""

from __future__ import annotations

from collections import deque

from .jobs import Job

_NO_LIMIT = 2**31


class Lanes:
    """LOOP runs ``concurrency`` handlers at once, THREADS ``threads``, ALWAYS any number; ``intake`` jobs more may wait."""

    __slots__ = ("capacity", "dead", "intake", "queues", "running")

    def __init__(self, concurrency: int, threads: int, intake: int) -> None:
        self.queues: list[deque[Job]] = [deque(), deque(), deque()]
        self.running: list[int] = [0, 0, 0]
        self.dead: list[int] = [0, 0, 0]
        """Jobs that are done and still in their queue."""
        self.capacity: tuple[int, int, int] = (concurrency, threads, _NO_LIMIT)
        self.intake: int = intake

    @property
    def waiting(self) -> int:
        """Jobs that wait for a handler."""
        return sum(map(len, self.queues)) - sum(self.dead)

    def has_room(self, lane: int) -> bool:
        """Whether one more can wait. Free handlers count: the dispatch that gives them work comes after the intake."""
        most = self.intake + max(0, self.capacity[lane] - self.running[lane])
        if len(self.queues[lane]) >= most and self.dead[lane]:
            self.queues[lane] = deque(job for job in self.queues[lane] if not job.done)
            self.dead[lane] = 0
        return len(self.queues[lane]) < most

    def empty(self, lane: int) -> list[Job]:
        """Take out all that wait."""
        jobs = [job for job in self.queues[lane] if not job.done]
        self.queues[lane].clear()
        self.dead[lane] = 0
        return jobs
