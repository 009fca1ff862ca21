"""The client's loops: warm up, then make calls for as long as asked, and count. The same for every way that is compared."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from time import perf_counter, sleep
from typing import Any

from .role import Role


def run_loop(role: Role, main: Callable[[Role], Coroutine[Any, Any, None]]) -> None:
    """``asyncio.run``, on uvloop if the run asks for it."""
    factory = None
    if role.run.uvloop:
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main(role))


def one_by_one(role: Role, call: Callable[[], Any]) -> None:
    """One thread, one call after the other."""
    until = perf_counter() + role.warm_up
    while perf_counter() < until:
        call()
    batch = 1 if role.run.size else 16  # the clock is read once a batch
    calls = 0
    role.start()
    until = perf_counter() + role.seconds
    while perf_counter() < until:
        for _ in range(batch):
            call()
        calls += batch
    role.finish(calls)


async def in_flight(role: Role, call: Callable[[], Awaitable[Any]]) -> None:
    """As many tasks as are to be in flight, each with one call after the other."""
    calls = 0

    async def caller() -> None:
        nonlocal calls
        while True:
            await call()
            calls += 1

    callers = [asyncio.create_task(caller()) for _ in range(role.run.in_flight)]
    await asyncio.sleep(role.warm_up)
    before = calls
    role.start()
    await asyncio.sleep(role.seconds)
    for task in callers:
        if task.done():
            task.result()  # it failed: say how
    role.finish(calls - before)


def by_threads(role: Role, caller: Callable[[], Callable[[], Any]]) -> None:
    """As many threads, each with its own call and its own count."""
    counts = [0] * role.run.in_flight
    failures: list[BaseException] = []

    def work(index: int) -> None:
        try:
            call = caller()
            while True:
                call()
                counts[index] += 1
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    for index in range(role.run.in_flight):
        threading.Thread(target=work, args=(index,), daemon=True).start()
    sleep(role.warm_up)
    before = sum(counts)
    role.start()
    sleep(role.seconds)
    calls = sum(counts) - before
    if failures:
        raise failures[0]
    role.finish(calls)
