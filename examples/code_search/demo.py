"""Many calls to a server that is killed twice meanwhile, and the count of what became of each: ``make demo``.

The server is a process of its own (server.py). This one asks it from threads and from asyncio (client.py), and compares
every answer with what it has computed itself by other means (questions.py). The count is kept in ledger.py.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from time import perf_counter, sleep
from types import FrameType
from typing import Self

import client
from contracts import ABOUT, About
from ledger import GRACE, Ledger
from questions import Question, questions
from screen import Screen, spaced

import zpatterns.asyncio
from zpatterns import RequestClient, ZPatternsError

THREADS, TASKS, KILLS = 16, 64, 2


class ServerFailed(Exception):
    """The server process ended by itself; its last line says why."""


class Server:
    """The server process: started, killed, started again at the same endpoint."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115  it has no name and ends with this process
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("server.py")), self.endpoint],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.said,
            start_new_session=True,  # Ctrl-C is ours to handle
        )

    def check(self) -> None:
        if self.process.poll() is not None:
            self.said.seek(0)
            lines = self.said.read().strip().splitlines() or [f"it ended with {self.process.returncode}"]
            raise ServerFailed(lines[-1])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.said.close()


class Clients:
    """One client of each world; all threads share the one, all tasks the other."""

    def __init__(self, endpoint: str) -> None:
        self.connected_at = 0.0
        self.blocking = RequestClient(endpoint, timeout=client.BUDGET, on_connection=self.hear)
        self.awaiting = zpatterns.asyncio.RequestClient(endpoint, timeout=client.BUDGET)

    def hear(self, endpoint: str, up: bool) -> None:
        if up:
            self.connected_at = perf_counter()

    @property
    def retried(self) -> int:
        return self.blocking.statistics.retried + self.awaiting.statistics.retried


def main() -> int:
    options = arguments()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    endpoint = free_endpoint()
    ledger, screen, clients = Ledger(), Screen(quiet=options.quiet), Clients(endpoint)
    try:
        with Server(endpoint) as server:
            screen.title(options.calls, THREADS, TASKS, KILLS)
            screen.event(f"server started: process {server.process.pid} at {endpoint}")
            asked = questions(options.calls, options.seed)
            about = first_reply(clients, server)
            screen.event(f"it answers from {spaced(about.files)} files with {spaced(about.definitions)} definitions")
            play(asked, ledger, screen, server, clients)
        status = 0 if ledger.good and len(ledger.calls) == options.calls else 1
    except KeyboardInterrupt:
        status = 130
    except (ServerFailed, ZPatternsError) as error:
        screen.failure(f"{type(error).__name__}: {error}")
        return 1
    screen.table(ledger, options.calls, clients.retried, interrupted=status == 130)
    return status


def first_reply(clients: Clients, server: Server) -> About:
    """The client asks before the server is there: nobody sleeps and hopes."""
    future = clients.blocking.submit(ABOUT, timeout=30.0)
    while not future.done():
        server.check()
        sleep(0.01)
    return future.result()


def play(asked: list[Question], ledger: Ledger, screen: Screen, server: Server, clients: Clients) -> None:
    """Start everybody, kill the server in the middle of it, and wait until every call has ended or should have."""
    shared = iter(asked)  # next() of a list's iterator is atomic: each question goes to one thread or task
    threads = [
        threading.Thread(target=client.ask, args=(clients.blocking, shared, ledger), daemon=True)
        for _ in range(THREADS)
    ]
    run = lambda: asyncio.run(client.ask_async(clients.awaiting, shared, ledger, TASKS))
    threads.append(threading.Thread(target=run, daemon=True))
    for thread in threads:
        thread.start()

    kills = [len(asked) * (n + 1) // (KILLS + 1) for n in range(KILLS)]
    ended, ended_at = 0, perf_counter()
    while any(thread.is_alive() for thread in threads):
        sleep(0.02)
        server.check()
        screen.progress(len(ledger.ended), len(asked), ledger.open)
        if len(ledger.ended) > ended:
            ended, ended_at = len(ledger.ended), perf_counter()
        elif perf_counter() > ended_at + client.BUDGET + GRACE + 1:
            return  # the count will show what hangs
        if kills and ended >= kills[0] and ledger.open:
            kills.pop(0)
            kill(ledger, screen, server, clients)


def kill(ledger: Ledger, screen: Screen, server: Server, clients: Clients) -> None:
    server.kill()
    killed_at = perf_counter()
    screen.event(f"server killed (kill -9) with {ledger.open} calls under way", bad=True)
    server.start()
    first_reply(clients, server)
    replied, back = perf_counter() - killed_at, clients.connected_at - killed_at
    screen.event(f"server back after {back:.2f} s, first reply after {replied:.2f} s")


def free_endpoint() -> str:
    """Below the ports that outgoing connections get: a client that waits at one of those may connect to itself."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return f"tcp://127.0.0.1:{port}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Calls to a server that is killed twice, and what became of each.")
    parser.add_argument("--calls", type=int, default=20_000, help="how many (default: 20000)")
    parser.add_argument("--seed", type=int, default=1, help="chooses what is asked (default: 1)")
    parser.add_argument("--quiet", action="store_true", help="print the table alone")
    options = parser.parse_args()
    if options.calls < 1:
        parser.error("--calls: at least 1")
    return options


def interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
