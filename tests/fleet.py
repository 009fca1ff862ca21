"""A worker in several processes, for tests/test_processes.py: ``python -m tests.fleet BACKEND WORLD PROCESSES``."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import zpatterns
import zpatterns.asyncio
from zpatterns import Heartbeat, Method

QUICK = Heartbeat(interval=0.1, liveness=10)
WHO = Method("fleet.who", None, int, idempotent=True)
NAP = Method("fleet.nap", float, int)

if os.path.basename(sys.argv[0]) == "fleet.py":
    backend, world, processes = sys.argv[1:4]
    module: Any = zpatterns.asyncio if world == "asyncio" else zpatterns
    worker = module.ReplyServer.worker(backend, name="fleet", threads=2, heartbeat=QUICK)

    @worker.reply(WHO, inline=True)
    def who() -> int:
        return os.getpid()

    @worker.reply(NAP)
    def nap(seconds: float) -> int:
        print("napping", flush=True)
        time.sleep(seconds)
        return os.getpid()

    if __name__ == "__main__":
        worker.run(grace=60.0, processes=int(processes))
        print("over", flush=True)
