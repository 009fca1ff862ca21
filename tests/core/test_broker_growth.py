"""What one request costs does not grow with what else the broker knows: lines that are run are counted, not seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.core.brokering import C01, W01, Desk, id_of
from zpatterns.core.load_balancer import LeastLoaded, LeastRecentlyUsed
from zpatterns.wire import message as w

HEADER = w.request("m", 5000, 1, 1, w.BATCHES)
DONE = w.final(0, 1, w.BATCHES, b"worker-A")


def lines(action: Callable[[], None]) -> int:
    """Lines of Python that ``action`` runs, those of loops as often as they are run."""
    count = 0

    def local(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return local

    before = sys.gettrace()
    sys.settrace(lambda *_: local)
    try:
        action()
    finally:
        sys.settrace(before)
    return count


def same(some: int, other: int) -> bool:
    """Of a request among a thousand and of one alone. What the wire remembers of headers may be lost in between: a few lines."""
    return abs(some - other) < 50


def desk_of(services: int = 1, workers: int = 1, clients: int = 0, balancer: Any = LeastRecentlyUsed) -> Desk:
    """So many services, workers of each, and clients that have asked before."""
    desk = Desk(balancer=balancer)
    for service in range(services):
        for worker in range(workers):
            name = b"%d.%d" % (service, worker)
            desk.ours(name, incarnation=b"of " + name, service=b"service-%d" % service)
    for client in range(clients):
        desk.request(10_000 + client, client=b"c-%d" % client, service=b"service-0")
        answer(desk)
    desk.out()
    return desk


def answer(desk: Desk) -> None:
    """Whoever was given something answers."""
    for message in desk.out():
        if message[2:4] == (W01, b"\x02"):
            routing_id, *_ = message
            desk.hear(1, routing_id, b"", W01, b"\x03", *message[4:6], DONE, b"done")
    desk.out()


def one(desk: Desk, number: int, service: bytes = b"service-0") -> Callable[[], None]:
    """A request, its answer, and the broker's time."""

    def act() -> None:
        desk.hear(0, b"c1", id_of(number), b"", C01, service, HEADER, b"body")
        answer(desk)
        desk.machine.wake(desk.now)
        assert desk.machine.wakes_at is not None

    return act


def cost(desk: Desk, service: bytes = b"service-0") -> int:
    """Of the third request: by then whatever is remembered is there."""
    for number in range(2):
        one(desk, number, service)()
    return lines(one(desk, 2, service))


@pytest.mark.parametrize("balancer", [LeastRecentlyUsed, LeastLoaded])
def test_a_request_costs_the_same_among_many_services_and_workers(balancer: Any) -> None:
    base = cost(desk_of(balancer=balancer))
    assert base > 50
    for services in (10, 100, 1000):
        desk = desk_of(services, balancer=balancer)
        assert same(cost(desk), base)
        assert same(cost(desk, b"service-%d" % (services - 1)), base)
    for workers in (10, 100):
        assert same(cost(desk_of(1, workers, balancer=balancer)), base)


def test_a_request_costs_the_same_among_many_clients() -> None:
    assert same(cost(desk_of(clients=1000)), cost(desk_of(clients=1)))


def test_a_name_that_nobody_serves_costs_the_same_among_many_that_somebody_does() -> None:
    assert same(cost(desk_of(1000), b"nobody"), cost(desk_of(1), b"nobody"))
    plain = [desk_of(1), desk_of(1000)]
    for desk in plain:
        desk.plain(service=b"nobody")
    costs = [lines(lambda desk=desk: desk.plain(service=b"nobody else")) for desk in plain]  # type: ignore[misc]
    assert same(*costs)


def test_a_request_costs_the_same_behind_many_that_wait() -> None:
    costs: list[int] = []
    for waiting in (2, 2000):
        desk = desk_of()
        for number in range(4 + waiting):
            desk.hear(0, b"c-%d" % (number % 10), id_of(100 + number), b"", C01, b"service-0", HEADER, b"body")
        desk.out()
        desk.hear(0, b"c-0", id_of(1), b"", C01, b"service-0", HEADER, b"body")
        desk.out()
        costs.append(lines(lambda desk=desk: desk.hear(0, b"c-0", id_of(2), b"", C01, b"service-0", HEADER, b"")))  # type: ignore[misc]
    assert same(*costs)


def test_requests_in_one_message_cost_less_than_alone() -> None:
    desk = desk_of()
    desk.capacity(b"0.0", 64, b"of 0.0")
    alone = cost(desk)
    for first in (100, 200):
        desk.machine.workers[b"0.0"].share = 32
        flat = [part for number in range(first, first + 64) for part in (id_of(number), HEADER, b"body")]

        def act(flat: list[bytes] = flat) -> None:
            desk.hear(0, b"c1", b"", C01, b"service-0", w.batch(64), w.encode_batch(flat))
            [message] = [message for message in desk.out() if message[0] == b"0.0"]
            ids = w.decode_batch(w.parse(message[6]), message[7])[::3]
            assert len(ids) == 64
            done = w.encode_batch([part for each in ids for part in (each, DONE, b"done")])
            desk.hear(1, b"0.0", b"", W01, b"\x03", b"", b"", w.batch(64), done)
            [answer] = desk.out()
            assert answer[0] == b"c1" and w.parse(answer[4]) == w.Batch(64)

        together = lines(act)
    assert together < 64 * alone / 3
