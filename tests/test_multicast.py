"""pgm and epgm: who may use them, and what happens without; with a libzmq that has them, messages to several processes.

``make pgm`` runs the second half, in a network namespace of its own.
"""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import zmq

import zpatterns
from zpatterns import (
    ConfigurationError,
    Insecure,
    InsecureEndpointError,
    Publisher,
    SocketOptions,
    Subscriber,
    Topic,
    TransportUnavailable,
)
from zpatterns.drive import sockets
from zpatterns.policy import Limits

from .worlds import LIMIT, until

HAS_PGM = bool(zmq.has("pgm"))
EPGM = "epgm://127.0.0.1;239.192.1.1:5555"
NUMBERS = Topic("multi.numbers", int)
LARGE = Topic("multi.large", bytes)
INSECURE = Insecure()
"""Whoever is in the group can read and send: multicast has no encryption."""


# -- everywhere --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["pgm", "epgm"])
@pytest.mark.parametrize("world", [zpatterns, zpatterns.asyncio], ids=["blocking", "asyncio"])
def test_patterns_that_need_an_answer_refuse_it(world: Any, transport: str) -> None:
    endpoint = f"{transport}://127.0.0.1;239.192.1.1:5555"
    attempts: list[Callable[[], object]] = [
        lambda: world.ReplyServer(endpoint, security=INSECURE),
        lambda: world.Pair.bind(endpoint, int, security=INSECURE),
        lambda: world.Pair.connect(endpoint, int, security=INSECURE),
        lambda: world.Pipeline(endpoint, security=INSECURE),
        lambda: world.Proxy.queue(endpoint, "inproc://x", security=INSECURE),
        lambda: world.Proxy.streamer("inproc://x", endpoint, security=INSECURE),
        lambda: world.RequestClient(endpoint, security=INSECURE),
    ]
    for attempt in attempts:
        with pytest.raises(ConfigurationError, match="nothing comes back") as caught:
            attempt()
        assert type(caught.value) is ConfigurationError


def test_what_would_end_the_process_is_refused_before() -> None:
    for endpoint in ("epgm://239.192.1.1:5555", "epgm://;239.192.1.1:5555", "epgm://lo;239.192.1.1:5555"):
        with pytest.raises(ConfigurationError, match="interface"):
            Publisher(endpoint, security=INSECURE)
    with pytest.raises(ConfigurationError, match="group"):
        Subscriber("epgm://127.0.0.1;10.0.0.1:5555", NUMBERS, security=INSECURE)


def test_it_is_plaintext_and_that_must_be_said() -> None:
    for attempt in (lambda: Publisher(EPGM), lambda: Subscriber(EPGM, NUMBERS)):
        with pytest.raises(InsecureEndpointError, match="multicast"):
            attempt()


def test_options_reach_the_sockets_that_may_have_them() -> None:
    options = SocketOptions(multicast_rate=5000, multicast_recovery=1.5, multicast_hops=3)
    context = zmq.Context.instance()
    for kind in (zmq.PUB, zmq.SUB, zmq.XPUB, zmq.XSUB):
        with sockets.open_socket(context, kind, options, Limits()) as socket:
            found = (socket.get(zmq.RATE), socket.get(zmq.RECOVERY_IVL), socket.get(zmq.MULTICAST_HOPS))
            assert found == (5000, 1500, 3)
    with sockets.open_socket(context, zmq.DEALER, options, Limits()) as socket:
        assert socket.get(zmq.RATE) == 100  # libzmq's own
    for wrong in ({"multicast_rate": 0}, {"multicast_recovery": -1.0}, {"multicast_hops": 0}):
        with pytest.raises(ConfigurationError, match="greater than 0"):
            SocketOptions(**wrong)  # type: ignore[arg-type]


@pytest.mark.skipif(HAS_PGM, reason="this libzmq has it")
def test_a_libzmq_without_it() -> None:
    for attempt in (
        lambda: Publisher(EPGM, security=INSECURE),
        lambda: Subscriber(EPGM, NUMBERS, security=INSECURE),
        lambda: zpatterns.Proxy.forwarder("inproc://x", EPGM, security=INSECURE).start(),
    ):
        with pytest.raises(TransportUnavailable, match="build pyzmq"):
            attempt()


# -- with a libzmq that has it -----------------------------------------------------------------------------------------

needs_pgm = pytest.mark.skipif(not HAS_PGM, reason="this libzmq has no pgm; make pgm builds one that has")

READER = """
import sys
from zpatterns import Insecure, Subscriber, Topic
topics = {"numbers": Topic("multi.numbers", int), "large": Topic("multi.large", bytes)}
with Subscriber(sys.argv[1], topics[sys.argv[2]], security=Insecure()) as subscriber:
    print("ready", flush=True)
    for message in subscriber:
        body = message.body
        print(len(body) if isinstance(body, bytes) else body, message.missed, flush=True)
"""


class Reader:
    """A subscriber in a process of its own, and what it has got: bodies and how many were missed before each."""

    def __init__(self, endpoint: str, topic: str) -> None:
        arguments = [sys.executable, "-W", "ignore:libzmq:RuntimeWarning", "-u", "-c", READER, endpoint, topic]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        self._lines: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        while self._lines.get(timeout=LIMIT) != ["ready"]:  # OpenPGM prints warnings about the loopback interface
            pass

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self._lines.put(line.split())

    def next(self) -> tuple[int, int]:
        while True:
            words = self._lines.get(timeout=LIMIT)
            if len(words) == 2 and all(word.isdigit() for word in words):
                return int(words[0]), int(words[1])

    def close(self) -> None:
        self.process.kill()
        self.process.wait(LIMIT)
        self._thread.join(LIMIT)


@contextmanager
def readers(endpoint: str, *topics: str) -> Iterator[list[Reader]]:
    made: list[Reader] = []
    try:
        for topic in topics:
            made.append(Reader(endpoint, topic))
        yield made
    finally:
        for reader in made:
            reader.close()


def joined(publisher: Publisher, *members: Reader, topic: Any = NUMBERS, body: Any = 0) -> None:
    """Nobody tells that a group was joined: publish until everybody has got something, then until it got the mark 1."""
    over = threading.Event()

    def call() -> None:
        while not over.wait(0.05):
            publisher.publish(topic, body)

    caller = threading.Thread(target=call)
    caller.start()
    try:
        for member in members:
            member.next()
    finally:
        over.set()
        caller.join()


@needs_pgm
@pytest.mark.parametrize("transport", ["epgm", "pgm"])
def test_two_subscriber_processes(transport: str) -> None:
    if transport == "pgm" and subprocess.run(["id", "-u"], capture_output=True, check=True).stdout.strip() != b"0":
        pytest.skip("raw pgm is for root")
    endpoint = EPGM.replace("epgm", transport)
    with readers(endpoint, "numbers", "numbers") as both, Publisher(endpoint, security=INSECURE) as publisher:
        joined(publisher, *both)
        for number in range(1, 201):
            publisher.publish(LARGE, b"nobody wants this")
            publisher.publish(NUMBERS, number)
        for reader in both:
            got = [reader.next()]
            while got[-1][0] < 200:
                got.append(reader.next())
            assert [body for body, _ in got if body] == list(range(1, 201))
            assert all(missed == 0 for _, missed in got)


@needs_pgm
def test_large_messages_and_a_late_joiner() -> None:
    with Publisher(EPGM, security=INSECURE) as publisher, readers(EPGM, "large") as [first]:
        joined(publisher, first, topic=LARGE, body=b"x")
        for size in (100_000, 1_000_000, 100_000):
            publisher.publish(LARGE, bytes(size))
        got: list[tuple[int, int]] = []
        while sum(size > 1 for size, _ in got) < 3:
            got.append(first.next())
        assert [size for size, _ in got if size > 1] == [100_000, 1_000_000, 100_000]
        with readers(EPGM, "large") as [late]:
            joined(publisher, late, topic=LARGE, body=b"y")
            publisher.publish(LARGE, b"late")
            sizes = [late.next()]
            while sizes[-1][0] != 4:
                sizes.append(late.next())
            assert all(missed == 0 for _, missed in sizes)


@needs_pgm
def test_a_forwarder_from_tcp_to_multicast() -> None:
    forwarder = zpatterns.Proxy.forwarder("tcp://127.0.0.1:*", EPGM, security=INSECURE)
    with forwarder, Publisher(forwarder.frontend, bind=False) as publisher, readers(EPGM, "numbers") as [reader]:
        joined(publisher, reader)
        publisher.publish(NUMBERS, 7)
        until(lambda: reader.next()[0] == 7)


@needs_pgm
def test_in_one_process_and_the_other_way_to_bind() -> None:
    with Subscriber(EPGM, NUMBERS, bind=True, security=INSECURE) as subscriber:
        with Publisher(EPGM, bind=False, security=INSECURE) as publisher:
            for number in range(200):
                publisher.publish(NUMBERS, number)
                try:
                    assert subscriber.receive(timeout=0.05).body <= number
                    return
                except zpatterns.RequestTimeout:
                    continue
    raise AssertionError("nothing came")
