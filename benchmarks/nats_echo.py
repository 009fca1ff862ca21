"""NATS: nats-py at both ends, and nats-server between them as a third process, on the same core where that is asked."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sysconfig
from pathlib import Path

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from .loops import in_flight, run_loop
from .record import ORDER, Order, decode, encode
from .role import Role

SUBJECT = "bench.echo"


async def broker() -> tuple[Client, str, subprocess.Popen[str]]:
    """A server of its own, a connection to it, and where it is."""
    program = Path(sysconfig.get_path("scripts"), "nats-server")
    server = subprocess.Popen([program, "-a", "127.0.0.1", "-p", "-1"], stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    listening = next(filter(None, (re.search(r"connections on (\S+)", line) for line in server.stderr)))
    url = f"nats://{listening[1]}"
    return await nats.connect(url), url, server


async def _serve(role: Role) -> None:
    connection, url, server = await broker()

    async def echo(message: Msg) -> None:
        await message.respond(encode(decode(message.data)))

    await connection.subscribe(SUBJECT, cb=echo)
    await connection.flush()
    role.serving(url, server)
    await asyncio.Event().wait()


async def _call(role: Role) -> None:
    connection = await nats.connect(role.endpoint)

    async def call() -> Order:
        message = await connection.request(SUBJECT, encode(ORDER), timeout=7.5)
        return decode(message.data)

    assert await call() == ORDER
    await in_flight(role, call)


def serve_nats(role: Role) -> None:
    run_loop(role, _serve)


def call_nats(role: Role) -> None:
    run_loop(role, _call)
