"""Scenario: raw sockets send what no peer of ours sends to every class of pub/sub, pipelines, push/pull, pairs and proxies.

First messages that are wrong by construction: each is counted, exactly. Then mutated ones, some of which are right. After
each an honest peer is served as before.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import msgpack
import zmq

from tests.worlds import LIMIT, until
from zpatterns import (
    DecodeError,
    Pair,
    PeerUnavailable,
    Pipeline,
    Proxy,
    Publisher,
    Pull,
    Push,
    RequestTimeout,
    Subscriber,
    Topic,
)
from zpatterns.wire import jobs as j, message as w, pair as p, published as pub

from .lies import _mutated, _valid

NUMBER = Topic("number", int)
OTHER = Topic("other", int)
GROUP = 200
"""Messages under way at once: no more than any queue holds, so that none is lost."""
Message = list[bytes]


def scenario(count: int, seed: int) -> dict[str, int]:
    """So many messages to each class; how many of them it has counted as undecodable."""
    found: dict[str, int] = {}
    for run in (_subscriber, _publisher, _pipeline, _worker, _pull, _pair, _proxy):
        found[run.__name__[1:]] = run(count, Random(f"{seed}/{run.__name__}"))
    return found


# -- what is sent ------------------------------------------------------------------------------------------------------------


def wrong(chance: Random) -> Message:
    """Nothing that any of our protocols takes."""
    kind = chance.randrange(9)
    junk = chance.randbytes(chance.randrange(60))
    if kind == 0:
        return [b"\0" + junk, junk]
    if kind == 1:
        return [w.PREFIX + b"\xc1" + junk, b""]
    if kind == 2:
        return [w.PREFIX + msgpack.packb([chance.randrange(100, 10**6), *range(chance.randrange(6))]), junk]
    if kind == 3:
        return [w.PREFIX + b"\xdf\xff\xff\xff\xff" + junk, junk]
    if kind == 4:
        return [w.PREFIX + b"\x91" * chance.randrange(2, 3000), junk]
    if kind == 5:
        return [p.item(1)]  # a header alone
    if kind == 6:
        return [b"", b""]
    if kind == 7:
        return [w.PREFIX + b"\xc1", *(chance.randbytes(9) for _ in range(chance.randrange(80, 120)))]
    return [w.PREFIX + msgpack.packb([chance.randrange(32, 52)] + [chance.choice(([], {}, None, -1))] * 9), junk]


def wrong_publication(chance: Random, topic: bytes) -> Message:
    """On a topic that is subscribed to."""
    head, kind = pub.head(1, 0, chance.randbytes(8)), chance.randrange(6)
    if kind == 0:
        return [topic, pub.record(head, 1, 1, 0)[: chance.randrange(4, pub.RECORD)]]
    if kind == 1:
        return [topic, pub.record(head, chance.choice((0, 1025, 65535)), 1, 0) + b"\1"]
    if kind == 2:
        return [topic, pub.record(head, 1, chance.choice((0, 2**62, 2**64 - 1)), 0) + b"\1"]
    if kind == 3:
        return [topic, pub.record(head, 1, 1, 0) + b"\1", *([b"frame"] * chance.randrange(1, 100))]
    if kind == 4:
        return [topic, pub.PREFIX + bytes((99, 99)) + chance.randbytes(26)]
    return [
        pub.HEARTBEAT_TOPIC,
        pub.record(head, 0, 1, 0) + chance.choice((b"", b"\xc1", b"\x91\x05", b"\xdf\xff\xff\xff\xff")),
    ]


def wrong_subscription(chance: Random) -> Message:
    """Upstream, and no subscription."""
    kind = chance.randrange(3)
    if kind == 0:
        return [bytes((chance.randrange(2, 256),)) + chance.randbytes(chance.randrange(200))]
    if kind == 1:
        return [b"\2"] * chance.randrange(
            2, 90
        )  # a frame that begins with 0 or 1 is a subscription, wherever it stands
    return [b"\1" + pub.NONCE_TOPIC + chance.randbytes(chance.choice((0, 1, 15, 17, 100)))]


@contextmanager
def raw(kind: int, endpoint: str) -> Iterator[Any]:
    """A socket without limits."""
    with zmq.Context() as context, context.socket(kind) as socket:
        socket.linger, socket.sndhwm, socket.rcvhwm = 0, 0, 0
        if "*" in endpoint:
            socket.bind(endpoint)
        else:
            socket.connect(endpoint)
        yield socket


def _assault(
    count: int, send: Callable[[Message], None], make: Callable[[], Message], counted: Callable[[], int]
) -> int:
    """Send in groups, and wait until each is counted."""
    before = counted()
    for first in range(0, count, GROUP):
        last = min(count, first + GROUP)
        for _ in range(first, last):
            send(make())
        until(lambda last=last: counted() - before >= last, f"{counted() - before} of {last} are counted")  # type: ignore[misc]
    assert counted() - before == count
    return count


def _mutations(count: int, send: Callable[[Message], None], chance: Random, seen: Callable[[], int]) -> None:
    """Some of them are right: it is enough that they do no harm, and are not piled up."""
    valid = _valid()
    for number in range(count):
        send([bytes(frame) for frame in _mutated(chance, valid)])
        if number % GROUP == GROUP - 1:
            before, over = seen(), time.monotonic() + 0.005
            while time.monotonic() < over and seen() == before:
                time.sleep(0.0005)


# -- who gets it -------------------------------------------------------------------------------------------------------------


def _subscriber(count: int, chance: Random) -> int:
    topic = NUMBER.frame
    with (
        raw(zmq.XPUB, "tcp://127.0.0.1:*") as attacker,
        Publisher("tcp://127.0.0.1:*") as honest,
        Subscriber([attacker.last_endpoint.decode(), honest.endpoint], NUMBER) as subscriber,
    ):
        while attacker.recv()[1:] != topic:
            pass

        def counted() -> int:
            counts = subscriber.statistics
            return counts.undecodable + counts.unwanted

        honest.wait_for_subscribers(NUMBER, timeout=LIMIT)
        _assault(count, attacker.send_multipart, lambda: wrong_publication(chance, topic), counted)
        _mutations(count, lambda frames: attacker.send_multipart([topic, *frames[1:]]), chance, counted)
        over = threading.Event()

        def publish() -> None:
            while not over.wait(0.01):
                honest.publish(NUMBER, 12345)

        thread = threading.Thread(target=publish, daemon=True)
        thread.start()
        while True:
            try:
                if subscriber.receive(LIMIT).body == 12345:
                    break
            except DecodeError:
                continue
        over.set()
        thread.join(LIMIT)
        return subscriber.statistics.undecodable


def _publisher(count: int, chance: Random) -> int:
    with Publisher("tcp://127.0.0.1:*") as publisher, raw(zmq.XSUB, publisher.endpoint) as attacker:
        attacker.send(b"\1" + OTHER.frame)
        publisher.wait_for_subscribers(OTHER, timeout=LIMIT)
        _assault(
            count,
            attacker.send_multipart,
            lambda: wrong_subscription(chance),
            lambda: publisher.statistics.undecodable,
        )
        _mutations(count, attacker.send_multipart, chance, lambda: publisher.statistics.undecodable)
        with Subscriber(publisher.endpoint, NUMBER) as subscriber:
            subscriber.ready(LIMIT)
            publisher.publish(NUMBER, 1)
            assert subscriber.receive(LIMIT).body == 1
        return publisher.statistics.undecodable


def _pipeline_of(endpoint: str) -> tuple[Pipeline, Any]:
    pipeline = Pipeline(endpoint)

    @pipeline.stage(concurrency=4, inline=True)
    def double(job: int) -> int:
        return 2 * job

    return pipeline, double


def _pipeline(count: int, chance: Random) -> int:
    pipeline, double = _pipeline_of("tcp://127.0.0.1:*")
    with pipeline, pipeline.worker(), raw(zmq.DEALER, pipeline.endpoint) as attacker:
        assert list(pipeline.map(range(100), double)) == [2 * job for job in range(100)]

        def send(frames: Message) -> None:
            attacker.send_multipart(frames)
            while attacker.poll(0):
                attacker.recv_multipart()

        _assault(count, send, lambda: wrong(chance), lambda: pipeline.statistics.undecodable)
        _mutations(count, send, chance, lambda: pipeline.statistics.undecodable)
        send([j.LEAVE_HEADER, b""])  # it may have called itself a worker meanwhile
        assert list(pipeline.map(range(100), double)) == [2 * job for job in range(100)]
        return pipeline.statistics.undecodable


def _worker(count: int, chance: Random) -> int:
    pipeline, _ = _pipeline_of("tcp://127.0.0.1:*")
    with raw(zmq.ROUTER, "tcp://127.0.0.1:*") as attacker:
        with pipeline.worker(attacker.last_endpoint.decode()) as worker:
            peer = attacker.recv_multipart()[0]

            def send(frames: Message) -> None:
                attacker.send_multipart([peer, *frames])
                while attacker.poll(0):
                    attacker.recv_multipart()

            _assault(count, send, lambda: wrong(chance), lambda: worker.statistics.undecodable)

            def harmless(frames: Message) -> None:
                try:
                    stops = type(j.parse(frames[0])) is j.Stop
                except DecodeError:
                    stops = False
                if not stops:  # that is an order
                    send(frames)

            _mutations(count, harmless, chance, lambda: worker.statistics.undecodable)
            over = time.monotonic() + LIMIT
            attacker.send_multipart([peer, j.jobs("double", 1, 1, 30_000, 1), msgpack.packb([77]), msgpack.packb(4)])
            answer = [j.results(1, 1), msgpack.packb([77]), msgpack.packb(8)]
            frames: Message = []
            while frames[1:] != answer:
                assert attacker.poll(LIMIT * 1000) and time.monotonic() < over, "the worker does not answer"
                frames = attacker.recv_multipart()
            return worker.statistics.undecodable


def _reading(receive: Callable[[], Any], over: threading.Event) -> threading.Thread:
    def read() -> None:
        while not over.is_set():
            try:
                receive()
            except (DecodeError, RequestTimeout, PeerUnavailable):
                continue

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


def _pull(count: int, chance: Random) -> int:
    with Pull.bind("tcp://127.0.0.1:*", int) as pull, raw(zmq.PUSH, pull.endpoint) as attacker:
        over = threading.Event()
        thread = _reading(lambda: pull.receive(timeout=0.1), over)
        _assault(count, attacker.send_multipart, lambda: wrong(chance), lambda: pull.statistics.undecodable)
        _mutations(count, attacker.send_multipart, chance, lambda: pull.statistics.messages)
        until(lambda: pull.statistics.messages >= 2 * count)
        over.set()
        thread.join(LIMIT)
        assert not thread.is_alive()
        with Push.connect(pull.endpoint, int) as push:
            push.send(5)
            _until_it_comes(lambda: pull.receive(timeout=LIMIT), 5)
        return pull.statistics.undecodable


def _until_it_comes(receive: Callable[[], Any], wanted: Any) -> None:
    while True:
        try:
            if receive() == wanted:
                return
        except DecodeError:
            continue


def _pair(count: int, chance: Random) -> int:
    with Pair.bind("tcp://127.0.0.1:*", int, timeout=LIMIT) as pair:
        with raw(zmq.PAIR, pair.endpoint) as attacker:

            def send(frames: Message) -> None:
                attacker.send_multipart(frames)
                while attacker.poll(0):
                    attacker.recv_multipart()

            send(list(p.hello(b"attacker", 0, b"")))
            pair.ready()
            over = threading.Event()
            thread = _reading(lambda: pair.receive(timeout=0.1), over)
            _assault(count, send, lambda: wrong(chance), lambda: pair.statistics.undecodable)
            _mutations(count, send, chance, lambda: pair.statistics.undecodable)
            over.set()
            thread.join(LIMIT)
            assert not thread.is_alive()
        with Pair.connect(pair.endpoint, int, timeout=LIMIT) as honest:
            honest.send(5)
            _until_it_comes(pair.receive, 5)
        return pair.statistics.undecodable


def _proxy(count: int, chance: Random) -> int:
    """It opens nothing, so it counts frames and no more."""
    forwarded = 0
    kinds = (
        (Proxy.forwarder, zmq.XPUB, zmq.XSUB),
        (Proxy.queue, zmq.DEALER, zmq.DEALER),
        (Proxy.streamer, zmq.PUSH, zmq.PULL),
    )
    for make, front, back in kinds:
        with make("tcp://127.0.0.1:*", "tcp://127.0.0.1:*") as proxy:
            with raw(front, proxy.frontend) as attacker, raw(back, proxy.backend) as other:
                for number in range(count):
                    attacker.send_multipart(wrong(chance))
                    if back == zmq.XSUB:
                        other.send_multipart(wrong_subscription(chance))
                    elif back == zmq.DEALER:
                        other.send_multipart(wrong(chance))
                    if number % GROUP == 0:
                        while other.poll(0):
                            other.recv_multipart()
                        while front != zmq.PUSH and attacker.poll(0):
                            attacker.recv_multipart()
                forwarded += proxy.statistics.frontend_received
            if make is Proxy.forwarder:
                with (
                    Publisher(proxy.frontend, bind=False) as publisher,
                    Subscriber(proxy.backend, NUMBER) as subscriber,
                ):
                    subscriber.ready(LIMIT)
                    publisher.publish(NUMBER, 1)
                    assert subscriber.receive(LIMIT).body == 1
            elif make is Proxy.streamer:
                with Pull.connect(proxy.backend, int) as pull, Push.connect(proxy.frontend, int) as push:
                    push.send(5)
                    _until_it_comes(lambda: pull.receive(timeout=LIMIT), 5)
    return forwarded
