"""A cancelled ``await`` in the asyncio world: what it waited for is not lost, not sent later, and nobody else is held up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import zmq

import zpatterns.asyncio as z
from zpatterns import Closed, Limits, Overflow, Overloaded, SocketOptions, Topic

from .worlds import LIMIT

NUMBER = Topic("number", int)
SMALL = SocketOptions(high_water_mark=8, extra={"SNDBUF": 4096, "RCVBUF": 4096})
ANYWHERE = "tcp://127.0.0.1:*"


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(LIMIT):
            await test()

    asyncio.run(limited())


async def cancelled(waiting: Awaitable[Any], turns: int = 5) -> None:
    """Begin to wait, and give up."""
    task = asyncio.ensure_future(waiting)
    for _ in range(turns):
        await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def until(condition: Callable[[], Any]) -> None:
    while not condition():
        await asyncio.sleep(0.002)


@pytest.mark.parametrize("fed", [False, True])
def test_map_goes_on(fed: bool) -> None:
    async def test() -> None:
        pipeline, gate = z.Pipeline(ANYWHERE), asyncio.Event()

        @pipeline.stage(concurrency=4)
        async def double(job: int) -> int:
            await gate.wait()
            return 2 * job

        async def feed() -> AsyncIterator[int]:
            for job in range(20):
                yield job

        async with pipeline, pipeline.worker():
            results = pipeline.map(feed() if fed else range(20), double, window=8)
            for _ in range(3):
                await cancelled(anext(results))
            gate.set()
            assert [result async for result in results] == [2 * job for job in range(20)]
            with pytest.raises(StopAsyncIteration):
                await anext(results)

    run(test)


def test_a_map_that_was_left_gives_its_jobs_up() -> None:
    async def test() -> None:
        pipeline = z.Pipeline(ANYWHERE)

        @pipeline.stage(concurrency=4)
        async def stuck(job: int) -> int:
            await asyncio.sleep(LIMIT)
            return job

        async with pipeline, pipeline.worker():
            results: Any = pipeline.map(range(20), stuck, window=8)
            await cancelled(anext(results))
            machine: Any = pipeline._open().machine
            assert machine.tasks
            del results
            await until(lambda: not machine.tasks)
            results = pipeline.map(range(20), stuck, window=8)
            await cancelled(anext(results))
            await results.aclose()
            assert not machine.tasks

    run(test)


def test_pull_goes_on() -> None:
    async def test() -> None:
        async with z.Push.bind(ANYWHERE, int) as push, z.Pull.connect(push.endpoint, int) as pull:
            items = aiter(pull)
            await cancelled(anext(items))
            await push.send_many(range(3))
            assert [await anext(items) for _ in range(3)] == [0, 1, 2]

    run(test)


def test_the_next_reader_need_not_wait_for_the_last_one() -> None:
    async def test() -> None:
        async with z.Publisher(ANYWHERE) as publisher, z.Subscriber(publisher.endpoint, NUMBER) as subscriber:
            await subscriber.ready()
            first = asyncio.ensure_future(subscriber.receive())
            await asyncio.sleep(0)
            second = asyncio.ensure_future(subscriber.receive())
            first.cancel()  # it hears of it after the second has begun
            await asyncio.sleep(0)
            publisher.publish(NUMBER, 1)
            assert (await second).body == 1
            assert first.cancelled()

    run(test)


async def _full(publisher: z.Publisher, publish: Callable[[], Awaitable[None]]) -> asyncio.Future[None]:
    """Publish until somebody has to wait."""
    while True:
        waiting = asyncio.ensure_future(publish())
        await asyncio.sleep(0.001)
        if not waiting.done():
            return waiting


@pytest.mark.parametrize("turns", [0, 3])
def test_a_publication_is_not_sent_later(turns: int) -> None:
    async def test() -> None:
        async with (
            z.Publisher(ANYWHERE, overflow=Overflow.BLOCK, timeout=LIMIT, options=SMALL) as publisher,
            z.Subscriber(
                publisher.endpoint, NUMBER, overflow=Overflow.BLOCK, limits=Limits(backlog=4), options=SMALL
            ) as subscriber,
        ):
            await subscriber.ready()

            async def publish() -> None:
                await publisher.publish(NUMBER, 0)

            last = await _full(publisher, publish)
            sent = publisher.statistics.published
            one = asyncio.ensure_future(publisher.publish(NUMBER, 1))
            many = asyncio.ensure_future(publisher.publish_many(NUMBER, [2, 3, 4]))
            for _ in range(turns):
                await asyncio.sleep(0)
            assert one.cancel() and many.cancel()
            await asyncio.wait([one, many])
            assert one.cancelled() and many.cancelled()
            assert (publisher.statistics.published, publisher.statistics.dropped) == (sent, 4)

            async def end() -> None:
                await last
                await publisher.publish(NUMBER, 9)

            ending, got, missed = asyncio.ensure_future(end()), list[int](), 0
            while not got or got[-1] != 9:
                message = await subscriber.receive()
                got.append(message.body)
                missed += message.missed
            await ending
            assert got == [0] * sent + [9]
            assert missed == 4

    run(test)


def test_many_publications_that_find_no_room_are_all_withdrawn() -> None:
    async def test() -> None:
        async with (
            z.Publisher(ANYWHERE, overflow=Overflow.BLOCK, timeout=0.1, options=SMALL) as publisher,
            z.Subscriber(
                publisher.endpoint, NUMBER, overflow=Overflow.BLOCK, limits=Limits(backlog=4), options=SMALL
            ) as subscriber,
        ):
            await subscriber.ready()
            with pytest.raises(Overloaded, match="the message was not sent"):
                while True:
                    await publisher.publish(NUMBER, 0)
            with pytest.raises(Overloaded, match="3 of 3 messages were not sent"):
                await publisher.publish_many(NUMBER, [1, 2, 3])
            assert publisher.statistics.dropped == 4

    run(test)


def test_a_publication_that_waits_is_told_that_the_publisher_was_closed() -> None:
    async def test() -> None:
        async with z.Publisher(ANYWHERE, overflow=Overflow.BLOCK, timeout=LIMIT, options=SMALL) as publisher:
            async with z.Subscriber(
                publisher.endpoint, NUMBER, overflow=Overflow.BLOCK, limits=Limits(backlog=4), options=SMALL
            ) as subscriber:
                await subscriber.ready()

                async def publish() -> None:
                    await publisher.publish(NUMBER, 0)

                last = await _full(publisher, publish)
                sent = publisher.statistics.published
                await publisher.close()
                with pytest.raises(Closed, match="was not sent"):
                    await last
                assert (publisher.statistics.published, publisher.statistics.dropped) == (sent - 1, 1)

    run(test)


def test_a_cancelled_close_leaves_nothing_open() -> None:
    async def test() -> None:
        with zmq.Context() as context:
            push = z.Push.connect("tcp://127.0.0.1:1", int, batch=1, context=context, options=SMALL)
            async with push:
                for number in range(12):
                    await push.send(number)
                await cancelled(push.close())
            pipeline = z.Pipeline(ANYWHERE, context=context)

            @pipeline.stage
            async def double(job: int) -> int:
                return 2 * job

            await pipeline.__aenter__()
            async with pipeline.worker():
                assert [result async for result in pipeline.map([1], double)] == [2]
                pipeline.stop_workers()
                await cancelled(pipeline.close(), turns=1)  # waits until the worker has heard of it
            # to terminate the context waits for every socket

    run(test)
