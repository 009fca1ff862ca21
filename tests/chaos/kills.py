"""Scenarios (a) and (b): the server is killed every moment; the server is stopped and goes on."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from .faults import Servers
from .load import LOADS, Tally


def kill_nine(
    folder: Path, world: str, transport: str, seconds: float, interval: float, size: int
) -> tuple[Servers, Tally]:
    """kill -9 at load; the journal says what ran."""
    with Servers(folder, transport, world) as servers:
        load = LOADS[world](servers.endpoint, size)
        servers.kill_every(interval)
        time.sleep(seconds)
        servers.calm()
        return servers, load.stop()


def sigstop(folder: Path, world: str, seconds: float, size: int) -> tuple[Tally, int, int]:
    """SIGSTOP, SIGCONT. The tally, calls that ended while it stood still, and how many of those ran afterwards."""
    with Servers(folder, "tcp", world) as servers:
        load = LOADS[world](servers.endpoint, size)
        tally = load.tally
        _wait(lambda: tally.ended["answered"] > 100)
        servers.send(signal.SIGSTOP)
        stopped = time.monotonic() + 0.05
        time.sleep(seconds)
        expired = [request for request, (began, ended) in list(tally.failed.items()) if began > stopped]
        servers.send(signal.SIGCONT)
        before = tally.ended["answered"]
        _wait(lambda: tally.ended["answered"] > before + 100)
        load.stop()
        executed = servers.executed()
        tally.check(executed, slack=5.0)
        return tally, len(expired), sum(request in executed for request in expired)


def _wait(condition: object, limit: float = 20.0) -> None:
    assert callable(condition)
    over = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < over, "calls are not answered (any more)"
        time.sleep(0.01)
