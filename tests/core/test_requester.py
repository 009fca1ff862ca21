"""The rules of a call, one test each, named after the rule."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from zpatterns.core.calls import EMPTY, NONE, Call, Connection, Part, Reopen
from zpatterns.core.machine import Link
from zpatterns.errors import (
    AuthenticationError,
    Closed,
    DecodeError,
    OutcomeUnknown,
    Overloaded,
    PeerUnavailable,
    PermissionDenied,
    ProtocolViolation,
    ReplyError,
    RequestTimeout,
    Status,
)
from zpatterns.policy import Heartbeat, Limits, Retry
from zpatterns.wire import message as w

from .driving import PREFIX, A, B, Client

# Out and back ---------------------------------------------------------------------------------------------------------


def test_a_call_is_sent_and_answered() -> None:
    client = Client()
    call = client.start("calc.add", payload=b"p", codec=2)
    message = client.one()
    assert message.port == 0
    assert message.frames == (call.id, b"", w.request("calc.add", 6000, 1, 2, w.BATCHES), b"p")
    assert client.machine.expects and len(client.machine.calls) == 1
    client.reply(call, b"sum")
    assert client.ended() == [call]
    assert (call.failure, call.reply, call.reply_codec) == (None, (b"sum",), 1)
    assert not client.machine.expects
    assert client.machine.wakes_at is None or not client.machine._timers.expired(1e9)
    assert (client.statistics.started, client.statistics.answered) == (1, 1)


def test_a_reply_may_have_buffers() -> None:
    client = Client()
    call = client.start(buffers=(b"one", b"two"))
    assert client.one().frames[3:] == (b"\xc0", b"one", b"two")
    client.receive(call.id, b"", w.final(0, 1, 0, A), b"p", b"buffer")
    assert call.reply == (b"p", b"buffer")


def test_the_header_says_what_may_be_done_with_the_call() -> None:
    client = Client()
    client.know(A)
    for wanted, flags in (({}, 0), ({"idempotent": True}, w.IDEMPOTENT), ({"dedupe": True}, w.DEDUPE)):
        client.start(**wanted)
        assert client.one().command.flags == flags | w.BATCHES
    client.stream()
    assert client.one().command.flags == w.STREAM | w.BATCHES


def test_ids_are_the_prefix_and_a_counter() -> None:
    client = Client()
    first, second = client.start(), client.start()
    assert first.id == PREFIX + bytes(7) + b"\1"
    assert second.id == PREFIX + bytes(7) + b"\2"


def test_a_reply_goes_to_the_call_whose_id_it_carries() -> None:
    client = Client()
    first, second = client.start(), client.start()
    client.reply(second, b"two")
    client.reply(first, b"one")
    assert client.ended() == [second, first]
    assert (first.reply, second.reply) == ((b"one",), (b"two",))


def test_views_are_frames_too() -> None:
    client = Client()
    call = client.start()
    client.receive(*map(memoryview, (call.id, b"", w.final(0, 1, 0, A), b"sum")))
    assert bytes(call.reply[0]) == b"sum"


def test_a_second_reply_is_counted_and_dropped() -> None:
    client = Client()
    call = client.start()
    client.reply(call, b"one")
    client.reply(call, b"two")
    assert client.ended() == [call]
    assert call.reply == (b"one",)
    assert client.statistics.late == 1


@pytest.mark.parametrize("frames", [(), (b"x",), (b"x", b"y"), (b"x", b"y", b"z"), (b"", b"x"), (b"x", b"")])
def test_what_is_not_of_the_protocol_is_counted_and_dropped(frames: tuple[bytes, ...]) -> None:
    client = Client()
    client.start()
    client.receive(*frames)
    assert not client.ended()
    assert client.statistics.undecodable == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (Status.INVALID_ARGUMENT, ReplyError),
        (Status.PERMISSION_DENIED, PermissionDenied),
        (Status.UNAUTHENTICATED, AuthenticationError),
    ],
)
def test_an_error_ends_its_call(status: Status, kind: type[Exception]) -> None:
    client = Client()
    call = client.start(idempotent=True)
    client.out()
    client.refuse(call, status, flags=0)
    failure = client.failure(call)
    assert type(failure) is kind
    if isinstance(failure, ReplyError):
        assert (failure.status, failure.message, failure.details) == (status, "why", {"a": 1})
    assert (client.statistics.failed, client.statistics.refused) == (1, 0)


def test_an_error_without_a_payload_still_has_its_status() -> None:
    client = Client()
    call = client.start()
    client.receive(call.id, b"", w.error(Status.INTERNAL, 0, A))
    failure = client.failure(call)
    assert isinstance(failure, ReplyError) and failure.status is Status.INTERNAL


def test_a_reply_that_does_not_decode_is_a_decode_error_with_its_frames() -> None:
    client = Client()
    call = client.start()
    client.receive(call.id, b"", b"hello", b"there")
    failure = client.failure(call)
    assert isinstance(failure, DecodeError) and failure.frames == [b"hello", b"there"]
    assert client.statistics.undecodable == 1


@pytest.mark.parametrize(
    ("header", "rest"),
    [
        (w.partial(0, 1), (b"x",)),
        (w.final(0, 1, 0, A), ()),
        (w.request("m", 1, 1, 1, 0), (b"",)),
        (w.CANCEL_HEADER, (b"",)),
        (w.credit(1), (b"",)),
        (w.batch(1), (b"",)),
    ],
)
def test_what_answers_nothing_is_a_protocol_violation(header: bytes, rest: tuple[bytes, ...]) -> None:
    client = Client()
    call = client.start()
    client.receive(call.id, b"", header, *rest)
    assert type(client.failure(call)) is ProtocolViolation


# Waiting for a server -------------------------------------------------------------------------------------------------


def test_a_client_may_start_before_its_server() -> None:
    client = Client(up=False)
    call = client.start()
    assert not client.out()
    client.lose(0, 0.1)  # an attempt to connect failed
    assert not client.out(0.1)
    client.link(0, Link.UP, 1.0)
    assert client.one(1.0).command.budget == 5000
    client.reply(call)
    assert call.done and call.failure is None


def test_links_are_told_to_the_application() -> None:
    client = Client(up=False)
    client.link(0, Link.UP, 0.0)
    client.link(0, Link.WRITABLE, 0.0)
    client.link(0, Link.DOWN, 0.0)
    client.link(0, Link.REFUSED, 0.0)
    assert list(client.machine.events) == [
        Connection(0, up=True, reason="connected"),
        Connection(0, up=False, reason="no connection"),
        Connection(0, up=False, reason="the handshake was refused"),
    ]
    assert client.statistics.disconnects == 1


def test_a_full_queue_is_overloaded() -> None:
    client = Client(up=False, limits=Limits(queue=2))
    first = client.start()
    client.start()
    with pytest.raises(Overloaded, match=r"Limits\.queue"):
        client.start()
    assert client.statistics.started == 2
    client.machine.cancel(first)
    client.start()  # what has ended takes no room


def test_in_flight_per_endpoint_is_bounded() -> None:
    client = Client(2, limits=Limits(in_flight=2))
    calls = [client.start() for _ in range(6)]
    assert len(client.out()) == 4
    client.reply(calls[0])
    assert [message.id for message in client.out(0.0)] == [calls[4].id]


def test_the_port_with_the_fewest_in_flight_is_chosen() -> None:
    client = Client(3)
    calls = [client.start() for _ in range(6)]
    assert sorted(message.port for message in client.out()) == [0, 0, 1, 1, 2, 2]
    assert {port.index for call in calls[:3] for port in call.ports} == {0, 1, 2}
    busy = calls[0].ports[0]
    for call in calls:
        if busy in call.ports:
            client.reply(call, port=busy.index)
    assert client.start().ports == (busy,)


def test_a_port_that_is_down_is_not_chosen() -> None:
    client = Client(2)
    client.lose(0, 0.0)
    assert {client.start().ports[0].index for _ in range(4)} == {1}


def test_unsent_at_its_deadline_with_nobody_there_is_peer_unavailable() -> None:
    client = Client(up=False)
    call = client.start()
    client.wake(6.0)
    failure = client.failure(call)
    assert type(failure) is PeerUnavailable and "never sent" in str(failure)
    assert client.statistics.timed_out == 1


def test_unsent_at_its_deadline_with_a_busy_server_is_a_timeout_that_says_so() -> None:
    client = Client(limits=Limits(in_flight=1))
    client.start(deadline=100.0)
    call = client.start()
    client.out()
    client.wake(6.0)
    failure = client.failure(call)
    assert isinstance(failure, RequestTimeout) and failure.sent is False
    assert not client.out(6.0)  # no CANCEL either


def test_a_call_never_ends_after_its_deadline() -> None:
    client = Client(up=False)
    call = client.start(deadline=6.03)
    at = client.machine.wakes_at
    assert at is not None and at <= 6.03
    client.machine.wake(6.02)
    assert not call.done
    assert client.machine.wakes_at == 6.03
    client.wake(6.03)
    assert call.done


def test_who_does_not_want_to_wait_is_told_at_once() -> None:
    client = Client(2, up=False)
    call = client.start(wait_for_ready=False)
    client.lose(0, 0.1)
    client.machine.flush(0.1)
    assert not call.done  # the other port may still connect
    client.lose(1, 0.1)
    client.machine.flush(0.1)
    assert type(client.failure(call)) is PeerUnavailable


def test_who_does_not_want_to_wait_is_told_at_once_behind_one_who_does() -> None:
    client = Client(up=False)
    client.lose(0, 0.0)
    patient = client.start()
    hasty = client.start(wait_for_ready=False)
    assert hasty.done and not patient.done


def test_who_does_not_want_to_wait_waits_for_a_busy_server() -> None:
    client = Client(limits=Limits(in_flight=1))
    client.start()
    assert not client.start(wait_for_ready=False).done


def test_what_was_taken_is_never_said_not_to_have_run() -> None:
    client = Client()
    call = client.start(wait_for_ready=False, idempotent=True)
    client.lose(0, 0.1)
    client.wake(1.0)
    assert not isinstance(call.failure, PeerUnavailable)
    assert call.failure is None or type(call.failure) is OutcomeUnknown


# Deadlines ------------------------------------------------------------------------------------------------------------


def test_taken_and_unanswered_at_its_deadline_is_a_timeout_and_the_server_is_told() -> None:
    client = Client()
    call = client.start()
    client.out()
    client.wake(6.0)
    failure = client.failure(call)
    assert isinstance(failure, RequestTimeout) and failure.sent is True
    cancel = client.one()
    assert cancel.frames == (call.id, b"", w.CANCEL_HEADER, b"")
    client.reply(call)
    assert client.statistics.late == 1


def test_a_cancelled_call_ends_without_an_event_and_the_server_is_told() -> None:
    client = Client()
    call = client.start()
    client.out()
    client.machine.cancel(call)
    assert call.done and not client.events()
    assert type(client.one().command) is w.Cancel
    client.machine.cancel(call)
    assert not client.out(0.0)
    assert client.statistics.cancelled == 1


def test_a_call_that_was_cancelled_in_the_queue_is_not_sent() -> None:
    client = Client(up=False)
    call = client.start()
    client.machine.cancel(call)
    client.link(0, Link.UP, 0.0)
    assert not client.out(0.0)


def test_a_call_that_is_cancelled_before_the_first_flush_is_not_sent() -> None:
    client = Client()
    call = Call("m", b"", 6.0, 1)
    client.machine.start(call)
    client.machine.cancel(call)
    assert not client.out(0.0)
    assert client.machine.wakes_at is None


def test_closing_ends_every_call() -> None:
    client = Client(limits=Limits(in_flight=1))
    sent, waiting = client.start(), client.start()
    client.out()
    client.machine.close()
    assert client.ended() == [sent, waiting]
    assert type(sent.failure) is type(waiting.failure) is Closed
    assert type(client.one(0.0).command) is w.Cancel
    with pytest.raises(Closed):
        client.start()


# Lost connections -----------------------------------------------------------------------------------------------------


def test_taken_and_lost_is_outcome_unknown_at_once() -> None:
    client = Client()
    call = client.start()
    client.out()
    client.lose(0, 0.1)
    assert type(client.failure(call)) is OutcomeUnknown
    client.link(0, Link.UP, 0.2)
    assert not client.out(0.2)
    assert client.statistics.outcome_unknown == client.statistics.disconnects == 1


def test_taken_and_lost_is_sent_again_if_idempotent() -> None:
    client = Client()
    call = client.start(idempotent=True)
    first = client.one()
    client.lose(0, 1.0)
    client.link(0, Link.UP, 1.01)
    assert not client.out(1.01)  # the pause
    client.wake(1.05)
    again = client.one()
    assert again.id == first.id
    assert (again.command.attempt, again.command.budget) == (2, 4950)
    client.reply(call)
    assert call.failure is None
    assert client.statistics.retried == 1


def test_attempts_are_counted() -> None:
    client = Client(retry=Retry(attempts=2))
    call = client.start(idempotent=True, attempts=2)
    client.lose(0, 0.1)
    client.link(0, Link.UP, 0.2)
    client.wake(0.3)
    assert not call.done
    client.lose(0, 0.4)
    assert type(client.failure(call)) is OutcomeUnknown


def test_pauses_double_up_to_a_limit_with_full_jitter() -> None:
    retry = Retry(attempts=6, backoff=0.1, backoff_max=0.5)
    pauses = []
    client = Client(retry=retry)
    client.start(idempotent=True, attempts=6, deadline=1000.0)
    now = 1.0
    for _ in range(5):
        client.lose(0, now)
        client.link(0, Link.UP, now)
        [due] = [call.due for call in client.machine._waiting.pausing]
        pauses.append(due - now)
        now = due
        client.wake(now)
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.5, 0.5])
    half = Client(retry=retry, jitter=0.5)
    call = half.start(idempotent=True, attempts=6)
    half.lose(0, 1.0)
    assert call.due == pytest.approx(1.05)


def test_a_pause_does_not_outlast_the_deadline() -> None:
    client = Client(retry=Retry(backoff=1.0))
    call = client.start(idempotent=True)
    client.lose(0, 5.9)
    client.wake(6.0)
    failure = client.failure(call)
    assert isinstance(failure, RequestTimeout) and failure.sent
    assert not client.machine._waiting.pausing


def test_another_server_than_the_one_that_failed_is_preferred() -> None:
    client = Client(2, jitter=0.0)
    call = client.start(idempotent=True)
    first = client.one().port
    client.lose(first, 0.1)
    client.link(first, Link.UP, 0.1)
    for _ in range(3):
        client.machine.start(Call("other", b"", 6.0, 1))  # the other port is busier, and still chosen
    client.wake(0.1)
    assert [message.port for message in client.out() if message.id == call.id] == [1 - first]


def test_a_cancelled_pause_is_over() -> None:
    client = Client()
    call = client.start(idempotent=True)
    client.lose(0, 0.1)
    client.machine.cancel(call)
    assert not client.machine._waiting.pausing


def test_a_call_under_way_at_two_servers_survives_the_loss_of_one() -> None:
    client = Client(2)
    call = client.start(idempotent=True)
    client.wake(2.0)
    assert len(call.ports) == 2
    client.lose(0, 2.5)
    assert not call.done
    client.reply(call, port=1)
    assert call.failure is None


def test_a_connection_that_is_lost_while_the_retry_waits_changes_nothing() -> None:
    client = Client(limits=Limits(in_flight=1))
    call = client.start(idempotent=True)
    client.wake(2.0)  # the retry has no room
    assert call.queued
    client.lose(0, 2.5)
    assert not call.done
    client.link(0, Link.UP, 3.0)
    assert client.out(3.0)[-1].command.attempt == 2


# Silence --------------------------------------------------------------------------------------------------------------


def test_an_attempt_ends_after_its_share_of_the_budget() -> None:
    client = Client()
    call = client.start(idempotent=True)
    budgets = [client.one().command.budget]
    for now in (2.0, 4.0):
        client.wake(now)
        message = client.one()
        assert message.id == call.id
        budgets.append(message.command.budget)
    assert budgets == [6000, 4000, 2000]
    client.wake(6.0)
    assert isinstance(client.failure(call), RequestTimeout)


def test_silence_is_not_a_reason_to_send_what_is_not_idempotent_again() -> None:
    client = Client()
    client.start()
    client.out()
    assert client.machine.wakes_at == 6.0


def test_the_first_reply_wins_and_the_other_server_is_told() -> None:
    client = Client(2)
    call = client.start(idempotent=True)
    first = client.one().port
    client.wake(2.0)
    second = client.one().port
    assert second == 1 - first
    client.reply(call, b"from the first", port=first)
    assert client.ended() == [call]
    assert {message.port for message in client.out()} == {first, second}
    client.reply(call, b"from the second", port=second)
    assert call.reply == (b"from the first",)
    assert client.statistics.late == 1


def test_a_reply_while_the_retry_waits_in_the_queue_wins() -> None:
    client = Client(limits=Limits(in_flight=1))
    call = client.start(idempotent=True)
    client.out()
    client.wake(2.0)
    assert not client.out()
    client.reply(call)
    assert client.ended() == [call]
    assert not client.out(2.1)


# Refusals -------------------------------------------------------------------------------------------------------------


def test_what_was_not_taken_is_sent_again_whatever_it_is() -> None:
    client = Client()
    call = client.start()
    client.out()
    client.refuse(call, Status.UNAVAILABLE, now=1.0)
    assert not client.out(1.0)
    client.wake(1.05)
    assert client.one().command.attempt == 2
    client.reply(call)
    assert call.failure is None
    assert client.statistics.refused == 1


def test_what_was_not_taken_goes_to_another_server() -> None:
    client = Client(2)
    call = client.start()
    first = client.one().port
    client.refuse(call, Status.RESOURCE_EXHAUSTED, port=first)
    client.wake(0.06)
    assert client.one().port == 1 - first


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (Status.RESOURCE_EXHAUSTED, Overloaded),
        (Status.UNAVAILABLE, PeerUnavailable),
        (Status.INVALID_ARGUMENT, ReplyError),
    ],
)
def test_refused_to_the_last_attempt_says_how(status: Status, kind: type[Exception]) -> None:
    client = Client()
    call = client.start(attempts=1)
    client.refuse(call, status)
    assert type(client.failure(call)) is kind


def test_refused_and_then_out_of_time_says_how_it_was_refused() -> None:
    client = Client()
    call = client.start()
    client.refuse(call, Status.RESOURCE_EXHAUSTED)
    client.lose(0, 0.01)
    client.wake(0.05)
    client.wake(6.0)
    assert type(client.failure(call)) is Overloaded


def test_lost_and_then_refused_is_still_unknown() -> None:
    client = Client()
    call = client.start(idempotent=True, attempts=2)
    client.lose(0, 0.1)
    client.link(0, Link.UP, 0.1)
    client.wake(0.2)
    client.refuse(call, Status.UNAVAILABLE, now=0.3)
    assert type(client.failure(call)) is OutcomeUnknown


def test_lost_behind_a_broker_and_given_back_is_sent_again_and_then_unknown() -> None:
    client = Client()
    call = client.start(idempotent=True, attempts=2)
    client.refuse(call, Status.UNAVAILABLE, w.NOT_TAKEN | w.LOST, now=0.1)
    client.wake(0.2)
    assert len(client.out(0.2)) == 2
    client.refuse(call, Status.NOT_FOUND, now=0.3)
    assert type(client.failure(call)) is OutcomeUnknown


def test_refused_by_one_server_while_another_has_it_is_not_the_end() -> None:
    client = Client(2)
    call = client.start(idempotent=True, attempts=2)
    first = client.one().port
    client.wake(3.0)
    client.refuse(call, Status.UNAVAILABLE, port=1 - first, now=3.1)
    assert not call.done
    client.reply(call, port=first)
    assert call.failure is None


def test_a_refusal_while_the_retry_waits_does_not_send_it_twice() -> None:
    client = Client(limits=Limits(in_flight=1))
    call = client.start(idempotent=True)
    client.out()
    client.wake(2.0)  # the retry waits for room
    client.refuse(call, Status.UNAVAILABLE, now=2.1)
    assert len(client.out(2.1)) == 1
    for at in (2.2, 2.5, 3.0):
        client.machine.wake(at)
        assert not client.out(at)
    assert call.attempt == 2


# A full socket --------------------------------------------------------------------------------------------------------


def test_what_a_full_socket_did_not_take_was_never_sent() -> None:
    client = Client()
    call = client.start(attempts=1)
    client.full(client.one())
    assert not client.out(0.1)
    assert (call.attempt, call.taken) == (0, False)
    client.wake(6.0)
    failure = client.failure(call)
    assert isinstance(failure, RequestTimeout) and failure.sent is False


def test_a_full_socket_is_used_again_when_it_has_room_and_order_is_kept() -> None:
    client = Client()
    first, second = client.start(), client.start()
    message, other = client.out()
    client.full(other)
    client.full(message)
    third = client.start()
    assert not client.out(0.1)
    client.link(0, Link.WRITABLE, 0.2)
    assert [message.id for message in client.out(0.2)] == [first.id, second.id, third.id]
    assert (first.attempt, second.attempt) == (1, 1)


def test_another_port_takes_what_a_full_one_did_not() -> None:
    client = Client(2)
    client.start()
    message = client.one()
    client.full(message)
    assert client.one(0.0).port == 1 - message.port


def test_what_ended_meanwhile_is_not_sent_again() -> None:
    client = Client()
    call = client.start()
    message = client.one()
    client.machine.cancel(call)
    client.out()
    client.full(message)
    client.link(0, Link.WRITABLE, 0.1)
    assert not client.out(0.1)


def test_a_retry_that_was_not_taken_does_not_undo_the_first_send() -> None:
    client = Client()
    call = client.start(idempotent=True)
    client.out()
    client.wake(2.0)
    client.full(client.one(), 2.0)
    assert call.taken
    client.wake(6.0)
    failure = client.failure(call)
    assert isinstance(failure, RequestTimeout) and failure.sent is True


def test_a_retry_that_was_not_taken_still_hears_the_first_reply() -> None:
    client = Client()
    call = client.start(idempotent=True)
    client.out()
    client.wake(2.0)
    client.full(client.one(), 2.0)
    client.reply(call, now=2.1)
    assert client.ended() == [call] and call.failure is None
    client.link(0, Link.WRITABLE, 2.2)
    assert not client.out(2.2)


# Dedupe ---------------------------------------------------------------------------------------------------------------


def learned(**more: Any) -> tuple[Client, Call]:
    """A client that knows incarnation A behind port 0, and a dedupe call that was sent to it."""
    client = Client(**more)
    client.know(A)
    call = client.start(dedupe=True)
    return client, call


def test_a_dedupe_call_asks_for_the_incarnation_first() -> None:
    client = Client()
    call = client.start(dedupe=True)
    ping = client.one()
    assert ping.command.method == "zp.ping" and ping.id != call.id
    assert not client.out(0.0)  # once
    client.reply(ping.id, incarnation=A)
    sent = client.one(0.1)
    assert sent.id == call.id
    assert sent.command.extra == {"incarnation": A}
    assert client.statistics.late == 0


def test_a_server_that_refuses_the_ping_has_said_who_it_is() -> None:
    client = Client()
    client.start(dedupe=True)
    ping = client.one()
    client.receive(ping.id, b"", w.error(Status.UNIMPLEMENTED, 0, A), b"")
    assert client.one(0.1).command.extra == {"incarnation": A}


@pytest.mark.parametrize("answer", [b"garbage", w.partial(0, 1)])
def test_an_answer_to_the_ping_that_says_nothing_is_no_answer(answer: bytes) -> None:
    client = Client()
    client.start(dedupe=True)
    ping = client.one()
    client.receive(ping.id, b"", answer, b"")
    assert client.one(0.1).command.method == "zp.ping"
    assert client.statistics.undecodable == (answer == b"garbage")


def test_a_ping_that_was_not_taken_is_sent_again() -> None:
    client = Client()
    client.start(dedupe=True)
    client.full(client.one())
    client.link(0, Link.WRITABLE, 0.1)
    assert client.one(0.1).command.method == "zp.ping"


def test_a_lost_dedupe_call_is_sent_again_to_the_same_incarnation() -> None:
    client, call = learned()
    client.out()
    client.lose(0, 1.0)
    assert not call.done and not client.out(1.0)
    client.link(0, Link.UP, 1.5)
    ping = client.one(1.5)
    assert ping.command.method == "zp.ping"
    client.reply(ping.id, incarnation=A, now=1.6)
    again = client.one(1.6)
    assert again.id == call.id
    assert (again.command.attempt, again.command.extra) == (2, {"incarnation": A})
    client.reply(call)
    assert call.failure is None


def test_a_lost_dedupe_call_is_never_sent_to_another_incarnation() -> None:
    client, call = learned()
    client.out()
    client.lose(0, 1.0)
    client.link(0, Link.UP, 1.5)
    client.reply(client.one(1.5).id, incarnation=B, now=1.6)
    assert not client.out(1.6)
    assert type(client.failure(call)) is OutcomeUnknown


def test_a_lost_dedupe_call_is_not_sent_to_another_server() -> None:
    client = Client(2)
    call = client.start(dedupe=True)
    for ping in client.out():
        client.reply(ping.id, incarnation=(A, B)[ping.port], port=ping.port)
    first = client.one(0.0).port
    client.lose(first, 1.0)
    for now in (1.0, 2.0, 3.0):
        client.machine.wake(now)
        assert not client.out(now)
    client.wake(6.0)
    failure = client.failure(call)
    assert isinstance(failure, RequestTimeout) and failure.sent


def test_a_lost_dedupe_call_without_attempts_left_is_unknown() -> None:
    client = Client()
    client.know(A)
    call = client.start(dedupe=True, attempts=1)
    client.lose(0, 1.0)
    assert type(client.failure(call)) is OutcomeUnknown


def test_a_dedupe_call_that_ended_while_it_waited_is_not_sent_again() -> None:
    client, call = learned()
    client.out()
    client.lose(0, 1.0)
    client.machine.cancel(call)
    client.link(0, Link.UP, 1.5)
    client.reply(client.one(1.5).id, incarnation=A, now=1.6)
    assert not client.out(1.6)


def test_a_server_that_says_it_is_another_incarnation_leaves_the_outcome_unknown() -> None:
    client, call = learned()
    client.out()
    client.lose(0, 1.0)
    client.link(0, Link.UP, 1.5)
    client.reply(client.one(1.5).id, incarnation=A, now=1.6)
    client.out(1.6)
    client.refuse(call, Status.FAILED_PRECONDITION, incarnation=B, now=1.7)
    assert type(client.failure(call)) is OutcomeUnknown


def test_silence_sends_a_dedupe_call_again_to_the_same_server() -> None:
    client = Client(2)
    call = client.start(dedupe=True)
    for ping in client.out():
        client.reply(ping.id, incarnation=(A, B)[ping.port], port=ping.port)
    first = client.one(0.0)
    client.wake(2.0)
    again = client.one()
    assert (again.id, again.port) == (call.id, first.port)
    assert again.command.extra == first.command.extra
    client.reply(call, port=first.port)
    assert call.failure is None


def test_silence_of_a_full_socket_is_waited_out() -> None:
    client, call = learned()
    client.full(client.out()[0])
    client.link(0, Link.WRITABLE, 0.1)
    other = client.start("other", now=0.1)
    client.full(next(message for message in client.out(0.1) if message.id == other.id), 0.1)
    client.wake(2.1)
    assert not client.out()
    assert not call.done and call.attempt == 1


def test_a_dedupe_retry_that_was_not_taken_waits_for_the_same_server() -> None:
    client, call = learned()
    client.out()
    client.wake(2.0)
    client.full(client.one(), 2.0)
    assert call.taken and call.attempt == 1
    client.link(0, Link.WRITABLE, 2.1)
    again = client.one(2.1)
    assert (again.id, again.command.attempt, again.command.extra) == (call.id, 2, {"incarnation": A})


def test_a_dedupe_call_that_no_server_took_may_go_to_any() -> None:
    client = Client(2)
    call = client.start(dedupe=True, attempts=2)
    for ping in client.out():
        client.reply(ping.id, incarnation=(A, B)[ping.port], port=ping.port)
    first = client.one(0.0)
    client.refuse(call, Status.RESOURCE_EXHAUSTED, port=first.port)
    client.wake(0.1)
    again = client.one()
    assert again.port == 1 - first.port
    assert again.command.extra == {"incarnation": (A, B)[again.port]}


def test_a_dedupe_call_that_was_lost_and_then_refused_keeps_to_its_server() -> None:
    client = Client(2)
    call = client.start(dedupe=True)
    for ping in client.out():
        client.reply(ping.id, incarnation=(A, B)[ping.port], port=ping.port)
    first = client.one(0.0).port
    mine = (A, B)[first]
    client.lose(first, 1.0)
    client.link(first, Link.UP, 1.1)
    client.reply(client.one(1.1).id, incarnation=mine, port=first, now=1.2)
    assert client.one(1.2).port == first
    client.refuse(call, Status.RESOURCE_EXHAUSTED, incarnation=mine, port=first, now=1.3)
    client.wake(2.0)
    assert [(message.port, message.command.attempt) for message in client.out()] == [(first, 3)]


# Streams --------------------------------------------------------------------------------------------------------------

FOUR = Limits(credit=4)


def test_a_stream_gives_its_parts_and_ends() -> None:
    client = Client(limits=FOUR)
    call = client.stream()
    assert client.one().command.extra == {"credit": 4, "deadline": 1_000_000}
    client.part(call, 0, b"zero")
    client.part(call, 1, b"one")
    client.receive(call.id, b"", w.final(2, 0, 0, A), b"")
    assert client.events() == [Part(call, 1, (b"zero",)), Part(call, 1, (b"one",)), call]
    assert call.failure is None


def test_a_stream_may_be_empty() -> None:
    client = Client()
    call = client.stream()
    client.receive(call.id, b"", w.final(0, 0, 0, A), b"")
    assert client.ended() == [call] and call.failure is None


def test_a_stream_may_end_with_an_error() -> None:
    client = Client()
    call = client.stream()
    client.part(call, 0)
    client.refuse(call, Status.NOT_FOUND, flags=0)
    assert isinstance(call.failure, ReplyError)


def test_a_gap_in_a_stream_is_data_loss_and_the_server_is_told() -> None:
    client = Client()
    call = client.stream()
    client.out()
    client.part(call, 1)
    failure = client.failure(call)
    assert isinstance(failure, ReplyError) and failure.status is Status.DATA_LOSS
    assert type(client.one().command) is w.Cancel


def test_an_end_that_counts_more_parts_than_came_is_data_loss() -> None:
    client = Client()
    call = client.stream()
    client.part(call, 0)
    client.events()
    client.receive(call.id, b"", w.final(2, 0, 0, A), b"")
    failure = client.failure(call)
    assert isinstance(failure, ReplyError) and failure.status is Status.DATA_LOSS


def test_a_part_without_a_payload_is_a_protocol_violation() -> None:
    client = Client()
    call = client.stream()
    client.receive(call.id, b"", w.partial(0, 1))
    assert type(client.failure(call)) is ProtocolViolation


def test_more_parts_than_there_was_credit_for_is_a_protocol_violation() -> None:
    client = Client(limits=FOUR)
    call = client.stream()
    client.out()
    for sequence in range(4):
        client.part(call, sequence)
    client.events()
    client.part(call, 4)
    assert type(client.failure(call)) is ProtocolViolation
    assert type(client.one().command) is w.Cancel


def test_credit_is_granted_as_parts_are_read_half_of_it_at_a_time() -> None:
    client = Client(limits=FOUR)
    call = client.stream()
    client.out()
    for sequence in range(4):
        client.part(call, sequence)
    client.machine.read(call, 0.1)
    assert not client.out()
    client.machine.read(call, 0.1)
    assert client.one().command == w.Credit(2)
    client.machine.read(call, 0.1)
    client.machine.read(call, 0.1)
    assert client.one().command == w.Credit(2)


def test_credit_of_one_is_granted_one_by_one() -> None:
    client = Client(limits=Limits(credit=1))
    call = client.stream()
    client.out()
    for sequence in range(3):
        client.part(call, sequence)
        client.machine.read(call, 0.1)
        assert client.one().command == w.Credit(1)


def test_what_is_read_after_the_end_grants_nothing() -> None:
    client = Client(limits=FOUR)
    call = client.stream()
    client.out()
    client.part(call, 0)
    client.part(call, 1)
    client.receive(call.id, b"", w.final(2, 0, 0, A), b"")
    client.machine.read(call, 0.1)
    client.machine.read(call, 0.1)
    assert not client.out()


def test_credit_that_could_not_be_sent_goes_with_the_next() -> None:
    client = Client(limits=FOUR)
    call = client.stream()
    client.out()
    for sequence in range(4):
        client.part(call, sequence)
    client.machine.read(call, 0.1)
    client.machine.read(call, 0.1)
    client.full(client.one(), 0.1)
    client.link(0, Link.WRITABLE, 0.2)
    assert sum(message.command.parts for message in client.out(0.2)) == 2
    client.machine.read(call, 0.3)
    client.machine.read(call, 0.3)
    assert client.one().command == w.Credit(2)


def test_a_stream_shows_life_every_heartbeat() -> None:
    client = Client(heartbeat=Heartbeat(interval=0.5))
    call = client.stream(timeout=10.0, quiet_at=10.0)
    client.out()
    for now in (0.5, 1.0, 1.5):
        client.machine.wake(now - 0.01)
        assert not client.out()  # no more often than that
        client.wake(now)
        message = client.one()
        assert (message.id, message.command) == (call.id, w.Credit(0))


def test_timeout_bounds_the_time_to_the_first_part() -> None:
    client = Client(heartbeat=Heartbeat(interval=9.0))
    call = client.stream()
    client.out()
    client.wake(2.0)
    failure = client.failure(call)
    assert isinstance(failure, RequestTimeout) and failure.sent
    assert type(client.one().command) is w.Cancel


def test_waiting_for_a_server_is_part_of_the_time_to_the_first_part() -> None:
    client = Client(up=False)
    call = client.stream()
    client.link(0, Link.UP, 1.5)
    assert client.one(1.5).command.budget == 500
    client.machine.wake(2.0)
    assert isinstance(client.ended()[-1].failure, RequestTimeout)
    assert call.done


def test_a_stream_that_finds_no_server_in_time_is_peer_unavailable() -> None:
    client = Client(up=False)
    call = client.stream()
    client.wake(2.0)
    assert type(client.failure(call)) is PeerUnavailable


def test_timeout_bounds_the_time_between_parts() -> None:
    client = Client(heartbeat=Heartbeat(interval=9.0))
    call = client.stream()
    client.part(call, 0, now=1.5)
    client.machine.read(call, 1.5)
    client.machine.wake(3.4)
    assert not call.done
    client.machine.wake(3.5)
    assert isinstance(call.failure, RequestTimeout)


def test_a_reader_that_holds_all_the_credit_is_slow_itself() -> None:
    client = Client(limits=FOUR, heartbeat=Heartbeat(interval=1000.0))
    call = client.stream()
    for sequence in range(4):
        client.part(call, sequence, now=1.0)
    client.machine.wake(500.0)
    assert not call.done
    client.machine.read(call, 500.0)
    client.machine.wake(503.0)
    assert not call.done  # nothing is granted yet
    client.machine.read(call, 503.0)
    client.machine.wake(504.9)
    assert not call.done
    client.machine.wake(505.0)
    assert isinstance(call.failure, RequestTimeout)


def test_a_reader_that_took_too_little_for_new_credit_is_slow_itself_too() -> None:
    client = Client(limits=FOUR, heartbeat=Heartbeat(interval=1000.0))
    call = client.stream()
    for sequence in range(3):
        client.part(call, sequence, now=1.0)
    client.machine.read(call, 1.0)
    client.part(call, 3, now=1.0)  # the last one that the server may send
    client.machine.wake(500.0)
    assert not call.done


def test_deadline_bounds_the_whole_stream() -> None:
    client = Client(heartbeat=Heartbeat(interval=9.0))
    call = client.stream(deadline=3.0)
    client.part(call, 0, now=1.9)
    client.machine.wake(3.0)
    assert isinstance(client.ended()[0].failure, RequestTimeout)


def test_a_lost_stream_is_unknown() -> None:
    client = Client()
    call = client.stream(idempotent=True)
    client.part(call, 0)
    client.lose(0, 0.5)
    failure = call.failure
    assert type(failure) is OutcomeUnknown and "after 1 parts" in str(failure)


def test_a_stream_that_was_not_taken_is_sent_again() -> None:
    client = Client(jitter=0.5)
    call = client.stream()
    client.out()
    client.refuse(call, Status.UNAVAILABLE, now=0.5)
    client.wake(0.6)
    assert client.one().command.budget == 1400
    client.part(call, 0, now=0.7)
    assert call.parts == 1


def test_a_stream_in_its_pause_ends_in_time() -> None:
    client = Client(retry=Retry(backoff=5.0, backoff_max=5.0))
    call = client.stream()
    client.refuse(call, Status.UNAVAILABLE, now=0.5)
    client.wake(2.0)
    assert type(call.failure) is PeerUnavailable


# Batches --------------------------------------------------------------------------------------------------------------


def together(client: Client, count: int, **more: Any) -> list[Call]:
    calls = [Call("m", b"p%d" % number, 6.0, 3, **more) for number in range(count)]
    for call in calls:
        client.machine.start(call)
    return calls


def test_calls_of_one_tick_travel_together_when_the_server_reads_batches() -> None:
    client = Client()
    client.know(A, flags=w.BATCHES)
    calls = together(client, 3)
    message = client.one(0.0)
    header = w.Request("m", 6000, 1, 1, w.BATCHES, {})
    assert message.items == [(call.id, header, b"p%d" % number) for number, call in enumerate(calls)]


def test_calls_travel_alone_until_the_server_has_said_that_it_reads_batches() -> None:
    client = Client()
    client.know(A)
    together(client, 3)
    assert len(client.out(0.0)) == 3


def test_a_new_connection_is_a_new_agreement() -> None:
    client = Client()
    client.know(A, flags=w.BATCHES)
    client.lose(0, 0.1)
    client.link(0, Link.UP, 0.2)
    together(client, 3)
    assert len(client.out(0.2)) == 3


def test_one_call_is_no_batch() -> None:
    client = Client()
    client.know(A, flags=w.BATCHES)
    [call] = together(client, 1)
    assert client.one(0.0).id == call.id


def test_large_payloads_buffers_and_plain_bodies_travel_alone() -> None:
    client = Client()
    client.know(A, flags=w.BATCHES)
    for call in (
        Call("m", bytes(8193), 6.0, 1),
        Call("m", b"", 6.0, 1, buffers=(b"x",)),
        Call("m", memoryview(b"x"), 6.0, 1),
        Call(None, b"x", 6.0, 1),
        Call("m", bytes(8192), 6.0, 1),
        Call("m", b"", 6.0, 1),
    ):
        client.machine.start(call)
    messages = client.out(0.0)
    assert [len(message.frames) for message in messages] == [4, 5, 4, 3, 3]
    assert len(messages[-1].items) == 2


def test_long_headers_count_in_a_batch() -> None:
    client = Client()
    client.know(A, flags=w.BATCHES)
    for _ in range(10):
        call = Call("m", b"", 6.0, 1)
        call.extra = {"headers": {"long": "x" * 60_000}}
        client.machine.start(call)
    for message in client.out(0.0):
        assert len(message.frames[2]) <= w.BATCH_MAX or message.id


def test_replies_may_come_together() -> None:
    client = Client()
    first, second = client.start(), client.start()
    header = w.final(0, 1, w.BATCHES, A)
    items = [second.id, header, b"two", first.id, header, b"one"]
    client.receive(b"", w.batch(2), w.encode_batch(items))
    assert client.ended() == [second, first]
    assert (first.reply, second.reply) == ((b"one",), (b"two",))


@pytest.mark.parametrize(
    "frames",
    [(b"", b"garbage", b""), (b"", w.batch(2), b"\x90"), (b"", w.final(0, 1, 0, A), b"x")],
)
def test_a_batch_that_does_not_decode_is_counted_and_dropped(frames: tuple[bytes, ...]) -> None:
    client = Client()
    call = client.start()
    client.receive(*frames)
    assert not call.done
    assert client.statistics.undecodable == 1


def test_every_call_of_a_batch_that_was_not_taken_waits_again_in_order() -> None:
    client = Client()
    client.know(A, flags=w.BATCHES)
    calls = together(client, 600)
    messages = client.out(0.0)
    assert [len(message.items) for message in messages] == [256, 256, 88]
    client.full(messages[2])
    client.full(messages[1])
    client.link(0, Link.WRITABLE, 0.1)
    again = [item[0] for message in client.out(0.1) for item in message.items]
    assert again == [call.id for call in calls[256:]]


# Plain calls ----------------------------------------------------------------------------------------------------------


def test_a_plain_call_takes_what_comes_and_parses_nothing() -> None:
    client = Client()
    call = client.start(None, payload=b"hello", buffers=[b"there"])
    assert client.one().frames == (call.id, b"", b"hello", b"there")
    client.receive(call.id, b"", w.error(Status.INTERNAL, 0, A), b"x")
    assert call.failure is None
    assert call.reply == (w.error(Status.INTERNAL, 0, A), b"x")


def test_many_plain_calls_with_ids_are_under_way_at_once() -> None:
    client = Client()
    calls = [client.start(None) for _ in range(3)]
    for call in reversed(calls):
        client.receive(call.id, b"", call.id)
    assert [call.reply for call in calls] == [(call.id,) for call in calls]


def test_without_an_id_one_plain_call_is_under_way_at_a_time() -> None:
    client = Client()
    first = client.start(None, bare=EMPTY, payload=b"one")
    second = client.start(None, bare=EMPTY, payload=b"two")
    third = client.start("typed")
    assert client.one().frames == (b"", b"one")
    client.receive(b"", b"reply", b"more")
    assert first.reply == (b"reply", b"more")
    assert client.one(0.1).frames == (b"", b"two")
    client.receive(b"reply without delimiter")
    assert second.reply == (b"reply without delimiter",)
    assert client.one(0.2).id == third.id


def test_without_an_id_a_plain_call_waits_until_nothing_else_is_under_way() -> None:
    client = Client()
    typed = client.start()
    plain = client.start(None, bare=NONE, payload=b"raw")
    client.out()
    client.reply(typed)
    assert client.one(0.1).frames == (b"raw",)
    client.receive(b"", b"as it is")
    assert plain.reply == (b"", b"as it is")


def test_a_plain_call_without_an_id_that_timed_out_needs_a_fresh_socket() -> None:
    client = Client()
    call = client.start(None, bare=EMPTY, idempotent=True, attempts=1)
    following = client.start(None, bare=EMPTY, deadline=20.0)
    client.out()
    client.wake(6.0)
    assert client.events() == [Reopen(0), call]
    assert not client.out(6.0)  # its late reply would answer the next
    client.lose(0, 6.1)
    client.link(0, Link.UP, 6.2)
    assert len(client.out(6.2)) == 1
    client.receive(b"", b"fresh")
    assert following.reply == (b"fresh",)


def test_a_lost_plain_call_without_an_id_is_unknown() -> None:
    client = Client()
    call = client.start(None, bare=EMPTY)
    client.lose(0, 1.0)
    assert type(client.failure(call)) is OutcomeUnknown
    client.link(0, Link.UP, 1.1)
    client.start(None, bare=EMPTY)
    assert client.out(1.1)


@pytest.mark.parametrize("bare", [EMPTY, NONE])
def test_a_late_reply_with_an_id_is_not_given_to_a_plain_call_without_one(bare: int) -> None:
    client = Client()
    late = client.start()
    client.out()
    client.wake(6.0)
    call = client.start(None, now=6.0, bare=bare)
    client.reply(late, now=6.1)
    client.receive(b"", w.batch(1), w.encode_batch([late.id, w.final(0, 1, 0, A), b"late"]))
    assert not call.done
    assert client.statistics.late == 2


def test_the_counters_add_up() -> None:
    client = Client()
    answered, failed, cancelled = client.start(), client.start(), client.start()
    client.reply(answered)
    client.refuse(failed, Status.INTERNAL, flags=0)
    client.machine.cancel(cancelled)
    s = client.statistics
    assert s.started == s.answered + s.failed + s.cancelled == 3
    assert not client.machine.calls


def test_nothing_is_left_in_the_timers() -> None:
    client = Client()
    calls = [client.start(idempotent=bool(number % 2)) for number in range(10)]
    for call in calls:
        client.reply(call)
    assert not client.machine._timers.expired(1e9)


def test_nothing_is_dispatched_by_a_client() -> None:
    client = Client()
    client.machine.dispatch(0.0)
    assert not client.machine.events and not client.machine.outbox


def test_sleeping_never_goes_back() -> None:
    client = Client()
    client.start(idempotent=True)
    times = [client.machine.wakes_at]
    for now in (2.0, 4.0):
        client.wake(now)
        times.append(client.machine.wakes_at)
    assert all(before is not None and after is not None and before < after for before, after in pairwise(times))


# Corners --------------------------------------------------------------------------------------------------------------


def test_a_call_whose_time_is_over_is_not_sent_any_more() -> None:
    client = Client(up=False)
    call = client.start()
    client.link(0, Link.UP, 6.0)
    assert not client.out(6.0)
    client.wake(6.0)
    failure = client.failure(call)
    assert isinstance(failure, RequestTimeout) and failure.sent is False


def test_a_dedupe_call_whose_time_is_over_is_not_sent_again() -> None:
    client, call = learned()
    client.out()
    client.lose(0, 1.0)
    client.link(0, Link.UP, 5.9)
    client.reply(client.one(5.9).id, incarnation=A, now=6.0)
    assert not client.out(6.0)
    client.wake(6.0)
    assert isinstance(client.failure(call), RequestTimeout)


def test_a_lost_dedupe_call_waits_for_room_at_its_server() -> None:
    client, call = learned(limits=Limits(in_flight=1))
    client.out()
    client.lose(0, 1.0)
    client.link(0, Link.UP, 1.1)
    ping = client.one(1.1)
    other = client.start("other", now=1.1)
    assert client.one().id == other.id
    client.reply(ping.id, incarnation=A, now=1.2)
    assert not client.out(1.2)
    client.reply(other, now=1.3)
    assert client.one(1.3).id == call.id


def test_a_dedupe_retry_that_is_cancelled_before_it_is_sent_is_not_sent() -> None:
    client, call = learned()
    client.out()
    client.machine.wake(2.1)
    client.machine.cancel(call)
    assert [type(message.command) for message in client.out(2.1)] == [w.Cancel]


def test_a_dedupe_retry_whose_connection_is_lost_before_it_is_sent_waits_for_its_server() -> None:
    client, call = learned()
    client.out()
    client.machine.wake(2.1)
    client.lose(0, 2.1)
    assert not client.out(2.1)
    client.link(0, Link.UP, 2.2)
    client.reply(client.one(2.2).id, incarnation=A, now=2.3)
    assert client.one(2.3).id == call.id


def test_credit_that_could_not_be_sent_for_a_stream_that_ended_is_forgotten() -> None:
    client = Client(limits=FOUR)
    call = client.stream()
    client.out()
    for sequence in range(2):
        client.part(call, sequence)
        client.machine.read(call, 0.1)
    client.full(client.one(), 0.1)
    client.machine.cancel(call)
    client.out()
    client.link(0, Link.WRITABLE, 0.2)
    assert not client.out(0.2)


def test_a_refusal_from_a_server_that_has_the_call_no_longer_changes_nothing() -> None:
    client = Client(2)
    call = client.start(idempotent=True, attempts=2)
    first = client.one().port
    client.wake(3.0)
    client.lose(first, 3.1)
    client.link(first, Link.UP, 3.2)
    client.refuse(call, Status.UNAVAILABLE, port=first, now=3.3)
    client.reply(call, port=1 - first, now=3.4)
    assert client.ended() == [call] and call.failure is None


def test_a_dedupe_call_that_waits_for_its_server_is_free_when_that_says_it_never_took_it() -> None:
    client = Client(2)
    call = client.start(dedupe=True)
    for ping in client.out():
        client.reply(ping.id, incarnation=(A, B)[ping.port], port=ping.port)
    first = client.one(0.0).port
    client.machine.wake(2.0)
    client.full(client.one(2.0), 2.0)
    client.refuse(call, Status.RESOURCE_EXHAUSTED, incarnation=(A, B)[first], port=first, now=2.1)
    again = client.one(2.1)
    assert (again.id, again.port) == (call.id, 1 - first)
    assert again.command.extra == {"incarnation": (A, B)[1 - first]}


def test_a_small_call_beside_a_large_one_is_no_batch() -> None:
    client = Client()
    client.know(A, flags=w.BATCHES)
    for payload in (b"small", bytes(10_000)):
        client.machine.start(Call("m", payload, 6.0, 1))
    assert sorted(len(message.frames[3]) for message in client.out(0.0)) == [5, 10_000]


def test_what_is_under_way_does_not_fill_the_queue() -> None:
    client = Client(limits=Limits(queue=2))
    for _ in range(5):
        client.start()
    assert len(client.out()) == len(client.machine.calls) == 5


def test_what_was_cancelled_fills_no_queue() -> None:
    client = Client(up=False, limits=Limits(queue=3))
    for _ in range(100):
        client.machine.cancel(client.start())
        assert len(client.machine._waiting.queue) <= 3
    client.start()
    client.start()
    client.start()
    with pytest.raises(Overloaded):
        client.start()
