"""A worker as several processes: started, replaced when they end, told to stop together. Their parent serves nothing itself.

Each process imports the module in which the server was made, and runs what it finds there under the same name. Nothing of
the parent's server is copied, so every process has handlers, a context and sockets of its own.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pkgutil
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from random import random
from time import monotonic
from typing import Any

from ..errors import ConfigurationError
from .signals import on_signal

log: logging.Logger = logging.getLogger("zpatterns")

_PAUSE, _LONGEST_PAUSE = 0.1, 10.0
"""Seconds before a process that has ended is replaced: doubled each time, so that what cannot live costs little."""
_SETTLED = 10.0
"""Seconds after which a process counts as one that can live."""
_LEAVING = 2.0
"""Seconds beyond its grace that a process may take to close its sockets and end."""


def check_processes(count: int, *, binds: bool) -> None:
    """Refuse what cannot work."""
    if count < 1:
        raise ConfigurationError(f"processes={count}: at least one is needed")
    if binds and count > 1:
        raise ConfigurationError(
            f"processes={count}: a server that binds its endpoint is one process. Put a Broker in front: then it is "
            "ReplyServer.worker(backend, name=), and may be many"
        )


def whereabouts(server: object) -> tuple[str, str]:
    """The module and the name by which another process finds this server; raises ConfigurationError when there is none."""
    modules = sorted(sys.modules.items(), key=lambda item: item[0] in ("__main__", "__mp_main__"))
    for module, content in modules:
        for name, value in list(getattr(content, "__dict__", {}).items()):
            if value is server:
                if module != "__main__" or hasattr(content, "__file__"):
                    return module, name
    raise ConfigurationError(
        "processes=: each process imports the module that makes the server, so make it at the top of a module "
        "(worker = ReplyServer.worker(...)), not inside a function, and run it from a file"
    )


def _serve(module: str, name: str, grace: float, started: Connection) -> None:
    """In the new process. Ctrl-C on a terminal is for the parent, which tells everyone once."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server: Any = pkgutil.resolve_name(f"{module}:{name}")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    started.send_bytes(b"started")
    started.close()
    server.run(grace=grace)


def _end_with_parent() -> None:
    """Also when it was killed: nobody would tell this process to end any more."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


class _Place:
    """One of the processes, and those that come after it."""

    def __init__(self) -> None:
        self.process: Any = None
        self.news: Connection | None = None
        self.began_at: float = 0.0
        self.due: float = 0.0
        self.failures: int = 0


class Processes:
    """``count`` processes of the server with that name. ``grace``: seconds each gives its handlers when it is to stop."""

    def __init__(self, server: object, name: str, count: int, grace: float) -> None:
        self.grace: float = grace
        self._where = whereabouts(server)
        self._name = name
        self._places = [_Place() for _ in range(count)]
        self._context = multiprocessing.get_context("spawn")
        self._stops = 0
        self._told = 0
        self._lived = False
        """Some process has come to run its server."""
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)

    def run(self) -> None:
        """Until ``stop``, or a signal. Raises ConfigurationError if the server cannot be run in another process at all."""
        try:
            with on_signal(self._on_signal):
                while not self._stops:
                    now = monotonic()
                    for place in self._places:
                        if place.process is None and place.due <= now:
                            self._start(place)
                    self._look(min((place.due for place in self._places if place.process is None), default=now + 60.0))
                self._end()
        finally:
            for place in self._places:
                if place.process is not None:
                    place.process.kill()
                    self._bury(place)
            os.close(self._wake_in)
            # Whoever stops us from now on must not write to what has that number next.
            wake_out, self._wake_out = self._wake_out, -1
            os.close(wake_out)

    def stop(self, grace: float | None = None) -> None:
        """Tell all to end; once more, to end at once. From any thread or signal handler."""
        if grace is not None:
            self.grace = grace
        self._stops += 1
        with suppress(OSError):
            os.write(self._wake_out, b"w")

    def _on_signal(self, name: str) -> None:
        if not self._stops:
            log.info("%s: stopping %d processes; once more stops at once", name, len(self._places))
        self.stop()

    def _start(self, place: _Place) -> None:
        news, started = self._context.Pipe(duplex=False)
        place.process = self._context.Process(
            target=_serve,
            args=(*self._where, self.grace, started),
            name=f"{self._name}-{self._places.index(place) + 1}",
        )
        place.process.start()
        started.close()
        place.news, place.began_at = news, monotonic()
        log.info("%s is process %d", place.process.name, place.process.pid)

    def _look(self, until: float) -> None:
        """Wait for something to happen, and see what it was."""
        watched: list[Any] = [self._wake_in]
        for place in self._places:
            watched += [place.process.sentinel] if place.process is not None else []
            watched += [place.news] if place.news is not None else []
        ready = wait(watched, max(0.0, until - monotonic()))
        with suppress(OSError):
            os.read(self._wake_in, 4096)
        for place in self._places:
            if place.news in ready and place.news is not None:
                with suppress(EOFError, OSError):
                    self._lived = place.news.recv_bytes(16) == b"started" or self._lived
                place.news.close()
                place.news = None
            if place.process is not None and place.process.sentinel in ready:
                self._ended(place)

    def _ended(self, place: _Place) -> None:
        name, pid = place.process.name, place.process.pid
        code = self._bury(place)
        if self._stops:
            return
        if code > 0 and not self._lived:
            raise ConfigurationError(
                f"{name} ended before it served (its own words are above). A new process imports the module again: make "
                "the server at its top, and call run() below if __name__ == '__main__'"
            )
        now = monotonic()
        if now - place.began_at > _SETTLED:
            place.failures = 0
        pause = min(_LONGEST_PAUSE, _PAUSE * 2.0**place.failures) * (0.5 + 0.5 * random())
        place.failures += 1
        place.due = now + pause
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        log.warning("%s (process %d) %s; another one in %.1f s", name, pid, how, pause)

    def _bury(self, place: _Place) -> int:
        process, place.process = place.process, None
        process.join()
        code: int = process.exitcode
        process.close()
        if place.news is not None:
            place.news.close()
            place.news = None
        return code

    def _end(self) -> None:
        """All at once; whoever is not gone when the grace is over is killed."""
        until = monotonic() + self.grace + _LEAVING
        while (living := [place.process for place in self._places if place.process is not None]) and (
            monotonic() < until
        ):
            while self._told < min(self._stops, 2):
                self._told += 1
                until = monotonic() + self.grace * (self._told == 1) + _LEAVING
                for process in living:
                    process.terminate()
            self._look(until)
