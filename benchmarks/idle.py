"""Many clients that are connected and ask for nothing: what each costs the broker's memory, and how soon one more is served."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import zmq

import zpatterns as z

from .brokered import ECHO_BYTES, start
from .record import BYTES
from .report import table
from .scaling import end

CLIENTS = 10_000
BAR_KB = 40.0
BAR_SECONDS = 1.0
_PATIENCE = 30_000
_STEP = 100
_DESCRIPTORS = CLIENTS + 1000


def _memory(pid: int) -> int:
    """Kilobytes of a process that are in memory."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def measure() -> tuple[float, float]:
    """Kilobytes of an idle client, and seconds until a new one has its first answer."""
    broker, (front, back) = start("our_broker")
    worker, _ = start("our_worker", back)
    try:
        with z.RequestClient(front, service="bench", timeout=30.0) as client:
            client.request(ECHO_BYTES, BYTES)
        before = _memory(broker.pid)
        with zmq.Context() as context:
            socket = context.socket(zmq.DEALER)  # connections of one socket are clients of their own to a ROUTER
            where = front.removeprefix("tcp://")
            for first in range(0, CLIENTS, _STEP):
                for number in range(first, first + _STEP):  # each from an address of its own, or libzmq makes them one
                    socket.connect(f"tcp://127.1.{number // 250}.{number % 250 + 1}:0;{where}")
                for _ in range(_STEP):  # a question on each, as our clients ask when they connect
                    socket.send_multipart([b"", b"MDPC01", b"mmi.zpatterns", b""])
                for _ in range(_STEP):
                    assert socket.poll(_PATIENCE), "the broker does not answer"
                    socket.recv_multipart()
            until = time.monotonic() + _PATIENCE / 1000
            while len(os.listdir(f"/proc/{broker.pid}/fd")) < CLIENTS:
                assert time.monotonic() < until, "not all clients are connected"
                time.sleep(0.1)
            time.sleep(1.5)  # a heartbeat interval, and more
            each = (_memory(broker.pid) - before) / CLIENTS
            began = time.perf_counter()
            with z.RequestClient(front, service="bench", timeout=30.0) as client:
                client.request(ECHO_BYTES, BYTES)
                took = time.perf_counter() - began
            socket.close(0)
            return each, took
    finally:
        end(worker)
        end(broker)


def report(*, rounds: int, seconds: float, tell: Callable[[str], None]) -> list[str]:
    """Medians over the rounds."""
    del seconds
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < _DESCRIPTORS:
        return [
            f"{CLIENTS:,} idle clients: not measured; that needs {_DESCRIPTORS:,} descriptors, ulimit -Hn says {hard:,}"
        ]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, _DESCRIPTORS), hard))  # the broker inherits it
    found: list[tuple[float, float]] = []
    for number in range(rounds):
        tell(f"round {number + 1} of {rounds}: {CLIENTS} idle clients")
        found.append(measure())
    each, took = (median(column) for column in zip(*found, strict=True))
    rows = [
        ["of a broker", "figure", "bar", "verdict"],
        ["memory of an idle client, kB", f"{each:.1f}", f"{BAR_KB:g}", "met bar" if each <= BAR_KB else "above bar"],
        [
            "one more is served within, s",
            f"{took:.3f}",
            f"{BAR_SECONDS:g}",
            "met bar" if took <= BAR_SECONDS else "above bar",
        ],
    ]
    return [f"{CLIENTS:,} idle clients on one broker", "", *table(rows, left=1)]
