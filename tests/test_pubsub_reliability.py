"""Publish/subscribe when it goes wrong, with real processes: slow joiners, a subscriber that is stopped, a receiver that stalls."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any

import pytest

import zpatterns
from zpatterns import Heartbeat, Proxy, Publisher, Subscriber

from .pubsub_worlds import NOTE, Note
from .worlds import LIMIT, fresh, until

PAYLOAD = "x" * 200
LARGE = Note(text="x" * 4000)


def resident_kb() -> int:
    """Memory of this process, where the system says."""
    pages = Path("/proc/self/statm")
    return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024 if pages.exists() else 0


class Stopped:
    """The other process."""

    def __init__(self, endpoint: str, *, way: str = "connect", stall: float = 0.0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.stopped_subscriber", endpoint, way, str(stall)],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.endpoint: str = self.says()["endpoint"]

    def says(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"it ended with {self.process.wait(LIMIT)}: an abort is -6"
        return json.loads(line)

    def ended(self, publisher: Publisher) -> dict[str, Any]:
        """What it came to, told END until it has room for that."""
        over = time.monotonic() + LIMIT
        while not select.select([self.process.stdout], [], [], 0.1)[0]:
            assert time.monotonic() < over, "it never heard the END"
            publisher.publish(NOTE, Note(text="END"))
        return self.says()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def stopped(endpoint: str, **options: Any) -> Iterator[Stopped]:
    made = Stopped(endpoint, **options)
    try:
        yield made
    finally:
        made.kill()


@pytest.mark.parametrize("through", ["direct", "forwarder"])
def test_a_thousand_fresh_subscribers_lose_no_first_message(through: str) -> None:
    lost = 0
    with Proxy.forwarder("tcp://127.0.0.1:*", "tcp://127.0.0.1:*") as proxy:
        direct = through == "direct"
        with Publisher("tcp://127.0.0.1:*" if direct else proxy.frontend, bind=direct) as publisher:
            for number in range(1000):
                with Subscriber(publisher.endpoint if direct else proxy.backend, NOTE) as subscriber:
                    subscriber.ready(LIMIT)
                    publisher.publish(NOTE, Note(text=str(number)))
                    message = subscriber.receive(LIMIT)
                    lost += message.body.text != str(number) or message.missed
    assert lost == 0


def test_one_of_twenty_is_stopped_and_the_others_do_not_notice() -> None:
    seconds = float(os.environ.get("STOPPED", "3"))
    with Publisher("tcp://127.0.0.1:*", heartbeat=Heartbeat(interval=0.2)) as publisher:
        others = [Subscriber(publisher.endpoint, NOTE) for _ in range(19)]
        try:
            with stopped(publisher.endpoint) as one:
                assert one.says()["ready"]
                for other in others:
                    other.ready(LIMIT)

                def publish_for(span: float) -> list[float]:
                    """How long each batch took to the last of the others."""
                    took = []
                    over = time.monotonic() + span
                    while time.monotonic() < over or (span == seconds and len(took) < 400):
                        began = time.monotonic()
                        for _ in range(20):
                            publisher.publish(NOTE, LARGE)
                        for other in others:
                            for _ in range(20):
                                assert other.receive(LIMIT).missed == 0
                        took.append(time.monotonic() - began)
                    return took

                calm = publish_for(seconds / 2)
                before = resident_kb()
                os.kill(one.process.pid, signal.SIGSTOP)
                try:
                    busy = publish_for(seconds)  # more than fits between us and it: libzmq drops for that one
                finally:
                    os.kill(one.process.pid, signal.SIGCONT)
                grown = resident_kb() - before
                came = one.ended(publisher)
                assert came["ended"], came
                assert came["given"] + came["missed"] == came["sequence"] <= publisher.statistics.published
                assert grown < 30_000, "the publisher keeps high_water_mark messages for it, and no more"
                print(
                    f"publisher +{grown} kB; p99 {quantiles(calm, n=100)[-1]:.4f} and {quantiles(busy, n=100)[-1]:.4f} s; {came}"
                )
                assert came["lost"] + came["overflowed"] >= came["missed"] > 0
                assert came["grown_kb"] < 30_000, came
                assert quantiles(busy, n=100)[-1] <= 2 * quantiles(calm, n=100)[-1] + 0.05
        finally:
            for other in others:
                other.close()


@pytest.mark.parametrize(("way", "stall"), [("connect", "stopped"), ("bind", "asleep")])
def test_a_receiver_that_stalls_for_three_seconds_under_load_goes_on(way: str, stall: str, tmp_path: Path) -> None:
    """With ZMTP heartbeats this aborts the process (libzmq #3937): ours are off, and the account still closes."""
    options = zpatterns.SocketOptions(high_water_mark=100)

    def run(endpoint: str, one: Stopped, *, bind: bool) -> None:
        with Publisher(endpoint, bind=bind, heartbeat=Heartbeat(interval=0.2), options=options) as publisher:
            assert (one or started[0]).says()["ready"]
            target = one or started[0]
            if stall == "stopped":
                os.kill(target.process.pid, signal.SIGSTOP)
            over = time.monotonic() + 3.0
            while time.monotonic() < over:
                for _ in range(100):
                    publisher.publish(NOTE, Note(text=PAYLOAD))
                time.sleep(0.002)
            if stall == "stopped":
                os.kill(target.process.pid, signal.SIGCONT)
            came = target.ended(publisher)
            assert came["ended"], came
            assert came["given"] + came["missed"] == came["sequence"] <= publisher.statistics.published
            assert target.process.wait(LIMIT) == 0

    started: list[Stopped] = []
    if way == "bind":
        with stopped("tcp://127.0.0.1:*", way="bind", stall=3.0 if stall == "asleep" else 0.0) as one:
            run(one.endpoint, one, bind=False)
        return
    endpoint = fresh("ipc", tmp_path)
    with stopped(endpoint, stall=3.0 if stall == "asleep" else 0.0) as one:
        started.append(one)
        run(endpoint, one, bind=True)


def test_a_publisher_killed_and_started_again_is_heard_again(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from zpatterns import Publisher\n"
        "from tests.pubsub_worlds import NOTE, Note\n"
        "with Publisher(sys.argv[1]) as publisher:\n"
        "    for number in range(10**9):\n"
        "        publisher.publish(NOTE, Note(text=str(number)))\n"
        "        time.sleep(0.001)\n"
    )
    endpoint = fresh("ipc", tmp_path)
    with Subscriber(endpoint, NOTE) as subscriber:
        publishers = set()
        for _ in range(3):
            process = subprocess.Popen([sys.executable, "-c", code, endpoint])
            try:
                subscriber.ready(LIMIT)
                before = len(publishers)

                def heard(known: int = before) -> bool:
                    message = subscriber.receive(LIMIT)
                    publishers.add(message.publisher)
                    return len(publishers) > known

                until(heard)
            finally:
                process.kill()
                process.wait()
        assert len(publishers) == 3


@pytest.mark.parametrize("forwarded", [False, True])
@pytest.mark.parametrize("first", ["publisher", "subscriber"])
def test_many_subscriptions_are_all_in_place_after_a_restart(first: str, forwarded: bool, tmp_path: Path) -> None:
    """However small the queues are: a subscription is never what finds no room."""
    few = zpatterns.SocketOptions(high_water_mark=1)
    topics = [zpatterns.Topic(f"sensor.{number}", int) for number in range(500)]
    endpoint = front = fresh("ipc", tmp_path)
    with ExitStack() as stack:
        if forwarded:
            front = fresh("ipc", tmp_path)
            stack.enter_context(Proxy.forwarder(front, endpoint, connect_frontend=True, options=few))
        if first == "publisher":
            publisher = Publisher(front)
        subscriber = stack.enter_context(Subscriber(endpoint, *topics, options=few))
        if first == "publisher":
            subscriber.ready(LIMIT)
            publisher.close()
        publisher = stack.enter_context(Publisher(front))
        subscriber.ready(LIMIT)
        for topic in topics:
            assert publisher.wait_for_subscribers(topic, timeout=0.0) == 1
