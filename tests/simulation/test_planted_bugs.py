"""A checker that has never failed proves nothing: each of these bugs, planted, must be found within 2000 seeds.

``python -m tests.simulation.test_planted_bugs`` prints how many seeds each of them took, and what gave it away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from zpatterns.core import compose
from zpatterns.core.calls import Call, Port
from zpatterns.core.dedupe import Window
from zpatterns.core.jobs import Job
from zpatterns.core.machine import Link
from zpatterns.core.outlet import Outlet
from zpatterns.core.replier import Replier
from zpatterns.core.requester import Requester
from zpatterns.core.sending import Sending
from zpatterns.core.timers import Timers
from zpatterns.wire import message as w

from . import world

SEEDS = 2000

Bug = tuple[object, str, Callable[[Any], Any]]
"""Where, which name, and from the true function to the wrong one."""


def late_reply_to_the_newest(true):
    def reply(self, port, call_id, first, rest, now):
        if call_id not in self.calls and self.calls and call_id != port.ping_id:
            call_id = next(reversed(self.calls))
        true(self, port, call_id, first, rest, now)

    return reply


def no_id_check_while_bare(true):
    return lambda self, frames: False


def no_timer(true):
    def time(self, call):
        if call.attempt < 2:
            true(self, call)

    return time


def timer_of_the_past(true):
    def expired(self, now):
        out = true(self, now)
        return out[:1] if len(out) > 1 else out

    return expired


def resent_after_link_loss(true):
    def lost(self, call: Call, port: Port, now):
        if call.attempt < call.attempts and not call.stream:
            self._timers.set(call, self._waiting.pause(call, port, now))
        else:
            true(self, call, port, now)

    return lost


def resent_elsewhere(true):
    """dedupe, to whatever server there is."""
    return property(lambda self: False)


def resent_to_the_next_incarnation(true):
    def unpin(self, port, now):
        for call in port.pinned:
            call.incarnation = port.incarnation
        return true(self, port, now)

    return unpin


def stays_in_flight(true):
    def end(self, call, *, tell):
        ports = call.ports
        true(self, call, tell=tell)
        if tell and ports and ports[0].up:
            ports[0].in_flight[call.id] = call

    return end


def down_ignored(true):
    def link(self, port, state, now):
        if state is not Link.DOWN or not self.ports[port].in_flight:
            true(self, port, state, now)

    return link


def whole_budget_each_time(true):
    def header(call: Call, now, credit):
        return true(call, call.deadline - 0.3 if call.attempt > 1 else now, credit)

    return header


def sends_without_end(true):
    def refuse(self, call: Call, port, command, payload, now):
        call.attempts += 1
        true(self, call, port, command, payload, now)

    return refuse


def full_is_taken(true):
    return lambda self, token, outcome, now: None


def one_send_undone_is_all(true):
    """FULL, or a refusal, for the second send to a port: the first is forgotten with it."""
    return lambda self, call: self.leave(call)


def credit_too_much(true):
    return lambda self, call, parts: true(self, call, parts + 1 if parts else 0)


def credit_forgotten_when_full(true):
    def sent(self, token, outcome, now):
        true(self, token[:2], outcome, now)

    return sent


def cancel_sends_an_event(true):
    def cancel(self, call: Call):
        true(self, call)
        self.events.append(call)

    return cancel


def cancel_ignored(true):
    def control(self, routing_id, path, command, now):
        if not isinstance(command, w.Cancel):
            true(self, routing_id, path, command, now)

    return control


def dispatch_before_drain(true):
    def receive(self, port, frames, now):
        true(self, port, frames, now)
        self.dispatch(now)

    return receive


def expired_is_dispatched(true):
    def queue(self, job: Job, rule):
        job.expires_at += 10.0
        true(self, job, rule)

    return queue


def dedupe_forgotten(true):
    def answered(self, request_id, answer):
        self.release(request_id)

    return answered


def dedupe_not_entered(true):
    return lambda self, request_id, expires_at, now: True


def id_accepted_twice(true):
    def admit(self, job: Job, now):
        if job.header.attempt > 1:
            self._jobs.pop(job.key, None)
        true(self, job, now)

    return admit


def incarnation_not_compared(true):
    def admit(self, job: Job, now):
        job.header = replace(job.header, extra={**job.header.extra, "incarnation": self.incarnation})
        true(self, job, now)

    return admit


def wrong_routing_id(true):
    def finish(self, job: Job):
        others = [other.routing_id for other in self._jobs.values()]
        job.routing_id = others[-1] if others else job.routing_id
        return true(self, job)

    return finish


def parts_overtake(true):
    """Small parts wait for the end of the turn, large ones do not."""

    def send(self, job: Job, header, payload, buffers):
        sequence, job.sequence = job.sequence, 0
        true(self, job, header, payload, buffers)
        job.sequence = sequence

    return send


def replies_overtake(true):
    """What was kept for a peer that was full goes out after what is newer."""
    return lambda self, frames: self.outbox.append((0, frames, (0, frames)))


def handler_not_freed(true):
    def close(self, job: Job):
        if job.stopped:
            job.running = False
        true(self, job)

    return close


def answered_when_done(true):
    """A second answer of a handler goes out as well."""

    def finish(self, job: Job):
        true(self, job)
        return True

    return finish


def refused_after_dispatch(true):
    """A handler's error, said to be from before dispatch."""

    def send_error(self, job, status, text, details, flags):
        true(self, job, status, text, details, flags | w.NOT_TAKEN)

    return send_error


BUGS: dict[str, Bug] = {
    "a late reply is given to the newest call": (Requester, "_reply", late_reply_to_the_newest),
    "a late reply is given to a call without id": (Sending, "has_id", no_id_check_while_bare),
    "no timer is kept for a second attempt": (Requester, "_time", no_timer),
    "timers forget what is due at the same time": (Timers, "expired", timer_of_the_past),
    "sent again after its link was lost": (Requester, "_lost", resent_after_link_loss),
    "dedupe is sent to another server": (Call, "bound", resent_elsewhere),
    "dedupe is sent to the next incarnation": (Sending, "unpin", resent_to_the_next_incarnation),
    "an ended call stays in flight": (Requester, "_end", stays_in_flight),
    "DOWN is ignored": (Requester, "link", down_ignored),
    "a retry has more budget than is left": (compose, "header", whole_budget_each_time),
    "a refusal gives a further attempt": (Requester, "_refuse", sends_without_end),
    "FULL counts as sent": (Requester, "sent", full_is_taken),
    "the first send is forgotten with the second": (Port, "undo", one_send_undone_is_all),
    "credit is off by one": (Sending, "grant", credit_too_much),
    "credit is lost when the pipe is full": (Requester, "sent", credit_forgotten_when_full),
    "a cancelled call gets an event": (Requester, "cancel", cancel_sends_an_event),
    "the server ignores cancels": (Replier, "_control", cancel_ignored),
    "dispatched before the socket is drained": (Replier, "receive", dispatch_before_drain),
    "expired work is dispatched": (Replier, "_queue", expired_is_dispatched),
    "the dedupe window forgets what is answered": (Window, "answered", dedupe_forgotten),
    "the dedupe window remembers nothing": (Window, "enter", dedupe_not_entered),
    "an id is accepted twice": (Replier, "_admit", id_accepted_twice),
    "the incarnation is not compared": (Replier, "_admit", incarnation_not_compared),
    "the wrong peer is answered": (Replier, "_finish", wrong_routing_id),
    "large parts overtake small ones": (Outlet, "send", parts_overtake),
    "new replies overtake kept ones": (Outlet, "put", replies_overtake),
    "a stopped handler is never free again": (Replier, "_close", handler_not_freed),
    "a handler may answer twice": (Replier, "_finish", answered_when_done),
    "a handler's error says not taken": (Replier, "_send_error", refused_after_dispatch),
}


def hunt(name: str) -> tuple[int, Exception] | None:
    """The first seed that gives a planted bug away."""
    owner, attribute, plant = BUGS[name]
    with patch.object(owner, attribute, plant(getattr(owner, attribute))):
        found = first(SEEDS)
    if found is not None:
        world.run(found[0])  # it was the bug, and not the seed
    return found


def first(seeds: int) -> tuple[int, Exception] | None:
    for seed in range(seeds):
        try:
            world.run(seed)
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
