"""Threads that are woken one after the other: all of them, in order, and also when one of them does not wake the next."""

from __future__ import annotations

import threading

import pytest

from tests.worlds import LIMIT, until
from zpatterns.drive import relay as relay_module
from zpatterns.drive.relay import Relay, waiter


class Waiting:
    """Threads that wait for a lock each, and tell in which order they ran; those in ``silent`` do not pass on."""

    def __init__(self, relay: Relay, count: int, silent: frozenset[int] = frozenset()) -> None:
        self.ran: list[int] = []
        self.relay, self.silent = relay, silent
        self.locks = [waiter() for _ in range(count)]
        self.threads = [threading.Thread(target=self.wait, args=(at,), daemon=True) for at in range(count)]
        for thread in self.threads:
            thread.start()

    def wait(self, at: int) -> None:
        assert self.locks[at].acquire(timeout=LIMIT)
        self.ran.append(at)
        if at not in self.silent:
            self.relay.pass_on()

    def wake(self) -> None:
        for lock in self.locks:
            self.relay.add(lock)
        self.relay.run()
        until(lambda: len(self.ran) == len(self.locks))
        for thread in self.threads:
            thread.join(LIMIT)


def test_each_wakes_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "_STALL", LIMIT)  # on a busy machine the loop would wake one itself
    waiting = Waiting(Relay(), 20)
    waiting.wake()
    assert waiting.ran == list(range(20))


def test_who_does_not_pass_on_holds_nobody_up() -> None:
    waiting = Waiting(Relay(), 20, silent=frozenset({0, 7, 19}))
    waiting.wake()
    assert sorted(waiting.ran) == list(range(20))


def test_passing_on_once_too_often_loses_nobody() -> None:
    relay = Relay()
    for _ in range(3):
        relay.pass_on()
    for _ in range(10):
        Waiting(relay, 5).wake()


def test_nobody_waits() -> None:
    relay = Relay()
    relay.run()
    relay.pass_on()
    relay.run()
