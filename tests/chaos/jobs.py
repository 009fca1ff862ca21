"""Scenario: worker processes are killed every moment while a pipeline's jobs run; none is lost, each result comes once."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from .faults import _free_port
from .worker import pipeline_of


class Workers:
    """So many worker processes, one of which is killed and replaced every ``interval`` seconds."""

    def __init__(self, folder: Path, world: str, count: int, interval: float) -> None:
        self.journal = folder / f"jobs-{world}"
        self.endpoint = f"tcp://127.0.0.1:{_free_port()}"
        command = [sys.executable, "-m", "tests.chaos.worker", self.endpoint, str(self.journal), world]
        self._forker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pids = [self._start() for _ in range(count)]
        self.kills = 0
        self._interval = interval
        self._over = threading.Event()
        self._killer = threading.Thread(target=self._kill, daemon=True)

    def _start(self) -> int:
        assert self._forker.stdin is not None
        assert self._forker.stdout is not None
        self._forker.stdin.write("start\n")
        self._forker.stdin.flush()
        return int(self._forker.stdout.readline())

    def _kill(self) -> None:
        chance = random.Random(1)
        while not self._over.wait(self._interval):
            at = chance.randrange(len(self.pids))
            self.send(at, signal.SIGKILL)
            self.kills += 1
            self.pids[at] = self._start()

    def send(self, at: int, number: signal.Signals) -> None:
        """A signal to one worker."""
        with suppress(ProcessLookupError):
            os.kill(self.pids[at], number)

    def executed(self) -> Counter[int]:
        """How often each job ran."""
        return Counter(int(line) for line in self.journal.read_text().split())

    def __enter__(self) -> Self:
        self._killer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._killer.join()
        for at in range(len(self.pids)):
            self.send(at, signal.SIGKILL)
        assert self._forker.stdin is not None
        assert self._forker.stdout is not None
        self._forker.stdin.close()
        self._forker.wait(10)
        self._forker.stdout.close()


def kill_nine(folder: Path, world: str, *, jobs: int, seconds: float, interval: float, size: int = 4) -> str:
    """``jobs`` jobs over at least ``seconds``, paced; what happened, in words. Raises AssertionError if a rule is broken."""
    with Workers(folder, world, size, interval) as workers:
        pipeline = pipeline_of(world, workers.endpoint, os.devnull)
        began = time.monotonic()
        results = (_collect_async if world == "asyncio" else _collect)(pipeline, _paced(jobs, seconds))
        took = time.monotonic() - began
        kills = workers.kills
        executed = workers.executed()
    assert results == [str(2 * job) for job in range(jobs)], "a result is missing, twice, or at the wrong place"
    assert set(executed) == set(range(jobs)), "a result of a job that did not run"
    counts = pipeline.statistics
    assert not counts.dead, f"{counts.dead} dead letters"
    again = sum(times - 1 for times in executed.values())
    return (
        f"{jobs} jobs in {took:.1f} s, {kills} kills: 0 lost, each result once; {counts.redelivered} redelivered, "
        f"{again} of them ran again, {counts.duplicates} late results dropped"
    )


def _paced(jobs: int, seconds: float) -> Iterator[int]:
    """Not faster than that they last for so many seconds."""
    began = time.monotonic()
    for job in range(jobs):
        yield job
        if job % 64 == 63:
            ahead = began + seconds * job / jobs - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)


def _collect(pipeline: Any, jobs: Iterator[int]) -> list[str]:
    first, second = (pipeline._stages.by_name[name] for name in ("double", "text"))
    with pipeline:
        return list(pipeline.map(jobs, first, second, window=256))


def _collect_async(pipeline: Any, jobs: Iterator[int]) -> list[str]:
    first, second = (pipeline._stages.by_name[name] for name in ("double", "text"))

    async def collect() -> list[str]:
        async with pipeline:
            return [each async for each in pipeline.map(jobs, first, second, window=256)]

    return asyncio.run(collect())
