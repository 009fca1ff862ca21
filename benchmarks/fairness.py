"""An honest client beside one that floods: how much longer its requests take, through one broker and two workers.

Workers have handlers that take a while, on threads: what is shared is their time. ``python -m benchmarks.fairness ROLE
ENDPOINT`` is one of the processes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median, quantiles
from threading import Semaphore

import zpatterns as z

from .brokered import HELPERS, helper, start
from .report import table
from .scaling import end

WORK = z.Method("bench.work", int, int, idempotent=True)
TAKES = 0.005
"""Seconds of a handler."""
FLOOD = 900
"""Requests that the flooder has under way, all the time."""
BAR = 2.0


@helper
def slow_worker(backend: str) -> None:
    worker = z.ReplyServer.worker(backend, name="bench", threads=8)

    @worker.reply(WORK)
    def work(number: int) -> int:
        time.sleep(TAKES)
        return number

    with worker:
        print("ready", flush=True)
        time.sleep(3600)


@helper
def flooder(frontend: str) -> None:
    room = Semaphore(FLOOD)
    with z.RequestClient(frontend, service="bench", timeout=30.0) as client:
        client.request(WORK, 0)
        print("ready", flush=True)
        while True:
            room.acquire()
            client.submit(WORK, 1).add_done_callback(lambda _: room.release())


def latencies(client: z.RequestClient, seconds: float) -> list[float]:
    """Of one call after the other."""
    took: list[float] = []
    until = time.perf_counter() + seconds
    while (began := time.perf_counter()) < until:
        client.request(WORK, 2)
        took.append(time.perf_counter() - began)
    return took


def p99(took: list[float]) -> float:
    return quantiles(took, n=100)[-1]


def measure(seconds: float) -> tuple[list[float], list[float]]:
    """Latencies alone, and beside the flooder."""
    processes = [start("our_broker")]
    front, back = processes[0][1]
    try:
        processes += [start("slow_worker", back, module="fairness") for _ in range(2)]
        with z.RequestClient(front, service="bench", timeout=30.0) as client:
            latencies(client, 0.2)
            alone = latencies(client, seconds)
            processes.append(start("flooder", front, module="fairness"))
            latencies(client, 0.5)
            return alone, latencies(client, seconds)
    finally:
        for process, _ in processes:
            end(process)


def report(*, rounds: int, seconds: float, tell: Callable[[str], None]) -> list[str]:
    """Medians over the rounds."""
    found: list[tuple[list[float], list[float]]] = []
    for number in range(rounds):
        tell(f"round {number + 1} of {rounds}: an honest client beside one that floods")
        found.append(measure(max(1.0, 2 * seconds)))
    rows = [["client", "calls", "p50 ms", "p99 ms"]]
    for name, side in (("alone", 0), (f"beside {FLOOD} in flight of another", 1)):
        calls = sum(len(each[side]) for each in found)
        middle, worst = (1000 * median(of(each[side]) for each in found) for of in (median, p99))
        rows.append([name, f"{calls:,}", f"{middle:.2f}", f"{worst:.2f}"])
    ratio = median(p99(beside) / p99(alone) for alone, beside in found)
    verdict = "met bar" if ratio <= BAR else "above bar"
    title = f"Handlers of {1000 * TAKES:g} ms, 2 workers with 8 threads each: an honest client's p99 {ratio:.2f}x ({verdict}, {BAR:g}x)"
    return [title, "", *table(rows, left=1)]


if __name__ == "__main__":
    HELPERS[sys.argv[1]](*sys.argv[2:])
