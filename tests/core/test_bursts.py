"""Whatever comes many in one message ends as if it had come one by one."""

from __future__ import annotations

from dataclasses import asdict
from random import Random

import pytest

from tests.core.brokering import C01, LATE, W01, A, Desk, id_of
from zpatterns.errors import Status
from zpatterns.policy import Limits
from zpatterns.wire import message as w

PLAIN = w.request("m", 5000, 1, 1, w.BATCHES)
AGAIN = w.request("m", 7000, 1, 1, w.BATCHES | w.IDEMPOTENT)
ALONE = w.request("m", 5000, 1, 1, 0)
STREAM = w.request("m", 5000, 1, 1, w.BATCHES | w.STREAM, {"credit": 4, "deadline": 9000})
DONE = w.final(0, 1, w.BATCHES, A)
NO = w.error(Status.UNAVAILABLE, w.NOT_TAKEN, A)
Item = tuple[bytes, bytes, bytes]


def together(desk: Desk, client: bytes, items: list[Item], service: bytes = b"calc") -> None:
    flat = [part for item in items for part in item]
    desk.hear(0, client, b"", C01, service, w.batch(len(items)), w.encode_batch(flat))


def told(desk: Desk) -> set[tuple[bytes, ...]]:
    """What clients hear: id, header, payload, however it came."""
    heard: set[tuple[bytes, ...]] = set()
    for message in desk.out():
        if message[0][:1] != b"c":
            continue
        if message[1]:
            heard.add((message[0], message[1], *message[-2:]))
        else:
            flat = w.decode_batch(w.parse(message[4]), message[5])
            heard.update((message[0], *item) for item in zip(flat[::3], flat[1::3], flat[2::3], strict=True))
    return heard


class Both:
    """Two brokers that hear the same: the one in batches, the other message by message."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.desks = [Desk(), Desk()]
        for desk in self.desks:
            desk.ours(credit=1000)
        self.asked = 0

    def ask(self) -> None:
        random = self.random
        items: list[Item] = []
        for _ in range(random.randint(2, 12)):
            self.asked += 1
            items.append((id_of(self.asked), random.choice((PLAIN, AGAIN, ALONE)), b"%d" % self.asked))
        for header in (PLAIN, STREAM, w.CANCEL_HEADER):  # what needs a rule comes last anyhow
            for _ in range(random.randint(0, 2)):
                self.asked += header is STREAM
                number = self.asked if header is STREAM else random.randint(1, self.asked)
                items.append((id_of(number), header, b"again"))
        client = random.choice((b"c1", b"c2"))
        together(self.desks[0], client, items)
        alone = self.desks[1]
        for request_id, header, payload in items:
            alone.machine.receive(0, (client, request_id, b"", C01, b"calc", header, payload), alone.now)
        alone.machine.dispatch(alone.now)

    def answer(self) -> None:
        items: list[Item] = [(id_of(10**6), DONE, b"never asked")]
        for address in self.desks[0].machine.workers[b"w1"].jobs:
            roll = self.random.random()
            if roll < 0.7:
                items.append((address, DONE, bytes(9000) if roll < 0.1 else b"done " + address))
            elif roll < 0.8:
                items.append((address, NO, w.encode_error("no", {}, 100)))
        flat = [part for item in items for part in item]
        self.desks[0].hear(1, b"w1", b"", W01, b"\x03", b"", b"", w.batch(len(items)), w.encode_batch(flat))
        for item in items:
            self.desks[1].result(*item)

    def check(self) -> None:
        first, second = self.desks
        assert told(first) == told(second)
        assert asdict(first.statistics) == asdict(second.statistics)
        assert {*first.machine.exchange.pending} == {*second.machine.exchange.pending}
        assert {*first.machine.workers[b"w1"].jobs} == {*second.machine.workers[b"w1"].jobs}
        assert first.machine.wakes_at == second.machine.wakes_at
        for desk in self.desks:
            desk.ended()


@pytest.mark.parametrize("seed", range(30))
def test_together_and_alone_end_the_same(seed: int) -> None:
    both = Both(seed)
    for _ in range(12):
        for act in (both.ask, both.answer):
            act()
            both.check()
        for desk in both.desks:
            desk.now += 0.06
    assert both.desks[0].statistics.answered > 20


def test_of_many_those_there_is_no_room_for_are_refused() -> None:
    desk = Desk(limits=Limits(client_queue=3))
    desk.ready()
    together(desk, b"c1", [(id_of(number), PLAIN, b"body") for number in range(6)])
    together(desk, b"c1", [(id_of(number), PLAIN, b"body") for number in (10, 11)])
    assert desk.statistics.received == 8
    assert desk.statistics.refused == 4
    assert {item[1] for item in told(desk)} == {id_of(number) for number in (3, 4, 5, 11)}
    assert [*desk.machine.workers[b"w1"].jobs] == [id_of(0)]


def test_many_for_a_name_that_nobody_serves_or_a_broker_that_drains_are_refused() -> None:
    desk = Desk()
    together(desk, b"c1", [(id_of(number), PLAIN, b"body") for number in (1, 2)], b"nobody")
    desk.ours()
    desk.machine.drain()
    together(desk, b"c1", [(id_of(number), PLAIN, b"body") for number in (3, 4)])
    assert desk.statistics.refused == 4
    assert len(told(desk)) == 4


def test_a_worker_that_answers_fast_is_given_several_in_one_go_and_a_slow_one_is_not() -> None:
    for pause, most in ((0.0001, 10), (0.1, 1)):
        desk = Desk()
        desk.ours(b"w1", credit=50)
        desk.ours(b"w2", credit=50, incarnation=b"worker-B")
        for number in range(60):
            desk.request(number)
            desk.now += pause
            [worker] = [name for name, each in desk.machine.workers.items() if each.jobs]
            desk.reply(number, worker=worker)
        desk.out()
        together(desk, b"c1", [(id_of(100 + number), PLAIN, b"body") for number in range(20)])
        shares = [worker.share for worker in desk.machine.workers.values()]
        assert min(shares) >= most if most > 1 else shares == [1, 1]
        jobs = sorted(len(worker.jobs) for worker in desk.machine.workers.values())
        assert sum(jobs) == 20 and jobs[0] >= (0 if most > 1 else 10)


def test_their_time_is_kept_even_when_a_moment_like_it_is_being_waited_for() -> None:
    desk = Desk()
    desk.ours(credit=1000)
    together(
        desk,
        b"c1",
        [(id_of(number), w.request("m", budget, 1, 1, 0), b"body") for number, budget in ((1, 10), (2, 40))],
    )
    desk.out()
    desk.wake(LATE + 0.011)  # what is left of that sixteenth of a second is timed exactly from here on
    together(desk, b"c1", [(id_of(number), w.request("m", 5, 1, 1, 0), b"body") for number in (3, 4)])
    desk.out()
    assert desk.machine.wakes_at == pytest.approx(LATE + 0.016)
    desk.wake(LATE + 0.017)
    assert desk.statistics.expired == 3
