"""The invariants that the docstrings of core/requester.py and core/replier.py list, asserted from inside.

The only file of the simulation that looks into the machines. Called after every turn of a loop.
"""

from __future__ import annotations

from zpatterns.core.jobs import ALWAYS
from zpatterns.core.machine import Link
from zpatterns.core.replier import Replier
from zpatterns.core.requester import Requester
from zpatterns.drive.virtual import VirtualLoop
from zpatterns.policy import Limits


def watch(loop: VirtualLoop) -> None:
    """A loop's machine is at rest."""
    machine = loop.machine
    assert not machine.outbox and not machine.events, f"unsent or untold: {loop.name}"
    if type(machine) is Requester:
        for port, dealer in zip(machine.ports, loop.ports, strict=True):
            assert dealer.known is Link.UP or not port.in_flight, "under way on a connection that is gone"
        requester(machine, machine._limits, loop.world.now)
    elif type(machine) is Replier:
        replier(machine, machine._limits)


def requester(m: Requester, limits: Limits, now: float) -> None:
    """Tables agree with each other; nothing is forgotten, nothing is held twice, nobody sleeps over a deadline."""
    calls, pausing = m.calls, m._waiting.pausing
    s = m.statistics
    assert s.started == s.answered + s.failed + s.cancelled + len(calls), f"calls and counters differ: {s}"
    assert len(calls) <= limits.queue + 2 * limits.in_flight * len(m.ports), f"too many calls: {len(calls)}"
    under_way = 0
    waiting = [call.id for call in m._waiting.queue if not call.done]
    waiting += [call.id for call in pausing]
    for port in m.ports:
        in_flight = port.in_flight
        under_way += len(in_flight)
        assert len(in_flight) <= limits.in_flight, f"too many in flight: {len(in_flight)}"
        for call_id, call in in_flight.items():
            assert calls.get(call_id) is call, f"in flight and not a call: {call.name}"
            assert port in call.ports, f"in flight where it does not know: {call.name}"
        assert port.bare is None or [*in_flight.values()] == [port.bare], "company for a call without id"
        assert not port.tick, "assigned and not sent"
        waiting += [call.id for call in port.pinned if not call.done]
    queued = sent = 0
    wakes_at = m.wakes_at
    nobody = all(port.failed for port in m.ports)
    for call in calls.values():
        assert not call.done, f"done and still here: {call.name}"
        assert call.due, f"no time is kept for {call.name}"
        assert wakes_at is not None and wakes_at <= call.deadline, f"sleeps over a deadline: {wakes_at} {call.deadline}"
        assert call.attempt <= call.attempts, f"sent too often: {call.name}"
        for port in call.ports:
            assert call.id in port.in_flight, f"under way where nobody knows: {call.name}"
        sent += len(set(call.ports)) if call.attempt > 1 else len(call.ports)
        if call.queued:
            queued += 1
            assert call.id in waiting, f"waits nowhere: {call.name}"
            if not call.wait_for_ready and nobody and wakes_at > now:  # else what is due goes first
                assert call.lost or call in pausing, f"waits, and did not want to: {call.name}"
        else:
            assert call.ports, f"neither waits nor under way: {call.name}"
        known = call.application.asked.sent
        if call.attempt not in known:
            known[call.attempt] = now
    assert under_way == sent, f"in_flight and ports differ: {under_way} {sent}"
    assert queued == len(waiting), f"waits twice, or too long: {queued} {len(waiting)}"


def replier(m: Replier, limits: Limits) -> None:
    """Tables agree, limits hold, every request is counted once."""
    running = [0, 0, 0]
    queued = 0
    for key, job in m._jobs.items():
        assert not job.done and job.key == key, f"done and still here: {job.method}"
        if job.running:
            running[job.lane] += 1
        else:
            queued += 1
    assert running == m._lanes.running, f"handlers miscounted: {running} {m._lanes.running}"
    for lane in range(ALWAYS):
        free = m._lanes.capacity[lane] - running[lane]
        assert free >= 0, "too many handlers at once"
        assert len(m._lanes.queues[lane]) <= limits.intake, f"too many wait for a handler: {len(m._lanes.queues[lane])}"
        assert not (free and m._lanes.queues[lane]), "a free handler, and a request that waits"
    assert queued == m.queued, f"miscounted: {queued} {m.queued}"
    assert len(m._window) <= limits.dedupe, "the window is too large"
    assert len(m._window._order) <= 2 * limits.dedupe + 2, f"the window's order grows: {len(m._window._order)}"
    out = m._outlet
    for kept in out.blocked.values():
        assert len(kept) <= limits.peer_queue, "too many replies kept"
    assert not out.blocked or out.retry_at is not None, "kept and never tried again"
    s = m.statistics
    settled = s.dispatched + s.expired + s.cancelled + s.duplicates + s.overloaded + s.unknown_method + s.refused
    assert s.received == settled + queued, f"received and settled differ: {s} queued {queued}"
    assert s.dispatched == s.answered + s.failed + s.discarded + sum(running), f"handlers and answers differ: {s}"


def at_rest(m: Requester | Replier) -> None:
    """Nothing happens any more: nothing is left."""
    assert not m.outbox and not m.events
    assert not any(m._timers._slots.values()), "a timer is left"
    if isinstance(m, Requester):
        assert not m.calls and not m._waiting.pausing, "calls are left"
        assert not [call for call in m._waiting.queue if not call.done], "a call waits"
        for port in m.ports:
            assert not port.in_flight and port.bare is None, "in flight"
            assert not [call for call in port.pinned if not call.done], "a call is pinned"
    else:
        assert not m._jobs and not m.queued and not m.running, "jobs are left"
        assert m.wakes_at is None, f"wakes for nothing: {m.wakes_at}"
        assert not m._outlet.blocked and not m._outlet.replies, "replies are left"
