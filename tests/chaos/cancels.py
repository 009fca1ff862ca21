"""Scenario (c): random cancels and timeouts at every await of the asyncio client; every call ends exactly once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import asdict
from random import Random
from typing import Any

import zpatterns.asyncio
from zpatterns import Limits, Method, RequestTimeout, StreamMethod

ECHO = Method("chaos.echo", int, int)
PARTS = StreamMethod("chaos.parts", int, int)


class Ends:
    """How the calls ended, and which answers came."""

    def __init__(self) -> None:
        self.by: Counter[str] = Counter()
        self.answers: Counter[int] = Counter()
        self.wrong: list[str] = []


async def scenario(calls: int, seed: int, workers: int = 200) -> tuple[Ends, dict[str, int], dict[str, int]]:
    """So many calls; how they ended, and the statistics of client and server afterwards. Asserts that all adds up."""
    server, ends = _server(seed), Ends()
    before = asyncio.all_tasks()
    async with server, zpatterns.asyncio.RequestClient(server.endpoint, limits=Limits(in_flight=100)) as client:
        await client.request(ECHO, 0)
        numbers = iter(range(1, calls + 1))
        chances = [Random(f"{seed}/{worker}") for worker in range(workers)]
        await asyncio.gather(*(_work(client, numbers, chance, ends) for chance in chances))
        machine: Any = client._requester.machine  # type: ignore[union-attr]
        assert not machine.calls
        assert not any(port.in_flight for port in machine.ports)
        for _ in range(1000):
            replier: Any = server._replier.machine  # type: ignore[union-attr]
            if not replier.running and not replier.queued:
                break
            await asyncio.sleep(0.01)
        assert not replier.running and not replier.queued and not replier._jobs
        mine, theirs = asdict(client.statistics), asdict(server.statistics)
    await settled(before)
    _check(calls, ends, mine, theirs)
    return ends, mine, theirs


async def settled(before: set[asyncio.Task[Any]]) -> None:
    """Tasks that were cancelled have ended."""
    for _ in range(1000):
        if asyncio.all_tasks() == before:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"left behind: {asyncio.all_tasks() - before}")


def _check(calls: int, ends: Ends, mine: dict[str, int], theirs: dict[str, int]) -> None:
    assert not ends.wrong, ends.wrong[:5]
    assert sum(ends.by.values()) == calls
    assert not [number for number, times in ends.answers.items() if times > 1]
    assert mine["started"] == mine["answered"] + mine["failed"] + mine["cancelled"]
    assert mine["undecodable"] == theirs["undecodable"] == theirs["duplicates"] == 0
    ended = ("answered", "failed", "expired", "cancelled", "discarded", "overloaded", "unknown_method", "refused")
    assert theirs["received"] == sum(theirs[name] for name in ended)
    assert theirs["dispatched"] == theirs["answered"] + theirs["failed"] + theirs["discarded"]


def _server(seed: int) -> zpatterns.asyncio.ReplyServer:
    server = zpatterns.asyncio.ReplyServer("tcp://127.0.0.1:*", limits=Limits(concurrency=50))
    chance = Random(seed)

    @server.reply(ECHO)
    async def echo(request: int) -> int:
        kind = chance.random()
        if kind < 0.3:
            await asyncio.sleep(0)
        elif kind < 0.6:
            await asyncio.sleep(chance.random() * 0.004)
        return request

    @server.stream(PARTS)
    async def parts(request: int) -> AsyncIterator[int]:
        for _ in range(5):
            if chance.random() < 0.5:
                await asyncio.sleep(0.0005)
            yield request

    @server.plain
    async def plain(frames: list[bytes]) -> list[bytes]:
        await asyncio.sleep(0)
        return frames

    return server


async def _work(client: zpatterns.asyncio.RequestClient, numbers: Any, chance: Random, ends: Ends) -> None:
    for number in numbers:
        task = asyncio.create_task(_call(client, number, chance))
        kind = chance.random()
        if kind < 0.2:
            task.cancel()  # before it has begun
        elif kind < 0.5:
            for _ in range(chance.randrange(6)):
                await asyncio.sleep(0)
            task.cancel()
        elif kind < 0.7:
            await asyncio.sleep(chance.random() * 0.006)
            task.cancel()
        try:
            result = await task
        except asyncio.CancelledError:
            ends.by["cancelled"] += 1
        except RequestTimeout:
            ends.by["RequestTimeout"] += 1
        except TimeoutError:
            ends.by["TimeoutError"] += 1
        else:
            ends.by["answered"] += 1
            ends.answers[number] += 1
            if result != number:
                ends.wrong.append(f"{number} was answered {result!r}")


async def _call(client: zpatterns.asyncio.RequestClient, number: int, chance: Random) -> int:
    kind, patience = chance.random(), 0.0005 + chance.random() * 0.01
    if kind < 0.15:
        return await client.request(ECHO, number, timeout=patience)
    if kind < 0.3:
        async with asyncio.timeout(patience):
            return await client.request(ECHO, number)
    if kind < 0.4:
        return await asyncio.wait_for(client.request(ECHO, number), patience)
    if kind < 0.5:
        async with client.stream(PARTS, number) as parts:
            return [part async for part in parts][-1]
    if kind < 0.55:
        async with client.stream(PARTS, number) as parts:
            async for part in parts:
                return part
    if kind < 0.65:
        return int((await client.request_plain(b"%d" % number))[0])
    return await client.request(ECHO, number)
