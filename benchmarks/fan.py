"""Pub/sub: a publisher that floods, and a subscriber that counts what it has decoded; three more read along where asked.

Queues are as long as memory, for everyone: what is measured is work, not loss. Rates are of one subscriber.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import zmq

import zpatterns as z
import zpatterns.asyncio as za

from .byhand import address, opened
from .loops import run_loop
from .nats_echo import broker
from .record import BYTES, ORDER, STRUCT, Order, OrderStruct, decode, encode
from .role import Role

ANYWHERE = "tcp://127.0.0.1:*"
ENDLESS = z.SocketOptions(high_water_mark=2_000_000)
TOPIC = z.Topic("bench.order", Order)
STRUCTS = z.Topic("bench.struct", OrderStruct)
READERS = 4
_EVERY = 256
"""Messages between two looks at the clock."""


def readers_along(role: Role, endpoint: str, read: str) -> list[subprocess.Popen[Any]]:
    """More subscribers, in processes of their own."""
    if not role.run.size:
        return []
    code = f"from benchmarks import fan; fan.{read}({endpoint!r})"
    return [subprocess.Popen([sys.executable, "-c", code]) for _ in range(READERS - 1)]


def count(role: Role, messages: Iterator[Any]) -> None:
    """So many as come in the time."""
    clock = role.clock()
    for number, _ in enumerate(messages, 1):
        if number % _EVERY == 0:
            clock(number)


# zpatterns --------------------------------------------------------------------------------------------------------------


def _topic(role: Role) -> tuple[z.Topic[Any], Any]:
    return (STRUCTS, STRUCT) if "msgspec" in role.run.label else (TOPIC, ORDER)


async def _publish(role: Role) -> None:
    topic, order = _topic(role)
    async with za.Publisher(ANYWHERE, options=ENDLESS) as publisher:
        helpers = readers_along(role, publisher.endpoint, "read_ours")
        role.serving(publisher.endpoint, *helpers)
        await publisher.wait_for_subscribers(topic, 1 + len(helpers), 20.0)
        if topic is STRUCTS:
            many = [order] * 64
            while True:
                await publisher.publish_many(topic, many)
        while True:
            await publisher.publish(topic, order)


async def _subscribe(role: Role) -> None:
    topic, _ = _topic(role)
    clock = role.clock()
    number = 0
    async with za.Subscriber(role.endpoint, topic, options=ENDLESS) as subscriber:
        async for message in subscriber:
            message.body  # noqa: B018  it is decoded
            number += 1
            if number % _EVERY == 0:
                clock(number)


def serve_asyncio(role: Role) -> None:
    run_loop(role, _publish)


def call_asyncio(role: Role) -> None:
    run_loop(role, _subscribe)


def read_ours(endpoint: str) -> None:
    async def read() -> None:
        async with za.Subscriber(endpoint, TOPIC, options=ENDLESS) as subscriber:
            async for message in subscriber:
                message.body  # noqa: B018

    asyncio.run(read())


def serve_blocking(role: Role) -> None:
    topic, order = _topic(role)
    with z.Publisher(ANYWHERE, options=ENDLESS) as publisher:
        role.serving(publisher.endpoint)
        publisher.wait_for_subscribers(topic, 1, 20.0)
        while True:
            publisher.publish(topic, order)


def call_blocking(role: Role) -> None:
    topic, _ = _topic(role)
    with z.Subscriber(role.endpoint, topic, options=ENDLESS) as subscriber:
        count(role, (message.body for message in subscriber))


# By hand ------------------------------------------------------------------------------------------------------------------


def _flood(role: Role, send: Callable[[Any], None]) -> None:
    publisher = opened(zmq.Context(), zmq.XPUB)
    publisher.setsockopt(zmq.XPUB_VERBOSE, 1)
    helpers = readers_along(role, address(publisher), "read_hand")
    role.serving(address(publisher), *helpers)
    for _ in range(1 + len(helpers)):
        publisher.recv()
    while True:
        send(publisher)


def serve_hand(role: Role) -> None:
    def send(publisher: Any) -> None:
        publisher.send(b"bench.order", zmq.SNDMORE)
        publisher.send(encode(ORDER))

    _flood(role, send)


def _subscriber(endpoint: str) -> Any:
    subscriber = opened(zmq.Context(), zmq.SUB, endpoint)
    subscriber.subscribe(b"")
    return subscriber


def _decoded(endpoint: str) -> Iterator[Any]:
    subscriber = _subscriber(endpoint)
    while True:
        subscriber.recv()
        yield decode(subscriber.recv())


def call_hand(role: Role) -> None:
    count(role, _decoded(role.endpoint))


def read_hand(endpoint: str) -> None:
    for _ in _decoded(endpoint):
        pass


def serve_raw(role: Role) -> None:
    _flood(role, lambda publisher: publisher.send(BYTES))


def call_raw(role: Role) -> None:
    receive = _subscriber(role.endpoint).recv
    clock = role.clock()
    number = 0
    while True:
        for _ in range(_EVERY):
            receive()
        number += _EVERY
        clock(number)


# NATS ---------------------------------------------------------------------------------------------------------------------


async def _publish_nats(role: Role) -> None:
    connection, url, server = await broker()
    role.serving(url, server)
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


async def _subscribe_nats(role: Role) -> None:
    import nats

    clock = role.clock()
    number = 0

    async def read(message: Any) -> None:
        nonlocal number
        decode(message.data)
        number += 1
        if number % _EVERY == 0:
            clock(number)

    connection = await nats.connect(role.endpoint)
    endless = {"pending_msgs_limit": 2**30, "pending_bytes_limit": 2**30}
    await connection.subscribe("bench.order", cb=read, **endless)
    await connection.flush()
    await connection.publish("bench.go", b"")
    await asyncio.Event().wait()


def serve_nats(role: Role) -> None:
    run_loop(role, _publish_nats)


def call_nats(role: Role) -> None:
    run_loop(role, _subscribe_nats)


# FastStream, which is nats-py under a typed framework ---------------------------------------------------------------------


async def _publish_faststream(role: Role) -> None:
    from faststream.nats import NatsBroker

    connection, url, server = await broker()
    async with NatsBroker(url, logger=None) as framework:
        went = asyncio.Event()

        async def go(_: Any) -> None:
            went.set()

        await connection.subscribe("bench.go", cb=go)
        await connection.flush()
        role.serving(url, server)
        await went.wait()
        while True:
            await framework.publish(ORDER, "bench.order")


async def _subscribe_faststream(role: Role) -> None:
    from faststream.nats import NatsBroker

    clock = role.clock()
    number = 0
    async with NatsBroker(role.endpoint, logger=None) as framework:

        @framework.subscriber("bench.order")
        async def read(order: Order) -> None:
            nonlocal number
            number += 1
            if number % _EVERY == 0:
                clock(number)

        await framework.start()
        await framework.publish(b"", "bench.go")
        await asyncio.Event().wait()


def serve_faststream(role: Role) -> None:
    run_loop(role, _publish_faststream)


def call_faststream(role: Role) -> None:
    run_loop(role, _subscribe_faststream)
