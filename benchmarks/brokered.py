"""Through a broker to two workers, each a process of its own: ours, a Majordomo as the guide teaches it, a proxy, NATS.

``python -m benchmarks.brokered ROLE ENDPOINT...`` is one of those processes; the server role of a run starts them.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import deque
from typing import Any

import zmq

import zpatterns as z
import zpatterns.asyncio as za

from . import nats_echo
from .byhand import Client, address, opened
from .loops import in_flight, run_loop
from .nats_echo import SUBJECT, broker
from .record import BYTES, ORDER, Order, decode, encode
from .role import Role

ECHO = z.Method("bench.echo", Order, Order, idempotent=True)
ECHO_BYTES = z.Method("bench.bytes", bytes, bytes, idempotent=True)
SERVICE = b"bench"
HELPERS: dict[str, Any] = {}


def helper(function: Any) -> Any:
    HELPERS[function.__name__] = function
    return function


def start(role: str, *endpoints: str, module: str = "brokered") -> tuple[subprocess.Popen[str], list[str]]:
    """A process of its own, and what it says once it is there."""
    command = [sys.executable, "-m", f"benchmarks.{module}", role, *endpoints]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().split()


def serve(role: Role, broker_role: str, worker_role: str) -> None:
    middle, (front, back) = start(broker_role)
    workers = [start(worker_role, back)[0] for _ in range(2)]
    role.serving(front, middle, *workers)
    time.sleep(3600)


# ours -----------------------------------------------------------------------------------------------------------------


@helper
def our_broker() -> None:
    middle = z.Broker("tcp://127.0.0.1:*", "tcp://127.0.0.1:*")
    with middle:
        print(middle.frontend, middle.backend, flush=True)
        time.sleep(3600)


@helper
def our_worker(backend: str) -> None:
    asyncio.run(_work(backend))


async def _work(backend: str) -> None:
    worker = za.ReplyServer.worker(backend, name="bench")

    @worker.reply(ECHO)
    async def echo(order: Order) -> Order:
        return order

    @worker.reply(ECHO_BYTES)
    async def echo_bytes(data: bytes) -> bytes:
        return data

    async with worker:
        print("ready", flush=True)
        await asyncio.Event().wait()


async def _call(role: Role, method: z.Method[Any, Any], order: Any) -> None:
    async with za.RequestClient(role.endpoint, service="bench", timeout=30.0) as client:
        assert await client.request(method, order) == order
        await in_flight(role, lambda: client.request(method, order))


def serve_ours(role: Role) -> None:
    serve(role, "our_broker", "our_worker")


def call_ours(role: Role) -> None:
    run_loop(role, lambda role: _call(role, ECHO, ORDER))


serve_ours_bytes = serve_ours


def call_ours_bytes(role: Role) -> None:
    run_loop(role, lambda role: _call(role, ECHO_BYTES, BYTES))


# A Majordomo by the book: polls for each message, has one request at a worker, looks for the dead each time ------------


@helper
def book_broker() -> None:
    socket = opened(zmq.Context(), zmq.ROUTER)
    print(address(socket), address(socket), flush=True)
    poller = zmq.Poller()
    poller.register(socket, zmq.POLLIN)
    requests: deque[list[bytes]] = deque()
    idle: list[bytes] = []
    expiry: dict[bytes, float] = {}
    beat_at = time.time() + 2.5
    while True:
        if poller.poll(2500):
            peer, _, header, *rest = socket.recv_multipart()
            if header == b"MDPC01":
                requests.append([peer, b"", *rest[1:]])
            else:
                command, *rest = rest
                expiry[peer] = time.time() + 7.5
                if command == b"\3":
                    socket.send_multipart([rest[0], b"", b"MDPC01", SERVICE, *rest[2:]])
                if command in (b"\1", b"\3"):
                    idle.append(peer)
        while idle and expiry[idle[0]] < time.time():
            del expiry[idle.pop(0)]
        while idle and requests:
            socket.send_multipart([idle.pop(0), b"", b"MDPW01", b"\2", *requests.popleft()])
        if time.time() > beat_at:
            for peer in idle:
                socket.send_multipart([peer, b"", b"MDPW01", b"\4"])
            beat_at = time.time() + 2.5


@helper
def book_worker(backend: str) -> None:
    socket = opened(zmq.Context(), zmq.DEALER, backend)
    poller = zmq.Poller()
    poller.register(socket, zmq.POLLIN)
    socket.send_multipart([b"", b"MDPW01", b"\1", SERVICE])
    print("ready", flush=True)
    while True:
        if poller.poll(2500):
            _, _, command, *rest = socket.recv_multipart()
            if command == b"\2":
                socket.send_multipart([b"", b"MDPW01", b"\3", *rest])
        else:
            socket.send_multipart([b"", b"MDPW01", b"\4"])


def serve_book(role: Role) -> None:
    serve(role, "book_broker", "book_worker")


def call_book(role: Role) -> None:
    socket = opened(zmq.Context(), zmq.DEALER, role.endpoint)
    _window(role, socket, [b"", b"MDPC01", SERVICE, BYTES])


def _window(role: Role, socket: Any, request: list[bytes]) -> None:
    for _ in range(role.run.in_flight):
        socket.send_multipart(request)
    look, calls = role.clock(), 0
    while True:
        for _ in range(16):
            socket.recv_multipart()
            socket.send_multipart(request)
        calls += 16
        look(calls)


# zmq.proxy in C between a zmq.asyncio client and workers by hand -------------------------------------------------------


@helper
def c_proxy() -> None:
    context = zmq.Context()
    front, back = opened(context, zmq.ROUTER), opened(context, zmq.DEALER)
    print(address(front), address(back), flush=True)
    zmq.proxy(front, back)


@helper
def typed_worker(backend: str) -> None:
    socket = opened(zmq.Context(), zmq.DEALER, backend)
    print("ready", flush=True)
    while True:
        peer, call_id, data = socket.recv_multipart()
        socket.send_multipart([peer, call_id, encode(decode(data))])


def serve_proxy(role: Role) -> None:
    serve(role, "c_proxy", "typed_worker")


async def _call_proxy(role: Role) -> None:
    client = Client(role.endpoint)
    assert await client.request(ORDER) == ORDER
    await in_flight(role, lambda: client.request(ORDER))


def call_proxy(role: Role) -> None:
    run_loop(role, _call_proxy)


# NATS queue group -----------------------------------------------------------------------------------------------------


@helper
def nats_worker(url: str) -> None:
    asyncio.run(_nats_work(url))


async def _nats_work(url: str) -> None:
    import nats

    connection = await nats.connect(url)

    async def echo(message: Any) -> None:
        await message.respond(encode(decode(message.data)))

    await connection.subscribe(SUBJECT, queue="workers", cb=echo)
    await connection.flush()
    print("ready", flush=True)
    await asyncio.Event().wait()


async def _serve_nats(role: Role) -> None:
    _, url, server = await broker()
    workers = [start("nats_worker", url)[0] for _ in range(2)]
    role.serving(url, server, *workers)
    await asyncio.Event().wait()


def serve_nats(role: Role) -> None:
    run_loop(role, _serve_nats)


call_nats = nats_echo.call_nats


if __name__ == "__main__":
    HELPERS[sys.argv[1]](*sys.argv[2:])
