"""Nonces: asked, echoed, given up, asked again."""

from __future__ import annotations

from zpatterns.core.readiness import FIRST_RETRY, LONGEST_RETRY, TRIES, Readiness, Waiter

A, B = b"incarn-A", b"incarn-B"


class Asking:
    def __init__(self, ports=1):
        self.sent = []
        numbers = iter(range(1000))
        self.readiness = Readiness(
            ports, lambda: b"%016d" % next(numbers), lambda port, topic, yes: self.sent.append((port, topic, yes))
        )

    def nonce(self, port=0):
        return self.readiness.probes[port].nonce


def test_everybody_at_every_port_must_have_answered():
    asking = Asking(ports=2)
    waiter = Waiter(1, "me")
    asking.readiness.ask(3, 0.0, waiter)
    assert [(port, yes) for port, _, yes in asking.sent] == [(0, True), (1, True)]
    assert asking.readiness.echoed(0, asking.nonce(0), A) == (3, [])
    assert asking.readiness.echoed(1, asking.nonce(1), B) == (3, [waiter])
    assert waiter.heard == [(A.hex(),), (B.hex(),)]
    assert asking.readiness.waiters == []


def test_several_publishers_at_one_port():
    asking = Asking()
    waiter = Waiter(2, "me")
    asking.readiness.ask(1, 0.0, waiter)
    assert asking.readiness.echoed(0, asking.nonce(), A) == (1, [])
    assert asking.readiness.echoed(0, asking.nonce(), A) == (1, [])
    assert asking.readiness.echoed(0, asking.nonce(), B) == (1, [waiter])


def test_an_old_nonce_says_nothing():
    asking = Asking()
    asking.readiness.ask(1, 0.0)
    old = asking.nonce()
    asking.readiness.ask(2, 0.0)
    assert asking.readiness.echoed(0, old, A) == (None, [])
    assert asking.sent[1] == (0, old, False)


def test_a_waiter_is_not_served_by_an_earlier_round():
    asking = Asking(ports=2)
    asking.readiness.ask(1, 0.0)
    asking.readiness.echoed(0, asking.nonce(0), A)
    waiter = Waiter(1, "me")
    asking.readiness.ask(2, 0.0, waiter)
    assert asking.readiness.echoed(1, asking.nonce(1), A) == (2, [])
    assert asking.readiness.echoed(0, asking.nonce(0), A) == (2, [waiter])


def test_a_nonce_that_nobody_echoes_is_replaced_ever_more_slowly_and_then_given_up():
    asking = Asking()
    asking.readiness.ask(1, 0.0)
    times = []
    while asking.nonce() is not None:
        at = asking.readiness.wakes_at
        times.append(at)
        asking.readiness.wake(1, at - 0.001)
        asking.readiness.wake(1, at)
    assert len(times) == TRIES
    gaps = [b - a for a, b in zip([0.0, *times], times, strict=False)]
    assert gaps[0] == FIRST_RETRY and max(gaps) <= LONGEST_RETRY
    assert asking.readiness.wakes_at == float("inf")


def test_while_somebody_waits_it_is_not_given_up():
    asking = Asking()
    asking.readiness.ask(1, 0.0, Waiter(2, "me"))
    for _ in range(3 * TRIES):
        asking.readiness.echoed(0, asking.nonce(), A)
        asking.readiness.wake(1, asking.readiness.wakes_at)
    assert asking.nonce() is not None


def test_one_that_was_echoed_is_unsubscribed():
    asking = Asking()
    asking.readiness.ask(1, 0.0)
    nonce = asking.nonce()
    asking.readiness.echoed(0, nonce, A)
    asking.readiness.wake(1, asking.readiness.wakes_at)
    assert asking.nonce() is None
    assert asking.sent[-1] == (0, nonce, False)


def test_a_new_connection_is_asked_again():
    asking = Asking()
    asking.readiness.ask(1, 0.0)
    asking.readiness.echoed(0, asking.nonce(), A)
    asking.readiness.again(0, 1, 5.0)
    assert asking.readiness.probes[0].heard == set()
    assert asking.readiness.echoed(0, asking.nonce(), B) == (1, [])
