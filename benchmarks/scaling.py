"""The broker's own CPU per request, by the number of its services and of its workers: flat, or it looks through its tables.

Client and workers are bare sockets of one process, so that only the broker is counted. Bodies are plain: nothing travels in
batches, every request is four messages of its own, whatever the numbers are.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import zmq

from zpatterns.wire.message import capacity

from .brokered import start
from .byhand import opened
from .record import BYTES
from .report import table

SHAPES = [(1, 1), (10, 10), (100, 100), (1000, 1000), (1, 10), (1, 100)]
"""Services, and workers in all; the first is what the others are compared with."""
BAR = 1.5
BURST = 64
_PATIENCE = 10_000
_W01, _C01 = b"MDPW01", b"MDPC01"


class Figures(NamedTuple):
    """Of one request: microseconds of CPU of the broker's own thread, and of libzmq's."""

    machine: float
    io: float
    rate: float

    @property
    def cpu(self) -> float:
        return self.machine + self.io


class Peers:
    """A client with a burst of requests, in turn for every service; workers that answer at once."""

    def __init__(self, front: str, back: str, services: int, workers: int) -> None:
        self.context: zmq.Context[Any] = zmq.Context()
        self.context.set(zmq.MAX_SOCKETS, workers + 16)
        self.names = [b"service-%d" % number for number in range(services)]
        self.workers = [opened(self.context, zmq.DEALER, back) for _ in range(workers)]
        self.client = opened(self.context, zmq.DEALER, front)
        self.asked = 0
        for number, socket in enumerate(self.workers):
            socket.send_multipart([b"", _W01, b"\1", self.names[number % services]])
            socket.send_multipart([b"", _W01, b"\4", capacity(BURST, b"%016d" % number)])
        self.client.send_multipart([b"", _C01, b"mmi.service", self.names[-1]])
        while self._expect(self.client)[-1] != b"200":
            time.sleep(0.01)
            self.client.send_multipart([b"", _C01, b"mmi.service", self.names[-1]])

    @staticmethod
    def _expect(socket: Any) -> list[bytes]:
        assert socket.poll(_PATIENCE), "the broker says nothing"
        frames: list[bytes] = socket.recv_multipart()
        return frames

    def burst(self) -> None:
        """So many requests, their answers, and nothing left over."""
        services = len(self.names)
        first = self.asked
        for number in range(first, first + BURST):
            self.client.send_multipart([b"scaling-%08d" % number, b"", _C01, self.names[number % services], BYTES])
        self.asked = first + BURST
        if services > 1:
            readers = [self.workers[number % services] for number in range(first, min(first + services, self.asked))]
        else:
            readers = self.workers
        self._answer(readers)
        for _ in range(BURST):
            self._expect(self.client)

    def _answer(self, readers: Sequence[Any]) -> None:
        poller, left = zmq.Poller(), BURST
        for socket in readers:
            poller.register(socket, zmq.POLLIN)
        while left:
            ready = poller.poll(_PATIENCE)
            assert ready, "the broker has requests, and gives none"
            for socket, _ in ready:
                for _, _, command, *rest in _there(socket):
                    if command == b"\2":
                        socket.send_multipart([b"", _W01, b"\3", *rest])
                        left -= 1

    def close(self) -> None:
        self.context.destroy(linger=0)


def _there(socket: Any) -> Iterator[list[bytes]]:
    while True:
        try:
            yield socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return


def _cpu(pid: int) -> tuple[float, float]:
    """Microseconds of libzmq's threads, and of the others."""
    io = other = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        spent = int((task / "schedstat").read_text(encoding="ascii").split()[0]) / 1000
        if (task / "comm").read_text(encoding="ascii").startswith("ZMQ"):
            io += spent
        else:
            other += spent
    return io, other


def measure(services: int, workers: int, seconds: float) -> Figures:
    """One broker, and what a request cost it."""
    broker, (front, back) = start("our_broker")
    peers = None
    try:
        peers = Peers(front, back, services, workers)
        for _ in range(max(3, 3 * workers // BURST)):
            peers.burst()
        first, began, (io, other) = peers.asked, time.perf_counter(), _cpu(broker.pid)
        while time.perf_counter() - began < seconds:
            peers.burst()
        calls, spent = peers.asked - first, time.perf_counter() - began
        io_now, other_now = _cpu(broker.pid)
        return Figures((other_now - other) / calls, (io_now - io) / calls, calls / spent)
    finally:
        if peers is not None:
            peers.close()
        end(broker)


def end(process: subprocess.Popen[str]) -> None:
    """Kill it and read nothing more."""
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def report(*, rounds: int, seconds: float, tell: Callable[[str], None]) -> list[str]:
    """A line for each shape."""
    if not os.path.exists("/proc/self/schedstat"):
        return ["scaling: this kernel does not tell what a thread has spent (CONFIG_SCHEDSTATS)"]
    found: dict[tuple[int, int], list[Figures]] = {shape: [] for shape in SHAPES}
    for number in range(rounds):
        for shape in SHAPES if number % 2 == 0 else SHAPES[::-1]:
            tell(f"round {number + 1} of {rounds}: a broker with {shape[0]} services and {shape[1]} workers")
            found[shape].append(measure(*shape, seconds))
    one = median(figures.cpu for figures in found[SHAPES[0]])
    rows = [["services", "workers", "requests/s", "CPU us/request", "broker", "libzmq", "of 1 and 1", "verdict"]]
    for (services, workers), figures in found.items():
        cpu = median(each.cpu for each in figures)
        columns = [median(column) for column in zip(*figures, strict=True)]
        rows.append(
            [
                f"{services:,}",
                f"{workers:,}",
                f"{columns[2]:,.0f}",
                f"{cpu:.1f}",
                f"{columns[0]:.1f}",
                f"{columns[1]:.1f}",
                f"{cpu / one:.2f}x",
                "met bar" if cpu / one <= BAR else "above bar",
            ]
        )
    return [
        f"The broker's CPU per request, {BURST} in flight; bar {BAR:g}x of one service and one worker",
        "",
        *table(rows, left=0),
    ]
