"""Arguments that cannot work are refused where they are given, in both worlds, by an error that says what would."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf, nan
from typing import Any

import pytest

import zpatterns
import zpatterns.asyncio
from zpatterns import (
    ConfigurationError,
    Heartbeat,
    Limits,
    Overflow,
    Publisher,
    Retry,
    SocketOptions,
    Subscriber,
    Topic,
)

from .worlds import LIMIT, until

ANY = "tcp://127.0.0.1:*"
T = Topic("t", int)
WRONG: dict[str, Callable[[Any], object]] = {
    "an endpoint that is a number": lambda z: z.Publisher(5),
    "an endpoint that is None": lambda z: z.Subscriber(None, T),
    "endpoints that are bytes": lambda z: z.RequestClient(b"tcp://127.0.0.1:5555"),
    "no endpoints": lambda z: z.Publisher([]),
    "endpoints that are topics": lambda z: z.Publisher([T]),
    "a server's endpoint": lambda z: z.ReplyServer(5),
    "limits": lambda z: z.Publisher(ANY, limits=5),
    "limits that are a class": lambda z: z.RequestClient("tcp://127.0.0.1:5555", limits=Limits),
    "options": lambda z: z.Subscriber("tcp://127.0.0.1:5555", options="x"),
    "heartbeat": lambda z: z.Publisher(ANY, heartbeat=5),
    "retry": lambda z: z.RequestClient("tcp://127.0.0.1:5555", retry=3),
    "a broker's limits": lambda z: z.Broker(ANY, limits=5),
    "a pipeline's endpoint": lambda z: z.Pipeline(None),
    "a pipeline's limits": lambda z: z.Pipeline(ANY, limits=5),
    "a pipeline's heartbeat": lambda z: z.Pipeline(ANY, heartbeat="1"),
    "a push's options": lambda z: z.Push.bind(ANY, int, options=5),
    "a pull's limits": lambda z: z.Pull.connect("tcp://127.0.0.1:5555", int, limits=5),
    "a pair's options": lambda z: z.Pair.bind(ANY, int, options=5),
    "a pair's on_connection": lambda z: z.Pair.bind(ANY, int, on_connection=5),
    "a proxy's limits": lambda z: z.Proxy.forwarder(ANY, ANY, limits=5),
    "overflow": lambda z: z.Subscriber("tcp://127.0.0.1:5555", T, overflow="block"),
    "no overflow": lambda z: z.Subscriber("tcp://127.0.0.1:5555", T, overflow=None),
    "max_age that is a str": lambda z: z.Subscriber("tcp://127.0.0.1:5555", T, max_age="5"),
    "max_age 0": lambda z: z.Subscriber("tcp://127.0.0.1:5555", T, max_age=0),
    "max_age nan": lambda z: z.Subscriber("tcp://127.0.0.1:5555", T, max_age=nan),
    "on_gap": lambda z: z.Subscriber("tcp://127.0.0.1:5555", T, on_gap="x"),
    "on_connection": lambda z: z.Subscriber("tcp://127.0.0.1:5555", T, on_connection=5),
    "a publisher's timeout": lambda z: z.Publisher(ANY, overflow=Overflow.BLOCK, timeout=inf),
    "a server's grace": lambda z: z.ReplyServer(ANY, grace=inf),
    "a broker's grace": lambda z: z.Broker(ANY, grace="1"),
    "types that differ": lambda z: z.Subscriber("tcp://127.0.0.1:5555", Topic("lab.{x}", str), Topic("lab.t", int)),
    "Limits": lambda _: Limits(queue=None),  # type: ignore[arg-type]
    "Limits, nan": lambda _: Limits(queue=nan),  # type: ignore[arg-type]
    "Heartbeat": lambda _: Heartbeat("1"),  # type: ignore[arg-type]
    "Retry": lambda _: Retry(attempts=1.5),  # type: ignore[arg-type]
    "linger": lambda _: SocketOptions(linger=nan),
    "linger for ever": lambda _: SocketOptions(linger=inf),
    "no linger": lambda _: SocketOptions(linger=None),  # type: ignore[arg-type]
    "reconnect_interval": lambda _: SocketOptions(reconnect_interval=inf),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("world", [zpatterns, zpatterns.asyncio])
def test_what_cannot_work_is_refused(world: Any, name: str) -> None:
    async def main() -> None:
        with pytest.raises(ConfigurationError):
            WRONG[name](world)

    asyncio.run(main())


@pytest.mark.parametrize("window", [0, None, 1.5, inf, nan])
@pytest.mark.parametrize("world", ["blocking", "asyncio"])
def test_the_window_of_a_map_is_a_number_of_jobs(world: str, window: Any) -> None:
    async def awaiting() -> None:
        pipeline = zpatterns.asyncio.Pipeline(ANY)
        stage = pipeline.stage(double)
        async with pipeline:
            with pytest.raises(ConfigurationError, match="window="):
                pipeline.map([1], stage, window=window)
            with pytest.raises(ConfigurationError, match="count="):
                await pipeline.wait_for_workers(count=window or -1)

    if world == "asyncio":
        asyncio.run(awaiting())
        return
    pipeline = zpatterns.Pipeline(ANY)
    stage = pipeline.stage(double)
    with pipeline:
        with pytest.raises(ConfigurationError, match="window="):
            pipeline.map([1], stage, window=window)
        with pytest.raises(ConfigurationError, match="count="):
            pipeline.wait_for_workers(count=window or -1)


def double(job: int) -> int:
    return 2 * job


CALLS: dict[str, Callable[[Any, Any], object]] = {
    "ready, publishers=None": lambda _, sub: sub.ready(1.0, publishers=None),
    "ready, publishers=0": lambda _, sub: sub.ready(1.0, publishers=0),
    "ready, publishers=nan": lambda _, sub: sub.ready(1.0, publishers=nan),
    "wait_for_subscribers, count": lambda pub, _: pub.wait_for_subscribers(T, "2", 0.1),
    "wait_for_subscribers, less than none": lambda pub, _: pub.wait_for_subscribers(T, -1, 0.1),
    "stream, overflow": lambda _, sub: sub.stream(T, overflow="latest"),
    "stream, max_age": lambda _, sub: sub.stream(T, max_age="5"),
    "unsubscribe": lambda _, sub: sub.unsubscribe("t"),
    "on nothing": lambda _, sub: sub.on(T)(None),
    "on a topic of another type": lambda _, sub: sub.on(Topic("{any}", str))(print),
    "subscribe to a topic of another type": lambda _, sub: sub.subscribe(Topic("t", str)),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("world", ["blocking", "asyncio"])
def test_a_call_that_cannot_work_is_refused_and_harms_nobody(world: str, name: str) -> None:
    def blocking() -> None:
        with Publisher(ANY) as pub, Subscriber(pub.endpoint, T) as sub:
            with pytest.raises(ConfigurationError):
                CALLS[name](pub, sub)
            sub.ready(LIMIT)
            pub.publish(T, 1)
            assert sub.receive(LIMIT).body == 1

    async def awaiting() -> None:
        async with zpatterns.asyncio.Publisher(ANY) as pub, zpatterns.asyncio.Subscriber(pub.endpoint, T) as sub:
            with pytest.raises(ConfigurationError):
                result: Any = CALLS[name](pub, sub)
                await result
            await sub.ready(LIMIT)
            await pub.publish(T, 1)
            assert (await sub.receive(LIMIT)).body == 1

    if world == "blocking":
        blocking()
    else:
        asyncio.run(awaiting())


def test_a_coroutine_has_nobody_to_await_it_in_the_blocking_world() -> None:
    async def handler(message: Any) -> None: ...

    with Subscriber("tcp://127.0.0.1:5555") as sub, pytest.raises(ConfigurationError, match=r"zpatterns\.asyncio"):
        sub.on(T)(handler)


def test_a_topic_that_was_refused_is_not_remembered() -> None:
    class Odd:
        pass

    with Subscriber("tcp://127.0.0.1:5555") as sub:
        with pytest.raises(ConfigurationError, match="Odd"):
            sub.subscribe(Topic("t", Odd))
        sub.subscribe(T)


def test_topics_that_share_names_and_types_are_welcome_and_so_is_one_that_was_given_up() -> None:
    with Publisher(ANY) as pub, Subscriber(pub.endpoint, Topic("lab.{x}", int), Topic("lab.t", int)) as sub:
        sub.subscribe(Topic("hall.t", str))
        sub.unsubscribe(Topic("hall.t", str))
        sub.subscribe(Topic("hall.{y}", float))
        sub.ready(LIMIT)
        pub.publish(Topic("lab.t", int), 5)
        pub.publish(Topic("hall.t", float), 0.5)
        assert [sub.receive(LIMIT).body for _ in range(2)] == [5, 0.5]
        with sub.stream(Topic("hall.{y}", str)) as other:  # its own queue, its own type
            sub.ready(LIMIT)
            pub.publish(Topic("hall.t", str), "x")
            assert other.receive(LIMIT).body == "x"
        until(lambda: not sub.statistics.undecodable)
