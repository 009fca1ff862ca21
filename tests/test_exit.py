"""The interpreter ends soon, whatever was left open; nothing is printed that nobody asked for; signals stop a server."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from zpatterns import PeerUnavailable

from .worlds import ADD, LIMIT, ONCE, Add, Blocking, until

ROOT = Path(__file__).resolve().parent.parent
HEAD = """
import asyncio, sys, threading, time
from collections.abc import Iterator
import zpatterns as zp
import zpatterns.asyncio as aio
from zpatterns.endpoint import Insecure
from tests.worlds import *

def serve(module, endpoint="tcp://127.0.0.1:*"):
    server = module.ReplyServer(endpoint, threads=4)
    entered = threading.Event()

    @server.reply(ADD)
    def add(request: Add) -> Sum:
        return Sum(total=request.a + request.b)

    @server.reply(ONCE)
    def stuck(request: Add) -> Sum:
        entered.set()
        time.sleep(1000)

    @server.stream(COUNT)
    def count(request: Number) -> Iterator[Number]:
        for value in range(request.value):
            yield Number(value=value)

    server.entered = entered
    return server

NOBODY = "tcp://127.0.0.1:1"
"""

ENDS = {
    "unsent data for nobody": """
client = zp.RequestClient(NOBODY)
futures = [client.submit(ADD, Add(a=1, b=2)) for _ in range(10)]
""",
    "nothing closed": """
server = serve(zp).__enter__()
client = zp.RequestClient(server.endpoint)
assert client.request(ADD, Add(a=1, b=2)).total == 3
""",
    "a stuck handler": """
server = serve(zp).__enter__()
client = zp.RequestClient(server.endpoint)
future = client.submit(ONCE, Add(a=1, b=2))
assert server.entered.wait(10)
""",
    "an open stream": """
server = serve(zp).__enter__()
client = zp.RequestClient(server.endpoint)
parts = client.stream(COUNT, Number(value=10**6))
next(parts)
""",
    "daemon threads within calls": """
server = serve(zp).__enter__()
client = zp.RequestClient(server.endpoint)
for _ in range(8):
    threading.Thread(target=lambda: client.request(ONCE, Add(a=1, b=2), timeout=100.0), daemon=True).start()
threading.excepthook = lambda _: None
assert server.entered.wait(10)
""",
    "a client in a cycle": """
client = zp.RequestClient(NOBODY)
client.me = client
client.submit(ADD, Add(a=1, b=2))
del client
""",
    "asyncio, unsent data for nobody": """
async def main():
    client = aio.RequestClient(NOBODY)
    task = asyncio.create_task(client.request(ADD, Add(a=1, b=2)))
    await asyncio.sleep(0.05)
asyncio.run(main())
""",
    "asyncio, nothing closed": """
async def main():
    server = await serve(aio).__aenter__()
    client = aio.RequestClient(server.endpoint)
    assert (await client.request(ADD, Add(a=1, b=2))).total == 3
asyncio.run(main())
""",
    "asyncio, a stuck handler and an open stream": """
async def main():
    server = await serve(aio).__aenter__()
    client = aio.RequestClient(server.endpoint)
    task = asyncio.create_task(client.request(ONCE, Add(a=1, b=2)))
    parts = client.stream(COUNT, Number(value=10**6))
    assert (await anext(parts)).value == 0
    while not server.entered.is_set():
        await asyncio.sleep(0.01)
asyncio.run(main())
""",
}
PATIENCE = 15.0
"""Far above the 2 seconds that are promised: this machine may be busy. What hangs, hangs for longer."""


def run(script: str, patience: float = PATIENCE) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "faulthandler", "-c", HEAD + script]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=patience, check=False)


@pytest.mark.parametrize("ending", ["", "sys.exit(3)", "raise ValueError('mine')"])
@pytest.mark.parametrize("name", ENDS)
def test_the_interpreter_ends(name: str, ending: str) -> None:
    done = run(ENDS[name] + ending + "\n")
    code, noise = {"": (0, ""), "sys.exit(3)": (3, "")}.get(ending, (1, "ValueError: mine"))
    assert done.returncode == code, done.stderr
    if noise:
        assert done.stderr.count("Traceback") == 1
        assert noise in done.stderr
    else:
        assert done.stderr == ""


SERVER = """
def held(request: Add) -> Sum:
    print("entered", flush=True)
    time.sleep(request.a / 10)
    return Sum(total=request.a + request.b)

module = zp if sys.argv[1] == "blocking" else aio
server = module.ReplyServer(sys.argv[2], threads=2)
server.reply(ONCE)(held)
server.reply(ADD, inline=True)(lambda request: Sum(total=request.a + request.b))
print("ready", flush=True)
server.run(grace=float(sys.argv[3]))
print("stopped", flush=True)
"""


class Served:
    """A server in a process of its own."""

    def __init__(self, name: str, endpoint: str, grace: float) -> None:
        command = [sys.executable, "-c", HEAD + SERVER, name, endpoint, str(grace)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.expect("ready")

    def expect(self, line: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == line

    def ended(self) -> tuple[int, str]:
        out, error = self.process.communicate(timeout=LIMIT)
        assert out.strip().endswith("stopped")
        return self.process.returncode, error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", ["blocking", "asyncio"])
def test_a_signal_lets_running_handlers_finish(name: str, number: signal.Signals, tmp_path: Path) -> None:
    served = Served(name, f"ipc://{tmp_path}/s", grace=LIMIT)
    world: Any = Blocking()
    with world.client(f"ipc://{tmp_path}/s", timeout=LIMIT) as client:
        running = client.start(ONCE, Add(a=10, b=0))  # for a second
        served.expect("entered")
        served.process.send_signal(number)
        refused = []
        while not running.done() and not refused:
            try:
                client.call(ADD, Add(a=1, b=1), timeout=0.3)
            except PeerUnavailable as error:
                refused.append(str(error))
        assert running.result(LIMIT).total == 10
        assert refused and "stopping" in refused[0]
    assert served.ended() == (0, "")


@pytest.mark.parametrize("name", ["blocking", "asyncio"])
def test_a_second_signal_stops_now(name: str, tmp_path: Path) -> None:
    """The handler would take 100 seconds, and so would the grace."""
    served = Served(name, f"ipc://{tmp_path}/s", grace=100.0)
    world: Any = Blocking()
    with world.client(f"ipc://{tmp_path}/s", timeout=LIMIT) as client:
        running = client.start(ONCE, Add(a=1000, b=0), timeout=LIMIT)
        served.expect("entered")
        served.process.send_signal(signal.SIGTERM)

        def refuses() -> bool:
            try:
                client.call(ADD, Add(a=1, b=1), timeout=0.3)
            except PeerUnavailable:
                return True
            return False

        until(refuses)
        served.process.send_signal(signal.SIGTERM)
        assert served.ended() == (0, "")
        with pytest.raises(Exception, match=r"UNAVAILABLE|stopped"):
            running.result(LIMIT)


def test_exit_is_fast_when_the_machine_is_not_busy() -> None:
    """The promise is 2 seconds. One of three tries must keep it."""
    best = PATIENCE
    for _ in range(3):
        began = time.monotonic()
        run(ENDS["unsent data for nobody"])
        best = min(best, time.monotonic() - began)
        if best < 2.5:  # with the start of the interpreter
            return
    pytest.fail(f"{best:.1f} s")
