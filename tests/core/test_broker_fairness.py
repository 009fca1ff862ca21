"""Beside a client that floods, an honest one waits for its turn and for no more: played through with times as numbers."""

from __future__ import annotations

from heapq import heappop, heappush
from random import Random
from typing import Any

import pytest

from tests.core.brokering import C01, W01, Desk, id_of
from zpatterns.core.load_balancer import LeastLoaded, LeastRecentlyUsed
from zpatterns.wire import message as w

TAKES = 0.005
HONEST, FLOOD = b"c-honest", b"c-flood"
DONE = w.final(0, 1, 0, b"worker-A")


class Play:
    """Two workers with ``slots`` each; the honest client has one request after the other, the other ``flood`` all the time."""

    def __init__(self, flood: int, slots: int, seed: int, **options: Any) -> None:
        self.random = Random(seed)
        self.desk = Desk(**options)
        self.running: list[tuple[float, int, bytes]] = []
        self.clients: dict[bytes, bytes] = {}
        self.asked_at: dict[bytes, float] = {}
        self.took: list[float] = []
        self.asked = 0
        for number in range(2):
            self.desk.ours(b"w%d" % number, slots, b"incarnation %d" % number)
        for _ in range(flood):
            self.ask(FLOOD)

    def ask(self, client: bytes) -> None:
        self.asked += 1
        request_id = id_of(self.asked)
        self.clients[request_id], self.asked_at[request_id] = client, self.desk.now
        header = w.request("m", 60_000, 1, 1, w.IDEMPOTENT)
        self.desk.hear(0, client, request_id, b"", C01, b"calc", header, b"body")
        self.carry()

    def carry(self) -> None:
        """What the broker says reaches its peers; an answer makes its client ask again."""
        again: list[bytes] = []
        for message in self.desk.out():
            if message[0][:1] == b"w":
                ids = [message[4]] if message[4] else w.decode_batch(w.parse(message[6]), message[7])[::3]
                for request_id in ids:
                    takes = TAKES * (0.9 + 0.2 * self.random.random())
                    heappush(
                        self.running, (self.desk.now + takes, self.random.getrandbits(32), message[0] + request_id)
                    )
            else:
                assert w.parse(message[5]) == w.parse(DONE), "refused"
                if message[0] == HONEST:
                    self.took.append(self.desk.now - self.asked_at[message[1]])
                again.append(message[0])
        for client in again:
            self.ask(client)

    def go_on(self, answers: int) -> None:
        for _ in range(answers):
            self.desk.now, _, what = heappop(self.running)
            worker, request_id = what[:2], what[2:]
            self.desk.hear(1, worker, b"", W01, b"\x03", request_id, b"", DONE, b"done")
            self.carry()


@pytest.mark.parametrize("balancer", [LeastRecentlyUsed, LeastLoaded])
@pytest.mark.parametrize("slots", [1, 4, 16])
def test_an_honest_client_takes_at_most_twice_as_long_beside_a_flood(slots: int, balancer: Any) -> None:
    alone = Play(0, slots, seed=1, balancer=balancer)
    alone.ask(HONEST)
    alone.go_on(300)
    beside = Play(900, slots, seed=1, balancer=balancer)
    beside.go_on(1000)
    beside.ask(HONEST)
    for _ in range(1000):  # answers to both
        beside.go_on(100)
        if len(beside.took) >= 300:
            break
    alone.took.sort()
    beside.took.sort()
    assert beside.took[296] <= 2 * alone.took[296], "p99"


def test_whatever_waits_for_others_an_honest_client_is_next_but_one() -> None:
    desk = Desk()
    desk.ours(credit=8)
    for number in range(900):
        desk.request(number, client=FLOOD, flags=w.IDEMPOTENT)
    assert len(desk.given()) == 8
    desk.request(9999, client=HONEST)
    given: list[bytes] = []
    for number in range(2):
        desk.reply(number)
        given += desk.given()
    assert id_of(9999) in given
