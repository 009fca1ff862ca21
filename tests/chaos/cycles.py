"""Scenario (e): clients and servers opened and closed again and again; nothing of them stays behind."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import zpatterns
import zpatterns.asyncio
from tests.worlds import ADD, COUNT, Add, Number, Sum


class Held(NamedTuple):
    """What this process holds."""

    descriptors: int
    threads: int
    memory: int
    """Bytes of resident memory."""


def held() -> Held:
    """Counted once what is being given back has been: libzmq closes sockets in a thread of its own."""
    gc.collect()
    best = _count()
    for _ in range(200):
        time.sleep(0.005)
        now = _count()
        if now[:2] == best[:2]:
            break
        best = now
    return best


def _count() -> Held:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Held(len(os.listdir("/proc/self/fd")), threading.active_count(), pages * os.sysconf("SC_PAGE_SIZE"))


def blocking(endpoint: str) -> None:
    """One cycle of the blocking world: every kind of call, then close."""
    server = _server(zpatterns.ReplyServer(endpoint))
    with server, zpatterns.RequestClient(server.endpoint) as client:
        assert client.request(ADD, Add(a=1, b=2)).total == 3
        client.submit(ADD, Add(a=1, b=2)).cancel()
        assert client.submit(ADD, Add(a=1, b=2)).result().total == 3
        with client.stream(COUNT, Number(value=10)) as parts:
            assert next(parts).value == 0


async def awaiting(endpoint: str) -> None:
    """One cycle of the asyncio world."""
    server = _server(zpatterns.asyncio.ReplyServer(endpoint))
    async with server, zpatterns.asyncio.RequestClient(server.endpoint) as client:
        assert (await client.request(ADD, Add(a=1, b=2))).total == 3
        task = asyncio.create_task(client.request(ADD, Add(a=1, b=2)))
        await asyncio.sleep(0)
        task.cancel()
        async with client.stream(COUNT, Number(value=10)) as parts:
            async for part in parts:
                assert part.value == 0
                break


def scenario(cycles: int, folder: Path) -> tuple[Held, Held, Held]:
    """What is held after a few cycles to warm up, in the middle, and at the end."""
    transports = ("tcp://127.0.0.1:*", f"ipc://{folder}/cycle", "inproc://cycle")

    async def some(first: int, last: int) -> None:
        for number in range(first, last):
            await awaiting(transports[number % 3])

    def run(first: int, last: int) -> Held:
        for number in range(first, last):
            blocking(transports[number % 3])
        asyncio.run(some(first, last))
        return held()

    warm = min(20, cycles)
    start = run(0, warm)
    middle = run(warm, (warm + cycles) // 2)
    return start, middle, run((warm + cycles) // 2, cycles)


def check(start: Held, middle: Held, end: Held) -> None:
    """No descriptor, no thread, and no memory that grows."""
    assert end.descriptors <= start.descriptors, f"{end.descriptors - start.descriptors} descriptors leaked"
    assert end.threads <= start.threads, [thread.name for thread in threading.enumerate()]
    assert end.memory - middle.memory < 8 * 2**20, f"{(end.memory - middle.memory) / 2**20:.1f} MiB more"


def _server(server: Any) -> Any:
    @server.reply(ADD)
    def add(request: Add) -> Sum:
        return Sum(total=request.a + request.b)

    @server.stream(COUNT, inline=True)
    def count(request: Number) -> Iterator[Number]:
        return (Number(value=value) for value in range(request.value))

    return server
