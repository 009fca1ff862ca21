"""Misuse in both worlds: a typed error at once, and a message that says what to do next. Never a crash, never a hang."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import zmq
from pydantic import BaseModel

import zpatterns
import zpatterns.asyncio
from zpatterns import (
    Closed,
    ConfigurationError,
    Limits,
    Method,
    ReplyServer,
    RequestClient,
    Retry,
    SocketOptions,
    Topic,
    WrongLoopError,
)

from .worlds import ADD, COUNT, LIMIT, Add, Number, Sum, in_threads, until


def server_of(world: Any, endpoint: str = "tcp://127.0.0.1:*", **options: Any) -> Any:
    server = world.Server(endpoint, **options)
    server.reply(ADD)(lambda request: Sum(total=request.a + request.b))
    return server


def refused(kind: type[Exception], says: str, run: Callable[[], object]) -> str:
    """``run()`` raises exactly that kind, and says what to do next."""
    with pytest.raises(kind, match=says) as caught:
        run()
    assert type(caught.value) is kind
    return str(caught.value)


# -- processes ---------------------------------------------------------------------------------------------------------


def in_child(*attempts: Callable[[], object]) -> list[str]:
    """What each attempt raised in a forked child."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        said = []
        for attempt in attempts:
            try:
                attempt()
                said.append("nothing")
            except BaseException as error:  # noqa: BLE001  told to the parent
                said.append(f"{type(error).__name__}: {error}")
        os.write(write, "\n".join(said).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        lines = pipe.read().split("\n")
    assert os.waitpid(child, 0)[1] == 0
    return lines


def test_after_fork() -> None:
    server, unused = ReplyServer("tcp://127.0.0.1:*"), ReplyServer("tcp://127.0.0.1:*")
    for each in (server, unused):
        each.reply(ADD)(lambda request: Sum(total=request.a + request.b))
    with server, RequestClient(server.endpoint) as client:
        assert client.request(ADD, Add(a=1, b=2)).total == 3
        said = in_child(
            lambda: client.request(ADD, Add(a=1, b=2)),
            lambda: client.submit(ADD, Add(a=1, b=2)),
            lambda: client.stream(COUNT, Number(value=1)),
            lambda: client.request_plain(b"x"),
            unused.__enter__,
            client.close,
            server.close,
        )
        assert [line.split(":")[0] for line in said] == ["ForkedError"] * 5 + ["nothing"] * 2
        assert all("make a new one in the child" in line for line in said[:5])
        assert client.request(ADD, Add(a=2, b=2)).total == 4  # the parent has noticed nothing


def test_a_child_may_use_a_client_of_its_own() -> None:
    server = ReplyServer("tcp://127.0.0.1:*")
    server.reply(ADD)(lambda request: Sum(total=request.a + request.b))
    with server:

        def call() -> None:
            with RequestClient(server.endpoint, context=zmq.Context()) as client:
                raise ValueError(client.request(ADD, Add(a=1, b=2)).total)

        assert in_child(call) == ["ValueError: 3"]


def test_after_fork_in_asyncio() -> None:
    async def main() -> None:
        server = zpatterns.asyncio.ReplyServer("tcp://127.0.0.1:*")
        server.reply(ADD)(lambda request: Sum(total=request.a + request.b))
        async with server, zpatterns.asyncio.RequestClient(server.endpoint) as client:
            assert (await client.request(ADD, Add(a=1, b=2))).total == 3
            said = in_child(
                lambda: client.request(ADD, Add(a=1, b=2)).send(None), lambda: client.stream(COUNT, Number(value=1))
            )
            assert [line.split(":")[0] for line in said] == ["ForkedError"] * 2
            assert (await client.request(ADD, Add(a=1, b=2))).total == 3

    asyncio.run(main())


def test_after_fork_in_an_asyncio_iteration() -> None:
    async def main() -> None:
        topic = Topic("numbers", int)
        async with zpatterns.asyncio.Publisher("tcp://127.0.0.1:*") as publisher:
            async with zpatterns.asyncio.Subscriber(publisher.endpoint, topic) as subscriber:
                messages, stream = aiter(subscriber), subscriber.stream(topic)
                said = in_child(
                    lambda: messages.__anext__().send(None),  # type: ignore[attr-defined]
                    lambda: stream.__anext__().send(None),
                    lambda: stream.receive(0.1).send(None),
                )
                assert [line.split(":")[0] for line in said] == ["ForkedError"] * 3
                await subscriber.ready(LIMIT)
                publisher.publish(topic, 7)
                assert (await stream.receive(LIMIT)).body == 7

    asyncio.run(main())


def test_a_map_that_was_begun_before_a_fork() -> None:
    pipeline, gate = zpatterns.Pipeline("tcp://127.0.0.1:*"), threading.Event()

    @pipeline.stage
    def double(number: int) -> int:
        if number:
            gate.wait(LIMIT)
        return 2 * number

    with pipeline, pipeline.worker():
        results = pipeline.map(range(4), double)
        assert next(results) == 0
        said = in_child(lambda: next(results), results.close)  # type: ignore[attr-defined]
        assert [line.split(":")[0] for line in said] == ["ForkedError", "nothing"]
        gate.set()
        assert list(results) == [2, 4, 6]


@pytest.mark.parametrize("fed", [False, True])
def test_an_asyncio_map_belongs_to_its_process_and_its_loop(fed: bool) -> None:
    async def main() -> None:
        pipeline, gate = zpatterns.asyncio.Pipeline("tcp://127.0.0.1:*"), asyncio.Event()

        @pipeline.stage
        async def double(number: int) -> int:
            if number:
                await gate.wait()
            return 2 * number

        async def feed() -> AsyncIterator[int]:
            for number in range(4):
                yield number

        async with pipeline, pipeline.worker():
            results = pipeline.map(feed() if fed else range(4), double)
            assert await anext(results) == 0

            async def next_one() -> None:
                await anext(results)

            assert in_child(lambda: next_one().send(None))[0].split(":")[0] == "ForkedError"
            await asyncio.to_thread(refused, WrongLoopError, "another event loop", lambda: asyncio.run(next_one()))
            gate.set()
            assert [number async for number in results] == [2, 4, 6]

    asyncio.run(asyncio.wait_for(main(), LIMIT))


def test_an_asyncio_push_and_pull_belong_to_their_process_and_their_loop() -> None:
    async def main() -> None:
        push = zpatterns.asyncio.Push.bind("tcp://127.0.0.1:*", int)
        async with push, zpatterns.asyncio.Pull.connect(push.endpoint, int) as pull:
            calls: list[Callable[[], Any]] = [
                lambda: push.send(3),
                lambda: push.send_many([3]),
                lambda: pull.receive(timeout=LIMIT),
                push.__aenter__,
                pull.__aenter__,
                push.close,
                pull.close,
            ]

            def elsewhere() -> None:
                for call in calls:
                    refused(WrongLoopError, "another event loop", lambda: asyncio.run(call()))  # noqa: B023

            await asyncio.to_thread(elsewhere)
            await push.send_many([1, 2])
            assert await pull.receive(timeout=LIMIT) == 1  # of a message of two: the other is at hand
            said = in_child(*(lambda call=call: call().send(None) for call in calls[:5]))  # type: ignore[misc]
            assert [line.split(":")[0] for line in said] == ["ForkedError"] * 5
            assert await pull.receive(timeout=LIMIT) == 2
            await push.send(3)
            assert await pull.receive(timeout=LIMIT) == 3

    asyncio.run(asyncio.wait_for(main(), LIMIT))


# -- threads and loops -------------------------------------------------------------------------------------------------


def test_an_asyncio_client_on_other_loops_and_threads() -> None:
    async def main() -> None:
        server = zpatterns.asyncio.ReplyServer("tcp://127.0.0.1:*")
        server.reply(ADD)(lambda request: Sum(total=request.a + request.b))
        async with server, zpatterns.asyncio.RequestClient(server.endpoint) as client:

            async def close_both() -> None:
                with pytest.raises(WrongLoopError, match="run_coroutine_threadsafe"):
                    await server.close()
                await client.close()

            def elsewhere(number: int) -> None:
                refused(
                    WrongLoopError,
                    "make one for each loop",
                    lambda: asyncio.run(client.request(ADD, Add(a=number, b=2))),
                )
                refused(WrongLoopError, "no event loop runs", lambda: client.stream(COUNT, Number(value=1)))
                refused(WrongLoopError, "another event loop", lambda: asyncio.run(close_both()))

            calls = [asyncio.create_task(client.request(ADD, Add(a=1, b=2))) for _ in range(100)]
            await asyncio.to_thread(in_threads, 4, elsewhere)
            assert {reply.total for reply in await asyncio.gather(*calls)} == {3}

    asyncio.run(main())


def test_without_a_loop() -> None:
    client = zpatterns.asyncio.RequestClient("tcp://127.0.0.1:1")
    refused(WrongLoopError, "zpatterns without asyncio", lambda: client.stream(COUNT, Number(value=1)))


def test_a_client_whose_loop_is_closed() -> None:
    held: list[zpatterns.asyncio.RequestClient] = []

    async def open_() -> None:
        held.append(zpatterns.asyncio.RequestClient("tcp://127.0.0.1:1"))
        with pytest.raises(zpatterns.PeerUnavailable):
            await held[0].request(ADD, Add(a=1, b=2), timeout=0.05)

    asyncio.run(open_())
    refused(WrongLoopError, "make one for each loop", lambda: asyncio.run(held[0].request(ADD, Add(a=1, b=2))))
    asyncio.run(held[0].close())
    refused(Closed, "make a new one", lambda: asyncio.run(held[0].request(ADD, Add(a=1, b=2))))


def test_two_tasks_that_wait_for_the_same_part() -> None:
    async def main() -> None:
        server = zpatterns.asyncio.ReplyServer("tcp://127.0.0.1:*")

        @server.stream(COUNT)
        async def count(request: Number) -> AsyncIterator[Number]:
            await asyncio.sleep(LIMIT)
            yield Number(value=1)

        client = zpatterns.asyncio.RequestClient
        async with server, client(server.endpoint) as made, made.stream(COUNT, Number(value=1)) as parts:
            first = asyncio.create_task(anext(parts))
            await asyncio.sleep(0)
            with pytest.raises(ConfigurationError, match="another task"):
                await anext(parts)
            first.cancel()

    asyncio.run(main())


def test_closed(world: Any) -> None:
    server = server_of(world)
    with world.serving(server), world.client(server.endpoint) as client:
        assert client.call(ADD, Add(a=1, b=2)).total == 3
        client.close()
        refused(Closed, "make a new one", lambda: client.call(ADD, Add(a=1, b=2)))
        refused(Closed, "make a new one", lambda: client.stream(COUNT, Number(value=1)))
        refused(Closed, "make a new one", lambda: client.plain(b"x"))


def test_a_server_starts_once(world: Any) -> None:
    server = server_of(world)
    with world.serving(server):
        refused(Closed, "make a new one to start again", lambda: world.serving(server).__enter__())
    refused(Closed, "make a new one", lambda: world.serving(server).__enter__())


def test_closing_a_server_that_never_started(world: Any) -> None:
    server = server_of(world)
    server.close() if world.name == "blocking" else world.do(server.close())


# -- arguments ---------------------------------------------------------------------------------------------------------


def test_wrong_bodies(world: Any) -> None:
    server = server_of(world)
    with world.serving(server), world.client(server.endpoint) as client:
        for body in ("text", 5, [1, 2], Number(value=1), {"a": "x", "b": 2}, {"a": 1}, object()):
            with pytest.raises(TypeError, match="Add"):
                client.call(ADD, body)
        with pytest.raises(TypeError, match="bytes"):
            client.plain("text")
        with pytest.raises(TypeError, match="str to str"):
            client.call(ADD, Add(a=1, b=2), headers={"n": 1})
        refused(ConfigurationError, "typed header", lambda: client.plain(b"\xc1zp\x01"))
        refused(ConfigurationError, r"stream\(\)", lambda: client.call(COUNT, Number(value=1)))
        refused(ConfigurationError, r"request\(\)", lambda: client.stream(ADD, Add(a=1, b=2)))
        assert client.client.statistics.started == 0
        assert client.call(ADD, {"a": 1, "b": 2}).total == 3


@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        ([[]], {}, "at least one endpoint"),
        ([["tcp://127.0.0.1:1"] * 2], {}, "given twice"),
        (["localhost:5555"], {}, "transport"),
        (["tcp://127.0.0.1:*"], {}, "write the number"),
        (["tcp://127.0.0.1:1"], {"options": SocketOptions(extra={"NO_SUCH": 1})}, "no option 'NO_SUCH'"),
        (["tcp://127.0.0.1:1"], {"options": SocketOptions(extra={"LINGER": b"x"})}, "LINGER"),
    ],
)
def test_arguments_of_a_client(world: Any, arguments: list[Any], options: dict[str, Any], says: str) -> None:
    def connect() -> None:
        with world.client(*arguments, **options) as client:
            client.call(ADD, Add(a=1, b=2))

    refused(ConfigurationError, says, connect)


def test_arguments_of_policies_and_servers(world: Any) -> None:
    refused(ConfigurationError, "at least one attempt", lambda: Retry(attempts=0))
    refused(ConfigurationError, "greater than 0", lambda: Limits(queue=0))
    refused(ConfigurationError, "never waits for ever", lambda: SocketOptions(linger=-1))
    refused(ConfigurationError, "at least one is needed", lambda: world.Server("tcp://127.0.0.1:*", threads=0))
    refused(ConfigurationError, "no spaces", lambda: world.Server("tcp://127.0.0.1:*", name="a b"))
    start = world.serving(world.Server("tcp://127.0.0.1:*")).__enter__
    refused(ConfigurationError, "register one with @server.reply", start)


def test_handlers_that_cannot_work(world: Any) -> None:
    class Local(BaseModel):
        value: int

    def local(request: Local) -> Sum:
        return Sum(total=request.value)

    def other(request: Number) -> Sum:
        return Sum(total=request.value)

    def three(a: int, b: int, c: int) -> int:
        return a + b + c

    server = world.Server("tcp://127.0.0.1:*")
    refused(ConfigurationError, "top of a module", lambda: server.reply(local))
    refused(ConfigurationError, "contract of 'calc.add'", lambda: server.reply(ADD)(other))
    refused(ConfigurationError, "Put them into the request", lambda: server.reply(three))
    refused(ConfigurationError, "zp", lambda: server.reply("zp.mine")(other))
    refused(ConfigurationError, "@server.stream", lambda: server.reply(COUNT))
    refused(ConfigurationError, "@server.reply", lambda: server.stream(ADD))
    server.reply("mine")(other)
    refused(ConfigurationError, "answers a method once", lambda: server.reply("mine")(other))
    refused(ConfigurationError, "name", lambda: Method("with space", Add, Sum))


def test_many_threads_start_one_client_and_one_closes_it(world: Any) -> None:
    server = server_of(world)
    with world.serving(server):
        for _ in range(10):
            with world.client(server.endpoint) as client:

                def work(number: int, client: Any = client) -> None:
                    try:
                        for _ in range(10):
                            client.call(ADD, Add(a=number, b=2))
                        if number == 0:
                            client.close()
                    except Closed:
                        pass

                in_threads(8, work)
    until(lambda: not any("zpatterns-client" in thread.name for thread in threading.enumerate()))
