"""Scenario: every class of pub/sub, pipelines, push/pull, pairs and proxies opened and closed again and again, unsent data
included; nothing of it stays behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any

import zpatterns as zp
import zpatterns.asyncio as aio
from zpatterns import SocketOptions, Topic

from .cycles import Held, check, held

NUMBER = Topic("number", int)
NOBODY = "tcp://127.0.0.1:1"
BRIEF = SocketOptions(linger=0.001)
_numbers = count()


def scenario(cycles: int, folder: Path) -> dict[str, Held]:
    """So many of each; what is held at the end. Asserts that it is what was held at the beginning."""
    found: dict[str, Held] = {}
    for name, cycle in _BLOCKING.items():
        found[name] = _measure(cycles, folder, lambda endpoints, cycle=cycle: [cycle(each) for each in endpoints])  # type: ignore[misc]
    for name, opened in _ASYNCIO.items():

        async def some(endpoints: list[str], opened: Callable[[str], Awaitable[None]] = opened) -> None:
            for each in endpoints:
                await opened(each)

        found[f"{name}, asyncio"] = _measure(cycles, folder, lambda endpoints, some=some: asyncio.run(some(endpoints)))  # type: ignore[misc]
    return found


def _measure(cycles: int, folder: Path, run: Callable[[list[str]], Any]) -> Held:
    def some(number: int) -> Held:
        run([_endpoint(folder) for _ in range(number)])
        return held()

    warm = min(10, cycles)
    start, middle, end = some(warm), some(cycles // 2), some(cycles // 2)
    check(start, middle, end)
    return end


def _endpoint(folder: Path) -> str:
    number = next(_numbers)
    return ("tcp://127.0.0.1:*", f"ipc://{folder}/o{number % 30}", f"inproc://opening-{number}")[number % 3]


# -- blocking ------------------------------------------------------------------------------------------------------------------


def _pubsub(endpoint: str) -> None:
    with zp.Publisher(endpoint) as publisher, zp.Subscriber(publisher.endpoint, NUMBER) as subscriber:
        subscriber.ready()
        publisher.publish(NUMBER, 1)
        assert subscriber.receive().body == 1
        with subscriber.stream(NUMBER):
            publisher.publish(NUMBER, 2)
    with zp.Publisher(NOBODY, bind=False, options=BRIEF) as unheard:
        unheard.publish(NUMBER, 1)


def _flow(endpoint: str) -> None:
    with zp.Push.bind(endpoint, int) as push, zp.Pull.connect(push.endpoint, int) as pull:
        push.send_many(range(10))
        assert pull.receive() == 0
    with zp.Push.connect(NOBODY, int, options=BRIEF) as unread:
        unread.send(1)


def _pair(endpoint: str) -> None:
    with zp.Pair.bind(endpoint, int) as left, zp.Pair.connect(left.endpoint, int) as right:
        left.send(1)
        assert right.receive() == 1
        right.send(2)
    with zp.Pair.connect(NOBODY, int, options=BRIEF):
        pass


def _pipeline(endpoint: str) -> None:
    pipeline = zp.Pipeline(endpoint)
    double = pipeline.stage(inline=True)(_double)
    text = pipeline.stage(_text)
    with pipeline, pipeline.worker():
        assert list(pipeline.map(range(3), double, text)) == ["0", "2", "4"]
        assert next(iter(pipeline.map(range(100), double))) == 0


def _proxy(endpoint: str) -> None:
    with zp.Proxy.forwarder(endpoint, "tcp://127.0.0.1:*") as proxy:
        with zp.Publisher(proxy.frontend, bind=False, options=BRIEF) as publisher:
            publisher.publish(NUMBER, 1)


def _double(job: int) -> int:
    return 2 * job


def _text(job: int) -> str:
    return str(job)


# -- asyncio -------------------------------------------------------------------------------------------------------------------


async def _apubsub(endpoint: str) -> None:
    async with aio.Publisher(endpoint) as publisher, aio.Subscriber(publisher.endpoint, NUMBER) as subscriber:
        await subscriber.ready()
        publisher.publish(NUMBER, 1)
        assert (await subscriber.receive()).body == 1
        async with subscriber.stream(NUMBER):
            publisher.publish(NUMBER, 2)
    async with aio.Publisher(NOBODY, bind=False, options=BRIEF) as unheard:
        unheard.publish(NUMBER, 1)


async def _aflow(endpoint: str) -> None:
    async with aio.Push.bind(endpoint, int) as push, aio.Pull.connect(push.endpoint, int) as pull:
        await push.send_many(range(10))
        assert await pull.receive() == 0
    async with aio.Push.connect(NOBODY, int, options=BRIEF) as unread:
        await unread.send(1)


async def _apair(endpoint: str) -> None:
    async with aio.Pair.bind(endpoint, int) as left:
        async with aio.Pair.connect(left.endpoint, int) as right:
            await left.send(1)
            assert await right.receive() == 1
            await right.send(2)
    async with aio.Pair.connect(NOBODY, int, options=BRIEF):
        pass


async def _apipeline(endpoint: str) -> None:
    pipeline = aio.Pipeline(endpoint)

    @pipeline.stage(concurrency=2)
    async def double(job: int) -> int:
        await asyncio.sleep(0)
        return 2 * job

    async with pipeline, pipeline.worker():
        assert [each async for each in pipeline.map(range(3), double)] == [0, 2, 4]
        async for each in pipeline.map(range(100), double):
            assert each == 0
            break


async def _aproxy(endpoint: str) -> None:
    async with aio.Proxy.forwarder(endpoint, "tcp://127.0.0.1:*") as proxy:
        async with aio.Publisher(proxy.frontend, bind=False, options=BRIEF) as publisher:
            publisher.publish(NUMBER, 1)


_BLOCKING: dict[str, Callable[[str], None]] = {
    "Publisher and Subscriber": _pubsub,
    "Push and Pull": _flow,
    "Pair": _pair,
    "Pipeline and PipelineWorker": _pipeline,
    "Proxy": _proxy,
}
_ASYNCIO: dict[str, Callable[[str], Awaitable[None]]] = {
    "Publisher and Subscriber": _apubsub,
    "Push and Pull": _aflow,
    "Pair": _apair,
    "Pipeline and PipelineWorker": _apipeline,
    "Proxy": _aproxy,
}
