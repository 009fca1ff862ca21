"""Scenario: random cancels and timeouts at every await of pub/sub, pipelines, push/pull and pairs; nothing is lost or comes twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from itertools import count
from random import Random
from typing import Any

import zpatterns.asyncio as z
from zpatterns import Limits, Overflow, RequestTimeout, SocketOptions, Topic

from .cancels import settled

NUMBER, STREAMED = Topic("number", int), Topic("streamed", int)
SMALL = SocketOptions(high_water_mark=8, extra={"SNDBUF": 4096, "RCVBUF": 4096})
"""Queues that are full most of the time, so that there is something to wait for."""
GONE = object()
"""A call that was cancelled, or timed out."""
PATIENCE = 60.0
"""Seconds after which something hangs."""


class Storm:
    """Begins calls, and ends most of them at a random moment."""

    def __init__(self, calls: int, seed: str) -> None:
        self.ends: Counter[str] = Counter()
        self._left = calls
        self._chance = Random(seed)

    @property
    def over(self) -> bool:
        """Whether there were enough calls."""
        return self._left <= 0

    async def call(self, begin: Callable[[], Awaitable[Any]]) -> Any:
        """What came of one call, or GONE."""
        self._left -= 1
        chance = self._chance
        kind, patience = chance.random(), chance.random() ** 4 * 0.002
        task = asyncio.create_task(_limited(begin, kind, patience))
        try:
            if kind < 0.15:
                task.cancel()  # before it has begun
            elif kind < 0.5:
                for _ in range(chance.randrange(6)):
                    await asyncio.sleep(0)
                task.cancel()
            elif kind < 0.6:
                await asyncio.sleep(patience)
                task.cancel()
            result = await task
        except (asyncio.CancelledError, TimeoutError, RequestTimeout) as error:
            if not task.done():  # the storm itself is over
                task.cancel()
                await asyncio.wait([task])
            self.ends[type(error).__name__] += 1
            return GONE
        self.ends["done"] += 1
        return result


async def _limited(begin: Callable[[], Awaitable[Any]], kind: float, patience: float) -> Any:
    if kind < 0.6 or kind > 0.9:
        return await begin()
    if kind < 0.75:
        async with asyncio.timeout(patience):
            return await begin()
    return await asyncio.wait_for(_awaited(begin), patience)


async def _awaited(begin: Callable[[], Awaitable[Any]]) -> Any:
    return await begin()


async def scenario(calls: int, seed: int) -> dict[str, Counter[str]]:
    """So many calls of each class; how they ended. Asserts that everything arrived once, and that nothing is left behind."""
    found: dict[str, Counter[str]] = {}
    for name, run in _ALL.items():
        before = asyncio.all_tasks()
        found[name] = await asyncio.wait_for(run(calls, f"{seed}/{name}"), PATIENCE + calls / 500)
        await settled(before)
    return found


async def _in_turn(
    storm: Storm, numbers: Iterator[int], send: Callable[[int], Awaitable[Any]], kept: list[int]
) -> None:
    """Send until there were enough calls; which of them were not cancelled."""
    while not storm.over:
        number = next(numbers)
        if await storm.call(lambda number=number: send(number)) is not GONE:  # type: ignore[misc]
            kept.append(number)


async def _drained(
    storm: Storm, readers: list[Callable[[], Awaitable[Any]]], got: list[int], wanted: Callable[[], bool]
) -> None:
    """Read in all of these ways at once, until everything is there."""

    async def read(receive: Callable[[], Awaitable[Any]]) -> None:
        while not wanted():
            number = await storm.call(receive)
            if number is not GONE:
                got.append(number)

    tasks = [asyncio.create_task(read(receive)) for receive in readers]
    while not wanted():
        await asyncio.wait(tasks, timeout=0.002)
    for task in tasks:
        task.cancel()  # it may wait for one more
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, Exception):
            raise ended


# -- PUSH/PULL and pairs: what was cancelled is not sent, what was not, comes once ------------------------------------------


async def _flow(calls: int, seed: str) -> Counter[str]:
    storm, reading = Storm(calls, seed), Storm(calls, seed + "r")
    kept: list[list[int]] = [[] for _ in range(3)]
    got: list[int] = []
    async with (
        z.Push.bind("tcp://127.0.0.1:*", int, batch=1, limits=Limits(queue=4), options=SMALL) as push,
        z.Pull.connect(push.endpoint, int, limits=Limits(queue=4), options=SMALL) as pull,
    ):
        senders = [
            asyncio.create_task(_in_turn(storm, count(10**9 * who), push.send, mine)) for who, mine in enumerate(kept)
        ]
        sent = asyncio.gather(*senders)
        items = aiter(pull)

        def everything() -> bool:
            return sent.done() and len(got) == push.statistics.items

        readers = [pull.receive, lambda: pull.receive(timeout=0.001), lambda: anext(items)]
        await asyncio.gather(sent, _drained(reading, readers, got, everything))
        assert push.statistics.items == pull.statistics.items
    assert sorted(got) == sorted(number for mine in kept for number in mine)
    return storm.ends + reading.ends


async def _pair(calls: int, seed: str) -> Counter[str]:
    left = z.Pair.bind("tcp://127.0.0.1:*", int, options=SMALL)
    ends = Counter[str]()
    async with left, z.Pair.connect(left.endpoint, int, options=SMALL) as right:
        ready = Storm(100, seed + "ready")
        while not ready.over:
            await ready.call(right.ready)
        await asyncio.gather(left.ready(), right.ready())

        async def one_way(source: Any, target: Any, name: str) -> None:
            storm, reading = Storm(calls // 2, seed + name), Storm(calls // 2, seed + name + "r")
            kept: list[int] = []
            got: list[int] = []
            sending = asyncio.gather(*(_in_turn(storm, count(10**9 * who), source.send, kept) for who in range(2)))

            def everything() -> bool:
                return sending.done() and len(got) >= len(kept)

            readers = [target.receive, lambda: target.receive(timeout=0.001), lambda: anext(target)]
            await asyncio.gather(sending, _drained(reading, readers, got, everything))
            assert sorted(got) == sorted(kept)
            nonlocal ends
            ends += storm.ends + reading.ends

        await asyncio.gather(one_way(left, right, "there"), one_way(right, left, "back"))
        for pair in (left, right):
            assert pair.statistics.missed == 0
    return ends


# -- pub/sub: what was cancelled may have gone out, what was not, comes once and in order ------------------------------------


async def _pubsub(calls: int, seed: str) -> Counter[str]:
    storms = {name: Storm(calls // 2, seed + name) for name in ("publish", "receive", "stream", "around")}
    kept: dict[Topic[int], list[int]] = {NUMBER: [], STREAMED: []}
    async with (
        z.Publisher("tcp://127.0.0.1:*", overflow=Overflow.BLOCK, timeout=PATIENCE, options=SMALL) as publisher,
        z.Subscriber(
            publisher.endpoint, NUMBER, overflow=Overflow.BLOCK, limits=Limits(backlog=4), options=SMALL
        ) as subscriber,
        subscriber.stream(STREAMED, overflow=Overflow.BLOCK) as stream,
    ):
        await subscriber.ready(PATIENCE)
        await publisher.wait_for_subscribers(STREAMED, timeout=PATIENCE)
        sending = asyncio.gather(
            *(
                _in_turn(
                    storms["publish"], count(1), lambda number, topic=topic: publisher.publish(topic, number), sent
                )  # type: ignore[misc]
                for topic, sent in kept.items()
            )
        )

        def around() -> Coroutine[Any, Any, Any]:
            if storms["around"]._chance.random() < 0.5:
                return subscriber.ready(0.001)
            return publisher.wait_for_subscribers(NUMBER, count=99, timeout=0.001)

        async def circling() -> None:
            while not sending.done():
                await storms["around"].call(around)
                await asyncio.sleep(0.002)

        async def reading(name: str, receive: Callable[[], Awaitable[Any]], sent: list[int]) -> None:
            got: list[int] = []

            async def body() -> int:
                message = await receive()
                return int(message.body)

            def everything() -> bool:
                return sending.done() and bool(got) and got[-1] >= sent[-1]

            await _drained(storms[name], [body], got, everything)
            assert got == sorted(set(got)), "twice, or out of order"
            assert set(sent) <= set(got), f"lost: {sorted(set(sent) - set(got))[:5]}"

        await asyncio.gather(
            sending,
            circling(),
            reading("receive", lambda: subscriber.receive(0.001), kept[NUMBER]),
            reading("stream", lambda: anext(stream), kept[STREAMED]),
        )
        publishing: Any = publisher._driver
        await asyncio.sleep(0.01)
        assert not any(held.ticket for held in publishing.machine.blocked), "cancelled, and not withdrawn"
        assert not publishing.machine.audience.waiting
        reader: Any = subscriber._driver
        assert not reader.machine.readiness.waiters
    return sum((storm.ends for storm in storms.values()), Counter[str]())


# -- pipelines: whoever asks again gets the next result ---------------------------------------------------------------------


async def _pipeline(calls: int, seed: str) -> Counter[str]:
    pipeline, chance, ends = z.Pipeline("tcp://127.0.0.1:*"), Random(seed), Counter[str]()

    @pipeline.stage(concurrency=8)
    async def double(job: int) -> int:
        if chance.random() < 0.5:
            await asyncio.sleep(chance.random() * 0.002)
        return 2 * job

    async def one(who: int) -> None:
        storm = Storm(calls // 8, f"{seed}/{who}")
        while not storm.over:
            size, ordered = storm._chance.randrange(1, 60), storm._chance.random() < 0.7
            given_up = storm._chance.random() < 0.1
            jobs: Any = range(size) if storm._chance.random() < 0.6 else _slowly(size, storm._chance)
            results = pipeline.map(jobs, double, window=storm._chance.choice((1, 4, 64)), ordered=ordered)
            got: list[int] = []
            while not (given_up and len(got) > size // 2):
                result = await storm.call(lambda: _next(results))  # noqa: B023  awaited here
                if result is None:
                    assert (got if ordered else sorted(got)) == [2 * job for job in range(size)]
                    break
                if result is not GONE:
                    got.append(result)
        ends.update(storm.ends)

    async with pipeline, pipeline.worker(), pipeline.worker():
        await asyncio.gather(*(one(who) for who in range(8)))
        machine: Any = pipeline._open().machine
        for _ in range(500):
            if not machine.tasks:
                break
            await asyncio.sleep(0.01)
        assert not machine.tasks
        assert not pipeline.dead_letters
    return ends


async def _next(results: AsyncIterator[int]) -> int | None:
    try:
        return await anext(results)
    except StopAsyncIteration:  # no task can end with it
        return None


async def _slowly(size: int, chance: Random) -> AsyncIterator[int]:
    for job in range(size):
        if chance.random() < 0.3:
            await asyncio.sleep(chance.random() * 0.001)
        yield job


_ALL: dict[str, Callable[[int, str], Awaitable[Counter[str]]]] = {
    "Push and Pull": _flow,
    "Pair": _pair,
    "Publisher and Subscriber": _pubsub,
    "Pipeline": _pipeline,
}
