"""What was dropped or destroyed in the asyncio world without a word: nothing stays on the loop, nobody waits for ever."""

from __future__ import annotations

import asyncio
import gc
import os
import warnings
from collections.abc import AsyncIterator
from typing import Any

import pytest
import zmq

import zpatterns
import zpatterns.asyncio
from tests.worlds import ADD, COUNT, LIMIT, ONCE, Add, Number, Sum
from zpatterns import Closed
from zpatterns.asyncio import Pair, Pipeline, Publisher, Pull, Push, ReplyServer, RequestClient, Subscriber


def serving() -> ReplyServer:
    server = ReplyServer("tcp://127.0.0.1:*")

    @server.reply(ADD)
    async def add(request: Add) -> Sum:
        return Sum(total=request.a + request.b)

    @server.reply(ONCE)
    async def never(request: Add) -> Sum:
        await asyncio.sleep(LIMIT)
        return Sum(total=0)

    @server.stream(COUNT)
    async def count(request: Number) -> AsyncIterator[Number]:
        for value in range(request.value):
            yield Number(value=value)

    return server


async def soon(condition: Any) -> None:
    async with asyncio.timeout(LIMIT):
        while not condition():
            await asyncio.sleep(0.005)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_client_that_is_dropped() -> None:
    async def main() -> None:
        async with serving() as server:
            async with RequestClient(server.endpoint) as warm:
                await warm.request(ADD, Add(a=1, b=2))
            await asyncio.sleep(0.05)
            before = descriptors()
            for _ in range(20):
                client = RequestClient(server.endpoint)
                assert (await client.request(ADD, Add(a=1, b=2))).total == 3
            del client
            gc.collect()
            await soon(lambda: descriptors() <= before)

    with pytest.warns(ResourceWarning, match="a RequestClient was dropped"):
        asyncio.run(main())


def test_a_stream_that_is_dropped() -> None:
    async def main() -> None:
        async with serving() as server, RequestClient(server.endpoint) as client:
            async for part in client.stream(COUNT, Number(value=10**6)):
                if part.value == 3:
                    break
            gc.collect()
            await soon(lambda: client.statistics.cancelled == 1 and server.statistics.stopped == 1)

    asyncio.run(main())


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("kind", [Push, Pull, Pipeline, Pair, Publisher, Subscriber, RequestClient])
def test_what_is_dropped_gives_its_socket_back_and_says_so(kind: Any, elsewhere: bool) -> None:
    makers: dict[Any, Any] = {
        Pipeline: lambda: Pipeline("tcp://127.0.0.1:*"),
        Publisher: lambda: Publisher("tcp://127.0.0.1:*"),
        Subscriber: lambda: Subscriber("tcp://127.0.0.1:*", bind=True),
        RequestClient: lambda: RequestClient(server.endpoint),
    }
    makers |= {each: lambda each=each: each.bind("tcp://127.0.0.1:*", int) for each in (Push, Pull, Pair)}
    server = serving()

    async def opened() -> None:
        made = makers[kind]()
        await made.__aenter__()
        if kind is RequestClient:
            await made.request(ADD, Add(a=1, b=2))
        held = [made]
        del made
        if elsewhere:
            await asyncio.to_thread(held.clear)
        else:
            held.clear()

    async def main() -> None:
        async with server:
            await opened()
            await asyncio.sleep(0.05)
            before = descriptors()
            for _ in range(20):
                await opened()
            await soon(lambda: descriptors() <= before)

    gc.collect()
    with pytest.warns(ResourceWarning, match=rf"a {kind.__name__} was dropped without close\(\)"):
        asyncio.run(main())


def test_what_was_closed_says_nothing() -> None:
    async def main() -> None:
        for made in (Pipeline("tcp://127.0.0.1:*"), Push.bind("tcp://127.0.0.1:*", int)):
            await made.__aenter__()
            await made.close()
        async with Pull.bind("tcp://127.0.0.1:*", int):
            pass

    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        asyncio.run(main())
        gc.collect()


def test_a_cancel_of_a_handler_that_has_ended_is_nothing_to_the_next() -> None:
    """As a debounce does: it cancels the call before, whether that has ended or not."""

    async def main() -> None:
        server = ReplyServer("tcp://127.0.0.1:*")
        before: list[Any] = []

        @server.reply(ADD)
        async def add(request: Add) -> Sum:
            for task in before:
                task.cancel()
            before[:] = [asyncio.current_task()]
            return Sum(total=request.a + request.b)

        async with server, RequestClient(server.endpoint, timeout=LIMIT) as client:
            for number in range(5):
                assert (await client.request(ADD, Add(a=number, b=1))).total == number + 1

    asyncio.run(main())


def test_a_context_that_is_terminated() -> None:
    """Every call ends with a typed error, at once; so do later ones."""

    async def main() -> None:
        context = zmq.Context()
        async with serving() as server:
            client = RequestClient(server.endpoint, context=context, timeout=60.0)
            calls = [asyncio.create_task(client.request(ONCE, Add(a=1, b=2))) for _ in range(3)]
            parts = client.stream(COUNT, Number(value=10**6))
            assert (await anext(parts)).value == 0
            await soon(lambda: server.statistics.dispatched >= 4)
            ended = asyncio.create_task(asyncio.to_thread(context.term))
            async with asyncio.timeout(LIMIT):
                results = await asyncio.gather(*calls, return_exceptions=True)
                assert {type(result) for result in results} == {Closed}
                later = await asyncio.gather(client.request(ADD, Add(a=1, b=2)), return_exceptions=True)
                assert isinstance(later[0], Closed)
                await client.close()
                await ended
            server.stop(grace=0.1)  # nobody has cancelled its handlers

    asyncio.run(main())


def test_a_context_that_is_terminated_under_a_server() -> None:
    async def main() -> None:
        context = zmq.Context()
        server = ReplyServer("tcp://127.0.0.1:*", context=context)
        server.reply(ADD)(lambda request: Sum(total=1))
        await server.__aenter__()
        async with RequestClient(server.endpoint) as client, asyncio.timeout(LIMIT):
            assert (await client.request(ADD, Add(a=1, b=2))).total == 1
            ended = asyncio.create_task(asyncio.to_thread(context.term))
            await ended
            await server.close()

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["server", "broker", "worker", "subscriber"])
@pytest.mark.parametrize("world", [zpatterns, zpatterns.asyncio])
def test_whoever_serves_is_told_that_the_context_was_terminated(world: Any, kind: str) -> None:
    async def number(value: int) -> int:
        return value

    context = zmq.Context()
    if kind == "broker":
        serving = world.Broker("tcp://127.0.0.1:*", context=context)
        opened = lambda: bool(serving.frontend)
    elif kind == "subscriber":
        serving = world.Subscriber("tcp://127.0.0.1:1", zpatterns.Topic("t", int), context=context)
        opened = lambda: serving._driver is not None
    elif kind == "worker":
        pipeline = world.Pipeline("tcp://127.0.0.1:*", context=context)
        pipeline.stage(number if world is zpatterns.asyncio else abs)
        serving = pipeline.worker("tcp://127.0.0.1:1")
        opened = lambda: serving._worker is not None
    else:
        serving = world.ReplyServer("tcp://127.0.0.1:*", context=context)
        serving.plain(lambda frames: frames)
        opened = lambda: serving._replier is not None

    async def main() -> None:
        served = asyncio.create_task(serving.serve() if world is zpatterns.asyncio else asyncio.to_thread(serving.run))
        await soon(opened)
        await asyncio.sleep(0.05)
        async with asyncio.timeout(LIMIT):
            await asyncio.to_thread(context.term)
            with pytest.raises(Closed, match="context"):
                await served

    asyncio.run(main())


def test_a_loop_that_ends_with_everything_open() -> None:
    """The client is given back with its last reference; the server may still be closed, on any loop."""

    async def main(server: ReplyServer) -> None:
        await server.__aenter__()
        client = RequestClient(server.endpoint)
        task = asyncio.create_task(client.request(ONCE, Add(a=1, b=2)))
        parts = client.stream(COUNT, Number(value=10**6))
        assert (await anext(parts)).value == 0
        await soon(lambda: server.statistics.dispatched >= 2)
        del task, parts

    def cycle() -> int:
        server = serving()
        asyncio.run(main(server))
        asyncio.run(server.close())
        gc.collect()
        return descriptors()

    before = cycle()
    after = [cycle() for _ in range(10)]
    assert min(after) <= before
