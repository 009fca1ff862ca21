"""What a caller's and a handler's types are, for mypy --strict and pyright strict. Checked, never run.

A line with an ``ignore`` is an error that both checkers must find: an unneeded ignore is an error itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from typing import Any, assert_type

from pydantic import BaseModel

import zpatterns as zp
import zpatterns.asyncio as zpa
from zpatterns.testing import TestServer


class Add(BaseModel):
    a: int
    b: int


class Sum(BaseModel):
    total: int


ADD = zp.Method("calc.add", Add, Sum, idempotent=True)
NOW = zp.Method("calc.now", None, float)
EITHER = zp.Method("calc.either", int | str, list[Sum])
TOKENS = zp.StreamMethod("calc.tokens", Add, Sum)


def blocking(client: zp.RequestClient) -> None:
    assert_type(client.request(ADD, Add(a=1, b=2)), Sum)
    assert_type(client.request(ADD, Add(a=1, b=2), timeout=1.0, headers={"trace": "1"}), Sum)
    assert_type(client.request(NOW), float)
    assert_type(client.request(EITHER, 1), list[Sum])
    assert_type(client.request("calc.add", {"a": 1}, reply=Sum), Sum)
    assert_type(client.submit(ADD, Add(a=1, b=2)), Future[Sum])
    assert_type(client.submit("calc.add", {"a": 1}, reply=Sum), Future[Sum])
    assert_type(client.stream(TOKENS, Add(a=1, b=2)), zp.Stream[Sum])
    for part in client.stream(TOKENS, Add(a=1, b=2)):
        assert_type(part, Sum)
    with client.stream("calc.tokens", {"a": 1}, part=Sum) as parts:
        assert_type(next(iter(parts)), Sum)
    assert_type(client.request_plain(b"hello"), list[bytes])

    client.request(ADD, Sum(total=1))  # type: ignore[misc]
    client.request(ADD)  # type: ignore[arg-type]
    client.request("calc.add", {"a": 1})  # type: ignore[call-overload]
    client.stream(ADD, Add(a=1, b=2))  # type: ignore[call-overload]


async def awaited(client: zpa.RequestClient) -> None:
    assert_type(await client.request(ADD, Add(a=1, b=2)), Sum)
    assert_type(await client.request(NOW), float)
    assert_type(await client.request("calc.add", {"a": 1}, reply=Sum), Sum)
    async for part in client.stream(TOKENS, Add(a=1, b=2)):
        assert_type(part, Sum)
    assert_type(await client.request_plain([b"a", b"b"]), list[bytes])

    await client.request(ADD, Sum(total=1))  # type: ignore[misc]


def serving(server: zp.ReplyServer) -> None:
    @server.reply(ADD)
    def add(request: Add) -> Sum:
        return Sum(total=request.a + request.b)

    @server.reply(ADD, inline=True)
    def add_with_context(request: Add, ctx: zp.RequestContext) -> Sum:
        return Sum(total=int(ctx.remaining) + request.a)

    @server.reply(NOW)
    def now() -> float:
        return 0.0

    @server.reply
    def bare(request: Add) -> Sum:
        return Sum(total=request.a)

    @server.reply("calc.named", dedupe=True)
    def named(request: Add) -> Sum:
        return Sum(total=request.a)

    @server.stream(TOKENS)
    def tokens(request: Add) -> Iterator[Sum]:
        yield Sum(total=request.a)

    @server.plain
    def plain(frames: list[bytes]) -> list[bytes]:
        return frames

    assert_type(add(Add(a=1, b=2)), Sum)
    assert_type(now(), float)
    assert_type(bare(Add(a=1, b=2)), Sum)
    assert_type(named(Add(a=1, b=2)), Sum)
    assert_type(tokens(Add(a=1, b=2)), Iterator[Sum])
    assert_type(plain([b""]), list[bytes])

    @server.reply(ADD)  # type: ignore[arg-type]
    def wrong_reply(request: Add) -> Add:
        return request


def serving_async(server: zpa.ReplyServer) -> None:
    @server.reply(ADD)
    async def add(request: Add) -> Sum:
        return Sum(total=request.a + request.b)

    @server.stream(TOKENS)
    async def tokens(request: Add) -> AsyncIterator[Sum]:
        yield Sum(total=request.a)

    @server.reply(ADD)  # type: ignore[arg-type]
    async def wrong_request(request: Sum) -> Sum:
        return request


def tested(server: zp.ReplyServer) -> None:
    with TestServer(server) as client:
        assert_type(client, zp.RequestClient)
        assert_type(client.request(ADD, Add(a=1, b=2)), Sum)


def closed(error: zp.RequestTimeout, answer: zp.ReplyError) -> None:
    assert_type(error.sent, bool)
    assert_type(answer.status, zp.Status)
    assert_type(answer.details, dict[str, Any])
