"""The broker's rules, one by one: what it takes, gives, answers and refuses, in each protocol."""

from __future__ import annotations

from itertools import permutations

import pytest

from zpatterns.core.broker_peers import Misplaced
from zpatterns.core.broker_report import report
from zpatterns.core.load_balancer import LeastLoaded
from zpatterns.core.machine import Link, Sent
from zpatterns.core.majordomo_broker import MajordomoBroker
from zpatterns.core.replier import Replier
from zpatterns.errors import Status
from zpatterns.policy import Limits
from zpatterns.wire import message as w

from .brokering import BROKER, C01, C02, LATE, W01, W02, A, B, Desk, id_of

IDEMPOTENT, STREAM, BATCHES = w.IDEMPOTENT, w.STREAM, w.BATCHES


# A request and its answer ---------------------------------------------------------------------------------------------


def test_a_request_goes_to_a_worker_and_its_answer_back() -> None:
    desk = Desk()
    desk.ours()
    assert desk.changes() == [(b"w1", True)]
    desk.request()
    header = w.request("m", 5000, 1, 1, 0)
    assert desk.one() == (b"w1", b"", W01, b"\x02", id_of(1), b"", header, b"\xc0")
    desk.reply()
    assert desk.one() == (b"c1", id_of(1), b"", C01, b"calc", w.final(0, 1, 0, A), b"reply")
    assert desk.ended() == desk.statistics.answered == 1


def test_a_strict_worker_gets_one_at_a_time_and_the_address_is_opaque() -> None:
    desk = Desk()
    desk.ready()
    desk.plain(b"a")
    desk.plain(b"b")
    first = desk.one()
    assert first[:4] == (b"w1", b"", W01, b"\x02") and first[5:] == (b"", b"a")
    desk.result(first[4], b"A")
    assert {message[0] for message in desk.out()} == {b"w1", b"r1"}


def test_what_one_turn_gives_and_answers_goes_in_one_message() -> None:
    desk = Desk()
    desk.ours(credit=8)
    for number in range(3):
        desk.request(number, flags=BATCHES)
    message = desk.one()
    assert message[:6] == (b"w1", b"", W01, b"\x02", b"", b"")
    items = w.decode_batch(w.parse(message[6]), message[7])
    assert items[::3] == [id_of(number) for number in range(3)]
    replies = [part for number in range(3) for part in (id_of(number), w.final(0, 1, BATCHES, A), b"r")]
    desk.hear(1, b"w1", b"", W01, b"\x03", b"", b"", w.batch(3), w.encode_batch(replies))
    message = desk.one()
    assert message[:4] == (b"c1", b"", C01, b"calc")
    assert w.decode_batch(w.parse(message[4]), message[5]) == replies


def test_answers_of_two_services_to_one_client_are_two_batches() -> None:
    desk = Desk()
    desk.ours(b"w1", service=b"a")
    desk.ours(b"w2", service=b"b", incarnation=B)
    for number, service in ((1, b"a"), (2, b"b"), (3, b"b"), (4, b"a")):
        desk.request(number, service=service, flags=BATCHES)
    desk.out()
    for number, worker in ((1, b"w1"), (2, b"w2"), (3, b"w2"), (4, b"w1")):
        desk.reply(number, worker=worker, flags=BATCHES)
    assert [message[-3] for message in desk.out()] == [b"a", b"b"]


def test_a_batch_of_a_client_is_read() -> None:
    desk = Desk()
    desk.ours()
    header = w.request("m", 5000, 1, 1, BATCHES)
    items = [id_of(1), header, b"\xc0", id_of(2), header, b"\xc0", id_of(3), w.CANCEL_HEADER, b""]
    desk.hear(0, b"c1", b"", C01, b"calc", w.batch(3), w.encode_batch(items))
    assert desk.statistics.received == 2
    items[7] = w.batch(1)
    desk.hear(0, b"c1", b"", C01, b"calc", w.batch(3), w.encode_batch(items))
    assert desk.statistics.undecodable == 1 and desk.statistics.duplicates == 2


def test_large_payloads_and_buffers_travel_alone_and_nothing_is_changed() -> None:
    desk = Desk()
    desk.ours()
    desk.request(1, payload=b"x" * 9000, flags=BATCHES)
    desk.request(2, buffers=(b"buffer",), flags=BATCHES)
    assert [message[7:] for message in desk.out()] == [(b"x" * 9000,), (b"\xc0", b"buffer")]
    desk.reply(1, payload=b"y" * 9000, flags=BATCHES)
    assert desk.one()[-1] == b"y" * 9000


def test_the_budget_that_is_left_is_written_where_a_request_waited() -> None:
    desk = Desk()
    desk.ours(credit=1)
    desk.request(1)
    desk.request(2)
    desk.request(3, flags=STREAM, extra={"credit": 3, "deadline": 9000})
    desk.out()
    desk.now += 2.0
    desk.reply(1)
    [given] = [message for message in desk.out() if message[0] == b"w1"]
    assert w.parse(given[6]).budget == 3000  # type: ignore[union-attr]
    desk.reply(2)
    [given] = [message for message in desk.out() if message[0] == b"w1"]
    header = w.parse(given[6])
    assert isinstance(header, w.Request) and header.extra == {"credit": 3, "deadline": 7000}
    assert desk.machine.exchange.pending[id_of(3)].expires_at == LATE + 9.0


def test_workers_take_turns_and_clients_do() -> None:
    desk = Desk()
    for worker in (b"w1", b"w2"):
        desk.ready(worker)
    for number in range(3):
        desk.request(number, client=b"flood")
    desk.request(9, client=b"c1")
    assert [message[0] for message in desk.out()] == [b"w1", b"w2"]
    desk.reply(0, worker=b"w1")
    desk.reply(1, worker=b"w2")
    assert {address for each in desk.machine.workers.values() for address in each.jobs} == {id_of(2), id_of(9)}


def test_the_least_loaded_worker_is_next() -> None:
    desk = Desk(balancer=LeastLoaded)
    desk.ours(b"w1", credit=2)
    desk.request(1)
    desk.ours(b"w2", credit=3, incarnation=B)
    desk.request(2)
    desk.request(3)
    desk.request(4)
    desk.request(5)
    desk.request(6)
    assert {worker: len(each.jobs) for worker, each in desk.machine.workers.items()} == {b"w1": 2, b"w2": 3}
    desk.disconnect(b"w1")
    desk.out()
    desk.reply(2, worker=b"w2")
    desk.capacity(b"w2", 1, B)
    desk.ended()


# Streams, cancels, credit ---------------------------------------------------------------------------------------------


def test_a_stream_passes_part_by_part_and_credit_and_cancel_reach_its_worker() -> None:
    desk = Desk()
    desk.ours()
    desk.request(1, flags=STREAM | BATCHES, extra={"credit": 4})
    desk.hear(0, b"c1", id_of(1), b"", C01, b"calc", w.credit(2), b"")
    request, credit = desk.out()
    assert request[4] == id_of(1) and credit[4:] == (id_of(1), b"", w.credit(2), b"")
    desk.result(id_of(1), w.partial(0, 1), b"small")
    desk.result(id_of(1), w.partial(1, 1), b"large" * 2000)
    small, large = desk.out()
    assert small[-1] == b"small" and large[-1] == b"large" * 2000
    desk.hear(0, b"c1", id_of(1), b"", C01, b"calc", w.CANCEL_HEADER, b"")
    assert desk.one()[4:] == (id_of(1), b"", w.CANCEL_HEADER, b"")
    assert desk.ended() == desk.statistics.cancelled == 1
    assert len(desk.machine.workers[b"w1"].jobs) == 1  # its room comes back with the answer
    desk.fail(1, Status.CANCELLED, 0)
    assert not desk.machine.workers[b"w1"].jobs and desk.statistics.late == 1 and not desk.out()


def test_a_cancel_of_what_waits_is_told_to_nobody_and_of_others_is_ignored() -> None:
    desk = Desk()
    desk.ready()
    for number in range(1, 6):
        desk.request(number)
    desk.out()
    for number in (3, 4, 5):
        desk.hear(0, b"c1", id_of(number), b"", C01, b"calc", w.CANCEL_HEADER, b"")
    desk.hear(0, b"c2", id_of(2), b"", C01, b"calc", w.CANCEL_HEADER, b"")
    desk.request(7, client=b"c2")
    desk.hear(0, b"c2", id_of(2), b"", C01, b"calc", w.CANCEL_HEADER, b"")
    desk.hear(0, b"c2", id_of(2), b"", C01, b"calc", w.credit(1), b"")
    assert not desk.out() and desk.statistics.cancelled == 3 and desk.ended() == 3
    desk.reply(1)
    assert [message[4] for message in desk.out() if message[0] == b"w1"] == [id_of(2)]


def test_controls_without_an_id_or_of_another_kind_are_counted() -> None:
    desk = Desk()
    desk.hear(0, b"c1", b"", C01, b"calc", w.CANCEL_HEADER, b"")
    desk.hear(0, b"c1", id_of(1), b"", C01, b"calc", w.final(0, 1, 0, A), b"")
    desk.hear(0, b"c1", id_of(1), b"", C01, b"calc", w.batch(1), b"")
    assert desk.statistics.undecodable == 3


# Time -----------------------------------------------------------------------------------------------------------------


def test_requests_end_when_their_time_is_over_wherever_they_are() -> None:
    desk = Desk(limits=Limits(request_expiry=2.0))
    desk.ready()
    desk.request(1, budget=1000)
    desk.request(2, budget=1000)
    desk.plain(service=b"unknown")
    desk.out()
    desk.wake(LATE + 1.1)
    assert desk.statistics.expired == 2
    desk.wake(LATE + 2.1)
    assert desk.ended() == desk.statistics.expired == 3 and not desk.out()
    assert len(desk.machine.workers[b"w1"].jobs) == 1
    desk.reply(1)
    assert desk.statistics.late == 1 and not desk.machine.workers[b"w1"].jobs


def test_what_expired_while_it_waited_is_not_given() -> None:
    desk = Desk()
    desk.ready()
    desk.request(1)
    desk.request(2, budget=100)
    desk.now += 1.0
    desk.reply(1)
    assert [message[0] for message in desk.out()] == [b"w1", b"c1"] and desk.statistics.expired == 1


def test_a_stream_ends_at_its_deadline_at_the_latest() -> None:
    desk = Desk()
    desk.ours()
    desk.request(1, flags=STREAM, budget=1000, extra={"credit": 1, "deadline": 3000})
    desk.out()
    desk.wake(LATE + 2.0)
    assert not desk.ended()
    desk.hear(1, b"w1", b"", W01, b"\x04")
    desk.wake(LATE + 3.1)
    assert desk.ended() == desk.statistics.expired == 1


def test_those_that_have_ended_in_a_line_take_no_turn() -> None:
    desk = Desk()
    desk.ready()
    for number in range(1, 7):
        desk.request(number)
    desk.request(20, client=b"c2")
    desk.request(21, client=b"c2")
    desk.out()
    for number in (2, 3):
        desk.hear(0, b"c1", id_of(number), b"", C01, b"calc", w.CANCEL_HEADER, b"")
    desk.hear(0, b"c2", id_of(20), b"", C01, b"calc", w.CANCEL_HEADER, b"")
    desk.hear(0, b"c2", id_of(21), b"", C01, b"calc", w.CANCEL_HEADER, b"")
    order = []
    for _ in range(4):
        [held] = desk.machine.workers[b"w1"].jobs
        order.append(held)
        desk.result(held, w.final(0, 1, 0, A), b"r")
        desk.out()
    assert order == [id_of(1), id_of(4), id_of(5), id_of(6)] and desk.ended() == 8


def test_a_broker_is_as_old_as_what_it_heard_first() -> None:
    machine = MajordomoBroker(own=Replier({}, incarnation=BROKER))
    assert machine.wakes_at is None
    machine.receive(0, (b"c1", b"", C01, b"mmi.zpatterns", b""), 5.0)
    assert machine.wakes_at == 6.0


def test_a_stream_without_a_deadline_has_no_time_once_it_is_given() -> None:
    desk = Desk()
    desk.ours()
    desk.request(1, flags=STREAM, budget=1000, extra={"credit": 1})
    desk.out()
    desk.wake(LATE + 2.0)
    assert not desk.ended()


# A worker is lost -----------------------------------------------------------------------------------------------------


def test_a_silent_worker_is_lost_and_only_what_may_run_twice_goes_on() -> None:
    desk = Desk()
    desk.ours()
    desk.request(1, flags=IDEMPOTENT, budget=9000)
    desk.request(2, budget=9000)
    desk.out()
    desk.wake(LATE + 3.1)
    status, flags, _, text = desk.error()
    assert (status, flags) == (Status.UNKNOWN, w.LOST) and "lost" in text
    assert desk.statistics.outcome_unknown == desk.statistics.workers_lost == 1
    desk.ours(b"w2", incarnation=B)
    assert desk.one()[4] == id_of(1) and desk.statistics.redelivered == 1
    desk.reply(1, worker=b"w1")  # it was only stopped
    assert desk.one() == (b"w1", b"", W01, b"\x05") and desk.statistics.answered == 0
    desk.reply(1, worker=b"w2")
    assert desk.one()[0] == b"c1" and desk.ended() == 2


def test_a_worker_that_shows_life_is_not_lost() -> None:
    desk = Desk()
    desk.ours()
    desk.now += 2.0
    desk.hear(1, b"w1", b"", W01, b"\x04")
    desk.wake(LATE + 3.1)
    assert b"w1" in desk.machine.workers
    desk.wake(LATE + 5.1)
    assert b"w1" not in desk.machine.workers


def test_what_was_answered_in_part_cannot_begin_anew() -> None:
    desk = Desk()
    desk.ours()
    desk.request(1, flags=STREAM | IDEMPOTENT, extra={"credit": 4})
    desk.result(id_of(1), w.partial(0, 1), b"part")
    desk.out()
    desk.disconnect()
    assert desk.error()[:2] == (Status.UNKNOWN, w.LOST)


def test_what_never_left_is_not_lost() -> None:
    desk = Desk()
    desk.ours()
    desk.request(1)
    desk.out()
    desk.request(2)
    message = desk.one()
    desk.unroutable(*message)
    assert desk.error()[:2] == (Status.UNKNOWN, w.LOST)
    desk.ours(b"w2", incarnation=B)
    assert desk.one()[4] == id_of(2)
    assert desk.statistics.dropped == 1


def test_of_a_batch_that_never_left_nothing_is_lost_nor_of_what_was_kept_behind_it() -> None:
    desk = Desk()
    desk.ours(credit=8)
    desk.request(1)
    desk.request(2)
    batch = desk.one()
    desk.machine.sent((1, batch), Sent.FULL, desk.now)
    desk.request(3)
    assert not desk.out()
    desk.unroutable(*batch)
    desk.ours(b"w2", credit=8, incarnation=B)
    assert set(desk.given(b"w2")) == {id_of(1), id_of(2), id_of(3)}


def test_a_worker_that_does_not_read_is_left_before_its_requests_are_dropped_in_silence() -> None:
    desk = Desk(limits=Limits(peer_queue=1))
    desk.ours(credit=8)
    desk.request(1, buffers=(b"alone",))
    desk.machine.sent((1, desk.one()), Sent.FULL, desk.now)
    desk.wake(desk.now + 1.0)  # no heartbeat takes the room
    [kept] = [message for message in desk.out() if message[0] == b"w1"]
    desk.machine.sent((1, kept), Sent.FULL, desk.now)
    desk.request(2, buffers=(b"alone",))
    assert desk.one() == (b"w1", b"", W01, b"\x05") and not desk.machine.workers
    desk.ours(b"w2", incarnation=B)
    assert {message[4] for message in desk.out()} == {id_of(1), id_of(2)} and not desk.statistics.outcome_unknown
    desk.machine._outlets[1].lost = [(b"gone already", b"x")]
    assert not desk.out()


def test_a_heartbeat_that_finds_nobody_tells_of_the_loss() -> None:
    desk = Desk()
    desk.ready()
    desk.plain()
    desk.out()
    desk.unroutable(b"w1", b"", W01, b"\x04")
    desk.ready(b"w2")
    assert desk.one()[0] == b"w2"


def test_what_this_turn_would_give_goes_to_another_worker() -> None:
    desk = Desk()
    desk.ours(b"w1")
    desk.machine.receive(0, (b"c1", id_of(1), b"", C01, b"calc", w.request("m", 5000, 1, 1, 0), b""), desk.now)
    desk.machine.dispatch(desk.now)
    desk.disconnect(b"w1")
    desk.ours(b"w2", incarnation=B)
    assert desk.one()[0] == b"w2" and not desk.statistics.outcome_unknown


def test_a_worker_that_drains_is_given_nothing_and_what_it_has_not_answered_it_has_not_taken() -> None:
    desk = Desk()
    desk.ours(b"w1")
    desk.request(1)
    desk.request(2)
    desk.out()
    desk.capacity(b"w1", 0)
    desk.request(3)
    desk.reply(1)
    assert desk.one()[0] == b"c1"
    desk.disconnect(b"w1")
    desk.ours(b"w2", incarnation=B)
    assert desk.given(b"w2") == [id_of(2), id_of(3)]
    assert not desk.statistics.outcome_unknown


def test_a_refusal_of_a_worker_sends_a_request_to_another_but_not_for_ever() -> None:
    desk = Desk(limits=Limits(deliveries=3))
    desk.ours(b"w1")
    desk.request(1)
    for _ in range(2):
        assert desk.one()[0] == b"w1"
        desk.fail(1, Status.UNAVAILABLE)
    desk.out()
    desk.fail(1, Status.UNAVAILABLE)
    assert desk.error()[0] == Status.UNAVAILABLE
    desk.request(2)
    desk.out()
    desk.fail(2, Status.INVALID_ARGUMENT)
    assert desk.error()[0] == Status.INVALID_ARGUMENT and desk.ended() == 2


def test_after_so_many_lost_workers_a_request_is_a_dead_letter() -> None:
    desk = Desk(limits=Limits(deliveries=2, dead_letters=2))
    desk.ours()
    for number in range(3):
        desk.request(number, flags=IDEMPOTENT)
        desk.out()
        for _ in range(2):
            desk.disconnect()
            desk.ours()
        assert desk.error()[:2] == (Status.ABORTED, 0)
    letters = desk.machine.exchange.dead_letters
    assert [letter.id for letter in letters.list()] == [id_of(1), id_of(2)] and letters.forgotten == 1
    assert letters.list()[0].method == "m" and letters.list()[0].deliveries == 2
    assert desk.machine.replay(id_of(1), desk.now) and not desk.machine.replay(id_of(1), desk.now)
    desk.machine.dispatch(desk.now)
    message = desk.one()
    assert message[0] == b"w1" and w.parse(message[6]).budget == 60_000  # type: ignore[union-attr]
    desk.result(message[4], w.final(0, 1, 0, A), b"done")
    assert not desk.out() and desk.statistics.dead == 3 and desk.ended() == 4


def test_a_dead_letter_that_is_given_out_again_waits_for_a_worker() -> None:
    desk = Desk(limits=Limits(deliveries=1))
    desk.ours()
    desk.request(1, flags=IDEMPOTENT)
    desk.out()
    desk.disconnect()
    desk.out()
    assert desk.machine.replay(id_of(1), desk.now)
    desk.wake(LATE + 10.0)
    desk.ours()
    assert desk.one()[0] == b"w1"


def test_a_plain_dead_letter_is_given_out_as_it_was() -> None:
    desk = Desk(limits=Limits(deliveries=1))
    desk.ready()
    desk.hear(0, b"r1", b"", C01, b"calc", memoryview(b"hello"))
    desk.out()
    desk.disconnect()
    [letter] = desk.machine.exchange.dead_letters.list()
    assert (letter.method, letter.body) == ("", (b"hello",)) and desk.statistics.untold == 1
    desk.ready()
    desk.machine.replay(letter.id, desk.now)
    desk.machine.dispatch(desk.now)
    assert desk.one()[-1] == b"hello"


# One incarnation alone ------------------------------------------------------------------------------------------------


def test_a_request_for_one_incarnation_goes_there_or_nowhere() -> None:
    desk = Desk()
    desk.ours(b"w1", credit=1)
    desk.ours(b"w2", credit=1, incarnation=B)
    for number in (1, 2, 3):
        desk.request(number, extra={"incarnation": B}, flags=w.DEDUPE)
    assert desk.one()[0] == b"w2"
    desk.hear(0, b"c1", id_of(3), b"", C01, b"calc", w.CANCEL_HEADER, b"")
    desk.reply(1, worker=b"w2")
    assert {message[0] for message in desk.out()} == {b"w2", b"c1"}
    desk.reply(2, worker=b"w2")
    desk.out()
    desk.request(4, extra={"incarnation": B})
    desk.request(6, extra={"incarnation": B})
    desk.request(7, extra={"incarnation": B})
    desk.hear(0, b"c1", id_of(7), b"", C01, b"calc", w.CANCEL_HEADER, b"")
    desk.out()
    desk.disconnect(b"w2")
    errors = [w.parse(message[-2]) for message in desk.out()]
    assert {(error.status, error.flags) for error in errors} == {  # type: ignore[union-attr]
        (Status.UNKNOWN, w.LOST),
        (Status.FAILED_PRECONDITION, w.NOT_TAKEN),
    }
    desk.request(5, extra={"incarnation": B})
    assert desk.error()[:3] == (Status.FAILED_PRECONDITION, w.NOT_TAKEN, A)
    desk.ended()


def test_a_pinned_request_that_never_left_or_was_refused_is_told_so() -> None:
    desk = Desk()
    desk.ours(b"w1")
    desk.request(1, extra={"incarnation": A})
    desk.unroutable(*desk.one())
    assert desk.error()[:3] == (Status.FAILED_PRECONDITION, w.NOT_TAKEN, BROKER)
    desk.ours(b"w1")
    desk.request(2, extra={"incarnation": A})
    desk.out()
    desk.fail(2, Status.UNAVAILABLE)
    assert desk.error()[0] == Status.UNAVAILABLE
    desk.capacity(b"w1", 2, B)
    desk.request(3, extra={"incarnation": A})
    assert desk.error()[:3] == (Status.FAILED_PRECONDITION, w.NOT_TAKEN, B)


def test_another_incarnation_is_named_even_when_it_has_no_room() -> None:
    desk = Desk()
    desk.ready(b"w0")
    desk.plain()
    desk.ours(b"w1", credit=1)
    desk.request(1)
    desk.out()
    desk.request(2, extra={"incarnation": B})
    assert desk.error()[2] == A


# Again ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["waiting", "taken", "pinned"])
def test_a_request_that_comes_again_is_not_run_twice_and_answered_where_it_came_from_last(where: str) -> None:
    desk = Desk()
    extra = {"incarnation": A} if where == "pinned" else None
    desk.ours(credit=1)
    if where != "taken":
        desk.request(9)
    desk.request(1, extra=extra)
    desk.out()
    desk.request(1, extra=extra)
    desk.request(1, client=b"c2", extra=extra)
    assert desk.statistics.duplicates == 2 and desk.statistics.received == 1 + (where != "taken")
    if where != "taken":
        desk.reply(9)
    desk.out()
    desk.reply(1)
    assert desk.one()[0] == b"c2"
    client = desk.machine.exchange.directory.clients[0]
    assert not client[b"c1"].pending and not client[b"c1"].waiting and not client[b"c2"].waiting


# Limits ---------------------------------------------------------------------------------------------------------------


def test_nobody_serves_the_name() -> None:
    desk = Desk()
    desk.request(1, service=b"nobody")
    status, flags, incarnation, text = desk.error()
    assert (status, flags, incarnation) == (Status.NOT_FOUND, w.NOT_TAKEN, BROKER) and "'nobody'" in text
    desk.hear(0, b"c1", id_of(2), b"", C01, b"nobody", b"plain")
    assert not desk.out()  # as 7/MDP has it: it waits
    assert Desk(young=True).statistics.received == 0


def test_a_young_broker_and_one_whose_worker_has_just_gone_have_requests_wait() -> None:
    desk = Desk(young=True)
    desk.request(1)
    assert not desk.out()
    desk.ours()
    assert desk.one()[0] == b"w1"
    desk.now += 20.0
    desk.reply(1)
    desk.disconnect()
    desk.out()
    desk.request(2)
    assert not desk.out()
    desk.now += 4.0
    desk.request(3)
    assert desk.error()[0] == Status.NOT_FOUND


def test_what_waits_for_a_name_that_nobody_serves_is_refused_when_the_patience_is_over() -> None:
    desk = Desk(young=True)
    desk.request(1, budget=60_000)
    desk.request(2, service=b"other", budget=60_000)
    desk.plain(service=b"other")  # as 7/MDP has it
    desk.now += 1.0
    desk.request(3, service=b"other", budget=60_000)
    desk.ours()
    assert desk.given() == [id_of(1)] and not desk.out()
    desk.wake(LATE + 3.0)
    assert [message[1] for message in desk.out() if message[0] == b"c1"] == [id_of(2), id_of(3)]
    assert desk.statistics.refused == desk.ended() == 2


def test_what_waits_when_the_last_worker_goes_waits_for_another_no_longer_than_that() -> None:
    desk = Desk()
    desk.ready()
    desk.request(1, budget=60_000, flags=IDEMPOTENT)
    desk.request(2, budget=60_000)
    desk.plain()
    desk.out()
    desk.now += 1.0
    desk.disconnect()
    assert not desk.out()
    desk.now += 1.0
    desk.request(3, budget=60_000)
    desk.wake(LATE + 3.9)
    assert not desk.out()
    desk.wake(LATE + 4.0)
    errors = {message[1]: (w.parse(message[5]), w.decode_error(message[6])[0]) for message in desk.out()}
    lost, text = errors.pop(id_of(1))
    assert isinstance(lost, w.Error) and (lost.status, lost.flags) == (Status.UNAVAILABLE, w.LOST | w.NOT_TAKEN)
    assert "lost" in text and "no worker serves" in text
    assert {(command.status, command.flags) for command, _ in errors.values()} == {(Status.NOT_FOUND, w.NOT_TAKEN)}  # type: ignore[union-attr]
    assert [*errors] == [id_of(2), id_of(3)] and desk.ended() == 3


def test_full_queues_are_overloaded_and_plain_clients_are_told_as_far_as_they_listen() -> None:
    desk = Desk(limits=Limits(client_queue=2, service_queue=3))
    desk.ready()
    for number in range(4):
        desk.request(number)
    assert desk.out()[-1][0] == b"c1" and desk.statistics.refused == 1
    desk.request(5, client=b"c2")
    desk.request(6, client=b"c3")
    assert desk.error()[0] == Status.RESOURCE_EXHAUSTED
    desk.plain(client=b"r1")
    assert not desk.out() and desk.statistics.untold == 1
    desk.hear(0, b"c3", id_of(7), b"", C01, b"calc", b"plain")
    assert desk.one()[-1].startswith(b"zpatterns: RESOURCE_EXHAUSTED: ")
    desk.ended()


def test_names_that_nobody_serves_cannot_make_queues_without_bound() -> None:
    desk = Desk(limits=Limits(services=2, request_expiry=1.0))
    for number in range(4):
        desk.plain(service=b"name-%d" % number)
    assert desk.statistics.refused == 2
    assert len(desk.machine.exchange.directory.services) <= 4
    desk.out()
    desk.wake(LATE + 1.1)
    desk.wake(LATE + 4.5)
    assert not desk.machine.exchange.directory.services and not desk.machine.exchange.directory.clients[0]


def test_too_many_workers_are_told_to_go() -> None:
    desk = Desk(limits=Limits(workers=1))
    desk.ready(b"w1")
    desk.ready(b"w2")
    assert desk.one() == (b"w2", b"", W01, b"\x05")


# MMI and the broker itself --------------------------------------------------------------------------------------------


def test_mmi() -> None:
    desk = Desk()
    desk.ready()
    desk.plain()
    desk.out()
    for name, body, code in (
        (b"mmi.service", b"calc", b"200"),
        (b"mmi.service", b"nobody", b"404"),
        (b"mmi.zpatterns", b"", b"200"),
        (b"mmi.other", b"", b"501"),
    ):
        desk.plain(body, service=name)
        assert desk.one() == (b"r1", b"", C01, name, code)
    desk.disconnect()
    desk.plain(b"calc", service=b"mmi.service")
    assert desk.one()[-1] == b"404"
    desk.hear(0, b"c1", id_of(1), b"", C01, b"mmi.service", b"calc")
    assert desk.one()[:3] == (b"c1", id_of(1), b"")
    desk.hear(0, b"d", C02, b"\x01", b"mmi.zpatterns", b"")
    assert desk.one() == (b"d", C02, b"\x03", b"mmi.zpatterns", b"200")
    desk.hear(1, b"w9", b"", C01, b"mmi.zpatterns", b"")
    assert desk.one() == (b"w9", b"", C01, b"mmi.zpatterns", b"200")
    assert desk.statistics.mmi == 8


def test_a_worker_cannot_serve_mmi() -> None:
    desk = Desk()
    desk.ready(service=b"mmi.foo")
    assert desk.one() == (b"w1", b"", W01, b"\x05") and not desk.machine.workers


def test_typed_requests_without_a_service_are_for_the_broker() -> None:
    desk = Desk()
    desk.hear(0, b"c1", id_of(1), b"", w.request("zp.ping", 1000, 1, 1, 0), b"\xc0")
    [job] = desk.machine.events
    desk.machine.own.reply(job, 1, b"pong")
    assert desk.one() == (b"c1", id_of(1), b"", w.final(0, 1, 0, BROKER), b"pong")


def test_draining_and_stopping() -> None:
    desk = Desk()
    desk.ours(credit=1)
    desk.request(1)
    desk.request(2)
    desk.out()
    desk.machine.drain()
    desk.request(3)
    assert desk.error()[:2] == (Status.UNAVAILABLE, w.NOT_TAKEN)
    desk.machine.resume()
    desk.request(4)
    desk.machine.stop()
    assert {message[1] for message in desk.out()} == {id_of(2), id_of(4)} and desk.machine.running == 1
    desk.machine.resume()
    assert desk.machine.draining
    desk.ready(b"w2")
    assert desk.one() == (b"w2", b"", W01, b"\x05")
    desk.machine.abort()
    assert sorted(message[0] for message in desk.out()) == [b"c1", b"w1"]
    assert desk.statistics.outcome_unknown == 1 and desk.ended() == 4


def test_a_broker_that_stops_waits_for_no_worker_that_is_gone() -> None:
    desk = Desk()
    desk.ours(credit=8)
    desk.request(1, flags=IDEMPOTENT)
    desk.request(2)
    desk.request(3, flags=IDEMPOTENT)
    desk.out()
    desk.machine.stop()
    desk.capacity(b"w1", 0)  # it stops, too
    desk.fail(3, Status.UNAVAILABLE)
    assert desk.one()[1] == id_of(3) and desk.machine.running == 2
    desk.unroutable(b"w1", b"", W01, b"\x04")
    flags = {message[1]: w.parse(message[5]).flags for message in desk.out()}  # type: ignore[union-attr]
    assert flags == {id_of(1): w.LOST | w.NOT_TAKEN, id_of(2): w.LOST}
    assert not desk.machine.running and desk.ended() == 3


# Other protocols ------------------------------------------------------------------------------------------------------


def test_majordomo_0_2() -> None:
    desk = Desk()
    desk.hear(1, b"w1", W02, b"\x01", b"calc")
    desk.hear(0, b"d", C02, b"\x01", b"calc", b"hello")
    request = desk.one()
    assert request[:3] == (b"w1", W02, b"\x02") and request[4:] == (b"", b"hello")
    desk.hear(1, b"w1", W02, b"\x03", request[3], b"", b"part")
    desk.hear(1, b"w1", W02, b"\x04", request[3], b"", b"last")
    assert desk.out() == [(b"d", C02, b"\x02", b"calc", b"part"), (b"d", C02, b"\x03", b"calc", b"last")]
    desk.plain()
    request = desk.one()
    desk.hear(1, b"w1", W02, b"\x03", request[3], b"", b"part")
    assert not desk.out() and desk.statistics.untold == 1
    desk.hear(1, b"w1", W02, b"\x05")
    desk.wake(LATE + 1.0)
    assert b"w1" in desk.machine.workers
    desk.hear(1, b"w9", W02, b"\x05")
    assert desk.one() == (b"w9", W02, b"\x06")
    desk.hear(1, b"w1", W02, b"\x06")
    assert not desk.machine.workers


def test_majortomo() -> None:
    desk = Desk(majortomo=True)
    desk.hear(1, b"w1", b"", W02, b"\x01", b"calc")
    desk.hear(0, b"d", b"", C02, b"\x02", b"calc", b"hello")
    request = desk.one()
    assert request[:4] == (b"w1", b"", W02, b"\x02")
    desk.hear(1, b"w1", b"", W02, b"\x03", request[4], b"", b"part")
    desk.hear(1, b"w1", b"", W02, b"\x04", request[4], b"", b"last")
    assert desk.out() == [(b"d", b"", C02, b"\x03", b"part"), (b"d", b"", C02, b"\x04", b"last")]
    desk.hear(0, b"d", b"", C02, b"\x02", b"mmi.service", b"calc")
    assert desk.one() == (b"d", b"", C02, b"\x04", b"200")
    desk.wake(LATE + 1.0)
    desk.machine.flush(desk.now)
    assert desk.machine.outbox.popleft()[1] == (b"w1", b"", W02, b"\x05")
    desk.hear(1, b"w9", b"", W02, b"\x05")
    assert desk.one() == (b"w9", b"", W02, b"\x06")
    strict = Desk()
    strict.hear(1, b"w1", b"", W02, b"\x01", b"calc")
    assert strict.statistics.undecodable == 1


@pytest.mark.parametrize("ports", [1, 2])
def test_the_pirates(ports: int) -> None:
    desk = Desk(ports)
    back = ports - 1
    desk.hear(back, b"p", b"\x02")  # a heartbeat of nobody
    assert desk.statistics.undecodable == 1
    desk.hear(back, b"p", b"\x01")
    desk.hear(back, b"s", b"", b"READY")
    desk.hear(0, b"r1", b"", b"hello")
    desk.hear(0, b"r2", id_of(1), b"", b"again")
    to_paranoid, to_simple = desk.out()
    assert (to_paranoid[0], *to_paranoid[2:]) == (b"p", b"", b"hello")
    assert (*to_simple[:2], *to_simple[3:]) == (b"s", b"", b"", b"again")
    desk.hear(back, b"p", b"\x02")
    desk.hear(back, b"p", to_paranoid[1], b"", b"\x01")
    desk.hear(back, b"s", b"", to_simple[2], b"", b"done")
    assert desk.out() == [(b"r1", b"", b"\x01"), (b"r2", id_of(1), b"", b"done")]
    desk.wake(LATE + 1.0)
    desk.machine.flush(desk.now)
    assert desk.machine.outbox.pop()[1] == (b"p", b"\x02")
    desk.machine.outbox.clear()
    desk.hear(0, b"r1", b"", b"more")
    lost = desk.one()
    assert lost[0] == b"p"
    desk.hear(back, b"p", b"\x01")  # it has started anew
    assert desk.one()[0] == b"s" and desk.statistics.workers_lost == 1
    desk.hear(back, b"p", b"", lost[1], b"", b"as a simple one")
    desk.hear(back, b"p", b"two", b"frames")
    assert desk.statistics.undecodable == 3
    desk.wake(LATE + 40.0)
    assert [*desk.machine.workers] == [b"s"]
    desk.machine.abort()
    assert not [message for message in desk.out() if message[0] in (b"p", b"s")]


# Garbage --------------------------------------------------------------------------------------------------------------


def test_the_cases_that_end_or_fool_the_brokers_of_the_guide() -> None:
    desk = Desk()
    desk.ready()
    desk.ready()  # READY twice
    assert desk.one() == (b"w1", b"", W01, b"\x05") and not desk.machine.workers
    for command in (b"\x03", b"\x04"):  # REPLY and HEARTBEAT from a worker that is unknown
        rest = (b"address", b"", b"x") if command == b"\x03" else ()
        desk.hear(1, b"w2", b"", W01, command, *rest)
        assert desk.one() == (b"w2", b"", W01, b"\x05")
    desk.disconnect(b"w2")
    desk.hear(0, b"c", b"", C01, b"calc")  # no body
    desk.ready(b"w3")
    desk.result(b"nobody's", b"x", worker=b"w3")
    assert desk.statistics.late == 1
    desk.plain()
    desk.out()
    desk.disconnect(b"w3")  # while it is busy
    desk.ready(b"w4")
    assert desk.one()[0] == b"w4"
    desk.hear(1, b"w4", W02, b"\x05")  # another protocol in the middle
    assert desk.one() == (b"w4", W02, b"\x06") and not desk.machine.workers


GARBAGE = [b"", b"junk", C01, W01, C02, W02, b"\x01", b"\x02", b"\x03", b"calc", b"\xc1zp", w.request("m", 1, 1, 1, 0)]


@pytest.mark.parametrize("ports", [1, 2])
def test_no_prefix_or_permutation_of_anything_raises(ports: int) -> None:
    desk = Desk(ports)
    desk.ours(b"w1")
    for port in range(ports):
        for count in range(4):
            for frames in permutations(GARBAGE, count):
                for peer in (b"w1", b"x"):
                    desk.machine.receive(port, (peer, *frames), desk.now)
        desk.machine.dispatch(desk.now)
        desk.out()
    desk.ours(b"w2", incarnation=B)
    desk.request(77)
    assert desk.out()
    desk.ended()


def test_messages_at_the_wrong_port_and_names_that_are_none() -> None:
    desk = Desk()
    for port, frames in (
        (0, (b"", W01, b"\x01", b"calc")),
        (0, (b"", W01, b"\x03", b"a", b"", b"x")),
        (1, (b"", C01, b"calc", b"x")),
        (1, (b"", b"x")),
        (0, (b"", C01, b"", b"x")),
        (0, (b"", C01, b"s" * 256, b"x")),
        (0, (b"no delimiter, no body", b"")),
        (0, ()),
    ):
        desk.hear(port, b"x", *frames)
    assert desk.statistics.undecodable == 8 and not desk.out()


def test_a_worker_breaks_the_rules_of_ours() -> None:
    desk = Desk()
    desk.ready()
    desk.result(b"", b"x")  # an empty address, and not one of ours
    desk.hear(1, b"w1", b"", W01, b"\x04", b"not ours")
    desk.hear(1, b"w1", b"", W01, b"\x04", w.CANCEL_HEADER)
    assert desk.statistics.undecodable == 2
    desk.capacity(b"w1", 4)
    desk.request()
    desk.out()
    desk.result(id_of(1), b"\xc1zp\x01", b"broken header")
    assert desk.one()[-2:] == (b"\xc1zp\x01", b"broken header")  # its client will see
    desk.hear(1, b"v", W02, b"\x01", b"calc")
    desk.hear(1, b"v", b"", W01, b"\x03", b"a", b"", b"x")
    assert desk.statistics.undecodable == 4


# The driver -----------------------------------------------------------------------------------------------------------


def test_a_client_that_is_gone_is_forgotten_but_not_what_it_may_come_back_for() -> None:
    desk = Desk()
    desk.ours(credit=2)
    desk.request(1, flags=STREAM, extra={"credit": 1})
    desk.request(2, flags=IDEMPOTENT)
    desk.request(3)
    desk.out()
    desk.unroutable(b"c1", b"x", port=0)
    assert desk.one()[4:] == (id_of(1), b"", w.CANCEL_HEADER, b"")
    assert desk.statistics.abandoned == 2 and desk.ended() == 2
    desk.unroutable(b"c9", b"x", port=0)
    desk.reply(2)
    desk.out()
    desk.unroutable(b"c1", b"x", port=0)
    desk.ended()


def test_a_client_that_does_not_read_delays_nobody_and_is_bounded() -> None:
    desk = Desk(limits=Limits(peer_queue=1))
    desk.ours()
    desk.request(1)
    desk.out()
    desk.reply(1)
    message = desk.one()
    desk.machine.sent((0, message), Sent.FULL, desk.now)
    desk.plain(service=b"mmi.zpatterns", client=b"c1")
    assert not desk.out() and desk.statistics.dropped == 1
    desk.wake(desk.now + 0.1)
    assert desk.one() == message


def test_links_mean_nothing_to_a_router_and_it_always_listens() -> None:
    desk = Desk()
    desk.machine.link(0, Link.UP, 0.0)
    assert desk.machine.expects


def test_the_report() -> None:
    desk = Desk()
    desk.ours(credit=1)
    desk.request(1)
    desk.request(2)
    desk.out()
    desk.now += 0.5
    desk.reply(1)
    desk.request(3)
    desk.now += 0.25
    [service] = report(desk.machine.exchange, desk.now)
    assert (service.name, service.received, service.answered, service.waiting) == ("calc", 3, 1, 1)
    assert service.oldest == 0.25 and 0.4 < service.p50 <= service.p99 < 0.6
    [worker] = service.workers
    assert (worker.id, worker.ours, worker.credit, worker.in_flight, worker.heard) == ("7731", True, 1, 1, 0.25)
    assert worker.incarnation == A.hex() and worker.protocol == "7/MDP 0.1" and worker.up == 0.75
    desk.disconnect()
    assert report(desk.machine.exchange, desk.now)[0].workers == ()
    assert report(Desk().machine.exchange, 0.0) == []


def test_peers_at_the_wrong_port_are_told_of_once() -> None:
    desk = Desk()
    for _ in range(3):
        desk.hear(0, b"w1", b"", W01, b"\x01", b"calc")
        desk.hear(1, b"c1", b"", C01, b"calc", b"body")
    reasons = [event.reason for event in desk.machine.events if type(event) is Misplaced]
    assert ["worker" in reasons[0], "client" in reasons[1], len(reasons)] == [True, True, 2]
    assert desk.statistics.undecodable == 6
