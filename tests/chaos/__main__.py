"""The long form: ``python -m tests.chaos --seconds 20 --kill-interval 0.5``. Prints what happened; exits 1 if it must not."""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.worlds import Awaiting, Blocking

from . import brokered, cancels, cycles, jobs, kills, lies, malformed

SHARE = 0.999
"""Of the calls end within their deadline + 100 ms ..."""
WORST = 1.0
"""... and all of them within so many seconds more."""


def main() -> int:
    """Every scenario, each reported as it ends."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load under kill -9")
    parser.add_argument("--kill-interval", type=float, default=0.5, help="seconds from one kill to the next")
    parser.add_argument("--calls", type=int, default=100_000, help="cancelled at random")
    parser.add_argument("--jobs", type=int, default=20_000, help="of a pipeline whose workers are killed")
    parser.add_argument("--messages", type=int, default=10_000, help="malformed")
    parser.add_argument("--cycles", type=int, default=1000, help="of opening and closing")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    faulthandler.dump_traceback_later(given.seconds * 4 + 900, exit=True)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="zpatterns-") as name:
        folder = Path(name)
        for world, size in (("blocking", 16), ("blocking", 64), ("asyncio", 64)):
            for transport in ("tcp", "ipc"):
                place = folder / f"{world}-{size}-{transport}"
                place.mkdir()
                failed += _report(
                    f"kill -9, {world}, {size} in flight, {transport}",
                    lambda world=world, size=size, transport=transport, place=place: _kills(  # type: ignore[misc]
                        place, world, transport, given.seconds, given.kill_interval, size
                    ),
                )
        for world in ("blocking", "asyncio"):
            place = folder / f"stop-{world}"
            place.mkdir()
            failed += _report(f"SIGSTOP for 3 s, {world}", lambda world=world, place=place: _stop(place, world))  # type: ignore[misc]
            failed += _report(
                f"workers killed, {world}",
                lambda world=world, place=place: jobs.kill_nine(  # type: ignore[misc]
                    place, world, jobs=given.jobs, seconds=given.seconds, interval=given.kill_interval
                ),
            )
        place = folder / "broker"
        place.mkdir()
        failed += _report("broker and workers killed and stopped", lambda: _brokered(place, given.seconds, given.seed))
        failed += _report("random cancels", lambda: _cancels(given.calls, given.seed))
        failed += _report("malformed, blocking", lambda: str(dict(malformed.scenario(Blocking(), given.messages, 1))))
        failed += _report("malformed, asyncio", lambda: _malformed_asyncio(given.messages, given.seed))
        failed += _report("lies", lambda: str(dict(lies.scenario(10 * given.messages, given.seed))))
        failed += _report("open and close", lambda: _cycles(given.cycles, folder))
    return 1 if failed else 0


def _report(title: str, run: Callable[[], str]) -> int:
    began = time.monotonic()
    try:
        text, failed = run(), 0
    except AssertionError as error:
        text, failed = f"FAILED: {error}", 1
    print(f"{title} ({time.monotonic() - began:.1f} s): {text}", flush=True)
    return failed


def _kills(folder: Path, world: str, transport: str, seconds: float, interval: float, size: int) -> str:
    servers, tally = kills.kill_nine(folder, world, transport, seconds, interval, size)
    tally.check(servers.executed(), slack=WORST)
    share = 1 - tally.late / max(1, tally.calls)
    assert share >= SHARE, f"only {share:.4%} ended within their deadline + 100 ms"
    return f"{servers.kills} kills; {tally}; nothing ran twice"


def _brokered(folder: Path, seconds: float, seed: int) -> str:
    cast, tally = brokered.scenario(folder, seconds=seconds, rate=500.0, interval=1.0, seed=seed)
    share = 1 - tally.late / max(1, tally.calls)
    assert share >= SHARE, f"only {share:.4%} ended within their deadline + 100 ms"
    return brokered.check(cast, tally)


def _stop(folder: Path, world: str) -> str:
    tally, expired, ran = kills.sigstop(folder, world, 3.0, 32)
    assert not ran, f"{ran} of {expired} expired calls ran when the server went on"
    return f"{expired} calls expired meanwhile, none of them ran afterwards; {tally}"


def _cancels(calls: int, seed: int) -> str:
    ends, mine, theirs = asyncio.run(cancels.scenario(calls, seed))
    return f"{dict(ends.by)}; client {mine}; server {theirs}"


def _malformed_asyncio(messages: int, seed: int) -> str:
    world = Awaiting()
    try:
        return str(dict(malformed.scenario(world, messages, seed)))
    finally:
        world.shut()


def _cycles(count: int, folder: Path) -> str:
    found = cycles.scenario(count, folder)
    cycles.check(*found)
    return f"{2 * count} cycles; start, middle, end: {found}"


if __name__ == "__main__":
    sys.exit(main())
