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
from typing import Any

from tests.worlds import Awaiting, Blocking

from . import (
    brokered,
    cancels,
    cycles,
    exits,
    hostile,
    jobs,
    kills,
    lies,
    malformed,
    openings,
    partition,
    stalls,
    storms,
)

SHARE = 0.999
"""Of the calls end within their deadline + 100 ms ..."""
WORST = 1.0
"""... and all of them within so many seconds more."""


BROKERED: dict[str, dict[str, Any]] = {
    "a worker is killed every second": {"faults": ("worker",), "interval": 1.0},
    "a client is killed every second": {"faults": ("client",), "interval": 1.0},
    "the broker is killed every second": {"faults": ("broker",), "interval": 1.0},
    "a worker is stopped for 5 s": {"faults": ("stop",), "interval": 8.0},
    "handlers hold the GIL": {"faults": ("gil",), "interval": 4.0},
    "two brokers, one is away for 1.5 s": {"faults": ("broker",), "interval": 3.0, "brokers": 2, "down": 1.5},
}


def main() -> int:
    """Every scenario, each reported as it ends."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load under kill -9")
    parser.add_argument("--kill-interval", type=float, default=0.5, help="seconds from one kill to the next")
    parser.add_argument("--broker-seconds", type=float, default=100.0, help="of steady load for each kind of fault")
    parser.add_argument("--partitions", type=int, default=20, help="times that a link is cut")
    parser.add_argument("--calls", type=int, default=100_000, help="cancelled at random")
    parser.add_argument("--jobs", type=int, default=20_000, help="of a pipeline whose workers are killed")
    parser.add_argument("--messages", type=int, default=10_000, help="malformed")
    parser.add_argument("--cycles", type=int, default=1000, help="of opening and closing")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="scenarios whose title has this text")
    given = parser.parse_args()
    longest = 12 * given.seconds + 6 * given.broker_seconds + 15 * given.partitions
    faulthandler.dump_traceback_later(longest + 900, exit=True)

    def report(title: str, run: Callable[[], str]) -> int:
        return _report(title, run) if given.only in title else 0

    failed = 0
    with tempfile.TemporaryDirectory(prefix="zpatterns-") as name:
        folder = Path(name)
        for world, size in (("blocking", 16), ("blocking", 64), ("asyncio", 64)):
            for transport in ("tcp", "ipc"):
                place = folder / f"{world}-{size}-{transport}"
                place.mkdir()
                failed += report(
                    f"kill -9, {world}, {size} in flight, {transport}",
                    lambda world=world, size=size, transport=transport, place=place: _kills(  # type: ignore[misc]
                        place, world, transport, given.seconds, given.kill_interval, size
                    ),
                )
        for world in ("blocking", "asyncio"):
            place = folder / f"stop-{world}"
            place.mkdir()
            failed += report(f"SIGSTOP for 3 s, {world}", lambda world=world, place=place: _stop(place, world))  # type: ignore[misc]
            failed += report(
                f"workers killed, {world}",
                lambda world=world, place=place: jobs.kill_nine(  # type: ignore[misc]
                    place, world, jobs=given.jobs, seconds=given.seconds, interval=given.kill_interval
                ),
            )
        for number, (title, options) in enumerate(BROKERED.items()):
            place = folder / f"broker-{number}"
            place.mkdir()
            failed += report(
                f"brokers: {title}",
                lambda place=place, options=options: _brokered(place, given.broker_seconds, given.seed, options),  # type: ignore[misc]
            )
        failed += report("brokers: the link is cut", lambda: partition.outside(given.partitions))
        failed += report("random cancels", lambda: _cancels(given.calls, given.seed))
        failed += report("malformed, blocking", lambda: str(dict(malformed.scenario(Blocking(), given.messages, 1))))
        failed += report("malformed, asyncio", lambda: _malformed_asyncio(given.messages, given.seed))
        failed += report("lies", lambda: str(dict(lies.scenario(10 * given.messages, given.seed))))
        failed += report("open and close", lambda: _cycles(given.cycles, folder))
        failed += report("cancel storms", lambda: _storms(given.calls, given.seed))
        failed += report("hostile peers", lambda: str(hostile.scenario(given.messages, given.seed)))
        failed += report("open and close, the other patterns", lambda: str(openings.scenario(given.cycles, folder)))
        failed += report("stopped for 3 s under load", lambda: str(stalls.scenario(3.0)))
        failed += report("stopped for 10 s under load", lambda: str(stalls.scenario(10.0)))
        failed += report("exit with unsent data", _exits)
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


def _brokered(folder: Path, seconds: float, seed: int, options: dict[str, Any]) -> str:
    story = brokered.scenario(folder, seconds=seconds, rate=500.0, seed=seed, **options)
    share = 1 - story.tally.late / max(1, story.tally.calls)
    assert share >= SHARE, f"only {share:.4%} ended within their deadline + 100 ms"
    return brokered.check(story, slack=WORST)


def _stop(folder: Path, world: str) -> str:
    tally, expired, ran = kills.sigstop(folder, world, 3.0, 32)
    assert not ran, f"{ran} of {expired} expired calls ran when the server went on"
    return f"{expired} calls expired meanwhile, none of them ran afterwards; {tally}"


def _cancels(calls: int, seed: int) -> str:
    ends, mine, theirs = asyncio.run(cancels.scenario(calls, seed))
    return f"{dict(ends.by)}; client {mine}; server {theirs}"


def _storms(calls: int, seed: int) -> str:
    found = asyncio.run(storms.scenario(calls, seed))
    return "; ".join(f"{name} {dict(ends)}" for name, ends in found.items())


def _malformed_asyncio(messages: int, seed: int) -> str:
    world = Awaiting()
    try:
        return str(dict(malformed.scenario(world, messages, seed)))
    finally:
        world.shut()


def _exits() -> str:
    took = exits.scenario(60.0)
    slow = {name: seconds for name, seconds in took.items() if seconds > exits.PROMISE}
    assert not slow, slow
    return f"{len(took)} programs, the slowest ended after {max(took.values()):.2f} s"


def _cycles(count: int, folder: Path) -> str:
    found = cycles.scenario(count, folder)
    cycles.check(*found)
    return f"{2 * count} cycles; start, middle, end: {found}"


if __name__ == "__main__":
    sys.exit(main())
