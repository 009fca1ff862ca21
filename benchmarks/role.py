"""What one process of a run does: it becomes the server or the client, and tells the harness so by lines of JSON.

The client measures. Between ``start()`` and ``finish()`` it reads the CPU clock of every process that takes part, so
that both ends are counted over the same window. CPU clocks and cores are asked of Linux.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Callable
from importlib import import_module
from subprocess import Popen
from time import clock_gettime, perf_counter
from typing import Any, NoReturn

from .scenarios import Run

WATCHER = "watches the harness"


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process: clock_getcpuclockid(3), which Python does not have."""
    return clock_gettime((~pid << 3) | 2)


class Role:
    """Given to every server and client function. ``endpoint`` is where the client finds its server."""

    def __init__(self, part: str, run: Run, seconds: float, warm_up: float, profile: str) -> None:
        self.part = part
        self.run = run
        self.seconds = seconds
        self.warm_up = warm_up
        self.endpoint = ""
        self._pids: list[int] = []
        self._started = 0.0
        self._cpu: list[float] = []
        self._profile = profile
        self._profilers: list[Any] = []
        if profile:
            self._profile_threads()

    # -- server -------------------------------------------------------------------------------------------------

    def serving(self, endpoint: str, *helpers: Popen[Any]) -> None:
        """Say where, once requests can come in. The process ends, with its helpers, when the harness is done or gone."""
        threading.Thread(target=self._end_with_harness, args=helpers, name=WATCHER, daemon=True).start()
        say(endpoint=endpoint, pids=[os.getpid(), *(helper.pid for helper in helpers)])

    def _end_with_harness(self, *helpers: Popen[Any]) -> None:
        sys.stdin.read()
        for helper in helpers:
            helper.kill()
            helper.wait()
        self._leave(0)

    # -- client -------------------------------------------------------------------------------------------------

    def meet(self) -> None:
        """Wait until the server is there."""
        told = json.loads(sys.stdin.readline() or '{"endpoint": "", "pids": []}')
        self.endpoint = told["endpoint"]
        self._pids = [os.getpid(), *told["pids"]]

    def start(self) -> None:
        """The caller is warm: count from now."""
        self._cpu = [cpu_seconds(pid) for pid in self._pids]
        self._started = perf_counter()

    def clock(self) -> Callable[[int], None]:
        """For whoever counts what comes in: told how many so far, it starts after the warm-up and finishes in time."""
        began, base = perf_counter(), -1

        def look(number: int) -> None:
            nonlocal base
            now = perf_counter()
            if base < 0 and now - began >= self.warm_up:
                base = number
                self.start()
            elif base >= 0 and now - self._started >= self.seconds:
                self.finish(number - base)

        return look

    def finish(self, calls: int) -> NoReturn:
        """So many calls ended since ``start()``. Nothing is closed: what closing costs is not measured here."""
        seconds = perf_counter() - self._started
        spent = [cpu_seconds(pid) - before for pid, before in zip(self._pids, self._cpu, strict=True)]
        client, server = (1e6 * cpu / max(1, calls) for cpu in (spent[0], sum(spent[1:])))
        say(rate=calls / seconds, calls=calls, client_us=client, server_us=server)
        self._leave(0)

    # -- both ---------------------------------------------------------------------------------------------------

    def play(self) -> None:
        """Call the function of the table."""
        module, function = (self.run.server if self.part == "server" else self.run.client).split(".")
        play = getattr(import_module(f"benchmarks.{module}"), function)
        if self.part == "client":
            self.meet()
        if self._profile:
            self._new_profiler().runcall(play, self)
        else:
            play(self)

    def _new_profiler(self) -> Any:
        import cProfile

        self._profilers.append(cProfile.Profile())
        return self._profilers[-1]

    def _profile_threads(self) -> None:
        """cProfile sees one thread; a blocking server works in others."""
        run = threading.Thread.run

        def profiled(thread: threading.Thread) -> None:
            if thread.name == WATCHER:
                run(thread)
            else:
                self._new_profiler().runcall(run, thread)

        threading.Thread.run = profiled  # type: ignore[assignment,method-assign]

    def _leave(self, status: int) -> NoReturn:
        if self._profile:
            import pstats

            pstats.Stats(*self._profilers).dump_stats(self._profile)
        os._exit(status)  # no destructor of any library may hold up the next run


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def main() -> None:
    told = json.loads(sys.argv[1])
    try:
        Role(told.pop("part"), Run(**told.pop("run")), **told).play()
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(1)
