"""Who waits until a service has so many workers; the broker's events of workers that came tell when to look."""

from __future__ import annotations

from typing import Any

from .directory import Directory


class Awaited:
    """Somebody waits until ``service`` has ``count`` workers."""

    __slots__ = ("application", "count", "service")

    def __init__(self, service: bytes, count: int, application: Any) -> None:
        self.service: bytes = service
        self.count: int = count
        self.application: Any = application


class Staffing:
    """Asks a broker's ``directory``."""

    def __init__(self, directory: Directory) -> None:
        self.waiting: list[Awaited] = []
        self._directory = directory

    def count(self, service: bytes) -> int:
        """Workers of a service."""
        there = self._directory.services.get(service)
        return len(there.workers) if there is not None else 0

    def wait(self, awaited: Awaited) -> bool:
        """Whether there are enough already; if not, ``changed`` tells."""
        if self.count(awaited.service) >= awaited.count:
            return True
        self.waiting.append(awaited)
        return False

    def changed(self) -> list[Awaited]:
        """A worker came: who need wait no longer."""
        enough = [each for each in self.waiting if self.count(each.service) >= each.count]
        for each in enough:
            self.waiting.remove(each)
        return enough

    def give_up(self, awaited: Awaited) -> int:
        """Nobody waits any more; how many there are."""
        if awaited in self.waiting:
            self.waiting.remove(awaited)
        return self.count(awaited.service)
