"""The machine in front of a requester: what it asks its brokers, envelopes, and how it gets on with those of others."""

from __future__ import annotations

from typing import Any

import pytest

from zpatterns.core.calls import EMPTY, NONE, Call, Connection, Part, Reopen
from zpatterns.core.machine import Link, Sent
from zpatterns.core.majordomo_client import MajordomoClient, Stand
from zpatterns.core.requester import Requester
from zpatterns.errors import NoSuchService, OutcomeUnknown, ReplyError, RequestTimeout, Status
from zpatterns.policy import Heartbeat, Retry
from zpatterns.wire import message as w

from .brokering import C01, A
from .driving import PREFIX, Client

QUESTION = (b"", C01, b"mmi.zpatterns", b"")
CHECK = (b"", C01, b"mmi.service", b"calc")


class Front(Client):
    """A client of the service ``calc``; its broker is ours, another one, or has not said so yet."""

    def __init__(self, ports: int = 1, *, ours: bool | None = True, checked: bool = True) -> None:
        self.requester = Requester(
            ports, prefix=PREFIX, random=lambda: 1.0, retry=Retry(attempts=3), heartbeat=Heartbeat(interval=1.0)
        )
        self.machine: Any = MajordomoClient(self.requester, service=b"calc", heartbeat=Heartbeat(interval=1.0))
        self.machine.start = self.requester.start
        self.machine.cancel = self.requester.cancel
        self.statistics = self.machine.statistics
        self.now = 0.0
        for port in range(ports):
            self.link(port, Link.UP, 0.0)
            assert self.sent() == [QUESTION]
            if ours is not None:
                self.receive(b"", C01, b"mmi.zpatterns", b"200" if ours else b"501", port=port)
        if ours is False and checked:
            for lane in self.machine.lanes:
                lane.deaf = True
        self.machine.events.clear()

    def sent(self, now: float = 0.0) -> list[tuple[Any, ...]]:
        self.machine.flush(now)
        frames = [tuple(entry[1]) for entry in self.machine.outbox]
        self.machine.outbox.clear()
        return frames

    def answer(self, *body: bytes, now: float = 0.0) -> None:
        self.receive(b"", C01, b"calc", *body, now=now)

    def reopens(self) -> int:
        events = [event for event in self.machine.events if type(event) is Reopen]
        self.machine.events.clear()
        return len(events)


FINAL = w.final(0, 1, 0, A)


# A broker of ours -----------------------------------------------------------------------------------------------------


def test_the_link_is_up_when_the_broker_has_said_that_it_is_ours() -> None:
    front = Front(ours=None)
    assert front.machine.expects and not front.requester.ports[0].up
    call = front.start()
    assert not front.sent()
    front.receive(b"", C01, b"mmi.zpatterns", b"200")
    assert front.requester.ports[0].up
    [request] = front.sent()
    assert request[:4] == (call.id, b"", C01, b"calc")
    front.receive(call.id, b"", C01, b"calc", FINAL, b"reply")
    assert call.done and call.reply == (b"reply",) and not front.machine.expects


def test_batches_and_streams_travel_as_they_are() -> None:
    front = Front()
    front.requester.ports[0].batches = True
    calls = [front.start(), front.start()]
    front.machine.outbox.clear()
    calls += [front.start(), front.start()]
    front.requester.flush(0.0)
    front = Front()
    front.requester.ports[0].batches = True
    for _ in range(2):
        call = Call("m", b"\xc0", 6.0, 3)
        front.requester.start(call)
        calls.append(call)
    [message] = front.sent()
    assert message[:3] == (b"", C01, b"calc") and w.parse(message[3]) == w.Batch(2)
    items = [part for call in calls[-2:] for part in (call.id, FINAL, b"r")]
    front.receive(b"", C01, b"calc", w.batch(2), w.encode_batch(items))
    assert all(call.done for call in calls[-2:])
    stream = front.stream()
    front.sent()
    front.receive(stream.id, b"", C01, b"calc", w.partial(0, 1), b"part")
    assert [type(event) for event in front.events()][-1] is Part
    front.machine.cancel(stream)
    assert front.sent() == [(stream.id, b"", C01, b"calc", w.CANCEL_HEADER, b"")]


@pytest.mark.parametrize("bare", [EMPTY, NONE])
def test_plain_calls_without_an_id(bare: int) -> None:
    front = Front()
    call = front.start(None, payload=b"hello", bare=bare)
    assert front.sent() == [(b"", C01, b"calc", b"hello")]
    front.receive(b"", C01, b"calc", b"olleh")
    assert call.done and [*call.reply][-1] == b"olleh"


def test_what_is_wrapped_is_not_wrapped_again_and_what_is_full_waits() -> None:
    front = Front()
    call = front.start()
    front.machine.flush(0.0)
    [(_, frames, token)] = front.machine.outbox
    front.machine.outbox.clear()
    assert frames[2] == C01
    front.machine.sent(token, Sent.FULL, 0.0)
    assert call.queued and not front.sent()
    front.link(0, Link.WRITABLE, 0.0)
    assert front.sent() == [frames]


def test_links_and_garbage() -> None:
    front = Front()
    front.receive(b"no", b"Majordomo")
    front.link(0, Link.DOWN, 0.0)
    assert [event.up for event in front.machine.events if type(event) is Connection] == [False]
    front.link(0, Link.WRITABLE, 0.0)
    front.receive(b"junk")
    front.receive(b"", C01, b"calc")
    front.receive(b"", C01, b"mmi.service", b"200")
    front.receive(b"", C01, b"mmi.zpatterns", b"200")  # nobody asked
    assert front.statistics.undecodable == 3 and front.machine.lanes[0].stand is Stand.DOWN
    front.machine.outbox.append((0, (b"x" * 16, b"", b"y"), (front.requester.ports[0], ())))
    assert not front.sent()  # for a connection that is gone
    front.machine.dispatch(0.0)


def test_a_question_that_is_not_taken_is_asked_on_another_connection() -> None:
    front = Front(ours=None)
    front.machine.sent(front.machine.lanes[0], Sent.FULL, 0.0)
    assert front.reopens() == 1
    front.link(0, Link.DOWN, 0.0)
    front.machine.sent(front.machine.lanes[0], Sent.FULL, 0.0)
    assert front.reopens() == 0


# Errors that a broker says ---------------------------------------------------------------------------------------------


def test_lost_with_its_worker_is_an_unknown_outcome_and_no_worker_no_such_service() -> None:
    front = Front()
    call = front.start(attempts=1)
    front.sent()
    front.receive(call.id, b"", C01, b"calc", w.error(2, w.LOST, A), w.encode_error("its worker was lost", {}, 99))
    with pytest.raises(OutcomeUnknown, match="its worker was lost"):
        raise front.failure(call)
    call = front.start(attempts=1)
    front.sent()
    error = w.error(Status.NOT_FOUND, w.NOT_TAKEN, A)
    front.receive(call.id, b"", C01, b"calc", error, w.encode_error("no worker serves 'calc'", {}, 99))
    assert isinstance(front.failure(call), NoSuchService)


# Another broker -------------------------------------------------------------------------------------------------------


def test_one_at_a_time_and_the_reply_is_its() -> None:
    front = Front(ours=False)
    calls = [front.start() for _ in range(3)]
    for call in calls:
        [request] = front.sent()
        assert request[:3] == (b"", C01, b"calc") and len(request) == 5
        front.answer(FINAL, b"r")
        assert call.done and call.reply == (b"r",)
    front.answer(FINAL, b"late")
    front.receive(b"", C01, b"another", FINAL, b"late")
    assert front.statistics.late == 2


def test_the_broker_that_does_not_answer_is_another() -> None:
    front = Front(ours=None)
    call = front.start()
    front.wake(1.0)
    assert not front.sent(1.0)
    front.wake(1.05)
    [request] = front.sent(1.05)
    assert request[:3] == (b"", C01, b"calc")  # and it need not be asked for names
    front.answer(FINAL, b"r", now=1.05)
    assert call.done


def test_an_answer_that_lay_unread_while_nobody_drove_the_client_counts() -> None:
    front = Front(ours=None)
    call = front.start(now=60.0)
    front.wake(60.0)  # before what has come is read
    front.receive(b"", C01, b"mmi.zpatterns", b"200", now=60.0)
    assert front.machine.lanes[0].stand is Stand.OURS
    assert front.sent(60.0)[0][0] == call.id


def test_a_name_is_asked_for_before_and_once_in_a_while() -> None:
    front = Front(ours=False, checked=False)
    first = front.start()
    assert front.sent() == [CHECK]
    front.answer(FINAL, b"nothing was asked yet")
    front.receive(b"", C01, b"mmi.service", b"200")
    assert len(front.sent()) == 1
    front.answer(FINAL, b"r")
    assert first.done
    second = front.start()
    assert front.sent()[0][2] == b"calc"
    front.answer(FINAL, b"r")
    assert second.done
    front.machine.events.clear()
    third = front.start(now=2.0, attempts=1)
    assert front.sent(2.0) == [CHECK]
    front.receive(b"", C01, b"mmi.service", b"404", now=2.0)
    assert isinstance(front.failure(third), NoSuchService)
    fourth = front.start(now=2.0)
    front.sent(2.0)
    front.receive(b"", C01, b"mmi.service", b"501", now=2.0)
    assert front.sent(2.0)[0][2] == b"calc" and front.machine.lanes[0].deaf
    front.answer(FINAL, b"r", now=2.0)
    assert fourth.done


def test_a_question_for_a_name_that_is_not_answered_is_given_up() -> None:
    front = Front(ours=False, checked=False)
    call = front.start()
    assert front.sent() == [CHECK]
    front.wake(1.0)
    assert front.sent(1.0)[0][2] == b"calc"
    front.answer(FINAL, b"r", now=1.0)
    assert call.done


def test_what_may_run_twice_is_tried_again_on_a_fresh_socket_when_its_attempt_is_over() -> None:
    front = Front(ours=False)
    call = front.start(idempotent=True)
    front.sent()
    front.machine.wake(2.0)
    assert front.reopens() == 1
    front.link(0, Link.DOWN, 2.0)
    front.link(0, Link.UP, 2.0)
    front.sent(2.0)
    front.receive(b"", C01, b"mmi.zpatterns", b"501", now=2.1)
    front.machine.lanes[0].deaf = True
    assert front.sent(2.2)[0][2] == b"calc" and call.attempt == 2


def test_what_ends_before_its_reply_takes_the_socket_along() -> None:
    front = Front(ours=False)
    call = front.start()
    front.sent()
    front.machine.cancel(call)
    assert not front.sent() and front.reopens() == 1
    front = Front(ours=False)
    call = front.start(deadline=1.0)
    front.sent()
    front.machine.wake(1.0)
    assert isinstance(call.failure, RequestTimeout) and not front.sent(1.0) and front.reopens() >= 1


def test_no_streams_and_no_credit() -> None:
    front = Front(ours=False)
    stream = front.stream()
    assert not front.sent()
    failure = stream.failure
    assert isinstance(failure, ReplyError) and failure.status is Status.UNIMPLEMENTED
    front.machine.outbox.append((0, (stream.id, b"", w.credit(1), b""), (front.requester.ports[0], ())))
    assert not front.sent()


@pytest.mark.parametrize("bare", [EMPTY, NONE])
def test_plain_calls_without_an_id_at_another_broker(bare: int) -> None:
    front = Front(ours=False)
    call = front.start(None, payload=b"hello", bare=bare)
    assert front.sent() == [(b"", C01, b"calc", b"hello")]
    front.answer(b"olleh")
    assert call.done and [*call.reply][-1] == b"olleh"


def test_a_ping_for_dedupe_is_one_at_a_time_too() -> None:
    front = Front(ours=False)
    call = front.start(dedupe=True)
    [ping] = front.sent()
    assert w.parse(ping[3]).method == "zp.ping"  # type: ignore[union-attr]
    other = front.start()
    assert not front.sent() and other.queued
    front.answer(FINAL, b"pong")
    front.sent()
    assert call.attempt + other.attempt == 1
    front.machine.wake(9.0)


def test_a_ping_that_is_not_answered_takes_a_fresh_socket() -> None:
    front = Front(ours=False)
    front.start(dedupe=True)
    front.sent()
    front.machine.wake(1.0)
    assert front.reopens() == 1


def test_a_call_that_comes_while_a_ping_is_under_way_waits() -> None:
    front = Front(ours=False)
    front.machine.cancel(front.start(dedupe=True))
    assert len(front.sent()) == 1
    call = front.start()
    assert not front.sent() and call.queued
    front.answer(FINAL, b"pong")
    assert front.sent()[0][2] == b"calc" and not call.queued


def test_only_those_whose_time_is_over_are_given_up() -> None:
    front = Front(ports=2, ours=False)
    front.start(idempotent=True, deadline=3.0)
    front.start(idempotent=True, deadline=6.0)
    front.sent()
    front.machine.wake(1.0)
    assert front.reopens() == 1
