"""Scenario: mutated frames of every kind, straight into the machines of pub/sub, pipelines, pairs and PULL."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import msgpack

from zpatterns.core.crew import Task
from zpatterns.core.flow import Inflow
from zpatterns.core.intake import Intake
from zpatterns.core.jobs import Rule
from zpatterns.core.machine import Link
from zpatterns.core.pairing import Pairing
from zpatterns.core.publisher import Publisher
from zpatterns.core.subscriber import Subscriber
from zpatterns.core.subscriptions import Subscription
from zpatterns.core.ventilator import Ventilator
from zpatterns.core.worker import StageWorker
from zpatterns.policy import Overflow
from zpatterns.wire import jobs as j, message as w, pair as p, published as pub

PEER = b"12345678"
_ODD: list[Any] = [0, 1, -1, 2**53, 2**63, "a", "x" * 3000, PEER, None, True, 1.5, [], {}, {"a": 1}, {"a": 2**53}, [[]]]


def scenario(count: int, seed: int) -> Counter[str]:
    """How much of it each machine could not read. Whatever a machine raises comes out of here."""
    chance, valid = Random(seed), _valid()
    pairs = [Pairing(incarnation=b"me345678", accepts=accepts) for accepts in (True, False)]
    ventilator = Ventilator(first_id=1000)
    route = ventilator.line("a", 60.0), ventilator.line("b", 60.0)
    worker = StageWorker({"a": (Rule(), 2)}, incarnation=b"worker78")
    worker.link(0, Link.UP, 0.0)
    publisher, subscriber = Publisher(incarnation=PEER, now=0.0), Subscriber(1, nonce=lambda: b"n" * 16)
    intake = Intake(100, Overflow.DROP_OLDEST, None)
    subscriber.open(intake)
    subscriber.subscribe(Subscription(b"t", intake, matches=lambda topic: topic[-1:] == b"\0", application=1), 0.0)
    machines: list[Any] = [ventilator, worker, *pairs, publisher, subscriber, Inflow(bare=False), Inflow(bare=True)]
    for number in range(count):
        now = number / 1000
        frames = _mutated(chance, valid)
        if len(ventilator.tasks) < 20:
            ventilator.put([Task(route, b"job", 1)], now)
        for machine in machines:
            routed = (chance.choice((b"A", b"B", b"C")), *frames) if machine is ventilator else frames
            machine.receive(0, routed, now)
            machine.dispatch(now)
            machine.flush(now)
            if machine.wakes_at is not None and machine.wakes_at <= now:
                machine.wake(now)
            machine.events.clear()
            machine.outbox.clear()
        subscriber.take(intake, now)
    assert len(ventilator.workers) <= 3
    assert len(worker._letters) < 100
    assert max(len(topic) for topic in subscriber._ledger.current) <= pub.LONGEST_SUBSCRIPTION
    return Counter({f"{type(machine).__name__} could not read": machine.statistics.undecodable for machine in machines})


def _valid() -> list[list[bytes]]:
    ids = j.encode_array([1000, 1001])
    record = pub.record(pub.head(1, 0, PEER), 0, 1, 10)
    return [
        [j.ready(PEER, {"a": 2, "b": 1}), b""],
        *([header, b""] for header in (j.LEAVE_HEADER, j.heartbeat(3), j.WHO_HEADER, j.STOP_HEADER)),
        [j.jobs("a", 1, 1, 5000, 2), ids, b"\x92\x01\x02"],
        [j.jobs("a", 3, 1, 5000, 2), ids, j.encode_array([b"x", b"y"])],
        [j.jobs("a", 1, 1, 5000, 1), j.encode_array([7]), b"payload", b"buffer"],
        [j.results(1, 2), ids, b"\x92\x01\x02"],
        [j.results(3, 2), ids, j.encode_array([b"x", b"y"])],
        [j.failed(1000, 13), w.encode_error("text", {"a": 1}, 100)],
        list(j.returned(1, [1000, 1001])),
        [j.items(1, 2), j.encode_array([b"\x01", b"\x02"])],
        list(p.hello(PEER, 2**40, b"")),
        list(p.welcome(PEER, 5, b"me345678")),
        [p.item(1), b"\x01"],
        list(p.bye(5)),
        [b"t\0", pub.record(pub.head(1, 0, PEER), 2, 5, 10) + b"\x92\x01\x02"],
        [pub.HEARTBEAT_TOPIC, record + pub.table([(b"t\0", 9)], complete=False)],
        [pub.NONCE_TOPIC + b"n" * 16, record + pub.table([(b"t\0", 9)], complete=True)],
        [b"\1t\0"],
        [b"\1" + pub.NONCE_TOPIC + b"n" * 16],
    ]


def _mutated(chance: Random, valid: list[list[bytes]]) -> list[Any]:
    frames: list[Any] = list(chance.choice(valid))
    at, kind = chance.randrange(len(frames)), chance.random()
    if kind < 0.5:  # a few bytes changed
        changed = bytearray(frames[at])
        for _ in range(chance.choice((1, 1, 2, 8)) if changed else 0):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        frames[at] = bytes(changed)
    elif kind < 0.6:
        frames[at] = frames[at][: chance.randrange(len(frames[at]) + 1)]
    elif kind < 0.65:
        frames[-1] = b"\x91" * chance.randrange(1, 3000)
    elif kind < 0.7:
        frames += [chance.randbytes(9) for _ in range(chance.randrange(60))]
    elif kind < 0.85:
        fields = [chance.choice(_ODD) for _ in range(chance.randrange(6))]
        frames[0] = w.PREFIX + msgpack.packb([chance.randrange(32, 52), *fields])
    elif kind < 0.9:
        frames[at] = memoryview(frames[at])
    return frames
