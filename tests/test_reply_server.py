"""ReplyServer in both worlds: what handlers are told, what callers are told, and what is counted."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import pytest
from pydantic import BaseModel, Field

import zpatterns.asyncio
from zpatterns import (
    AuthenticationError,
    Limits,
    Method,
    Overloaded,
    PeerUnavailable,
    PermissionDenied,
    ReplyError,
    ReplyServer,
    RequestContext,
    RequestTimeout,
    Retry,
    Status,
    ZPatternsError,
)

from .worlds import ADD, DEDUPE, LIMIT, ONCE, Add, Awaiting, Sum, in_threads, until

SECRET = "hunter2-is-my-password"


class Login(BaseModel):
    user: str
    age: int = Field(ge=0)


LOGIN = Method("auth.login", Login, Sum)


def make(world: Any, **options: Any) -> Any:
    return world.Server("tcp://127.0.0.1:*", name="calc", version="1.2", **options)


def failing(world: Any, error: BaseException, **options: Any) -> Any:
    server = make(world, **options)

    @server.reply(ADD)
    def fail(request: Add) -> Sum:
        raise error

    return server


def raised(world: Any, server: Any, *arguments: Any, **options: Any) -> Any:
    with world.serving(server), world.client(server.endpoint) as client, pytest.raises(ZPatternsError) as caught:
        client.call(*(arguments or (ADD, Add(a=1, b=2))), **options)
    return caught.value


def test_bare_names_contexts_and_headers(world: Any) -> None:
    server = make(world)
    seen: list[RequestContext] = []

    @server.reply
    def double(request: int, ctx: RequestContext) -> int:
        seen.append(ctx)
        return 2 * request

    @server.reply("literal.name")
    def nothing() -> str:
        return "nothing"

    @server.reply(inline=True)
    def about(ctx: RequestContext) -> dict[str, str]:
        return dict(ctx.headers)

    with world.serving(server), world.client(server.endpoint) as client:
        before = time.monotonic()
        assert client.call("calc.double", 21, reply=int, headers={"trace": "abc"}, timeout=5.0) == 42
        assert client.call("literal.name", reply=str) == "nothing"
        assert client.call("calc.about", headers={"who": "ünï"}) == {"who": "ünï"}
        assert client.call("calc.about") == {}
    ctx = seen[0]
    assert (ctx.method, ctx.attempt, dict(ctx.headers), ctx.peer) == ("calc.double", 1, {"trace": "abc"}, "")
    assert before < ctx.deadline < time.monotonic() + 5.1
    assert 0 <= ctx.remaining <= 5.1
    assert ctx.cancelled  # it has ended


def test_reply_errors_arrive_as_they_left(world: Any) -> None:
    details = {"field": "b", "numbers": [1, 2.5, None], "nested": {"raw": b"\x00\xff", "ok": True}}
    error = raised(world, failing(world, ReplyError(Status.ABORTED, "b is 0", details=details)))
    assert isinstance(error, ReplyError)
    assert (error.status, error.message, error.details) == (Status.ABORTED, "b is 0", details)


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.OK])
def test_every_status_has_its_exception(world: Any, status: Status) -> None:
    error = raised(world, failing(world, ReplyError(status, "because")))
    expected = {Status.PERMISSION_DENIED: PermissionDenied, Status.UNAUTHENTICATED: AuthenticationError}
    assert type(error) is expected.get(status, ReplyError)
    assert "because" in str(error)


def test_the_exception_map(world: Any) -> None:
    mapping = {LookupError: Status.NOT_FOUND, ValueError: Status.OUT_OF_RANGE}
    assert raised(world, failing(world, KeyError("no such book"), exceptions=mapping)).status is Status.NOT_FOUND
    error = raised(world, failing(world, ValueError("too far"), exceptions=mapping))
    assert (error.status, error.message) == (Status.OUT_OF_RANGE, "too far")
    assert type(raised(world, failing(world, PermissionDenied("not you")))) is PermissionDenied
    assert raised(world, failing(world, TimeoutError("inner"))).status is Status.DEADLINE_EXCEEDED


class Unspeakable(ValueError):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Cancelled(BaseException):
    """As trio's, and asyncio's CancelledError: not an Exception."""


@pytest.mark.parametrize(
    "error",
    [RuntimeError(SECRET), SystemExit(SECRET), Unspeakable(), Cancelled(SECRET), RecursionError(), StopIteration()],
)
def test_what_was_not_meant_for_the_caller_is_internal(world: Any, error: BaseException, caplog: Any) -> None:
    """And the thread it was raised on lives on: with one thread, the next request shows it."""
    server = failing(world, error, threads=1, exceptions={OSError: Status.ABORTED})
    with world.serving(server), world.client(server.endpoint) as client, caplog.at_level(logging.ERROR):
        for _ in range(3):
            with pytest.raises(ReplyError) as caught:
                client.call(ADD, Add(a=1, b=2))
            assert caught.value.status is Status.INTERNAL
            assert SECRET not in str(caught.value) + str(caught.value.details)
            assert "the log of its process" in caught.value.message
    assert "raised" in caplog.text


def test_only_the_main_thread_is_interrupted() -> None:
    """A KeyboardInterrupt that a handler raises on a thread is an exception like any other."""
    server = zpatterns.ReplyServer("tcp://127.0.0.1:*", threads=1)

    @server.reply(ADD)
    def fail(request: Add) -> Sum:
        raise KeyboardInterrupt

    with server, zpatterns.RequestClient(server.endpoint) as client:
        for _ in range(3):
            with pytest.raises(ReplyError) as caught:
                client.request(ADD, Add(a=1, b=2))
            assert caught.value.status is Status.INTERNAL


def test_close_within_a_handler_does_not_wait_for_it() -> None:
    server = zpatterns.ReplyServer("tcp://127.0.0.1:*", grace=10 * LIMIT)

    @server.reply(ADD)
    def last(request: Add) -> Sum:
        server.close()
        return Sum(total=request.a + request.b)

    with server, zpatterns.RequestClient(server.endpoint, timeout=LIMIT) as client:
        assert client.request(ADD, Add(a=1, b=2)).total == 3


def test_a_mapped_exception_without_a_text(world: Any) -> None:
    error = raised(world, failing(world, Unspeakable(), exceptions={ValueError: Status.ABORTED}))
    assert (error.status, error.message) == (Status.ABORTED, "Unspeakable")


@pytest.mark.parametrize(
    "body",
    [{"user": "a", "age": SECRET}, {"user": "a", "age": -5}, {"age": 3, SECRET: SECRET}, [SECRET], SECRET, None],
)
def test_a_body_that_does_not_validate(world: Any, body: object) -> None:
    server = make(world)
    calls = []

    @server.reply(LOGIN)
    def login(request: Login) -> Sum:
        calls.append(request)
        return Sum(total=0)

    error = raised(world, server, "auth.login", body)
    assert error.status is Status.INVALID_ARGUMENT
    assert SECRET not in str(error) + str(error.details)
    assert not calls


def test_a_reply_of_the_wrong_type_is_our_fault(world: Any) -> None:
    server = make(world)

    @server.reply(ADD)
    def wrong(request: Add) -> Sum:
        return {"total": "many"}  # type: ignore[return-value]

    assert raised(world, server).status is Status.INTERNAL


def test_unknown_methods(world: Any) -> None:
    error = raised(world, failing(world, RuntimeError()), "calc.none")
    assert error.status is Status.UNIMPLEMENTED
    assert "zp.info" in error.message


def test_dedupe_runs_once(world: Any) -> None:
    """The first reply is held back until the caller has asked again."""
    server, runs, go = make(world), [], threading.Event()

    @server.reply(DEDUPE)
    def once(request: Add, ctx: RequestContext) -> Sum:
        runs.append(ctx.attempt)
        go.wait(LIMIT)
        return Sum(total=request.a + request.b)

    with world.serving(server), world.client(server.endpoint) as client:
        future = client.start(DEDUPE, Add(a=1, b=2), timeout=3.0)
        until(lambda: server.statistics.duplicates >= 1)
        go.set()
        assert future.result(LIMIT).total == 3
        assert runs == [1]


def test_work_that_expired_while_the_server_was_busy(world: Any) -> None:
    server, runs, go = make(world, threads=1), [], threading.Event()
    entered = threading.Event()

    @server.reply(ONCE)
    def held(request: Add) -> Sum:
        runs.append(request.a)
        entered.set()
        go.wait(LIMIT)
        return Sum(total=request.a)

    with world.serving(server), world.client(server.endpoint) as client:
        first = client.start(ONCE, Add(a=0, b=0), timeout=LIMIT)
        assert entered.wait(LIMIT)
        late = [client.start(ONCE, Add(a=number, b=0), timeout=0.2) for number in range(1, 6)]
        for future in late:
            assert isinstance(future.exception(LIMIT), RequestTimeout)
        go.set()
        assert first.result(LIMIT).total == 0
        assert client.call(ONCE, Add(a=9, b=0)).total == 9
        numbers = server.statistics
        assert runs == [0, 9]
        assert numbers.expired + numbers.cancelled == 5


def test_overloaded(world: Any) -> None:
    server, go, entered = make(world, threads=1, limits=Limits(intake=2)), threading.Event(), threading.Event()

    @server.reply(ONCE)
    def held(request: Add) -> Sum:
        entered.set()
        go.wait(LIMIT)
        return Sum(total=request.a)

    with world.serving(server), world.client(server.endpoint, retry=Retry(attempts=1)) as client:
        first = client.start(ONCE, Add(a=0, b=0))
        assert entered.wait(LIMIT)
        waiting = [client.start(ONCE, Add(a=number, b=0)) for number in (1, 2)]
        until(lambda: server.statistics.received == 3)
        with pytest.raises(Overloaded, match=r"Limits\.intake"):
            client.call(ONCE, Add(a=3, b=0))
        assert client.call("zp.health")["status"] == "SERVING"  # answered while everything else is full
        go.set()
        assert [future.result(LIMIT).total for future in (first, *waiting)] == [0, 1, 2]
        assert server.statistics.overloaded == 1


def test_management_methods(world: Any) -> None:
    server = make(world)
    server.reply(ADD)(lambda request: Sum(total=request.a))

    @server.plain
    def plain(frames: list[bytes]) -> list[bytes]:
        return frames

    with world.serving(server), world.client(server.endpoint) as client:
        ping = client.call("zp.ping")
        assert (ping["name"], ping["version"]) == ("calc", "1.2")
        client.call(ADD, Add(a=1, b=2))
        info = client.call("zp.info")
        assert info["endpoints"] == [{"name": "calc.add", "stream": False, "dedupe": False}]
        assert info["plain"] is True
        stats = client.call("zp.stats")
        assert stats["id"] == ping["id"]
        assert stats["answered"] >= 2 and stats["queued"] == 0 and stats["uptime"] > 0
        schema = client.call("zp.schema")["endpoints"]["calc.add"]
        assert schema["request"]["required"] == ["a", "b"]
        assert schema["reply"]["properties"]["total"]["type"] == "integer"
        assert client.call("zp.health")["status"] == "SERVING"


def test_include(world: Any) -> None:
    rest, server = make(world, exceptions={ValueError: Status.ABORTED}), make(world)

    @rest.reply(ONCE)
    def once(request: Add) -> Sum:
        raise ValueError("included")

    server.reply(ADD)(lambda request: Sum(total=7))
    server.include(rest)
    with world.serving(server), world.client(server.endpoint) as client:
        assert client.call(ADD, Add(a=1, b=2)).total == 7
        with pytest.raises(ReplyError, match="included") as caught:
            client.call(ONCE, Add(a=1, b=2))
        assert caught.value.status is Status.ABORTED


def test_handlers_run_side_by_side_up_to_threads(world: Any) -> None:
    meet = threading.Barrier(4)
    server = make(world, threads=4)

    @server.reply(ONCE)
    def meeting(request: Add) -> Sum:
        meet.wait(LIMIT)
        return Sum(total=request.a)

    with world.serving(server), world.client(server.endpoint, timeout=LIMIT) as client:
        assert in_threads(4, lambda number: client.call(ONCE, Add(a=number, b=0)).total) == [0, 1, 2, 3]


@pytest.mark.parametrize("inline", [True, False])
def test_stop_finishes_what_runs_at_once(world: Any, inline: bool) -> None:
    """The server is closed as soon as its last handler is done, not when the grace is over."""
    server, go, entered = make(world), threading.Event(), threading.Event()

    @server.reply(ONCE)
    def held(request: Add) -> Sum:
        entered.set()
        go.wait(LIMIT)
        return Sum(total=request.a)

    server.reply(ADD, inline=inline)(lambda request: Sum(total=1))
    with world.serving(server), world.client(server.endpoint, timeout=LIMIT) as client:
        future = client.start(ONCE, Add(a=5, b=0))
        assert entered.wait(LIMIT)
        if world.name == "blocking":
            server.stop(grace=2 * LIMIT)
            until(lambda: server._replier.machine.stopping)
            with pytest.raises(PeerUnavailable, match="stopping"):
                client.call(ADD, Add(a=1, b=1), timeout=0.5)
        threading.Timer(0.1, go.set).start()
        assert future.result(LIMIT).total == 5
        before = time.monotonic()
    assert time.monotonic() - before < LIMIT


class TestAsyncHandlers:
    """What only ``async def`` handlers have."""

    def test_they_overlap_and_hear_of_cancels(self) -> None:
        import asyncio

        world = Awaiting()
        server = make(world)
        cancelled: list[bool] = []

        @server.reply(ONCE)
        async def wait(request: Add) -> Sum:
            try:
                await asyncio.sleep(LIMIT)
            except asyncio.CancelledError:
                cancelled.append(True)
                raise
            return Sum(total=0)

        @server.reply(ADD)
        async def add(request: Add) -> Sum:
            await asyncio.sleep(0)
            return Sum(total=request.a + request.b)

        with world.serving(server), world.client(server.endpoint) as client:
            held = client.start(ONCE, Add(a=1, b=2), timeout=LIMIT)
            assert client.call(ADD, Add(a=1, b=2)).total == 3
            until(lambda: server.statistics.dispatched >= 2)
            held.cancel()
            until(lambda: cancelled == [True])
            with pytest.raises(RequestTimeout):
                client.call(ONCE, Add(a=1, b=2), timeout=0.1)
            until(lambda: cancelled == [True, True])
        world.shut()

    def test_serve_and_close_at_once_wait_for_each_other(self) -> None:
        import asyncio

        async def main() -> None:
            server = zpatterns.asyncio.ReplyServer("tcp://127.0.0.1:*")
            go, entered = asyncio.Event(), asyncio.Event()

            @server.reply(ONCE)
            async def held(request: Add) -> Sum:
                entered.set()
                await go.wait()
                return Sum(total=request.a)

            serving = asyncio.create_task(server.serve())
            while server.endpoint.endswith("*"):
                await asyncio.sleep(0)
            async with zpatterns.asyncio.RequestClient(server.endpoint) as client:
                asking = asyncio.create_task(client.request(ONCE, Add(a=4, b=0)))
                await entered.wait()
                closing = asyncio.create_task(server.close())
                await asyncio.sleep(0.05)
                assert not closing.done()
                go.set()
                assert (await asking).total == 4
                await asyncio.wait_for(asyncio.gather(closing, serving), LIMIT)

        asyncio.run(main())


def test_async_def_is_refused_by_the_blocking_server() -> None:
    server = ReplyServer("tcp://127.0.0.1:*")

    async def handler(request: Add) -> Sum:
        return Sum(total=0)

    with pytest.raises(ValueError, match=r"zpatterns\.asyncio\.ReplyServer"):
        server.reply(ADD)(handler)
