"""The processes of a story with brokers, and what is done to them: killed -9 and replaced, stopped, kept busy with the GIL held.

``python -m tests.chaos.cast`` only forks, so that whoever was killed is back within milliseconds: for each line on its
standard input, a role and its arguments, it starts one and prints its process id. All of them end with that process.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from zpatterns import AddressInUse, Broker, Heartbeat, Method, ReplyServer, RequestClient

from .load import QUICK
from .server import FREE, ONCE

BEAT = Heartbeat(interval=0.3, liveness=3)
TIMEOUT = 6.0
WORKERS = 3
VICTIM_RATE = 50.0
"""Calls a second of a client that is there to be killed."""
HOLD = Method("chaos.hold", float, str)
"""So many seconds in C without releasing the GIL: no thread of the worker runs, not even the one that shows life."""


class Cast:
    """Brokers, workers and a client to be killed; the client that counts is the caller's."""

    def __init__(self, folder: Path, brokers: int = 1) -> None:
        self.fronts = [f"ipc://{folder}/front-{number}" for number in range(brokers)]
        self.backs = [f"ipc://{folder}/back-{number}" for number in range(brokers)]
        self.journal = folder / "journal"
        self.journal.touch()
        self.faults: Counter[str] = Counter()
        command = [sys.executable, "-m", "tests.chaos.cast"]
        self._forker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._clients = self._lost = 0
        self._brokers = [self._start("broker", *ends) for ends in zip(self.fronts, self.backs, strict=True)]
        self._workers = [self._start_worker() for _ in range(WORKERS)]
        self._client = self._start_client()

    def _start(self, *line: str) -> int:
        assert self._forker.stdin is not None and self._forker.stdout is not None
        self._forker.stdin.write(" ".join(line) + "\n")
        self._forker.stdin.flush()
        return int(self._forker.stdout.readline())

    def _start_worker(self) -> int:
        return self._start("worker", ",".join(self.backs), str(self.journal))

    def _start_client(self) -> int:
        self._clients += 1
        return self._start("client", ",".join(self.fronts), str(self._clients))

    def kill(self, role: str, chance: random.Random) -> None:
        """And replace it."""
        self.faults[role] += 1
        if role == "client":
            os.kill(self._client, signal.SIGKILL)
            self._client = self._start_client()
        elif role == "worker":
            number = chance.randrange(WORKERS)
            os.kill(self._workers[number], signal.SIGKILL)
            self._workers[number] = self._start_worker()
        else:
            self.replace_broker(self.lose_broker())

    def lose_broker(self) -> int:
        """One after the other; which one it was."""
        self._lost += 1
        number = self._lost % len(self._brokers)
        os.kill(self._brokers[number], signal.SIGKILL)
        return number

    def replace_broker(self, number: int) -> None:
        self._brokers[number] = self._start("broker", self.fronts[number], self.backs[number])

    def stop_worker(self) -> None:
        """Until ``resume_worker``."""
        self.faults["stopped"] += 1
        os.kill(self._workers[0], signal.SIGSTOP)

    def resume_worker(self) -> None:
        os.kill(self._workers[0], signal.SIGCONT)

    def executed(self) -> Counter[str]:
        return Counter(self.journal.read_text(encoding="utf-8").split())

    def close(self) -> None:
        assert self._forker.stdin is not None and self._forker.stdout is not None
        self._forker.stdin.close()
        for pid in (*self._brokers, *self._workers, self._client):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._forker.wait(10)
        self._forker.stdout.close()


def _broker(front: str, back: str) -> None:
    until = time.monotonic() + 5.0
    while True:
        try:
            Broker(front, back, heartbeat=BEAT).run(grace=0.0)
        except AddressInUse:  # the one before is not quite dead
            if time.monotonic() > until:
                raise
            time.sleep(0.005)
        else:
            return


def _worker(backs: str, journal: str) -> None:
    out = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    worker = ReplyServer.worker(backs.split(","), name="chaos", heartbeat=BEAT, options=QUICK)

    def handle(request: str) -> str:
        os.write(out, f"{request}\n".encode())
        return request

    def hold(seconds: float) -> str:
        ctypes.PyDLL(None).usleep(int(seconds * 1e6))
        return "held"

    for method in (FREE, ONCE):
        worker.reply(method)(handle)
    worker.reply(HOLD)(hold)
    worker.run(grace=0.5)


def _client(fronts: str, number: str) -> None:
    """Calls until it is killed; what becomes of them is told to nobody but the journal of those that run."""
    with RequestClient(fronts.split(","), service="chaos", timeout=TIMEOUT, heartbeat=BEAT, options=QUICK) as client:
        chance, calls = random.Random(number), 0
        while True:
            calls += 1
            method = chance.choice((FREE, ONCE))
            client.submit(method, f"{method.name}-victim-{number}-{calls}")
            time.sleep(1 / VICTIM_RATE)


ROLES = {"broker": _broker, "worker": _worker, "client": _client}


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


def main() -> None:
    """Fork once for each line."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries the dead
    here = os.getpid()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            role, *arguments = line.split()
            try:
                threading.Thread(target=_end_with, args=(here,), daemon=True).start()
                ROLES[role](*arguments)
            finally:
                os._exit(0)
        print(child, flush=True)


if __name__ == "__main__":
    main()
