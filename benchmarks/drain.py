"""The least one could write: add_reader and a drain, a dict of futures, and zpatterns' own codec. Nothing else.

No deadlines, no limits, no errors, no reconnecting, no cancellation: what zpatterns costs beyond this is what these cost.
"""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

import zmq

from zpatterns.codec import codec_for

from .byhand import address, opened
from .loops import in_flight, run_loop
from .record import ORDER, Order
from .role import Role

codec = codec_for(Order)
NOW, MORE = zmq.NOBLOCK, zmq.NOBLOCK | zmq.SNDMORE


class Client:
    def __init__(self, endpoint: str) -> None:
        self.socket = opened(zmq.Context(), zmq.DEALER, endpoint)
        self.pending: dict[bytes, asyncio.Future[bytes]] = {}
        self.ids = count(1)
        self.loop = asyncio.get_running_loop()
        self.looking = False
        self.loop.add_reader(self.socket.FD, self.drain)

    def drain(self) -> None:
        self.looking = False
        recv, pending = self.socket.recv, self.pending
        try:
            while True:
                call_id = recv(NOW)
                data = recv()
                pending.pop(call_id).set_result(data)
        except zmq.Again:
            pass

    async def request(self, order: Order) -> Order:
        call_id = next(self.ids).to_bytes(8, "big")
        future = self.pending[call_id] = self.loop.create_future()
        payload, _ = codec.encode(order)
        send = self.socket.send
        send(call_id, MORE)
        send(payload, NOW)
        if not self.looking:  # a send may swallow the descriptor's edge: look again, once a tick
            self.looking = True
            self.loop.call_soon(self.drain)
        return codec.decode(codec.wire_id, await future)


def answer_all(socket: Any) -> None:
    send, recv = socket.send, socket.recv
    try:
        while True:
            peer = recv(NOW)
            call_id, data = recv(), recv()
            payload, _ = codec.encode(codec.decode(codec.wire_id, data))
            send(peer, MORE)
            send(call_id, MORE)
            send(payload, NOW)
    except zmq.Again:
        pass


async def _serve(role: Role) -> None:
    socket = opened(zmq.Context(), zmq.ROUTER)
    asyncio.get_running_loop().add_reader(socket.FD, answer_all, socket)
    answer_all(socket)
    role.serving(address(socket))
    await asyncio.Event().wait()


async def _call(role: Role) -> None:
    client = Client(role.endpoint)
    assert await client.request(ORDER) == ORDER
    await in_flight(role, lambda: client.request(ORDER))


def serve_drain(role: Role) -> None:
    run_loop(role, _serve)


def call_drain(role: Role) -> None:
    run_loop(role, _call)
