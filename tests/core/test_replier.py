"""The rules of a server, one test each, named after the rule."""

from __future__ import annotations

from typing import Any

import pytest

from zpatterns.core.jobs import ALWAYS, PLAIN_REFUSED, THREADS, Credited, Job, Rule, Stop, Why
from zpatterns.core.machine import Link, Sent
from zpatterns.errors import Status
from zpatterns.policy import Heartbeat, Limits
from zpatterns.wire import message as w

from .driving import A, B, Server, id_of

PLAIN: dict[str | None, Rule] = {None: Rule(), "m": Rule()}
REMEMBERED = w.DEDUPE
SOON, LATE = 1.0, 10.0

# In and out -----------------------------------------------------------------------------------------------------------


def test_a_request_is_dispatched_and_answered() -> None:
    server = Server()
    server.request(payload=b"p", now=1.0)
    job = server.job()
    assert (job.method, job.rest, job.routing_id, job.id) == ("m", (b"p",), b"peer1", id_of(1))
    assert job.expires_at == 6.0
    assert server.machine.running == 1
    server.machine.reply(job, 2, b"sum")
    assert server.one() == (b"peer1", id_of(1), b"", w.final(0, 2, 0, A), b"sum")
    assert server.machine.running == 0
    assert (server.statistics.received, server.statistics.dispatched, server.statistics.answered) == (1, 1, 1)


def test_requests_and_replies_may_have_buffers() -> None:
    server = Server()
    server.receive(b"peer1", id_of(1), b"", w.request("m", 1000, 1, 1, 0), b"p", b"one", b"two")
    job = server.job()
    assert job.rest == (b"p", b"one", b"two")
    server.machine.reply(job, 1, b"r", (b"three",))
    assert server.one()[3:] == (w.final(0, 1, 0, A), b"r", b"three")


def test_views_are_frames_too() -> None:
    server = Server()
    server.receive(*map(memoryview, (b"peer1", id_of(1), b"", w.request("m", 1000, 1, 1, 0), b"p")))
    job = server.job()
    assert job.routing_id == b"peer1" and type(job.routing_id) is bytes
    assert [type(frame) for frame in job.path] == [bytes, bytes]


@pytest.mark.parametrize("path", [(b"",), (b"x", b""), (b"p2", b"p1", id_of(1), b""), (id_of(1), b"")])
def test_the_address_stack_goes_back_as_it_came(path: tuple[bytes, ...]) -> None:
    server = Server()
    server.receive(b"peer1", *path, w.request("m", 1000, 1, 1, w.BATCHES), b"p")
    server.machine.reply(server.job(), 1, b"r")
    assert server.one()[: len(path) + 1] == (b"peer1", *path)


def test_a_typed_body_without_delimiter_is_answered_without_one() -> None:
    server = Server()
    server.receive(b"peer1", w.request("m", 1000, 1, 1, 0), b"p")
    server.machine.reply(server.job(), 1, b"r")
    assert server.one() == (b"peer1", w.final(0, 1, 0, A), b"r")


def test_the_magic_is_only_looked_for_where_the_body_begins() -> None:
    server = Server(PLAIN)
    header = w.request("m", 1000, 1, 1, 0)
    for frames in ((b"x", b"y", header, b"p"), (b"", b"", header, b"p")):
        server.receive(b"peer1", *frames)
        assert server.job().method is None


def test_requests_without_an_id_are_never_the_same() -> None:
    server = Server()
    for _ in range(2):
        server.receive(b"peer1", b"", w.request("m", 1000, 1, 1, 0), b"p")
    assert len(server.events()) == 2


def test_short_ids_are_the_same_only_from_the_same_peer() -> None:
    server = Server()
    for peer in (b"peer1", b"peer2", b"peer1"):
        server.receive(peer, b"7", b"", w.request("m", 1000, 1, 1, 0), b"p")
    assert len(server.events()) == 2
    assert server.statistics.duplicates == 1


def test_what_begins_with_the_magic_and_does_not_decode_is_answered_and_counted() -> None:
    server = Server(PLAIN)
    for frames in ((w.MAGIC + b"\x02", b""), (w.PREFIX + b"x", b""), (w.request("m", 1, 1, 1, 0),)):
        server.receive(b"peer1", id_of(1), b"", *frames)
        status, flags, _ = server.error()
        assert (status, flags) == (Status.INVALID_ARGUMENT, w.NOT_TAKEN)
    assert server.statistics.undecodable == 3
    assert not server.events()


@pytest.mark.parametrize("header", [w.final(0, 1, 0, A), w.partial(0, 1), w.error(13, 0, A)])
def test_an_answer_is_no_request(header: bytes) -> None:
    server = Server()
    server.receive(b"peer1", id_of(1), b"", header, b"")
    assert server.error()[0] is Status.INVALID_ARGUMENT
    assert server.statistics.undecodable == 1


@pytest.mark.parametrize(
    ("method", "flags", "words"),
    [
        ("nobody", 0, "no method 'nobody'"),
        ("s", 0, "answers with a stream"),
        ("m", w.STREAM, "answers once"),
    ],
)
def test_an_unknown_method_is_unimplemented(method: str, flags: int, words: str) -> None:
    server = Server()
    server.request(1, method, flags=flags)
    status, found, text = server.error()
    assert status is Status.UNIMPLEMENTED and words in text and found == 0
    assert server.statistics.unknown_method == 1


def test_a_handlers_error_is_answered() -> None:
    server = Server()
    job = server.run()
    server.machine.fail(job, Status.NOT_FOUND, "no such thing", {"a": 1})
    *_, header, payload = server.one()
    assert w.parse(header) == w.Error(Status.NOT_FOUND, 0, A)
    assert w.decode_error(payload) == ("no such thing", {"a": 1})
    assert server.statistics.failed == 1


def test_an_error_text_is_bounded() -> None:
    server = Server(limits=Limits(error_text=100))
    server.machine.fail(server.run(), Status.INTERNAL, "x" * 1000)
    assert len(server.one()[-1]) <= 100


def test_a_job_is_answered_once() -> None:
    server = Server()
    job = server.run()
    server.machine.reply(job, 1, b"one")
    server.machine.reply(job, 1, b"two")
    server.machine.fail(job, Status.INTERNAL, "three")
    server.machine.end(job)
    server.machine.part(job, 1, b"four")
    assert len(server.out()) == 1


# Deadlines and cancels ------------------------------------------------------------------------------------------------


def test_a_cancel_that_has_arrived_wins() -> None:
    server = Server()
    server.request(dispatch=False)
    server.cancel()
    assert not server.events() and not server.out()
    assert server.statistics.cancelled == 1
    assert server.machine.queued == 0


def test_work_that_expired_while_it_waited_is_never_started() -> None:
    server = Server()
    server.request(budget=1000, dispatch=False)
    server.machine.dispatch(1.0)
    assert not server.events() and not server.out()
    assert server.statistics.expired == 1


def test_a_running_handler_is_told_that_its_caller_cancelled() -> None:
    server = Server()
    job = server.run()
    server.cancel()
    assert server.events() == [Stop(job)]
    assert job.stopped is Why.CANCELLED
    server.cancel()
    assert not server.events()
    server.machine.reply(job, 1, b"nobody waits")
    assert not server.out()
    assert (server.statistics.stopped, server.statistics.discarded, server.statistics.answered) == (1, 1, 0)
    assert server.machine.running == 0


def test_a_running_handler_is_told_that_the_budget_is_spent() -> None:
    server = Server()
    job = server.run(budget=1000)
    server.machine.wake(0.99)
    assert not server.events()
    server.wake(1.0)
    assert server.events() == [Stop(job)]
    assert job.stopped is Why.EXPIRED


def test_an_answered_job_is_not_timed_any_more() -> None:
    server = Server()
    job = server.run()
    server.machine.reply(job, 1, b"")
    server.machine.flush(0.0)
    assert server.machine.wakes_at is None


def test_a_job_that_is_answered_in_its_first_turn_is_never_timed() -> None:
    server = Server()
    server.request()
    server.machine.reply(server.job(), 1, b"")
    server.machine.flush(0.0)
    assert server.machine.wakes_at is None


def test_a_cancel_of_what_is_not_here_is_nothing() -> None:
    server = Server()
    server.cancel()
    assert not server.out() and not server.statistics.undecodable


# Overload -------------------------------------------------------------------------------------------------------------


def test_as_many_handlers_run_as_the_lane_has_room_for() -> None:
    server = Server({"t": Rule(lane=THREADS), "m": Rule()}, threads=2, limits=Limits(concurrency=3))
    for number in range(10):
        server.request(number, "t" if number % 2 else "m")
    jobs = server.events()
    assert [job.method for job in jobs] == ["m", "t", "m", "t", "m"]
    assert server.machine.queued == 5
    server.machine.reply(jobs[1], 1, b"")
    server.machine.dispatch(0.0)
    assert server.job().method == "t"


def test_a_full_intake_is_refused() -> None:
    server = Server({"t": Rule(lane=THREADS)}, threads=1, limits=Limits(intake=2))
    for number in range(4):
        server.request(number, "t")
    assert len(server.events()) == 1
    status, flags, text = server.error()
    assert (status, flags) == (Status.RESOURCE_EXHAUSTED, w.NOT_TAKEN)
    assert "Limits.intake" in text
    assert server.statistics.overloaded == 1


def test_requests_that_come_together_do_not_fill_the_intake_while_handlers_are_free() -> None:
    server = Server({"t": Rule(lane=THREADS)}, threads=3, limits=Limits(intake=2))
    for number in range(6):
        server.request(number, "t", dispatch=False)
    assert server.error()[0] is Status.RESOURCE_EXHAUSTED
    server.machine.dispatch(0.0)
    assert len(server.events()) == 3


def busy(**limits: Any) -> Server:
    """A server whose one handler is busy."""
    server = Server({"t": Rule(lane=THREADS), "s": Rule(lane=THREADS, stream=True)}, threads=1, limits=Limits(**limits))
    server.run(99, "t", budget=100_000)
    return server


def test_what_was_cancelled_takes_no_room_in_the_intake() -> None:
    server = busy(intake=2)
    server.request(1, "t")
    server.request(2, "t")
    server.cancel(1)
    assert server.machine.queued == 1
    server.request(3, "t")
    assert not server.out()
    assert server.machine.queued == 2


def test_what_has_expired_takes_no_room_in_the_intake() -> None:
    server = busy(intake=2)
    server.request(1, "t", budget=1000)
    server.request(2, "t")
    server.out()
    server.wake(1.0)
    assert server.statistics.expired == 1 and server.statistics.cancelled == 0
    server.request(3, "t", now=1.0)
    assert not server.out()
    assert not server.events()


def test_what_ended_in_the_queue_is_passed_over() -> None:
    server = Server({"t": Rule(lane=THREADS)}, threads=1)
    job = server.run(99, "t")
    server.request(1, "t")
    server.request(2, "t")
    server.cancel(1)
    server.machine.reply(job, 1, b"")
    server.machine.dispatch(0.0)
    assert server.job().id == id_of(2)
    assert server.machine.queued == 0


def test_a_stream_that_waits_for_its_handler_has_its_budget_for_that() -> None:
    server = busy()
    server.request(1, "s", flags=w.STREAM, extra={"deadline": 60_000}, budget=1000)
    server.out()
    server.wake(1.0)
    assert server.statistics.expired == 1


def test_a_stream_that_has_its_handler_has_its_deadline() -> None:
    server = Server({"t": Rule(lane=THREADS), "s": Rule(lane=THREADS, stream=True)}, threads=1)
    first = server.run(99, "t")
    server.request(1, "s", flags=w.STREAM, extra={"deadline": 3000}, budget=1000)
    server.out()
    server.machine.reply(first, 1, b"")
    server.machine.dispatch(0.5)
    job = server.job()
    server.out(0.5)
    server.machine.wake(1.0)
    assert not server.events()
    server.machine.wake(2.9)
    assert not job.stopped
    server.machine.wake(3.0)
    assert job.stopped is Why.EXPIRED


def test_the_library_s_own_methods_are_answered_while_everything_else_is_full_or_stops() -> None:
    server = Server({"t": Rule(lane=THREADS), "zp.ping": Rule(lane=ALWAYS)}, threads=1, limits=Limits(intake=1))
    for number in range(3):
        server.request(number, "t")
    server.events()
    server.out()
    server.request(8, "zp.ping")
    server.machine.reply(server.job(), 1, b"")
    server.machine.stop()
    server.out()
    server.request(9, "zp.ping")
    server.machine.reply(server.job(), 1, b"pong")
    assert server.one()[-1] == b"pong"


# Duplicates and dedupe ------------------------------------------------------------------------------------------------


def test_a_request_that_is_here_already_is_not_run_twice_and_answered_where_it_came_from_last() -> None:
    server = Server()
    job = server.run(flags=w.BATCHES)
    server.receive(b"peer2", b"proxy", id_of(1), b"", w.request("m", 1000, 2, 1, w.BATCHES), b"p")
    assert not server.events()
    server.machine.reply(job, 1, b"r")
    frames = server.one()
    assert frames[:4] == (b"peer2", b"proxy", id_of(1), b"")
    assert w.parse(frames[4]) == w.Final(0, 1, 0, A)
    assert server.statistics.duplicates == 1


@pytest.mark.parametrize(("method", "flags"), [("d", 0), ("m", REMEMBERED)])
def test_a_remembered_answer_is_sent_again(method: str, flags: int) -> None:
    server = Server()
    server.machine.reply(server.run(1, method, flags=flags), 1, b"r", (b"buffer",))
    first = server.one()
    server.request(1, method, peer=b"peer2", flags=flags, now=1.0)
    assert not server.events()
    assert server.one() == (b"peer2", *first[1:])
    assert (server.statistics.duplicates, server.statistics.replayed) == (1, 1)


def test_a_remembered_error_is_sent_again() -> None:
    server = Server()
    server.machine.fail(server.run(1, "d"), Status.NOT_FOUND, "no")
    first = server.one()
    server.request(1, "d")
    assert server.one() == first


def test_without_dedupe_an_answered_request_runs_again() -> None:
    server = Server()
    server.machine.reply(server.run(), 1, b"r")
    server.request()
    assert server.job()


def test_an_answer_is_remembered_until_the_window_after_the_budget_is_over() -> None:
    server = Server(limits=Limits(dedupe_window=60.0))
    server.machine.reply(server.run(1, "d", budget=5000), 1, b"r")
    server.out()
    server.request(2, "d", now=64.9)
    server.events()
    server.request(1, "d", now=64.9)
    assert not server.events() and server.out(64.9)
    server.request(3, "d", now=65.0)
    server.events()
    server.request(1, "d", now=65.0)
    assert server.job().id == id_of(1)


def test_a_full_dedupe_window_refuses() -> None:
    server = Server(limits=Limits(dedupe=1))
    server.run(1, "d")
    server.request(2, "d")
    assert not server.events()
    status, flags, text = server.error()
    assert (status, flags) == (Status.RESOURCE_EXHAUSTED, w.NOT_TAKEN) and "Limits.dedupe" in text
    assert server.statistics.overloaded == 1


def test_without_a_whole_id_nothing_is_remembered() -> None:
    server = Server()
    for _ in range(2):
        server.receive(b"peer1", b"short", b"", w.request("d", 1000, 1, 1, 0), b"")
        server.machine.reply(server.job(), 1, b"r")
    assert not server.statistics.replayed


def test_streams_are_not_remembered() -> None:
    server = Server()
    server.machine.end(server.stream(flags=w.DEDUPE))
    server.out()
    server.stream(flags=w.DEDUPE)
    assert not server.statistics.replayed


@pytest.mark.parametrize("how", ["cancelled", "expired"])
def test_what_no_handler_has_seen_is_not_remembered(how: str) -> None:
    server = Server()
    server.request(1, "d", budget=1000, dispatch=False)
    if how == "cancelled":
        server.cancel()
    server.machine.dispatch(1.0)
    assert not server.events()
    server.request(1, "d", now=1.0)
    assert server.job().id == id_of(1)


def test_what_was_refused_is_not_remembered() -> None:
    server = Server({"d": Rule(lane=THREADS, dedupe=True)}, threads=1, limits=Limits(intake=1))
    first = server.run(1, "d")
    server.request(2, "d")
    server.request(3, "d")
    assert server.error()[0] is Status.RESOURCE_EXHAUSTED
    server.machine.reply(first, 1, b"")
    server.machine.dispatch(0.0)
    server.machine.reply(server.job(), 1, b"")
    server.out()
    server.request(3, "d")
    assert server.job().id == id_of(3)


def test_the_answer_of_a_cancelled_dedupe_request_is_kept() -> None:
    server = Server()
    job = server.run(1, "d")
    server.cancel()
    assert server.events() == [Stop(job)]
    server.machine.reply(job, 1, b"done")
    server.out()
    server.request(1, "d")
    assert server.one()[-1] == b"done"


def test_a_request_for_another_incarnation_is_refused() -> None:
    server = Server()
    server.request(1, "d", extra={"incarnation": B})
    status, flags, _ = server.error()
    assert (status, flags) == (Status.FAILED_PRECONDITION, w.NOT_TAKEN)
    assert not server.events()
    server.request(1, "d", extra={"incarnation": A})
    assert server.job()


# Streams --------------------------------------------------------------------------------------------------------------


def test_a_stream_is_parts_and_an_end() -> None:
    server = Server()
    job = server.stream(credit=4)
    assert job.credit == 4
    server.machine.part(job, 1, b"zero")
    server.machine.part(job, 2, b"one")
    assert job.credit == 2
    server.machine.end(job)
    assert [frames[3:] for frames in server.out()] == [
        (w.partial(0, 1), b"zero"),
        (w.partial(1, 2), b"one"),
        (w.final(2, 0, 0, A), b""),
    ]


def test_a_stream_may_end_with_an_error() -> None:
    server = Server()
    job = server.stream()
    server.machine.part(job, 1, b"zero")
    server.machine.fail(job, Status.DATA_LOSS, "no more")
    assert len(server.out()) == 2


def test_credit_that_nobody_mentions_is_one() -> None:
    server = Server()
    server.request(1, "s", flags=w.STREAM)
    assert server.job().credit == 1


def test_the_reader_grants_more_parts() -> None:
    server = Server()
    job = server.stream(credit=4)
    server.credit(3)
    assert server.events() == [Credited(job, 3)]
    assert job.credit == 7


def test_a_reader_may_grant_more_than_this_side_would() -> None:
    server = Server(limits=Limits(credit=2))
    job = server.stream(credit=1000)
    server.credit(1000)
    assert job.credit == 2000


def test_credit_has_a_limit() -> None:
    server = Server()
    job = server.stream(credit=w.CREDIT_MAX)
    server.credit(10)
    assert job.credit == w.CREDIT_MAX


def test_a_stream_waits_for_a_peer_that_does_not_read_and_goes_on_when_it_does() -> None:
    server = Server(limits=Limits(peer_queue=4))
    job, other = server.stream(1, credit=9), server.stream(2, credit=9, peer=b"peer2")
    assert not server.machine.pauses(job)
    server.machine.part(job, 1, b"part" * 5000)
    server.refused(server.one(), Sent.FULL)
    assert server.machine.pauses(job) and not server.machine.pauses(other)
    assert not server.out() and not server.events()
    server.wake(0.01)
    [again] = server.out(0.01)  # tried again, and not taken again
    assert server.events() == [Credited(job, 0)]
    server.refused(again, Sent.FULL, 0.01)
    assert server.machine.pauses(job)
    server.wake(0.02)
    assert len(server.out(0.02)) == 1 and server.events() == [Credited(job, 0)]
    assert not server.machine.pauses(job) and not server.statistics.dropped
    job.credit = 0
    assert server.machine.pauses(job) and not server.out()  # that is told by the credit


def test_streams_fill_no_socket_in_one_turn() -> None:
    server = Server()
    jobs = [server.stream(number, credit=200) for number in range(4)]
    for job in jobs:
        while not server.machine.pauses(job):
            server.machine.part(job, 1, b"part" * 5000)
    assert len(server.machine.outbox) < 400
    server.machine.flush(0.0)
    server.wake(0.0)  # at once, and not before it has all gone out
    server.machine.flush(0.0)
    assert not server.events()
    server.machine.end(jobs[-1])
    server.out()
    server.wake(0.0)
    assert not server.out()
    assert server.events() == [Credited(job, 0) for job in jobs[1:-1]]


def test_credit_for_what_is_no_stream_is_nothing() -> None:
    server = Server()
    job = server.run()
    server.credit(5)
    server.credit(5, number=2)
    assert not server.events() and job.credit == 0


def test_nothing_more_is_sent_to_a_reader_that_cancelled() -> None:
    server = Server()
    job = server.stream()
    server.cancel()
    server.machine.part(job, 1, b"zero")
    server.credit(3)
    assert server.events() == [Stop(job)]
    server.machine.end(job)
    assert not server.out()
    assert server.statistics.discarded == 1


def test_a_reader_without_a_sign_of_life_is_gone() -> None:
    server = Server(heartbeat=Heartbeat(interval=0.1))
    job = server.stream()
    server.machine.wake(0.9)
    assert not server.events()
    server.credit(0, now=0.9)  # a sign of life
    server.machine.wake(1.8)
    assert not server.events()
    server.machine.wake(1.9)
    assert server.events() == [Stop(job)]
    assert job.stopped is Why.GONE


def test_waking_at_the_time_it_asked_for_makes_progress() -> None:
    server = Server(heartbeat=Heartbeat(interval=0.1))
    server.stream(now=0.3)
    for step in range(1000):
        now = server.machine.wakes_at
        if now is None:
            assert step < 10
            return
        server.machine.wake(now)
        if step < 5:
            server.credit(0, now=now)
    pytest.fail("it wakes for ever")


def test_a_stream_ends_at_its_deadline() -> None:
    server = Server()
    job = server.stream(extra={"deadline": 3000}, budget=1000)
    server.machine.wake(2.9)
    assert not job.stopped
    server.machine.wake(3.0)
    assert job.stopped is Why.EXPIRED


# Batches --------------------------------------------------------------------------------------------------------------


def batch_of(*requests: tuple[int, bytes]) -> tuple[bytes, ...]:
    flat = [part for number, header in requests for part in (id_of(number), header, b"\xc0")]
    return b"peer1", b"", w.batch(len(requests)), w.encode_batch(flat)


ASKS = w.request("m", 5000, 1, 1, w.BATCHES)


def test_requests_that_came_together_are_answered_together() -> None:
    server = Server()
    server.receive(*batch_of((1, ASKS), (2, ASKS), (3, w.CANCEL_HEADER)))
    for event in server.events():
        server.machine.reply(event, 1, b"r%d" % event.id[-1])
    routing_id, delimiter, header, payload = server.one()
    assert (routing_id, delimiter) == (b"peer1", b"")
    flags = w.final(0, 1, w.BATCHES, A)
    assert w.decode_batch(w.parse(header), payload) == [id_of(1), flags, b"r1", id_of(2), flags, b"r2"]


def test_one_answer_is_no_batch() -> None:
    server = Server()
    server.machine.reply(server.run(flags=w.BATCHES), 1, b"r")
    assert server.one() == (b"peer1", id_of(1), b"", w.final(0, 1, w.BATCHES, A), b"r")


def test_a_peer_that_reads_no_batches_gets_none() -> None:
    server = Server()
    for number in (1, 2):
        server.machine.reply(server.run(number), 1, b"r")
    assert len(server.out()) == 2


def test_behind_a_proxy_there_are_no_batches() -> None:
    server = Server()
    for number in (1, 2):
        server.receive(b"proxy", b"peer1", id_of(number), b"", ASKS, b"p")
        server.machine.reply(server.job(), 1, b"r")
    for frames in server.out():
        assert frames[:2] == (b"proxy", b"peer1")
        assert w.parse(frames[4]) == w.Final(0, 1, 0, A)


def test_a_batch_behind_a_proxy_is_refused_since_its_answers_would_be_lost() -> None:
    server = Server()
    server.receive(b"proxy", *batch_of((1, ASKS)))
    assert server.error()[0] is Status.INVALID_ARGUMENT


def test_a_batch_inside_a_batch_is_refused() -> None:
    server = Server()
    inner = w.encode_batch([id_of(1), ASKS, b"p"])
    for _ in range(2000):
        inner = w.encode_batch([id_of(1), w.batch(1), inner])
        if len(inner) > w.BATCH_MAX - 50:
            break
    server.receive(b"peer1", b"", w.batch(1), inner)
    assert server.error()[0] is Status.INVALID_ARGUMENT
    assert not server.events()


def test_a_message_of_a_batch_that_does_not_decode_does_not_spoil_the_others() -> None:
    server = Server()
    server.receive(*batch_of((1, ASKS), (2, b"garbage"), (3, ASKS)))
    assert [event.id for event in server.events()] == [id_of(1), id_of(3)]
    assert server.one()[1] == id_of(2)
    assert server.statistics.undecodable == 1


def test_a_batch_that_does_not_decode_is_answered_and_counted() -> None:
    server = Server()
    server.receive(b"peer1", b"", w.batch(2), b"\x90")
    assert server.error()[0] is Status.INVALID_ARGUMENT
    assert server.statistics.undecodable == 1


def test_large_answers_and_buffers_travel_alone() -> None:
    server = Server()
    answers: list[tuple[bytes, tuple[bytes, ...]]] = [
        (b"r", ()), (bytes(8193), ()), (b"r", (b"buffer",)), (memoryview(b"r"), ()), (bytes(8192), ())
    ]  # type: ignore[list-item]  # fmt: skip
    for number, (payload, buffers) in enumerate(answers):
        server.request(number, flags=w.BATCHES)
        server.machine.reply(server.job(), 1, payload, buffers)
    assert sorted(len(frames) for frames in server.out()) == [4, 5, 5, 6]


def test_no_part_overtakes_another() -> None:
    server = Server()
    job = server.stream(credit=10, flags=w.BATCHES)
    other = server.run(2, flags=w.BATCHES)
    server.machine.part(job, 1, b"small")
    server.machine.reply(other, 1, b"r")
    server.machine.part(job, 1, bytes(10_000))
    server.machine.part(job, 1, b"small")
    server.machine.end(job)
    order = []
    for frames in server.out():
        if frames[1]:
            order.append(w.parse(frames[3]))
        else:
            order += map(w.parse, w.decode_batch(w.parse(frames[2]), frames[3])[1::3])
    assert [command.sequence for command in order if type(command) is w.Partial] == [0, 1, 2]
    assert type(order[-1]) is w.Final


# Plain bodies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "path", "body"),
    [
        ((b"", b"hello"), (b"",), (b"hello",)),
        ((id_of(1), b"", b"hello", b"", b"there"), (id_of(1), b""), (b"hello", b"", b"there")),
        ((b"hello",), (), (b"hello",)),
        ((b"hello", b"there"), (), (b"hello", b"there")),
        ((b"",), (b"",), ()),
        ((b"p", b"x", b""), (b"p", b"x", b""), ()),
    ],
)
def test_a_plain_body_goes_to_its_handler(
    frames: tuple[bytes, ...], path: tuple[bytes, ...], body: tuple[bytes, ...]
) -> None:
    server = Server(PLAIN)
    server.receive(b"peer1", *frames)
    job = server.job()
    assert (job.method, job.path, tuple(job.rest)) == (None, path, body)
    server.machine.reply_plain(job, (b"HELLO", b""))
    server.machine.reply_plain(job, (b"again",))
    assert server.one() == (b"peer1", *path, b"HELLO", b"")
    assert server.machine.wakes_at is None


def test_a_plain_body_is_never_timed_and_never_expires() -> None:
    server = Server(PLAIN)
    server.receive(b"peer1", b"", b"hello", now=0.0, dispatch=False)
    server.machine.flush(0.0)
    server.machine.dispatch(1e6)
    assert server.job()
    server.machine.flush(1e6)
    assert server.machine.wakes_at is None


def test_a_plain_body_that_is_here_already_is_not_run_twice() -> None:
    server = Server(PLAIN)
    for _ in range(2):
        server.receive(b"peer1", id_of(1), b"", b"hello")
    assert len(server.events()) == 1
    assert server.statistics.duplicates == 1


def test_without_a_handler_a_plain_body_is_answered_with_plain_words() -> None:
    server = Server()
    server.receive(b"peer1", b"", b"hello")
    assert server.one() == (b"peer1", b"", PLAIN_REFUSED)
    assert PLAIN_REFUSED.startswith(b"zpatterns: UNIMPLEMENTED: ")
    assert server.statistics.plain_refused == 1


def test_a_plain_handler_s_error_is_plain_words() -> None:
    server = Server(PLAIN)
    server.receive(b"peer1", b"", b"hello")
    server.machine.fail(server.job(), Status.INTERNAL, "it failed")
    assert server.one() == (b"peer1", b"", b"zpatterns: INTERNAL: it failed")


def test_too_many_plain_bodies_are_refused_in_plain_words() -> None:
    server = Server({None: Rule(lane=THREADS)}, threads=1, limits=Limits(intake=1, error_text=40))
    for _ in range(3):
        server.receive(b"peer1", b"", b"hello")
    [frames] = server.out()
    assert frames[2].startswith(b"zpatterns: RESOURCE_EXHAUSTED: ") and len(frames[2]) <= 40


# Peers that are gone or do not read -----------------------------------------------------------------------------------


def test_a_reply_to_a_peer_that_is_gone_is_dropped_and_counted() -> None:
    server = Server()
    server.machine.reply(server.run(), 1, b"r")
    server.refused(server.one(), Sent.UNROUTABLE)
    assert not server.out()
    assert server.statistics.dropped == 1


def test_what_else_runs_for_a_peer_that_is_gone_is_stopped() -> None:
    server = Server()
    first, second, stream = server.run(1), server.run(2), server.stream(3)
    other = server.run(4, peer=b"peer2")
    server.machine.reply(first, 1, b"r")
    server.refused(server.one(), Sent.UNROUTABLE)
    assert server.events() == [Stop(second), Stop(stream)]
    assert second.stopped is stream.stopped is Why.GONE
    assert not other.stopped


def test_what_its_caller_may_ask_for_again_runs_on() -> None:
    server = Server()
    first, idempotent, dedupe = server.run(1), server.run(2, flags=w.IDEMPOTENT), server.run(3, "d")
    server.machine.reply(first, 1, b"r")
    server.refused(server.one(), Sent.UNROUTABLE)
    assert not server.events()
    server.request(2, peer=b"back", flags=w.IDEMPOTENT)
    server.request(3, "d", peer=b"back")
    assert not server.events()
    server.machine.reply(idempotent, 1, b"two")
    server.machine.reply(dedupe, 1, b"three")
    assert [(frames[0], frames[-1]) for frames in server.out()] == [(b"back", b"two"), (b"back", b"three")]


def test_what_waits_for_a_handler_of_a_peer_that_is_gone_is_dropped() -> None:
    server = busy()
    server.request(1, "t")
    server.request(2, "nobody")
    server.refused(server.one(), Sent.UNROUTABLE)
    assert server.machine.queued == 0
    assert server.statistics.cancelled == 1


def test_a_reply_to_a_peer_that_is_full_is_kept_and_tried_again() -> None:
    server = Server()
    server.machine.reply(server.run(), 1, b"r")
    frames = server.one()
    server.refused(frames, Sent.FULL, now=1.0)
    assert not server.out(1.0)
    at = server.machine.wakes_at
    assert at is not None and 1.0 < at < 1.1
    server.machine.wake(at)
    assert server.one(at) == frames
    assert server.machine.wakes_at is None


def test_no_reply_overtakes_one_that_is_kept() -> None:
    server = Server()
    replies = []
    for number in (1, 2, 3):
        server.machine.reply(server.run(number), 1, b"r%d" % number)
    server.machine.reply(server.run(9, peer=b"peer2"), 1, b"other")
    server.machine.flush(0.0)
    _, frames, _ = server.machine.outbox.popleft()
    server.refused(frames, Sent.FULL)
    assert [frames[0] for frames in server.out()] == [b"peer2"]
    server.machine.reply(server.run(4), 1, b"r4")
    assert not server.out()
    server.wake(SOON)
    replies = [frames[-1] for frames in server.out(SOON)]
    assert replies == [b"r1", b"r2", b"r3", b"r4"]
    assert frames[-1] == b"r1"


def test_a_second_peer_that_is_full_does_not_delay_the_first() -> None:
    server = Server()
    for number, peer in ((1, b"peer1"), (2, b"peer2")):
        server.machine.reply(server.run(number, peer=peer), 1, b"r")
    first, second = server.out()
    server.refused(first, Sent.FULL, now=0.0)
    at = server.machine.wakes_at
    server.refused(second, Sent.FULL, now=0.004)
    assert server.machine.wakes_at == at


def test_the_queue_of_a_peer_that_does_not_read_is_bounded() -> None:
    server = Server(limits=Limits(peer_queue=3))
    for number in range(6):
        server.machine.reply(server.run(number), 1, b"r%d" % number)
    server.machine.flush(0.0)
    _, frames, _ = server.machine.outbox.popleft()
    server.refused(frames, Sent.FULL)
    assert server.statistics.dropped == 3
    server.wake(SOON)
    assert [frames[-1] for frames in server.out(SOON)] == [b"r0", b"r1", b"r2"]


def test_a_peer_that_goes_while_replies_are_kept_for_it_is_forgotten() -> None:
    server = Server()
    for number in range(3):
        server.machine.reply(server.run(number), 1, b"r")
    frames, *_ = server.out()
    for _ in range(3):
        server.refused(frames, Sent.FULL)
    server.refused(frames, Sent.UNROUTABLE)
    assert server.statistics.dropped == 4
    server.machine.wake(SOON)
    assert not server.out(SOON)


def test_the_next_thing_to_do_comes_first() -> None:
    server = Server()
    server.run(1, budget=10_000)
    assert server.machine.wakes_at == 10.0
    server.machine.reply(server.run(2), 1, b"r")
    server.refused(server.one(), Sent.FULL, now=1.0)
    at = server.machine.wakes_at
    assert at is not None and at < 1.1
    server.machine.wake(0.5)
    assert server.machine.wakes_at == at


# Stopping -------------------------------------------------------------------------------------------------------------


def test_a_server_that_stops_refuses_what_no_handler_has_seen() -> None:
    server = Server({"t": Rule(lane=THREADS), None: Rule(lane=THREADS)}, threads=1)
    running = server.run(1, "t")
    server.request(2, "t")
    server.request(3, "t")
    server.cancel(3)
    server.receive(b"req", b"", b"hello")
    server.machine.stop()
    assert server.machine.queued == 0
    typed, plain = server.out()
    assert typed[1] == id_of(2)
    assert w.parse(typed[3]) == w.Error(Status.UNAVAILABLE, w.NOT_TAKEN, A)
    assert plain == (b"req", b"", b"zpatterns: UNAVAILABLE: the server is stopping")
    server.machine.reply(running, 1, b"r")
    assert server.one()[-1] == b"r"


def test_a_server_that_stops_takes_nothing_new() -> None:
    server = Server(PLAIN)
    server.machine.stop()
    server.request()
    assert server.error()[:2] == (Status.UNAVAILABLE, w.NOT_TAKEN)
    server.receive(b"req", b"", b"hello")
    assert server.one()[2].startswith(b"zpatterns: UNAVAILABLE: ")
    assert not server.events()


def test_a_server_that_stops_still_answers_from_the_dedupe_window() -> None:
    server = Server()
    server.machine.reply(server.run(1, "d"), 1, b"r")
    first = server.one()
    server.machine.stop()
    server.request(1, "d")
    assert server.one() == first


def test_when_the_grace_is_over_what_runs_is_answered_and_told() -> None:
    server = Server(PLAIN)
    job, cancelled = server.run(1), server.run(2)
    server.receive(b"req", b"", b"hello")
    plain = server.job()
    server.cancel(2)
    server.events()
    server.machine.stop()
    server.machine.abort()
    assert server.events() == [Stop(job), Stop(plain)]
    assert job.stopped is Why.STOPPING
    typed, words = server.out()
    assert w.parse(typed[3]) == w.Error(Status.UNAVAILABLE, 0, A)
    assert words[2].startswith(b"zpatterns: UNAVAILABLE: ")
    assert server.machine.running == 0
    server.machine.reply(job, 1, b"late")
    server.machine.reply(cancelled, 1, b"late")
    assert not server.out()


def test_what_is_said_of_links_is_nothing_to_a_server() -> None:
    server = Server()
    server.machine.link(0, Link.DOWN, 0.0)
    assert server.machine.expects and not server.events() and not server.out()


def test_every_request_is_counted_once() -> None:
    server = Server({"t": Rule(lane=THREADS), "d": Rule(dedupe=True)}, threads=1, limits=Limits(intake=2))
    server.request(1, "t")
    server.request(1, "t")  # a duplicate
    server.request(2, "t", budget=1000)
    server.request(3, "t")
    server.request(4, "t")  # too many
    server.request(5, "nobody")
    server.cancel(3)
    server.request(6, "d", extra={"incarnation": B})
    server.out()
    server.wake(1.0)
    s = server.statistics
    settled = s.dispatched + s.expired + s.cancelled + s.duplicates + s.overloaded + s.unknown_method + s.refused
    assert s.received == settled + server.machine.queued == 7
    assert [type(event) for event in server.events()] == [Job]


def test_a_dedupe_request_that_was_cancelled_and_aborted_is_not_run_again() -> None:
    server = Server()
    server.run(1, "d")
    server.cancel()
    server.machine.stop()
    server.machine.abort()
    server.events()
    server.request(1, "d")
    assert not server.events() and not server.out()
