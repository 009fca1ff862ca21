"""Calls without end, from threads or tasks, and how each of them ended."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from random import Random

import zpatterns
import zpatterns.asyncio
from zpatterns import Method, SocketOptions, ZPatternsError

from .server import METHODS, ONCE

HUNG = 10.0
"""Seconds after its deadline at which a call that has not ended is called hung."""
QUICK = SocketOptions(reconnect_interval=0.02, reconnect_interval_max=0.1)


@dataclass
class Tally:
    """What became of the calls."""

    ended: Counter[str] = field(default_factory=Counter)
    answered: list[str] = field(default_factory=list)
    failed: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Request id -> when it began and when it ended."""
    wrong: list[str] = field(default_factory=list)
    worst: float = 0.0
    late: int = 0
    hung: int = 0

    @property
    def calls(self) -> int:
        """All that ended."""
        return sum(self.ended.values())

    def end(self, request: str, began: float, timeout: float, result: object) -> None:
        """One call has ended."""
        now = time.monotonic()
        lateness = now - began - timeout
        self.worst = max(self.worst, lateness)
        self.late += lateness > 0.1
        if isinstance(result, ZPatternsError):
            self.ended[type(result).__name__] += 1
            self.failed[request] = (began, now)
        elif result == request:
            self.ended["answered"] += 1
            self.answered.append(request)
        else:
            self.wrong.append(f"{request}: {result!r}")

    def check(self, executed: Counter[str], *, slack: float) -> None:
        """What must hold whatever was killed. ``slack``: seconds any call may be late on this machine."""
        assert not self.hung, f"{self.hung} calls hang"
        assert not self.wrong, self.wrong[:5]
        assert self.worst <= slack, f"a call ended {self.worst:.3f} s after its deadline"
        twice = [request for request, times in executed.items() if times > 1 and not request.startswith("chaos.free")]
        assert not twice, f"{len(twice)} requests ran twice: {twice[:5]}"
        never = [request for request in self.answered if not executed[request]]
        assert not never, f"{len(never)} answers of handlers that did not run: {never[:5]}"

    def __str__(self) -> str:
        ends = ", ".join(f"{name} {number}" for name, number in self.ended.most_common())
        share = 1 - self.late / max(1, self.calls)
        return (
            f"{self.calls} calls: {ends}; {self.hung} hung; {share:.4%} within deadline + 100 ms, "
            f"worst {self.worst * 1000:+.1f} ms"
        )


_numbers = count()


def _next(chance: Random, methods: tuple[Method[str, str], ...]) -> tuple[Method[str, str], str, float]:
    method = chance.choice(methods)
    return method, f"{method.name}/{next(_numbers)}", chance.choice((0.2, 0.5, 1.0))


class Threads:
    """Blocking clients: ``size`` threads on one."""

    def __init__(self, endpoint: str, size: int, methods: tuple[Method[str, str], ...] = METHODS) -> None:
        self.tally = Tally()
        self._methods = methods
        self._client = zpatterns.RequestClient(endpoint, options=QUICK)
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, args=(seed,), daemon=True) for seed in range(size)]
        for thread in self._threads:
            thread.start()

    def _work(self, seed: int) -> None:
        chance = Random(seed)
        while not self._over.is_set():
            method, request, timeout = _next(chance, self._methods)
            began = time.monotonic()
            result: object
            try:
                if chance.random() < 0.2:
                    result = self._client.submit(method, request, timeout=timeout).result(timeout + HUNG)
                else:
                    result = self._client.request(method, request, timeout=timeout)
            except ZPatternsError as error:
                result = error
            except TimeoutError:
                self.tally.hung += 1
                continue
            with self._lock:
                self.tally.end(request, began, timeout, result)

    def stop(self) -> Tally:
        """No new calls; wait for those that are open."""
        self._over.set()
        until = time.monotonic() + HUNG + 2.0
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        self.tally.hung += sum(thread.is_alive() for thread in self._threads)
        self._client.close()
        return self.tally


class Tasks:
    """One asyncio client with ``size`` calls in flight, on a loop in a thread."""

    def __init__(self, endpoint: str, size: int, methods: tuple[Method[str, str], ...] = METHODS) -> None:
        self.tally = Tally()
        self._endpoint = endpoint
        self._size = size
        self._methods = methods
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        self._thread.start()

    async def _main(self) -> None:
        async with zpatterns.asyncio.RequestClient(self._endpoint, options=QUICK) as client:
            tasks = [asyncio.create_task(self._work(client, seed)) for seed in range(self._size)]
            _, hung = await asyncio.wait(tasks, timeout=3600)
            self.tally.hung += len(hung)

    async def _work(self, client: zpatterns.asyncio.RequestClient, seed: int) -> None:
        chance = Random(1000 + seed)
        while not self._over.is_set():
            method, request, timeout = _next(chance, self._methods)
            began = time.monotonic()
            result: object
            try:
                async with asyncio.timeout(timeout + HUNG) as limit:
                    result = await client.request(method, request, timeout=timeout)
            except ZPatternsError as error:
                result = error
            except TimeoutError:
                assert limit.expired()
                self.tally.hung += 1
                continue
            self.tally.end(request, began, timeout, result)

    def stop(self) -> Tally:
        """No new calls; wait for those that are open."""
        self._over.set()
        self._thread.join(HUNG + 5.0)
        self.tally.hung += self._thread.is_alive() * self._size
        return self.tally


LOADS = {"blocking": Threads, "asyncio": Tasks}
__all__ = ["LOADS", "METHODS", "ONCE", "Tally", "Tasks", "Threads"]
