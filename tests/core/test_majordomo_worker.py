"""The machine in front of a replier: READY, heartbeats, DISCONNECT, envelopes, back-off, and goodbyes."""

from __future__ import annotations

from typing import Any

from zpatterns.core.calls import Connection, Reopen
from zpatterns.core.jobs import Job, Rule
from zpatterns.core.machine import Link, Sent
from zpatterns.core.majordomo_worker import MajordomoWorker
from zpatterns.core.replier import Replier
from zpatterns.errors import Status
from zpatterns.policy import Heartbeat, SocketOptions
from zpatterns.wire import message as w

from .brokering import C01, W01, A, id_of

READY = (b"", W01, b"\x01", b"calc")
QUESTION = (b"", C01, b"mmi.zpatterns", b"")
BYE = (b"", W01, b"\x05")
BEAT = (b"", W01, b"\x04")


def capacity(credit: int) -> tuple[bytes, ...]:
    return (*BEAT, w.capacity(credit, A))


class Hand:
    """A worker whose brokers are connected."""

    def __init__(self, ports: int = 1, *, ours: bool = True) -> None:
        rules: dict[str | None, Rule] = {"m": Rule(), "s": Rule(stream=True), "d": Rule(dedupe=True), None: Rule()}
        self.replier = Replier(rules, incarnation=A, answers_all=True)
        self.machine = MajordomoWorker(
            self.replier,
            ports,
            service=b"calc",
            credit=4,
            random=lambda: 1.0,
            heartbeat=Heartbeat(interval=1.0, liveness=3),
            options=SocketOptions(reconnect_interval=0.1, reconnect_interval_max=0.3),
        )
        self.now = 100.0
        for port in range(ports):
            self.machine.link(port, Link.UP, self.now)
            assert self.out() == [READY, QUESTION]
            if ours:
                self.ours(port)
        self.machine.events.clear()

    def ours(self, port: int = 0) -> None:
        self.hear(b"", C01, b"mmi.zpatterns", b"200", port=port)
        assert self.out() == [capacity(4)]

    def hear(self, *frames: Any, port: int = 0) -> None:
        self.machine.receive(port, frames, self.now)
        self.machine.dispatch(self.now)

    def request(self, number: int = 1, method: str = "m", *, port: int = 0, flags: int = 0, budget: int = 5000) -> None:
        header = w.request(method, budget, 1, 1, flags)
        self.hear(b"", W01, b"\x02", id_of(number), b"", header, b"\xc0", port=port)

    def job(self) -> Job:
        [job] = [event for event in self.machine.events if type(event) is Job]
        self.machine.events.clear()
        return job

    def events(self, kind: type) -> list[Any]:
        events = [event for event in self.machine.events if type(event) is kind]
        self.machine.events.clear()
        return events

    def out(self) -> list[tuple[Any, ...]]:
        self.machine.flush(self.now)
        sent = [tuple(entry[1]) for entry in self.machine.outbox]
        self.machine.outbox.clear()
        return sent

    def wake(self, now: float) -> None:
        at = self.machine.wakes_at
        assert at is not None and at <= now
        self.now = now
        self.machine.wake(now)

    def reopened(self, port: int = 0) -> None:
        """The driver has opened a fresh socket, and it is connected."""
        self.machine.link(port, Link.DOWN, self.now)
        self.machine.link(port, Link.UP, self.now)
        assert self.out()[-2:] == [READY, QUESTION]


def test_a_request_and_its_answer_in_the_brokers_frames() -> None:
    hand = Hand()
    assert hand.machine.expects
    hand.request()
    hand.replier.reply(hand.job(), 1, b"reply")
    assert hand.out() == [(b"", W01, b"\x03", id_of(1), b"", w.final(0, 1, 0, A), b"reply")]


def test_batches_both_ways() -> None:
    hand = Hand()
    header = w.request("m", 5000, 1, 1, w.BATCHES)
    items = [id_of(1), header, b"\xc0", id_of(2), header, b"\xc0"]
    hand.hear(b"", W01, b"\x02", b"", b"", w.batch(2), w.encode_batch(items))
    for job in hand.events(Job):
        hand.replier.reply(job, 1, b"r")
    [message] = hand.out()
    assert message[:5] == (b"", W01, b"\x03", b"", b"")
    assert w.decode_batch(w.parse(message[5]), message[6])[::3] == [id_of(1), id_of(2)]


def test_every_request_is_answered_also_those_that_nobody_waits_for() -> None:
    hand = Hand()
    hand.request(1)
    running = hand.job()
    hand.hear(b"", W01, b"\x02", id_of(1), b"", w.CANCEL_HEADER, b"")
    hand.replier.reply(running, 1, b"too late")
    hand.request(2, budget=100)
    hand.machine.events.clear()
    hand.out()
    hand.wake(hand.now + 0.2)
    hand.replier.abort()
    answers = [w.parse(message[5]) for message in hand.out() if message[2] == b"\x03"]
    assert [answer.status for answer in answers] == [Status.DEADLINE_EXCEEDED]  # type: ignore[union-attr]


def test_what_is_cancelled_before_a_handler_has_seen_it_says_so() -> None:
    hand = Hand()
    header = w.request("m", 5000, 1, 1, 0)
    for body in ((header, b"\xc0"), (w.CANCEL_HEADER, b"")):
        hand.machine.receive(0, (b"", W01, b"\x02", id_of(1), b"", *body), hand.now)
    [answer] = hand.out()
    assert w.parse(answer[5]) == w.Error(Status.CANCELLED, w.NOT_TAKEN, A)


def test_a_cancelled_handler_that_answers_is_answered_as_cancelled() -> None:
    hand = Hand()
    hand.request(1)
    job = hand.job()
    hand.hear(b"", W01, b"\x02", id_of(1), b"", w.CANCEL_HEADER, b"")
    hand.replier.reply(job, 1, b"r")
    [answer] = hand.out()
    assert w.parse(answer[5]) == w.Error(Status.CANCELLED, 0, A)


def test_heartbeats_go_out_and_a_silent_broker_is_left_with_a_pause_that_doubles() -> None:
    hand = Hand()
    hand.wake(101.0)
    assert hand.out() == [BEAT]
    hand.hear(*BEAT)
    hand.wake(104.1)
    assert hand.events(Connection)[0].up is False and hand.machine.disconnects == 1
    pauses = []
    for _ in range(3):
        at = hand.machine.lanes[0].reopen_at
        assert at is not None
        pauses.append(round(at - hand.now, 3))
        hand.out()
        hand.wake(at)
        assert hand.events(Reopen) == [Reopen(0)]
        hand.reopened()
        hand.hear(*BYE)
    assert pauses == [0.1, 0.2, 0.3]
    hand.machine.link(0, Link.UP, hand.now)
    hand.hear(*BEAT)
    assert hand.machine.lanes[0].failures == 0 and hand.machine.lanes[0].reopen_at is None


def test_a_connection_that_goes_ends_the_conversation_and_its_answers() -> None:
    hand = Hand()
    hand.request(1)
    job = hand.job()
    hand.machine.link(0, Link.DOWN, hand.now)
    assert [event.up for event in hand.events(Connection)] == [False] and job.stopped is not None
    hand.hear(b"", W01, b"\x02", id_of(2), b"", b"plain")
    assert not hand.events(Job)
    hand.replier.reply(job, 1, b"r")
    assert not hand.out() and hand.machine.statistics.dropped == 1
    hand.machine.link(0, Link.REFUSED, hand.now)
    hand.machine.link(0, Link.WRITABLE, hand.now)
    assert not hand.machine.events


def test_a_strict_broker_gets_one_reply_for_each_request_and_no_streams() -> None:
    hand = Hand(ours=False)
    hand.hear(b"", C01, b"mmi.zpatterns", b"501")
    assert not hand.out()
    hand.hear(b"", W01, b"\x02", b"client", b"", b"hello")
    hand.replier.reply_plain(hand.job(), (b"olleh",))
    assert hand.out() == [(b"", W01, b"\x03", b"client", b"", b"olleh")]
    hand.request(1, "s", flags=w.STREAM)
    [answer] = hand.out()
    assert w.parse(answer[5]) == w.Error(Status.UNIMPLEMENTED, 0, A)
    hand.request(2)
    hand.replier.reply(hand.job(), 1, b"r")
    assert len(hand.out()) == 1
    hand.wake(hand.now + 1.0)
    hand.out()
    hand.wake(hand.now + 5.0)
    assert hand.machine.lanes[0].up  # it may beat as slowly as the guide's
    hand.out()
    hand.wake(hand.now + 2.0)
    assert not hand.machine.lanes[0].up


def test_garbage_is_counted() -> None:
    hand = Hand(ours=False)
    for frames in (
        (),
        (b"junk",),
        (b"", W01),
        (b"", W01, b"\x01", b"calc"),
        (b"", W01, b"\x02", b"", b"", b"no address"),
        (b"", W01, b"\x02", b"a", b"", b"\xc1zp\x01", b"x"),
        (b"", C01, b"calc"),
        (b"MDPW02", b"\x02", b"a", b"", b"x"),
    ):
        hand.hear(*frames)
    assert hand.machine.statistics.undecodable == 8
    hand.hear(b"", C01, b"calc", b"an answer to nothing")
    hand.hear(b"", C01, b"mmi.zpatterns", b"200")
    hand.hear(b"", C01, b"mmi.zpatterns", b"200")
    assert hand.out() == [capacity(4)]


def test_two_brokers_are_two_conversations() -> None:
    hand = Hand(ports=2)
    hand.request(1, port=0)
    first = hand.job()
    hand.request(2, port=1)
    second = hand.job()
    for job in (second, first):
        hand.replier.reply(job, 1, b"r")
    hand.machine.flush(hand.now)
    assert [(entry[0], entry[1][3]) for entry in hand.machine.outbox] == [(1, id_of(2)), (0, id_of(1))]


def test_what_is_wrapped_is_not_wrapped_again_and_what_is_full_is_kept() -> None:
    hand = Hand()
    hand.request(1)
    hand.replier.reply(hand.job(), 1, b"r")
    hand.machine.flush(hand.now)
    hand.machine.flush(hand.now)
    [(_, frames, token)] = hand.machine.outbox
    hand.machine.outbox.clear()
    hand.machine.sent(token, Sent.FULL, hand.now)
    assert not hand.out()
    hand.wake(hand.now + 0.1)
    assert hand.out() == [frames]
    hand.machine.sent(hand.machine.lanes[0], Sent.FULL, hand.now)  # a heartbeat
    assert hand.machine.lanes[0].up


def test_nothing_overtakes_what_a_full_broker_did_not_take() -> None:
    hand = Hand(ports=2)
    for number, port in ((1, 0), (2, 0), (3, 1)):
        hand.request(number, port=port)
    for job in hand.events(Job):
        hand.replier.reply(job, 1, b"r")
    hand.machine.flush(hand.now)
    (_, frames, token), *_ = hand.machine.outbox
    hand.machine.outbox.popleft()
    hand.machine.sent(token, Sent.FULL, hand.now)
    assert [message[3] for message in hand.out()] == [id_of(3)]  # of the other broker
    hand.wake(hand.now + 0.1)
    assert hand.out()[0] == frames


def test_a_ready_that_is_not_taken_is_said_again() -> None:
    hand = Hand(ours=False)
    hand.machine.sent(hand.machine.lanes[0], Sent.FULL, hand.now)
    assert not hand.machine.lanes[0].up and hand.machine.lanes[0].reopen_at is not None


def test_goodbye() -> None:
    hand = Hand(ports=2)
    hand.request(1)
    job = hand.job()
    hand.replier.stop()
    assert hand.out() == [capacity(0), capacity(0)]
    hand.request(2)
    [refusal] = hand.out()
    assert w.parse(refusal[5]) == w.Error(Status.UNAVAILABLE, w.NOT_TAKEN, A)
    hand.replier.reply(job, 1, b"r")
    assert [message[2] for message in hand.out()] == [b"\x03", b"\x05", b"\x05"]
    hand.wake(hand.now + 1.0)
    assert not hand.out()
    hand.machine.link(0, Link.DOWN, hand.now)
    hand.machine.link(0, Link.UP, hand.now)
    assert not hand.out()  # nobody begins a conversation now


def test_a_plain_request_that_comes_again_in_a_new_conversation_is_answered_there() -> None:
    hand = Hand()
    hand.hear(b"", W01, b"\x02", id_of(1), b"", b"hello")
    job = hand.job()
    hand.reopened()
    hand.ours()
    assert job.stopped is None
    hand.hear(b"", W01, b"\x02", id_of(1), b"", b"hello")
    assert not hand.events(Job)
    hand.replier.reply_plain(job, (b"olleh",))
    assert hand.out() == [(b"", W01, b"\x03", id_of(1), b"", b"olleh")]
