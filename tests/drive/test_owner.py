"""A thread that turns a loop for its whole life: what is posted runs there, and however it ends, nobody is left waiting."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

from tests.worlds import LIMIT, in_threads, until
from zpatterns import Closed, ForkedError, RequestTimeout
from zpatterns.core.machine import Frames, Link, Sent
from zpatterns.drive.blocking import Loop
from zpatterns.drive.memory import MemoryDealer, MemoryRouter
from zpatterns.drive.owner import Owner
from zpatterns.drive.pump import Pump
from zpatterns.policy import Limits


class Machine:
    """Sends what it is given, counts its turns."""

    expects = True
    undecodable = 0
    wakes_at: float | None = None

    def __init__(self) -> None:
        self.outbox: deque[tuple[int, Frames, Any]] = deque()
        self.events: deque[Any] = deque()
        self.flushed = 0

    @property
    def statistics(self) -> Machine:
        return self

    def receive(self, port: int, frames: Frames, now: float) -> None:
        self.events.append(frames)

    def link(self, port: int, state: Link, now: float) -> None: ...
    def sent(self, token: Any, outcome: Sent, now: float) -> None: ...
    def wake(self, now: float) -> None: ...
    def dispatch(self, now: float) -> None: ...

    def flush(self, now: float) -> None:
        self.flushed += 1


class Made:
    def __init__(self) -> None:
        self.machine = Machine()
        self.router = MemoryRouter()
        self.delivered: list[Any] = []
        self.last: list[BaseException | None] = []
        pump = Pump(self.machine, [MemoryDealer(self.router)], Limits())
        self.loop = Loop(pump, self.deliver)
        self.owner = Owner(self.loop, "zpatterns-test", last=self.last.append)

    def deliver(self, event: Any) -> None:
        if event == [b"fail"]:
            raise ValueError("deliver failed")
        self.delivered.append(event)

    def send(self, *frames: bytes) -> None:
        self.machine.outbox.append((0, frames, None))


@pytest.fixture
def made() -> Iterator[Made]:
    made = Made()
    try:
        yield made
    finally:
        assert made.owner.stop(LIMIT)


def test_what_is_posted_runs_on_the_loops_thread_in_order(made: Made) -> None:
    made.owner.start()
    ran: list[Any] = []
    for number in range(100):
        made.owner.post(lambda number=number: ran.append((number, threading.current_thread().name)))
    until(lambda: len(ran) == 100)
    assert ran == [(number, "zpatterns-test") for number in range(100)]


def test_what_a_post_makes_the_machine_say_is_sent(made: Made) -> None:
    made.owner.start()
    made.owner.post(made.send, b"hello")
    until(lambda: made.router.inbox)
    assert made.router.inbox[0][1:] == (b"hello",)


def test_a_call_returns_the_result_or_raises_what_was_raised(made: Made) -> None:
    made.owner.start()

    def fail() -> None:
        raise KeyError("mine")

    assert made.owner.call(lambda a, b: a + b, 1, 2) == 3
    with pytest.raises(KeyError, match="mine"):
        made.owner.call(fail)
    assert in_threads(16, lambda number: made.owner.call(lambda: number * 2)) == [number * 2 for number in range(16)]


def test_a_call_from_the_loop_runs_at_once(made: Made) -> None:
    made.owner.start()
    assert made.owner.call(lambda: (made.owner.mine, made.owner.call(lambda: made.owner.mine))) == (True, True)
    assert not made.owner.mine


def test_a_call_that_the_loop_does_not_come_to_ends_and_never_runs(made: Made) -> None:
    go, ran = threading.Event(), []
    made.owner.start()
    made.owner.post(lambda: go.wait(LIMIT) and None)
    with pytest.raises(RequestTimeout) as caught:
        made.owner.call(ran.append, 1, timeout=0.05)
    assert not caught.value.sent
    go.set()
    assert made.owner.call(lambda: "after it") == "after it"
    assert ran == []


def test_a_call_that_was_begun_says_so(made: Made) -> None:
    go = threading.Event()
    made.owner.start()
    with pytest.raises(RequestTimeout) as caught:
        made.owner.call(go.wait, LIMIT, timeout=0.2)
    assert caught.value.sent
    go.set()


def test_stopping_runs_what_was_posted_then_the_last_things_and_sends_them(made: Made) -> None:
    ran: list[str] = []
    made.owner._last = lambda error: (ran.append(f"last {error}"), made.send(b"bye"))[0]
    made.owner.start()
    go = threading.Event()
    made.owner.post(lambda: go.wait(LIMIT) and None)
    made.owner.post(lambda: ran.append("posted"))
    assert not made.owner.stop(0.0)
    go.set()
    assert made.owner.stop(LIMIT)
    assert ran == ["posted", "last None"]
    assert made.router.inbox.pop()[1:] == (b"bye",)
    assert made.owner.stop(LIMIT)  # again


def test_after_the_end_everything_is_refused(made: Made) -> None:
    made.owner.start()
    made.owner.stop(LIMIT)
    with pytest.raises(Closed, match="make a new one"):
        made.owner.post(print)
    with pytest.raises(Closed):
        made.owner.call(print)


def test_one_that_was_never_started_can_be_stopped(made: Made) -> None:
    assert made.owner.stop(LIMIT)
    assert made.last == [None]


def test_stopping_from_the_loop_does_not_wait_for_itself(made: Made) -> None:
    made.owner.start()
    assert made.owner.call(made.owner.stop) is False
    until(lambda: made.owner.ended)


def test_calls_under_way_when_the_loop_fails_end_with_closed(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    made.owner.start()
    go = threading.Event()

    def fail() -> None:
        go.wait(LIMIT)
        raise ValueError("a command failed")

    made.owner.post(fail)
    results: list[Any] = []

    def call() -> None:
        try:
            results.append(made.owner.call(lambda: "ran", timeout=LIMIT))
        except Closed as error:
            results.append(error)

    waiting = [threading.Thread(target=call, daemon=True) for _ in range(4)]
    for thread in waiting:
        thread.start()
    until(lambda: len(made.loop.posted) == 5)
    go.set()
    for thread in waiting:
        thread.join(LIMIT)
    assert [type(result) for result in results] == [Closed] * 4
    assert isinstance(made.last[0], ValueError) and len(made.last) == 1
    assert "a command failed" in caplog.text
    assert made.owner.ended


def test_a_failing_delivery_ends_the_loop(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    made.owner.start()
    made.owner.post(made.machine.events.append, [b"fail"])
    until(lambda: made.owner.ended)
    assert isinstance(made.last[0], ValueError)
    assert "deliver failed" in caplog.text


def test_last_things_that_fail_are_reported_and_the_sockets_closed(
    made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(error: BaseException | None) -> None:
        raise ValueError("last failed")

    made.owner._last = fail
    made.owner.start()
    assert made.owner.stop(LIMIT)
    assert "last failed" in caplog.text
    assert made.loop._closed


def test_a_terminated_context_ends_it_quietly(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    made.owner.start()

    def terminated() -> None:
        raise Closed("the socket or its context is closed")

    made.owner.post(terminated)
    until(lambda: made.owner.ended)
    assert isinstance(made.last[0], Closed)
    assert not caplog.records


def test_run_on_a_thread_of_ones_own_raises_what_the_loop_raised(made: Made) -> None:
    def fail() -> None:
        raise ValueError("mine")

    made.owner.post(fail)
    with pytest.raises(ValueError, match="mine"):
        made.owner.run()
    assert made.owner.ended


def test_posts_race_with_the_end_and_none_waits_for_ever(made: Made) -> None:
    made.owner.start()

    def call(number: int) -> bool:
        try:
            while True:
                made.owner.call(lambda: None, timeout=LIMIT)
                if number == 0:
                    made.owner.stop(0)
        except Closed:
            return True

    assert all(in_threads(8, call))


def test_in_a_forked_child_it_refuses_and_does_not_wait(made: Made) -> None:
    made.owner.start()
    child = os.fork()
    if not child:
        code = 1
        try:
            made.owner.post(print)
        except ForkedError:
            code = 0 if made.owner.stop(LIMIT) else 2
        os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert made.owner.call(lambda: "the parent's still turns") == "the parent's still turns"


EXIT = """
from tests.drive.test_owner import Made
from zpatterns.drive.owner import Owner
made = Made()
owner = Owner(made.loop, "at exit", last=lambda error: print("last", error), at_exit={at_exit})
owner.start()
owner.post(print, "posted")
owner.call(lambda: None)
"""


@pytest.mark.parametrize("at_exit", [True, False])
def test_the_interpreters_exit_stops_it_if_asked_and_is_never_held_up(at_exit: bool) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", EXIT.format(at_exit=at_exit)],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=True,
    )
    assert ended.stdout == ("posted\nlast None\n" if at_exit else "posted\n")
    assert ended.stderr == ""
