"""Pipelines, one to two: a flood of orders that two processes decode. Rates are of all that both get.

Of a plain pipeline one end of the two is measured, and counted twice: they have equal shares. Nothing waits in endless
queues here: whoever sends is held back by those who read, or the rate would be that of a memory.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import repeat
from typing import Any

import nats
import zmq
import zmq.asyncio

import zpatterns.asyncio as za

from .byhand import address
from .loops import run_loop
from .nats_echo import broker
from .record import BYTES, ORDER, STRUCT, Order, OrderStruct, decode, encode
from .role import Role

ANYWHERE = "tcp://127.0.0.1:*"
MARK = 64
"""High-water mark of ours, in messages of up to 64 orders; 1000 of the others, in messages of one."""
WINDOW = 2048
_EVERY = 256


def along(function: str, endpoint: str) -> subprocess.Popen[Any]:
    """One more process of the same kind."""
    code = f"from benchmarks import work; work.{function}({endpoint!r})"
    return subprocess.Popen([sys.executable, "-c", code])


# Plain: zpatterns -----------------------------------------------------------------------------------------------------


async def _push(role: Role) -> None:
    structs = "msgspec" in role.run.label
    kind: Any = OrderStruct if structs else Order
    async with za.Push.bind(ANYWHERE, kind, high_water_mark=MARK, timeout=60.0) as push:
        role.serving(push.endpoint, along("pull_structs" if structs else "pull_models", push.endpoint))
        if structs:
            many = [STRUCT] * 64
            while True:
                await push.send_many(many)
                await asyncio.sleep(0)
        send = push.send
        while True:
            for _ in range(64):
                await send(ORDER)
            await asyncio.sleep(0)


async def _pull(role: Role | None, endpoint: str, kind: Any) -> None:
    clock = role.clock() if role is not None else _nothing
    number = 0
    async with za.Pull.connect(endpoint, kind, high_water_mark=MARK) as pull:
        async for _ in pull:
            number += 1
            if number % _EVERY == 0:
                clock(2 * number)
                await asyncio.sleep(0)


def _nothing(_: int) -> None:
    pass


def serve_push(role: Role) -> None:
    run_loop(role, _push)


def call_push(role: Role) -> None:
    kind = OrderStruct if "msgspec" in role.run.label else Order
    run_loop(role, lambda role: _pull(role, role.endpoint, kind))


def pull_models(endpoint: str) -> None:
    asyncio.run(_pull(None, endpoint, Order))


def pull_structs(endpoint: str) -> None:
    asyncio.run(_pull(None, endpoint, OrderStruct))


# Plain: by hand -------------------------------------------------------------------------------------------------------


def _opened(context: Any, kind: int, endpoint: str = "") -> Any:
    made = context.socket(kind)
    made.setsockopt(zmq.LINGER, 0)
    if endpoint:
        made.connect(endpoint)
    else:
        made.bind(ANYWHERE)
    return made


async def _push_hand(role: Role) -> None:
    push = _opened(zmq.asyncio.Context(), zmq.PUSH)
    role.serving(address(push), along("pull_hand", address(push)))
    while True:
        await push.send(encode(ORDER))


async def _pull_hand(role: Role | None, endpoint: str) -> None:
    clock = role.clock() if role is not None else _nothing
    number = 0
    pull = _opened(zmq.asyncio.Context(), zmq.PULL, endpoint)
    while True:
        decode(await pull.recv())
        number += 1
        if number % _EVERY == 0:
            clock(2 * number)


def serve_hand(role: Role) -> None:
    run_loop(role, _push_hand)


def call_hand(role: Role) -> None:
    run_loop(role, lambda role: _pull_hand(role, role.endpoint))


def pull_hand(endpoint: str) -> None:
    asyncio.run(_pull_hand(None, endpoint))


def serve_raw(role: Role) -> None:
    push = _opened(zmq.Context(), zmq.PUSH)
    role.serving(address(push), along("pull_raw", address(push)))
    send = push.send
    while True:
        send(BYTES)


def call_raw(role: Role) -> None:
    recv = _opened(zmq.Context(), zmq.PULL, role.endpoint).recv
    clock = role.clock()
    number = 0
    while True:
        for _ in range(_EVERY):
            recv()
        number += _EVERY
        clock(2 * number)


def pull_raw(endpoint: str) -> None:
    recv = _opened(zmq.Context(), zmq.PULL, endpoint).recv
    while True:
        recv()


# Reliable: zpatterns --------------------------------------------------------------------------------------------------


def _pipeline(endpoint: str) -> tuple[za.Pipeline, Any]:
    pipeline = za.Pipeline(endpoint)

    @pipeline.stage(concurrency=512)
    async def work(order: Order) -> Order:
        return order

    return pipeline, work


def serve_reliable(role: Role) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    role.serving(endpoint, along("work", endpoint), along("work", endpoint))
    while True:
        asyncio.run(asyncio.sleep(3600))


def work(endpoint: str) -> None:
    pipeline, _ = _pipeline(endpoint)
    pipeline.run_worker()


async def _map(role: Role) -> None:
    pipeline, stage = _pipeline(role.endpoint)
    number = 0
    async with pipeline:
        await pipeline.wait_for_workers(stage, count=2, timeout=20.0)
        clock = role.clock()
        orders: Iterator[Order] = repeat(ORDER)
        async for _ in pipeline.map(orders, stage, window=WINDOW):
            number += 1
            if number % _EVERY == 0:
                clock(number)


def call_reliable(role: Role) -> None:
    run_loop(role, _map)


# NATS -----------------------------------------------------------------------------------------------------------------


async def _publish_nats(role: Role) -> None:
    connection, url, server = await broker()
    role.serving(url, server, along("read_nats", url))
    went = asyncio.Event()

    async def go(_: Any) -> None:
        went.set()

    await connection.subscribe("bench.go", cb=go)
    await connection.flush()
    await went.wait()
    while True:
        for _ in range(_EVERY):
            await connection.publish("bench.order", encode(ORDER))
        await connection.flush()


async def _queue_nats(role: Role | None, endpoint: str) -> None:
    clock = role.clock() if role is not None else _nothing
    number = 0

    async def read(message: Any) -> None:
        nonlocal number
        decode(message.data)
        number += 1
        if number % _EVERY == 0:
            clock(2 * number)

    connection = await nats.connect(endpoint)
    endless = {"pending_msgs_limit": 2**30, "pending_bytes_limit": 2**30}
    await connection.subscribe("bench.order", "workers", cb=read, **endless)
    await connection.flush()
    if role is not None:
        await connection.publish("bench.go", b"")
    await asyncio.Event().wait()


def serve_nats(role: Role) -> None:
    run_loop(role, _publish_nats)


def call_nats(role: Role) -> None:
    run_loop(role, lambda role: _queue_nats(role, role.endpoint))


def read_nats(endpoint: str) -> None:
    asyncio.run(_queue_nats(None, endpoint))
