"""The processes of the demo: started, killed, started again; none is left behind, however this one ends."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

PATIENCE = 30.0
"""Seconds until a process that was started must have been heard."""


class ProcessFailed(Exception):
    """A process ended by itself; its last line says why."""


class Process:
    """One of the programs beside this file."""

    def __init__(self, program: str, *arguments: str) -> None:
        self.command = [sys.executable, str(Path(__file__).with_name(program)), *arguments]
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115  it has no name and ends with this process
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,  # see end_with_parent
            stdout=subprocess.DEVNULL,
            stderr=self.said,
            process_group=0,  # Ctrl-C is ours to handle; and the kernel wakes and ends a stopped one that has lost us
        )

    @property
    def number(self) -> int:
        return self.process.pid

    def check(self) -> None:
        if self.process.poll() is not None:
            self.said.seek(0)
            lines = self.said.read().strip().splitlines() or [f"it ended with {self.process.returncode}"]
            raise ProcessFailed(lines[-1])

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def stop(self) -> None:
        """It stands still until it is killed; nobody is told."""
        self.process.send_signal(signal.SIGSTOP)

    def wait(self) -> None:
        """It was told to end."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(5.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.said.close()


def end_with_parent() -> None:
    """End when whoever holds the other end of our standard input does, even by kill -9."""

    def watch() -> None:
        os.read(0, 1)
        os._exit(1)

    if stat.S_ISFIFO(os.fstat(0).st_mode):
        threading.Thread(target=watch, daemon=True).start()
