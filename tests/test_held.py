"""Whoever reads or waits holds what is read from: a client or subscriber that has no name of its own is not closed under it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from itertools import islice

import zpatterns
import zpatterns.asyncio
from zpatterns import ReplyServer, Topic

from .worlds import ADD, COUNT, LIMIT, Add, Number, Sum, until

NUMBERS = Topic("numbers", int)


def serving() -> ReplyServer:
    server = ReplyServer("tcp://127.0.0.1:*")

    @server.reply(ADD)
    def add(request: Add) -> Sum:
        return Sum(total=request.a + request.b)

    @server.stream(COUNT)
    def count(request: Number) -> Iterator[Number]:
        for value in range(request.value):
            yield Number(value=value)

    return server


def publish(publisher: zpatterns.Publisher) -> None:
    publisher.wait_for_subscribers(NUMBERS, 2, timeout=LIMIT)
    gc.collect()
    publisher.publish_many(NUMBERS, range(5))


def test_a_loop_holds_the_subscriber_that_it_reads() -> None:
    with zpatterns.Publisher("tcp://127.0.0.1:*") as publisher:
        first, second = zpatterns.Subscriber(publisher.endpoint, NUMBERS), zpatterns.Subscriber(publisher.endpoint)
        gone = [weakref.ref(first), weakref.ref(second)]
        messages, streamed = iter(first), second.stream(NUMBERS)
        del first, second
        publish(publisher)
        for reader in (messages, streamed):
            assert [message.body for message in islice(reader, 5)] == [0, 1, 2, 3, 4]
        del messages, streamed, reader
        gc.collect()
        assert [each() for each in gone] == [None, None], "nobody reads any more"
        until(lambda: publisher.statistics.unsubscribed >= 2, "they are closed")


def test_the_stream_and_the_future_hold_their_client() -> None:
    with serving() as server:
        parts = zpatterns.RequestClient(server.endpoint).stream(COUNT, Number(value=100))
        future = zpatterns.RequestClient(server.endpoint).submit(ADD, Add(a=1, b=2))
        gc.collect()
        assert [part.value for part in parts] == list(range(100))
        assert future.result(LIMIT).total == 3


def test_and_in_the_asyncio_world() -> None:
    async def main() -> None:
        with serving() as server, zpatterns.Publisher("tcp://127.0.0.1:*") as publisher:
            parts = zpatterns.asyncio.RequestClient(server.endpoint).stream(COUNT, Number(value=100))
            gc.collect()
            assert [part.value async for part in parts] == list(range(100))
            messages = aiter(zpatterns.asyncio.Subscriber(publisher.endpoint, NUMBERS))
            streamed = zpatterns.asyncio.Subscriber(publisher.endpoint).stream(NUMBERS)
            await asyncio.to_thread(publish, publisher)
            for reader in (messages, streamed):
                assert [(await anext(reader)).body for _ in range(5)] == [0, 1, 2, 3, 4]

    asyncio.run(asyncio.wait_for(main(), LIMIT))
