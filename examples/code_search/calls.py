"""Many calls at once from both worlds, to a server that is killed meanwhile and started again."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from pathlib import Path
from time import perf_counter, sleep

import client
from contracts import ABOUT, About
from ledger import GRACE, Ledger
from processes import Process
from questions import Question
from screen import Screen, spaced

import zpatterns.asyncio
from zpatterns import RequestClient

THREADS, TASKS, KILLS = 16, 64, 2


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


def call(asked: list[Question], index: Path, ledger: Ledger, screen: Screen) -> None:
    endpoint = free_endpoint()
    clients = Clients(endpoint)
    with Process("server.py", endpoint, str(index)) as server:
        about = first_reply(clients, server)
        screen.event(f"server {server.number} has read the index, {spaced(about.definitions)} definitions")
        try:
            play(asked, ledger, screen, server, clients)
        finally:
            ledger.retried = clients.retried


def first_reply(clients: Clients, server: Process) -> About:
    """The client asks before the server is there: nobody sleeps and hopes."""
    future = clients.blocking.submit(ABOUT, timeout=30.0)
    while not future.done():
        server.check()
        sleep(0.01)
    return future.result()


def play(asked: list[Question], ledger: Ledger, screen: Screen, server: Process, clients: Clients) -> None:
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
        screen.progress(len(ledger.ended), len(asked), f"calls ended, {ledger.open} under way")
        if len(ledger.ended) > ended:
            ended, ended_at = len(ledger.ended), perf_counter()
        elif perf_counter() > ended_at + client.BUDGET + GRACE + 1:
            return  # the count will show what hangs
        if kills and ended >= kills[0] and ledger.open:
            kills.pop(0)
            kill(ledger, screen, server, clients)


def kill(ledger: Ledger, screen: Screen, server: Process, clients: Clients) -> None:
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
