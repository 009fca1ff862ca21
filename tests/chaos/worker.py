"""The workers that are killed: ``python -m tests.chaos.worker ENDPOINT JOURNAL WORLD``.

This process only forks, so that a worker that was killed is replaced within milliseconds. For each line on its standard
input it starts one and prints its process id. A stage writes its job to the journal before it answers.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from typing import Any

import zpatterns
import zpatterns.asyncio
from zpatterns import Heartbeat, SocketOptions

QUICK = SocketOptions(reconnect_interval=0.02, reconnect_interval_max=0.1)
BEAT = Heartbeat(interval=0.25, liveness=4)


def pipeline_of(world: str, endpoint: str, journal: str) -> Any:
    """A pipeline with two stages: ``double``, and ``text`` of that."""
    out = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    chance = random.Random(os.getpid())

    def double(job: int) -> int:
        os.write(out, f"{job}\n".encode())
        if chance.random() < 0.1:
            time.sleep(0.005)
        return 2 * job

    async def double_async(job: int) -> int:
        os.write(out, f"{job}\n".encode())
        if chance.random() < 0.1:
            await asyncio.sleep(0.005)
        return 2 * job

    def text(job: int) -> str:
        return str(job)

    if world == "asyncio":
        awaited = zpatterns.asyncio.Pipeline(endpoint, options=QUICK, heartbeat=BEAT)
        awaited.stage(concurrency=8, name="double")(double_async)
        awaited.stage(concurrency=8, inline=True)(text)
        return awaited
    pipeline = zpatterns.Pipeline(endpoint, options=QUICK, heartbeat=BEAT)
    pipeline.stage(concurrency=8)(double)
    pipeline.stage(concurrency=8, inline=True)(text)
    return pipeline


def main() -> None:
    """Fork once for each line."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries the dead
    endpoint, journal, world = sys.argv[1:4]
    for _ in sys.stdin:
        child = os.fork()
        if not child:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                pipeline_of(world, endpoint, journal).run_worker(grace=0.5)
            finally:
                os._exit(0)
        print(child, flush=True)


if __name__ == "__main__":
    main()
