"""The server that is killed: ``python -m tests.chaos.server ENDPOINT JOURNAL WORLD``.

This process only forks, so that a server that was killed is back within milliseconds. For each line on its standard
input it starts one and prints its process id. A handler writes the id of its request to the journal before it answers:
one ``write`` to a file opened with O_APPEND, so the line is there even if the process is killed right after.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time

import zpatterns
import zpatterns.asyncio
from zpatterns import AddressInUse, Method

FREE = Method("chaos.free", str, str, idempotent=True)
ONCE = Method("chaos.once", str, str)
DEDUPE = Method("chaos.dedupe", str, str, dedupe=True)
METHODS = (FREE, ONCE, DEDUPE)


def serve(endpoint: str, journal: str, world: str) -> None:
    """Until killed, or until the parent is gone."""
    out = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    chance = random.Random(os.getpid())

    def handle(request: str) -> str:
        os.write(out, f"{request}\n".encode())
        if chance.random() < 0.1:
            time.sleep(0.005)
        return request

    module = zpatterns.asyncio if world == "asyncio" else zpatterns
    until = time.monotonic() + 5.0
    while True:
        server = module.ReplyServer(endpoint, name="chaos", threads=8)
        for method in METHODS:
            server.reply(method)(handle)
        try:
            server.run(grace=0.5)
        except AddressInUse:
            if time.monotonic() > until:
                raise
            time.sleep(0.005)
        else:
            return


def main() -> None:
    """Fork once for each line."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries the dead
    for _ in sys.stdin:
        child = os.fork()
        if not child:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                serve(*sys.argv[1:4])
            finally:
                os._exit(0)
        print(child, flush=True)


if __name__ == "__main__":
    main()
