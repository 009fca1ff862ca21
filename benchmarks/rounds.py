"""Rounds: every run once in each, the odd rounds backwards, so that slow minutes of the machine meet all of them alike."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any

from .scenarios import Run

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("server", "client")
PATIENCE = 20.0
"""Seconds a role may take to say the next thing, beyond what it measures."""
Sample = dict[str, float]
"""rate: calls per second; client_us, server_us: CPU per call of either end."""


class Failed(Exception):
    """A role has ended, or said nothing in time; the text is the end of its stderr."""


def run_rounds(
    runs: Sequence[Run],
    *,
    rounds: int,
    seconds: float,
    warm_up: float,
    tell: Callable[[str], None],
) -> Iterator[dict[Run, Sample | Failed]]:
    """What each run came to, round by round."""
    for number in range(rounds):
        results: dict[Run, Sample | Failed] = {}
        order = runs if number % 2 == 0 else runs[::-1]
        for at, run in enumerate(order, 1):
            tell(f"round {number + 1} of {rounds}, run {at} of {len(runs)}: {run.label}, {run.setting}")
            try:
                results[run] = measure(run, seconds=seconds, warm_up=warm_up)
            except Failed as failure:
                results[run] = failure
        yield results


def measure(run: Run, *, seconds: float, warm_up: float, profile: dict[str, str] | None = None) -> Sample:
    """One run: two fresh processes. ``profile`` maps "client" or "server" to a file for its cProfile."""
    options = {"run": asdict(run), "seconds": seconds, "warm_up": warm_up}
    with cores(one=run.pinned):
        processes = [_Process({**options, "part": part, "profile": (profile or {}).get(part, "")}) for part in PARTS]
    server, client = processes
    try:
        client.write(server.says(PATIENCE))
        return client.says(PATIENCE + warm_up + seconds)
    finally:
        for process in reversed(processes):
            process.end()


@contextmanager
def cores(*, one: bool) -> Iterator[None]:
    """What is started in here inherits the last core we may use, the first one often serves interrupts; or all of them."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)} if one else allowed)
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


class _Process:
    """A role: lines of JSON on its stdin and stdout."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.stderr = tempfile.TemporaryFile()  # noqa: SIM115  end() closes it
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from benchmarks.role import main; main()", json.dumps(spec)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.stderr,
        )
        self.said = b""

    def write(self, what: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(what).encode() + b"\n")
        self.process.stdin.flush()

    def says(self, patience: float) -> Any:
        """The next line, or Failed."""
        assert self.process.stdout is not None
        until = monotonic() + patience
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self.said:
                if not selector.select(max(0.0, until - monotonic())):
                    raise Failed(f"silent for {patience:g} s: {self._complaint()}")
                chunk = os.read(self.process.stdout.fileno(), 65_536)
                if not chunk:
                    raise Failed(self._complaint())
                self.said += chunk
        line, self.said = self.said.split(b"\n", 1)
        return json.loads(line)

    def _complaint(self) -> str:
        self.stderr.seek(0)
        return self.stderr.read()[-1500:].decode(errors="replace").strip() or "ended without a word"

    def end(self) -> None:
        """A server leaves when its stdin closes; a client has left already, unless it failed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(3.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.stderr.close()
