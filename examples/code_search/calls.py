"""Many calls at once from both worlds: to a server that is killed twice, then through a broker to workers of it."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter, sleep

from client import BUDGET, Clients, ask, ask_async
from contracts import ABOUT, SERVICES, About
from ledger import GRACE, Ledger
from processes import PATIENCE, Process, ProcessFailed
from questions import Question
from screen import Screen, spaced

from zpatterns import Broker, RequestClient

THREADS, TASKS = 16, 64


def to_a_server(asked: list[Question], index: Path, ledger: Ledger, screen: Screen) -> None:
    endpoint = free_endpoint()
    clients = Clients(endpoint, broker=False)
    with Process("server.py", str(index), endpoint) as server:
        about = first_reply(clients.blocking["text"], server)
        screen.event(f"server {server.number} has read the index, {spaced(about.definitions)} definitions")

        def kill() -> None:
            server.kill()
            killed_at = perf_counter()
            screen.event(f"server killed (kill -9) with {ledger.open} calls under way", bad=True)
            server.start()
            first_reply(clients.blocking["text"], server)
            replied, back = perf_counter() - killed_at, clients.connected_at - killed_at
            screen.event(f"server back after {back:.2f} s, first reply after {replied:.2f} s")

        play(asked, ledger, screen, clients, [server], [kill, kill])


def through_a_broker(asked: list[Question], index: Path, ledger: Ledger, screen: Screen) -> None:
    with Broker("tcp://127.0.0.1:*", "tcp://127.0.0.1:*") as broker, ExitStack() as stack:
        workers = [
            stack.enter_context(Process("server.py", str(index), broker.backend, service)) for service in SERVICES * 2
        ]
        clients = Clients(broker.frontend, broker=True)
        await_workers(broker, workers)
        screen.event(f"broker at {broker.frontend} has {len(workers)} workers of two services")

        def stop() -> None:
            workers.pop().stop()
            screen.event(f"one worker stopped (kill -STOP) with {ledger.open} calls under way", bad=True)

        def kill() -> None:
            workers.pop(0).kill()
            screen.event(f"one worker killed (kill -9) with {ledger.open} calls under way", bad=True)

        try:
            play(asked, ledger, screen, clients, workers, [stop, kill])
        finally:
            ledger.brokered, ledger.handed_on = broker.statistics.answered, broker.statistics.redelivered
            broker.stop(grace=0.0)  # after Ctrl-C, or it would wait for what its workers had


def play(
    asked: list[Question],
    ledger: Ledger,
    screen: Screen,
    clients: Clients,
    processes: list[Process],
    faults: list[Callable[[], None]],
) -> None:
    """Start everybody, do the faults in the middle of it, and wait until every call has ended or should have."""
    shared = iter(asked)  # next() of a list's iterator is atomic: each question goes to one thread or task
    run = lambda: asyncio.run(ask_async(clients.awaiting, shared, ledger, TASKS))
    threads = [threading.Thread(target=run, daemon=True)]
    for _ in range(THREADS):
        threads.append(threading.Thread(target=ask, args=(clients.blocking, shared, ledger), daemon=True))
    ended, ended_at = len(ledger.ended), perf_counter()
    due = [(ended + len(asked) * n // (len(faults) + 1), fault) for n, fault in enumerate(faults, 1)]
    try:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            sleep(0.02)
            for process in processes:
                process.check()
            screen.progress(len(ledger.ended), ledger.planned, f"calls ended, {ledger.open} under way")
            if len(ledger.ended) > ended:
                ended, ended_at = len(ledger.ended), perf_counter()
            elif perf_counter() > ended_at + BUDGET + GRACE + 1:
                return  # the count will show what hangs
            if due and ended >= due[0][0] and ledger.open:
                due.pop(0)[1]()
    finally:
        ledger.retried += clients.retried


def first_reply(client: RequestClient, server: Process) -> About:
    """The client asks before the server is there: nobody sleeps and hopes."""
    future = client.submit(ABOUT, timeout=PATIENCE)
    while not future.done():
        server.check()
        sleep(0.01)
    return future.result()


def await_workers(broker: Broker, workers: list[Process]) -> None:
    limit_at = perf_counter() + PATIENCE
    while sum(len(service.workers) for service in broker.services()) < len(workers):
        for worker in workers:
            worker.check()
        if perf_counter() > limit_at:
            raise ProcessFailed(f"not all workers came within {PATIENCE:.0f} s")
        sleep(0.02)


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
