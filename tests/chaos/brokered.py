"""A broker and three workers in processes of their own: each role is killed -9 in turn, one worker is stopped for a while.

``python -m tests.chaos.brokered broker FRONT BACK`` and ``... worker BACK JOURNAL`` are those processes.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from zpatterns import Broker, Heartbeat, ReplyServer, RequestClient

from .load import QUICK, Tally
from .server import FREE, ONCE

BEAT = Heartbeat(interval=0.3, liveness=3)
TIMEOUT = 6.0
WORKERS = 3


class Cast:
    """The processes; whoever is killed is replaced at once."""

    def __init__(self, folder: Path) -> None:
        self.front, self.back = f"ipc://{folder}/front", f"ipc://{folder}/back"
        self.journal = folder / "journal"
        self.journal.touch()
        self.kills: Counter[str] = Counter()
        self.broker = self._start("broker", self.front, self.back)
        self.workers = [self._start("worker", self.back, str(self.journal)) for _ in range(WORKERS)]

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "tests.chaos.brokered", *arguments], stdin=subprocess.DEVNULL)

    def kill_worker(self, number: int) -> None:
        self.kills["worker"] += 1
        self.workers[number].kill()
        self.workers[number].wait()
        self.workers[number] = self._start("worker", self.back, str(self.journal))

    def kill_broker(self) -> None:
        self.kills["broker"] += 1
        self.broker.kill()
        self.broker.wait()
        self.broker = self._start("broker", self.front, self.back)

    def executed(self) -> Counter[str]:
        return Counter(self.journal.read_text(encoding="utf-8").split())

    def close(self) -> None:
        for process in (self.broker, *self.workers):
            process.kill()
            process.wait()


def scenario(folder: Path, *, seconds: float, rate: float, interval: float, seed: int) -> tuple[Cast, Tally]:
    """So many calls a second for so long; every ``interval`` somebody is killed, mostly a worker."""
    chance, tally, cast = random.Random(seed), Tally(), Cast(folder)
    open_calls: set[Future[Any]] = set()
    try:
        with RequestClient(cast.front, service="chaos", timeout=TIMEOUT, heartbeat=BEAT, options=QUICK) as client:
            client.request(FREE, f"{FREE.name}-first", timeout=60.0)
            began, number = time.monotonic(), 0
            next_kill, stopped_at = began + interval, 0.0
            while (now := time.monotonic()) < began + seconds:
                while number < (now - began) * rate:
                    number += 1
                    method = chance.choice((FREE, ONCE))
                    request = f"{method.name}-{number}"
                    future = client.submit(method, request)
                    open_calls.add(future)
                    future.add_done_callback(_ended(tally, open_calls, request, now))
                if now >= next_kill:
                    next_kill = now + interval
                    if stopped_at:
                        cast.workers[0].send_signal(signal.SIGCONT)
                        stopped_at = 0.0
                    roll = chance.random()
                    if roll < 0.2:
                        cast.kill_broker()
                    elif roll < 0.4:
                        cast.workers[0].send_signal(signal.SIGSTOP)
                        stopped_at = now
                        next_kill = now + 2 * BEAT.expiry
                        cast.kills["stopped"] += 1
                    else:
                        cast.kill_worker(chance.randrange(WORKERS))
                time.sleep(0.002)
            over = time.monotonic() + TIMEOUT + 5.0
            while open_calls and time.monotonic() < over:
                time.sleep(0.01)
            tally.hung = len(open_calls)
            if stopped_at:
                cast.workers[0].send_signal(signal.SIGCONT)
            client.request(FREE, f"{FREE.name}-last", timeout=60.0)
            return cast, tally
    finally:
        cast.close()


def _ended(tally: Tally, open_calls: set[Future[Any]], request: str, began: float) -> Any:
    def ended(future: Future[Any]) -> None:
        open_calls.discard(future)
        tally.end(request, began, TIMEOUT, future.exception() or future.result())

    return ended


def check(cast: Cast, tally: Tally) -> str:
    """What must hold: nothing hangs, nothing is wrong, what may run once ran once. In words."""
    tally.check(cast.executed(), slack=2.0)
    return f"{dict(cast.kills)}; {tally}; nothing ran twice that may not"


def main() -> None:
    role, *arguments = sys.argv[1:]
    if role == "broker":
        Broker(arguments[0], arguments[1], heartbeat=BEAT).run()
        return
    backend, journal = arguments
    out = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    worker = ReplyServer.worker(backend, name="chaos", heartbeat=BEAT, options=QUICK)

    def handle(request: str) -> str:
        os.write(out, f"{request}\n".encode())
        return request

    for method in (FREE, ONCE):
        worker.reply(method)(handle)
    worker.run()


if __name__ == "__main__":
    main()
