"""Publishers and subscribers that nobody closes: the interpreter ends soon, silently, and what was published goes out; signals end run()."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from zpatterns import Publisher, Subscriber

from .pubsub_worlds import NOTE, Note
from .test_exit import run
from .worlds import LIMIT, until

ROOT = Path(__file__).resolve().parent.parent
ENDS = {
    "nothing closed": """
publisher = zp.Publisher("tcp://127.0.0.1:*")
subscriber = zp.Subscriber(publisher.endpoint, T)
subscriber.ready(10.0)
publisher.publish(T, 1)
threading.Thread(target=lambda: list(subscriber), daemon=True).start()
""",
    "nobody there": """
subscriber = zp.Subscriber(NOBODY, T)
publisher = zp.Publisher(NOBODY, bind=False)
publisher.publish_many(T, range(1000))
threading.Thread(target=subscriber.run, daemon=True).start()
""",
    "a subscriber that does not read": """
small = zp.SocketOptions(high_water_mark=10, extra={"SNDBUF": 4096, "RCVBUF": 4096})
publisher = zp.Publisher("tcp://127.0.0.1:*", options=small)
subscriber = zp.Subscriber(publisher.endpoint, T, overflow=zp.Overflow.BLOCK, limits=zp.Limits(backlog=1), options=small)
subscriber.ready(10.0)
for number in range(10_000):
    publisher.publish(T, number)
""",
    "asyncio, nothing closed": """
async def main():
    publisher = await aio.Publisher("tcp://127.0.0.1:*").__aenter__()
    subscriber = aio.Subscriber(publisher.endpoint, T)
    await subscriber.ready(10.0)
    publisher.publish(T, 1)
    assert (await subscriber.receive(10.0)).body == 1
    task = asyncio.create_task(subscriber.serve())
    await asyncio.sleep(0.01)
asyncio.run(main())
""",
}


@pytest.mark.parametrize("name", ENDS)
def test_the_interpreter_ends(name: str) -> None:
    done = run('T = zp.Topic("t", int)\n' + ENDS[name])
    assert (done.returncode, done.stderr) == (0, "")


UNCLOSED = """
import sys
from tests.pubsub_worlds import NOTE, Note
from zpatterns import Publisher
publisher = Publisher(sys.argv[1], bind=False)
publisher.wait_for_subscribers(NOTE, 1, 20.0)
for number in range(500):
    publisher.publish(NOTE, Note(text=f"{number}" * 200))
"""


def test_what_was_published_goes_out_though_nobody_closed() -> None:
    with Subscriber("tcp://127.0.0.1:*", NOTE, bind=True) as subscriber:
        process = subprocess.Popen([sys.executable, "-c", UNCLOSED, subscriber.endpoint], cwd=ROOT)
        assert len([subscriber.receive(LIMIT) for _ in range(500)]) == 500
        assert process.wait(LIMIT) == 0


RUNNING = """
import sys
import zpatterns, zpatterns.asyncio
from tests.pubsub_worlds import NOTE
module = zpatterns if sys.argv[1] == "blocking" else zpatterns.asyncio
subscriber = module.Subscriber(sys.argv[2])

@subscriber.on(NOTE)
def note(message):
    print(message.body.text, flush=True)

subscriber.run()
print("stopped", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("world", ["blocking", "asyncio"])
def test_a_signal_ends_run(world: str, number: signal.Signals) -> None:
    with Publisher("tcp://127.0.0.1:*") as publisher:
        command = [sys.executable, "-c", RUNNING, world, publisher.endpoint]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        try:
            publisher.wait_for_subscribers(NOTE, 1, LIMIT)
            publisher.publish(NOTE, Note(text="hello"))
            assert process.stdout.readline() == "hello\n"
            began = time.monotonic()
            process.send_signal(number)
            assert process.stdout.readline() == "stopped\n"
            assert process.wait(LIMIT) == 0
            assert time.monotonic() - began < 10.0
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        until(lambda: publisher.statistics.unsubscribed > 0)


BUSY = {
    "blocking": """
import time
from zpatterns import Subscriber

def note(message):
    logging.info("busy")
    time.sleep(100)
""",
    "asyncio": """
import asyncio
from zpatterns.asyncio import Subscriber

async def note(message):
    logging.info("busy")
    await asyncio.sleep(100)
""",
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("world", ["blocking", "asyncio"])
def test_a_second_signal_interrupts_the_handler_at_work(world: str, number: signal.Signals) -> None:
    code = (
        "import logging, sys\n"
        "from tests.pubsub_worlds import NOTE\n"
        "logging.basicConfig(level=logging.INFO, stream=sys.stdout, format='%(message)s')\n"
        f"{BUSY[world]}\n"
        "subscriber = Subscriber(sys.argv[1])\n"
        "subscriber.on(NOTE)(note)\n"
        "subscriber.run()\n"
        "print('stopped', flush=True)\n"
    )
    with Publisher("tcp://127.0.0.1:*") as publisher:
        command = [sys.executable, "-c", code, publisher.endpoint]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        try:
            publisher.wait_for_subscribers(NOTE, 1, LIMIT)
            publisher.publish(NOTE, Note(text="hello"))
            assert process.stdout.readline() == "busy\n"
            process.send_signal(number)
            assert process.stdout.readline().startswith(f"{number.name}: stopping")
            process.send_signal(number)
            assert process.stdout.readline() == "stopped\n"
            assert process.wait(LIMIT) == 0
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


@pytest.mark.parametrize("world", ["blocking", "asyncio"])
def test_run_leaves_an_ignored_signal_alone(world: str) -> None:
    """As background jobs of a shell have it."""
    ignoring = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    with Publisher("tcp://127.0.0.1:*") as publisher:
        command = [sys.executable, "-c", ignoring + RUNNING, world, publisher.endpoint]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        try:
            publisher.wait_for_subscribers(NOTE, 1, LIMIT)
            for text in ("before", "after"):
                publisher.publish(NOTE, Note(text=text))
                assert process.stdout.readline() == f"{text}\n"
                process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGTERM)
            assert process.stdout.readline() == "stopped\n"
            assert process.wait(LIMIT) == 0
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
