"""Each of these bugs, planted in the broker, its worker or its client, must be found within 600 majordomo stories.

``python -m tests.simulation.broker.test_planted_bugs`` prints how many seeds each of them took, and what gave it away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest

from zpatterns.core.broker_peers import Service
from zpatterns.core.exchange import Exchange
from zpatterns.core.load_balancer import LeastRecentlyUsed
from zpatterns.core.majordomo_client import MajordomoClient
from zpatterns.core.outlet import Outlet
from zpatterns.core.replier import Replier
from zpatterns.core.speaking import Speaking
from zpatterns.core.unserved import Unserved
from zpatterns.core.workforce import Workforce
from zpatterns.wire.message import IDEMPOTENT

from . import world

SEEDS = 600
Bug = tuple[object, str, Callable[[Any], Any]]
"""Where, which name, and from the true function to the wrong one."""


def lost_jobs_are_forgotten(true):
    return lambda self, pending, *, fresh: None


def everything_may_run_twice(true):
    def lost(self, pending, *, fresh):
        pending.flags |= IDEMPOTENT
        true(self, pending, fresh=fresh)

    return lost


def taken_counts_as_fresh(true):
    return lambda self, pending, *, fresh: true(self, pending, fresh=True)


def delivered_for_ever(true):
    def lost(self, pending, *, fresh):
        pending.deliveries = 0
        true(self, pending, fresh=fresh)

    return lost


def expired_frees_its_worker(true):
    def wake(self, now):
        held = [each for each in self.pending.values() if each.worker is not None and each.id in each.worker.jobs]
        true(self, now)
        for each in held:
            if each.done:
                del each.worker.jobs[each.id]
                each.worker.service.balancer.freed(each.worker)
                self.touched[each.service] = None

    return wake


def answered_keeps_its_room(true):
    def result(self, worker, address, body, now, *, final):
        pending = worker.jobs.get(address)
        true(self, worker, address, body, now, final=final)
        if pending is not None and final and self._counter % 3 == 0:
            worker.jobs[address] = pending

    return result


def credit_is_ignored(true):
    def used(self, worker):
        self._ready.move_to_end(worker)

    return used


def silence_is_ignored(true):
    return lambda self, now: True


def waits_twice(true):
    def put(self, pending, *, first=False):
        true(self, pending, first=first)
        if first:
            self.lines[pending.client].jobs.append(pending)

    return put


def the_wrong_client_is_answered(true):
    def answer(self, pending, body, *, final):
        clients = [client for client in self._answering if client is not pending.client]
        if clients:
            pending.client = clients[0]
        true(self, pending, body, final=final)

    return answer


def no_answer_for_what_nobody_waits_for(true):
    return lambda self, job, flags: None


def up_before_it_was_asked(true):
    def link(self, port, state, now):
        true(self, port, state, now)
        if state.value == "up":
            self._learned(self.lanes[port], now, ours=False)

    return link


def nobody_is_waited_for_for_ever(true):
    return lambda self, now: self._timers.expired(now)


def kept_messages_are_dropped(true):
    return lambda self, now: self.blocked.clear()


def full_counts_as_sent(true):
    return lambda self, frames, now: None


BUGS: dict[str, Bug] = {
    "what a lost worker had is forgotten": (Exchange, "_lost", lost_jobs_are_forgotten),
    "everything may run twice": (Exchange, "_lost", everything_may_run_twice),
    "what was taken counts as never sent": (Exchange, "_lost", taken_counts_as_fresh),
    "deliveries are not counted": (Exchange, "_lost", delivered_for_ever),
    "an expired request frees its worker": (Exchange, "wake", expired_frees_its_worker),
    "an answer does not free its worker": (Exchange, "result", answered_keeps_its_room),
    "credit is ignored": (LeastRecentlyUsed, "used", credit_is_ignored),
    "silent workers are kept": (Workforce, "wake", silence_is_ignored),
    "requests wait in two places": (Service, "put", waits_twice),
    "the wrong client is answered": (Speaking, "answer", the_wrong_client_is_answered),
    "a worker answers only what is waited for": (Replier, "_mention", no_answer_for_what_nobody_waits_for),
    "a client does not wait for what its broker is": (MajordomoClient, "link", up_before_it_was_asked),
    "a name that nobody serves is waited for": (Unserved, "wake", nobody_is_waited_for_for_ever),
    "what is kept for a full peer is dropped": (Outlet, "wake", kept_messages_are_dropped),
    "FULL counts as sent": (Outlet, "full", full_counts_as_sent),
}


def hunt(name: str) -> tuple[int, Exception] | None:
    """The first seed that gives a planted bug away."""
    owner, attribute, plant = BUGS[name]
    with patch.object(owner, attribute, plant(getattr(owner, attribute))):
        found = first(SEEDS)
    if found is not None:
        world.run("majordomo", found[0])  # it was the bug, and not the seed
    return found


def first(seeds: int) -> tuple[int, Exception] | None:
    for seed in range(seeds):
        try:
            world.run("majordomo", seed)
        except Exception as error:  # noqa: BLE001  whatever it is, it is the finding
            return seed, error
    return None


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(name):
    found = hunt(name)
    assert found is not None, f"not within {SEEDS} seeds"
    print(f"{found[0] + 1} seeds: {found[1]}")


if __name__ == "__main__":
    for name in BUGS:
        found = hunt(name)
        what = f"{found[0] + 1} seeds" if found else "NOT FOUND"
        why = f"{type(found[1]).__name__}: {found[1]!s:.90}" if found else ""
        print(f"{what:>12}   {name:45} {why}", flush=True)
