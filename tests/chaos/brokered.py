"""Steady calls through brokers while somebody is killed, stopped, or holds the GIL: how each ends, and how soon all is well again."""

from __future__ import annotations

import random
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

from zpatterns import OutcomeUnknown, PeerUnavailable, RequestClient

from .cast import BEAT, HOLD, TIMEOUT, Cast
from .load import QUICK, Tally
from .server import FREE, ONCE

RECOVERY = BEAT.expiry + 1.0
"""Seconds from a fault, in 99 of 100 cases, to when calls are answered again and the last that suffered from it has ended."""
SUFFERED = 0.1
"""Seconds that a call takes at least if somebody was lost with it."""
STOP = 5.0
"""Seconds that a worker is stopped, in the long form."""


class Story:
    """The cast, a client that counts, and when what was done."""

    def __init__(self, cast: Cast, client: RequestClient, chance: random.Random) -> None:
        self.cast = cast
        self.tally = Tally()
        self.times: list[tuple[float, float, bool]] = []
        """Of each call that has ended: begin, end, whether it was answered."""
        self.faults: list[float] = []
        self.held: list[Future[str]] = []
        self._client = client
        self._chance = chance
        self._open: set[Future[Any]] = set()
        self._began = time.monotonic()
        self._number = 0
        self._due: list[tuple[float, Any]] = []

    def calls(self, seconds: float, rate: float) -> Iterator[None]:
        """That many a second, for so long; between them, whatever is due."""
        over, start, first = time.monotonic() + seconds, time.monotonic(), self._number
        while (now := time.monotonic()) < over:
            while self._number - first < (now - start) * rate:
                self._call(now)
            for at, action in [each for each in self._due if each[0] <= now]:
                self._due.remove((at, action))
                action()
            yield
            time.sleep(0.002)

    def _call(self, now: float) -> None:
        self._number += 1
        method = self._chance.choice((FREE, ONCE))
        request = f"{method.name}-{self._number}"
        future = self._client.submit(method, request)
        self._open.add(future)
        future.add_done_callback(lambda ended: self._ended(ended, request, now))

    def _ended(self, future: Future[Any], request: str, began: float) -> None:
        error = future.exception()
        self.times.append((began, time.monotonic(), error is None))
        self.tally.end(request, began, TIMEOUT, error or future.result())
        self._open.discard(future)

    def fault(self, kind: str, stopped: float, down: float) -> None:
        """One of: worker, client, broker (killed), stop, gil."""
        cast, now = self.cast, time.monotonic()
        if kind == "stop":
            cast.stop_worker()
            self._due.append((now + stopped, cast.resume_worker))
        elif kind == "gil":
            cast.faults["GIL held"] += 2
            self.held.append(self._client.submit(HOLD, 2 * BEAT.expiry, timeout=2 * TIMEOUT))
            self.held.append(self._client.submit(HOLD, BEAT.interval, timeout=2 * TIMEOUT))
        elif kind == "broker" and down:
            cast.faults[kind] += 1
            number = cast.lose_broker()
            self._due.append((now + down, lambda: cast.replace_broker(number)))
        else:
            cast.kill(kind, self._chance)
        self.faults.append(now)

    def finish(self) -> None:
        """Nothing is done to anybody any more: everything ends."""
        for _, action in self._due:
            action()
        over = time.monotonic() + TIMEOUT + 5.0
        while self._open and time.monotonic() < over:
            time.sleep(0.01)
        self.tally.hung = len(self._open) + sum(not future.done() for future in self.held)
        _until_served(self._client, "last")

    def recoveries(self) -> list[float]:
        """For each fault, seconds until a later call was answered, and until the last one that suffered had ended.

        Those that were open, and those begun before a silent worker can be known to be lost.
        """
        times = sorted(self.times)
        begins = [began for began, _, _ in times]
        found = []
        for at in self.faults:
            first, after = bisect_left(begins, at - TIMEOUT - 1.0), bisect_left(begins, at)
            answered = min((end for _, end, good in times[after:] if good), default=at + TIMEOUT)
            near = times[first : bisect_left(begins, at + BEAT.expiry)]
            suffered = [end for began, end, good in near if end > at and (end - began > SUFFERED or not good)]
            found.append(max([answered, *suffered]) - at)
        return sorted(found)


def _until_served(client: RequestClient, what: str) -> None:
    """Processes may start slowly: to a broker that is older than that, nobody serves the name."""
    over = time.monotonic() + 60.0
    while True:
        try:
            client.request(FREE, f"{FREE.name}-{what}")
        except PeerUnavailable:
            if time.monotonic() > over:
                raise
            time.sleep(0.05)
        else:
            return


@contextmanager
def _story(folder: Path, brokers: int, seed: int) -> Iterator[Story]:
    cast = Cast(folder, brokers)
    try:
        with RequestClient(cast.fronts, service="chaos", timeout=TIMEOUT, heartbeat=BEAT, options=QUICK) as client:
            _until_served(client, "first")
            yield Story(cast, client, random.Random(seed))
    finally:
        cast.close()


def scenario(
    folder: Path,
    faults: Sequence[str],
    *,
    seconds: float,
    rate: float,
    interval: float,
    seed: int,
    brokers: int = 1,
    down: float = 0.0,
    stopped: float = STOP,
) -> Story:
    """So many calls a second for so long; every ``interval`` the next of the ``faults``, over and over."""
    with _story(folder, brokers, seed) as story:
        kinds, next_at = cycle(faults), time.monotonic() + interval
        for _ in story.calls(seconds, rate):
            if time.monotonic() >= next_at:
                next_at += interval
                story.fault(next(kinds), stopped, down)
        story.finish()
        return story


def check(story: Story, *, slack: float, recovery: float = RECOVERY) -> str:
    """What must hold: nothing hangs, nothing is wrong, what may run once ran once. In words."""
    tally, recoveries = story.tally, story.recoveries()
    tally.check(story.cast.executed(), slack=slack)
    for future in story.held:
        error = future.exception()
        assert error is None or isinstance(error, OutcomeUnknown), error
    assert recoveries, "too short for a fault"
    p99 = recoveries[min(len(recoveries) - 1, int(len(recoveries) * 0.99))]
    assert p99 <= recovery, f"recovered within {p99:.2f} s in 99 of 100 cases: {recoveries[-5:]}"
    held = f"; GIL held: {sum(not each.exception() for each in story.held)} of {len(story.held)} answered" * bool(
        story.held
    )
    return (
        f"{dict(story.cast.faults)}; {tally}; recovery median {recoveries[len(recoveries) // 2]:.2f} s, "
        f"p99 {p99:.2f} s, longest {recoveries[-1]:.2f} s{held}; nothing ran twice that may not"
    )
