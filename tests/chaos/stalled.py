"""The receivers that are stopped: ``python -m tests.chaos.stalled KIND ENDPOINT bind|connect``.

Each prints its endpoint when it is ready, then a line of JSON when it was told to end: what came to it.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from zpatterns import Pair, Pipeline, Proxy, Pull, Subscriber, Topic

BLOB = Topic("blob", bytes)
END = b"END"
PATIENCE = 60.0


def pipeline_at(endpoint: str) -> tuple[Pipeline, Any]:
    """The same stage for both ends."""
    pipeline = Pipeline(endpoint)

    @pipeline.stage(concurrency=16, inline=True)
    def size(job: bytes) -> int:
        return len(job)

    return pipeline, size


def say(**values: Any) -> None:
    """One line for whoever started us."""
    print(json.dumps(values), flush=True)


def number(body: bytes) -> int:
    """Every message begins with its number."""
    return int(body[:8])


def pull(endpoint: str, way: str) -> None:
    """Whatever came, each once and in order."""
    got: list[int] = []
    with getattr(Pull, way)(endpoint, bytes) as source:
        say(endpoint=source.endpoint)
        while (body := source.receive(timeout=PATIENCE)) != END:
            got.append(number(body))
    assert got == sorted(set(got))
    say(received=len(got), missed=got[-1] + 1 - len(got))


def pair(endpoint: str, way: str) -> None:
    """The same, and what the peer says it has sent."""
    got: list[int] = []
    with getattr(Pair, way)(endpoint, bytes, timeout=PATIENCE) as end:
        say(endpoint=end.endpoint)
        while (body := end.receive()) != END:
            got.append(number(body))
        missed = end.statistics.missed
    assert got == sorted(set(got))
    say(received=len(got), missed=missed)


def subscriber(endpoint: str, way: str) -> None:
    """The gaps are exact: see ``tests/stopped_subscriber.py``."""
    given = missed = sequence = 0
    with Subscriber(endpoint, BLOB, bind=way == "bind") as source:
        say(endpoint=source.endpoint)
        source.ready(PATIENCE)
        while True:
            message = source.receive(PATIENCE)
            given += 1
            missed += message.missed
            sequence = message.sequence
            if message.body == END:
                break
    assert given + missed == sequence
    say(received=given - 1, missed=missed)


def worker(endpoint: str, way: str) -> None:
    """One worker of two: what it cannot do, the other does."""
    del way
    say(endpoint=endpoint)
    pipeline, _ = pipeline_at(endpoint)
    pipeline.run_worker(endpoint)
    say(received=0, missed=0)


def ventilator(endpoint: str, way: str) -> None:
    """It is stopped while results come in."""
    del way
    pipeline, size = pipeline_at(endpoint)
    over = time.monotonic() + 5.0

    def jobs() -> Any:
        while time.monotonic() < over:
            yield bytes(500)

    with pipeline:
        say(endpoint=pipeline.endpoint)
        results = list(pipeline.map(jobs(), size))
        assert set(results) == {500}
        pipeline.stop_workers()
    say(received=len(results), missed=0)


def proxy(endpoint: str, way: str) -> None:
    """It passes on what comes, until its standard input ends."""
    del endpoint, way
    with Proxy.streamer("tcp://127.0.0.1:*", "tcp://127.0.0.1:*") as streamer:
        say(endpoint=f"{streamer.frontend} {streamer.backend}")
        sys.stdin.read()
    say(received=0, missed=0)


KINDS = {each.__name__: each for each in (pull, pair, subscriber, worker, ventilator, proxy)}

if __name__ == "__main__":
    KINDS[sys.argv[1]](*sys.argv[2:4])
