"""The same work by hand with pyzmq, as programs have it today: no deadlines, no retries, queues without bounds."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from itertools import count
from typing import Any

import zmq
import zmq.asyncio

from .loops import by_threads, in_flight, one_by_one, run_loop
from .record import BYTES, ORDER, Order, decode, encode
from .role import Role


def opened(context: Any, kind: int, endpoint: str = "") -> Any:
    """A socket connected to ``endpoint``, or bound to any port. High-water mark 0 and linger 0, as in the baseline."""
    socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 0)
    if endpoint:
        socket.connect(endpoint)
    else:
        socket.bind("tcp://127.0.0.1:*")
    return socket


def address(socket: Any) -> str:
    return socket.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0").decode()


# zmq.asyncio, DEALER and ROUTER, msgpack and pydantic -----------------------------------------------------------------


class Client:
    """Many in flight on one DEALER: a dict of futures and a task that reads."""

    def __init__(self, endpoint: str) -> None:
        self.socket = opened(zmq.asyncio.Context(), zmq.DEALER, endpoint)
        self.pending: dict[bytes, asyncio.Future[bytes]] = {}
        self.ids = count(1)
        self.loop = asyncio.get_running_loop()
        self.reader = asyncio.create_task(self.read())

    async def read(self) -> None:
        while True:
            call_id, data = await self.socket.recv_multipart()
            future = self.pending.pop(call_id)
            if not future.done():
                future.set_result(data)

    async def request(self, order: Order) -> Order:
        call_id = next(self.ids).to_bytes(8, "big")
        future = self.pending[call_id] = self.loop.create_future()
        await self.socket.send_multipart([call_id, encode(order)])
        return decode(await future)


async def _serve_asyncio(role: Role) -> None:
    socket = opened(zmq.asyncio.Context(), zmq.ROUTER)
    role.serving(address(socket))
    while True:
        peer, call_id, data = await socket.recv_multipart()
        await socket.send_multipart([peer, call_id, encode(decode(data))])


async def _call_asyncio(role: Role) -> None:
    client = Client(role.endpoint)
    assert await client.request(ORDER) == ORDER
    await in_flight(role, lambda: client.request(ORDER))


def serve_asyncio(role: Role) -> None:
    run_loop(role, _serve_asyncio)


def call_asyncio(role: Role) -> None:
    run_loop(role, _call_asyncio)


# Blocking, bytes: what pyzmq itself can do ----------------------------------------------------------------------------


def serve_req_rep(role: Role) -> None:
    socket = opened(zmq.Context(), zmq.REP)
    role.serving(address(socket))
    while True:
        socket.send(socket.recv())


def call_req_rep(role: Role) -> None:
    socket = opened(zmq.Context(), zmq.REQ, role.endpoint)

    def call() -> bytes:
        socket.send(BYTES)
        return socket.recv()

    assert call() == BYTES
    one_by_one(role, call)


def serve_pair(role: Role) -> None:
    socket = opened(zmq.Context(), zmq.PAIR)
    role.serving(address(socket))
    while True:
        socket.send(encode(decode(socket.recv())))


def call_pair(role: Role) -> None:
    socket = opened(zmq.Context(), zmq.PAIR, role.endpoint)

    def call() -> Order:
        socket.send(encode(ORDER))
        return decode(socket.recv())

    assert call() == ORDER
    one_by_one(role, call)


def serve_window(role: Role) -> None:
    """Known numbers of frames: the fastest way through pyzmq."""
    socket = opened(zmq.Context(), zmq.ROUTER)
    role.serving(address(socket))
    send, recv, more = socket.send, socket.recv, zmq.SNDMORE
    while True:
        peer, call_id, data = recv(), recv(), recv()
        send(peer, more)
        send(call_id, more)
        send(data)


def call_window(role: Role) -> None:
    socket = opened(zmq.Context(), zmq.DEALER, role.endpoint)
    send, recv, more, call_id = socket.send, socket.recv, zmq.SNDMORE, b"12345678"

    def ask() -> None:
        send(call_id, more)
        send(BYTES)

    def step() -> None:
        recv()
        recv()
        ask()

    for _ in range(role.run.in_flight):
        ask()
    one_by_one(role, step)


# 64 threads, typed ----------------------------------------------------------------------------------------------------


def serve_many_threads(role: Role) -> None:
    socket = opened(zmq.Context(), zmq.ROUTER)
    role.serving(address(socket))
    while True:
        peer, empty, data = socket.recv_multipart()
        socket.send_multipart([peer, empty, encode(decode(data))])


def call_many_threads(role: Role) -> None:
    context = zmq.Context()

    def caller() -> Callable[[], Order]:
        socket = opened(context, zmq.REQ, role.endpoint)

        def call() -> Order:
            socket.send(encode(ORDER))
            return decode(socket.recv())

        return call

    by_threads(role, caller)


# Large ----------------------------------------------------------------------------------------------------------------


def serve_array(role: Role) -> None:
    socket = opened(zmq.Context(), zmq.REP)
    role.serving(address(socket))
    while True:
        socket.send(socket.recv(copy=False), copy=False)


def call_array(role: Role) -> None:
    socket = opened(zmq.Context(), zmq.REQ, role.endpoint)
    data = os.urandom(role.run.size)  # not zeros: those would share one page of memory

    def call() -> zmq.Frame:
        socket.send(data, copy=False)
        return socket.recv(copy=False)

    assert len(call()) == role.run.size
    one_by_one(role, call)
