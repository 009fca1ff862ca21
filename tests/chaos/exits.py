"""Scenario: the interpreter ends while pub/sub, pipelines, push/pull, pairs and proxies still have unsent data, each in a
process of its own that closes nothing.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PROMISE = 2.0
"""Seconds from the last line of the program to the end of its process."""
_HEAD = """
import asyncio, logging, threading, time
import zpatterns as zp
import zpatterns.asyncio as aio
T = zp.Topic("t", int)
NOBODY = "tcp://127.0.0.1:1"
ANYWHERE = "tcp://127.0.0.1:*"
SMALL = zp.SocketOptions(high_water_mark=5, extra={"SNDBUF": 4096, "RCVBUF": 4096})
LARGE = b"x" * 20_000
threading.excepthook = lambda _: None  # what waits in other threads is told that it is over
logging.getLogger("zpatterns").setLevel(logging.ERROR)  # what was never sent is told aloud, and may be

def quietly(call, *arguments):
    try:
        while True:
            call(*arguments)
    except (zp.Overloaded, zp.RequestTimeout, zp.PeerUnavailable):
        pass

async def aquietly(call, *arguments):
    try:
        while True:
            await call(*arguments)
    except (zp.Overloaded, zp.RequestTimeout, zp.PeerUnavailable):
        pass
"""
_TAIL = """
print(time.time(), flush=True)
"""
ENDS = {
    "Publisher, nobody there": """
publisher = zp.Publisher(NOBODY, bind=False)
publisher.publish_many(T, range(1000))
""",
    "Publisher, a subscriber that does not read": """
publisher = zp.Publisher(ANYWHERE, options=SMALL, overflow=zp.Overflow.BLOCK, timeout=0.2)
subscriber = zp.Subscriber(publisher.endpoint, T, overflow=zp.Overflow.BLOCK, limits=zp.Limits(backlog=1), options=SMALL)
subscriber.ready(10.0)
quietly(publisher.publish, T, 1)
""",
    "Push, nobody there": """
push = zp.Push.connect(NOBODY, bytes, options=SMALL, timeout=0.2)
quietly(push.send, LARGE)
""",
    "Push, a Pull that does not read": """
push = zp.Push.bind(ANYWHERE, bytes, options=SMALL, timeout=0.2)
pull = zp.Pull.connect(push.endpoint, bytes, options=SMALL)
quietly(push.send, LARGE)
threading.Thread(target=pull.receive, daemon=True).start()
threading.Thread(target=zp.Pull.connect(NOBODY, bytes).receive, daemon=True).start()
""",
    "Pair, a peer that does not read": """
left = zp.Pair.bind(ANYWHERE, bytes, options=SMALL, timeout=0.2)
right = zp.Pair.connect(left.endpoint, bytes, options=SMALL)
left.ready(timeout=10.0)
quietly(left.send, LARGE)
threading.Thread(target=lambda: list(left), daemon=True).start()
""",
    "Pair, nobody there": """
pair = zp.Pair.connect(NOBODY, bytes, timeout=0.2)
quietly(pair.send, LARGE)
threading.Thread(target=pair.receive, daemon=True).start()
""",
    "Pipeline, jobs that nobody takes": """
pipeline = zp.Pipeline(ANYWHERE)
@pipeline.stage
def double(job: int) -> int: return 2 * job
results = pipeline.map(range(1000), double)
threading.Thread(target=lambda: next(results), daemon=True).start()
time.sleep(0.05)
""",
    "PipelineWorker, a stuck handler": """
pipeline = zp.Pipeline(ANYWHERE)
entered = threading.Event()
@pipeline.stage
def double(job: int) -> int:
    entered.set()
    time.sleep(1000)
    return 0
worker = pipeline.worker().__enter__() if pipeline.__enter__() else None
results = pipeline.map(range(1000), double)
threading.Thread(target=lambda: next(results), daemon=True).start()
assert entered.wait(10.0)
""",
    "Proxy, a Pull that does not read": """
proxy = zp.Proxy.streamer(ANYWHERE, ANYWHERE, options=SMALL).start()
pull = zp.Pull.connect(proxy.backend, bytes, options=SMALL)
push = zp.Push.connect(proxy.frontend, bytes, options=SMALL, timeout=0.2)
quietly(push.send, LARGE)
""",
    "asyncio, Publisher, a subscriber that does not read": """
async def main():
    publisher = await aio.Publisher(ANYWHERE, options=SMALL, overflow=zp.Overflow.BLOCK, timeout=0.2).__aenter__()
    subscriber = aio.Subscriber(
        publisher.endpoint, T, overflow=zp.Overflow.BLOCK, limits=zp.Limits(backlog=1), options=SMALL
    )
    await subscriber.ready(10.0)
    await aquietly(publisher.publish, T, 1)
asyncio.run(main())
""",
    "asyncio, Push, a Pull that does not read": """
async def main():
    push = await aio.Push.bind(ANYWHERE, bytes, options=SMALL, timeout=0.2, limits=zp.Limits(queue=10)).__aenter__()
    pull = await aio.Pull.connect(push.endpoint, bytes, options=SMALL, limits=zp.Limits(queue=1)).__aenter__()
    await aquietly(push.send, LARGE)
asyncio.run(main())
""",
    "asyncio, Pair, a peer that does not read": """
async def main():
    left = await aio.Pair.bind(ANYWHERE, bytes, options=SMALL, timeout=0.2).__aenter__()
    right = await aio.Pair.connect(left.endpoint, bytes, options=SMALL).__aenter__()
    await left.ready(timeout=10.0)
    await aquietly(left.send, LARGE)
asyncio.run(main())
""",
    "asyncio, Pipeline and worker, a handler that waits": """
async def main():
    pipeline = aio.Pipeline(ANYWHERE)
    entered = asyncio.Event()
    @pipeline.stage
    async def double(job: int) -> int:
        entered.set()
        await asyncio.sleep(1000)
        return 0
    await pipeline.__aenter__()
    worker = await pipeline.worker().__aenter__()
    results = pipeline.map(range(1000), double)
    task = asyncio.ensure_future(anext(results))
    await entered.wait()
asyncio.run(main())
""",
}


def scenario(patience: float) -> dict[str, float]:
    """Seconds that each took to end. Asserts that none failed or printed anything."""
    return {name: ended(script, patience) for name, script in ENDS.items()}


def ended(script: str, patience: float) -> float:
    """Seconds from the end of this program to that of its process."""
    command = [sys.executable, "-X", "faulthandler", "-c", _HEAD + script + _TAIL]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=patience, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr or f"exit code {done.returncode}"
    return time.time() - float(done.stdout)
