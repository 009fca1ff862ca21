"""``python -m tests.simulation [--world pubsub|pipeline|simple|paranoid|majordomo] --seeds 100000 --jobs 2``, or ``--seed 4711 --trace`` to see one of them again."""

from __future__ import annotations

import argparse
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from hashlib import sha256
from time import monotonic
from typing import Any

from . import world as request_world
from .broker import world as broker_world
from .pipeline import world as pipeline_world
from .pubsub import world as pubsub_world

CHUNK = 250
WORLDS: dict[str, Callable[..., Any]] = {
    "request": request_world.run,
    "pubsub": pubsub_world.run,
    "pipeline": pipeline_world.run,
    "simple": partial(broker_world.run, "simple"),
    "paranoid": partial(broker_world.run, "paranoid"),
    "majordomo": partial(broker_world.run, "majordomo"),
}


def first_failure(start: int, stop: int, world: str = "request") -> tuple[int, str] | None:
    """The first seed that breaks a rule, and how."""
    for seed in range(start, stop):
        try:
            WORLDS[world](seed)
        except Exception as error:  # noqa: BLE001  whatever it is, it is the finding
            return seed, f"{type(error).__name__}: {error}"
    return None


class Tracer:
    """Every event of a seed: a hash of all, the last ones, or all of them on a terminal."""

    def __init__(self, *, show: bool, keep: int = 80) -> None:
        self.hash = sha256()
        self.last: deque[str] = deque(maxlen=keep)
        self.show = show
        self.events = 0

    def __call__(self, *what: Any) -> None:
        line = " ".join(f"{part!r:.100}" if isinstance(part, bytes) else str(part) for part in what)
        self.events += 1
        self.hash.update(repr(what).encode())
        self.last.append(line)
        if self.show:
            print(line)


def replay(seed: int, world: str = "request", *, show: bool = False) -> tuple[str, BaseException | None, Tracer]:
    """Run one seed with its trace: the hash, what was wrong, the events."""
    tracer = Tracer(show=show)
    try:
        WORLDS[world](seed, tracer)
    except Exception as error:  # noqa: BLE001  whatever it is, it is the finding
        return tracer.hash.hexdigest(), error, tracer
    return tracer.hash.hexdigest(), None, tracer


def report(seed: int, what: str, world: str = "request") -> str:
    """What a failing seed has to say, with its last events."""
    _, error, tracer = replay(seed, world)
    lines = [*tracer.last, "", f"seed {seed}: {what}"]
    if error is None:
        lines.append("(it did not fail again: something outside the seed decided)")
    lines.append(f"again: python -m tests.simulation --world {world} --seed {seed} --trace")
    return "\n".join(lines)


def many(start: int, seeds: int, jobs: int, world: str) -> int:
    began = monotonic()
    chunks = [(at, min(at + CHUNK, start + seeds)) for at in range(start, start + seeds, CHUNK)]
    done = 0
    with ProcessPoolExecutor(jobs) as pool:
        for (low, high), failure in zip(
            chunks, pool.map(partial(first_failure, world=world), *zip(*chunks, strict=True)), strict=True
        ):
            if failure is not None:
                pool.shutdown(cancel_futures=True)
                print()
                print(report(*failure, world))
                return 1
            done += high - low
            rate = done / (monotonic() - began)
            print(f"\r{done} of {seeds} seeds, {rate:.0f}/s", end="", flush=True)
    print(f"\n{seeds} seeds from {start}: every rule held ({monotonic() - began:.1f} s)")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10_000, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first one")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--seed", type=int, help="run this one alone")
    parser.add_argument("--trace", action="store_true", help="with --seed: print what happens")
    parser.add_argument("--world", choices=WORLDS, default="request", help="which stories")
    arguments = parser.parse_args()
    if arguments.seed is None:
        return many(arguments.start, arguments.seeds, arguments.jobs, arguments.world)
    digest, error, tracer = replay(arguments.seed, arguments.world, show=arguments.trace)
    print(f"seed {arguments.seed}: {tracer.events} events, trace {digest}")
    if error is not None:
        print(f"{type(error).__name__}: {error}")
    return error is not None


if __name__ == "__main__":
    sys.exit(main())
