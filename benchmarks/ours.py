"""zpatterns in both worlds, with its own defaults: limits, deadlines, retries, high-water marks and heartbeats are on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from time import sleep
from typing import Any

import numpy as np

import zpatterns as z
import zpatterns.asyncio as za

from .loops import by_threads, in_flight, one_by_one, run_loop
from .record import ORDER, STRUCT, Order, OrderStruct
from .role import Role

ANYWHERE = "tcp://127.0.0.1:*"
ECHO = z.Method("bench.echo", Order, Order, idempotent=True)
ECHO_STRUCT = z.Method("bench.struct", OrderStruct, OrderStruct, idempotent=True)
ECHO_ARRAY = z.Method("bench.array", np.ndarray, np.ndarray, idempotent=True)


# asyncio --------------------------------------------------------------------------------------------------------------


async def _serve_asyncio(role: Role) -> None:
    server = za.ReplyServer(ANYWHERE, name="bench")

    @server.reply(ECHO)
    async def echo(order: Order) -> Order:
        return order

    @server.reply(ECHO_STRUCT)
    async def echo_struct(order: OrderStruct) -> OrderStruct:
        return order

    async with server:
        role.serving(server.endpoint)
        await asyncio.Event().wait()


async def _call_asyncio(role: Role, method: z.Method[Any, Any] = ECHO, order: Any = ORDER) -> None:
    async with za.RequestClient(role.endpoint) as client:
        assert await client.request(method, order) == order
        await in_flight(role, lambda: client.request(method, order))


def serve_asyncio(role: Role) -> None:
    run_loop(role, _serve_asyncio)


def call_asyncio(role: Role) -> None:
    run_loop(role, _call_asyncio)


serve_structs = serve_asyncio


def call_structs(role: Role) -> None:
    run_loop(role, partial(_call_asyncio, method=ECHO_STRUCT, order=STRUCT))


# blocking -------------------------------------------------------------------------------------------------------------


def _serve(role: Role, method: z.Method[Any, Any], echo: Callable[[Any], Any], *, inline: bool) -> None:
    server = z.ReplyServer(ANYWHERE, name="bench")
    server.reply(method, inline=inline)(echo)
    with server:
        role.serving(server.endpoint)
        while True:
            sleep(3600)


def _echo(order: Order) -> Order:
    return order


def _echo_array(array: np.ndarray) -> np.ndarray:
    return array


def serve_inline(role: Role) -> None:
    _serve(role, ECHO, _echo, inline=True)


def serve_threaded(role: Role) -> None:
    _serve(role, ECHO, _echo, inline=False)


def call_inline(role: Role) -> None:
    with z.RequestClient(role.endpoint) as client:
        assert client.request(ECHO, ORDER) == ORDER
        one_by_one(role, lambda: client.request(ECHO, ORDER))


call_threaded = call_inline
serve_many_threads = serve_inline


def call_many_threads(role: Role) -> None:
    with z.RequestClient(role.endpoint) as client:
        by_threads(role, lambda: lambda: client.request(ECHO, ORDER))


def serve_array(role: Role) -> None:
    _serve(role, ECHO_ARRAY, _echo_array, inline=True)


def call_array(role: Role) -> None:
    array = np.random.default_rng(1).random(role.run.size // 8)
    with z.RequestClient(role.endpoint) as client:
        assert np.array_equal(client.request(ECHO_ARRAY, array), array)
        one_by_one(role, lambda: client.request(ECHO_ARRAY, array))


# Pair -----------------------------------------------------------------------------------------------------------------


def serve_pair(role: Role) -> None:
    with z.Pair.bind(ANYWHERE, Order) as pair:
        role.serving(pair.endpoint)
        for order in pair:
            pair.send(order)


def call_pair(role: Role) -> None:
    with z.Pair.connect(role.endpoint, Order) as pair:

        def call() -> Order:
            pair.send(ORDER)
            return pair.receive()

        assert call() == ORDER
        one_by_one(role, call)
