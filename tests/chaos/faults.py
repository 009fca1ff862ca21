"""Starts the server, kills it, stops it, and reads its journal."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Self


class Servers:
    """One server after the other at one endpoint."""

    def __init__(self, folder: Path, transport: str, world: str) -> None:
        self.journal = folder / f"journal-{transport}-{world}"
        self.endpoint = f"ipc://{folder}/chaos-{world}" if transport == "ipc" else f"tcp://127.0.0.1:{_free_port()}"
        command = [sys.executable, "-m", "tests.chaos.server", self.endpoint, str(self.journal), world]
        self._forker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.kills = 0
        self.pid = 0
        self._over = threading.Event()
        self._killer: threading.Thread | None = None

    def start(self) -> None:
        """A new server."""
        assert self._forker.stdin is not None
        assert self._forker.stdout is not None
        self._forker.stdin.write("start\n")
        self._forker.stdin.flush()
        self.pid = int(self._forker.stdout.readline())

    def send(self, number: signal.Signals) -> None:
        """A signal to the server that runs now."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill_every(self, interval: float) -> None:
        """From now on, in a thread: kill -9 and start the next."""

        def kill() -> None:
            while not self._over.wait(interval):
                self.send(signal.SIGKILL)
                self.kills += 1
                self.start()

        self._killer = threading.Thread(target=kill, daemon=True)
        self._killer.start()

    def calm(self) -> None:
        """No more kills; the last server stays."""
        self._over.set()
        if self._killer is not None:
            self._killer.join()

    def executed(self) -> Counter[str]:
        """How often each request ran."""
        try:
            return Counter(self.journal.read_text().split())
        except FileNotFoundError:
            return Counter()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.calm()
        self.send(signal.SIGCONT)
        self.send(signal.SIGKILL)
        assert self._forker.stdin is not None
        assert self._forker.stdout is not None
        self._forker.stdin.close()
        self._forker.wait(10)
        self._forker.stdout.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
