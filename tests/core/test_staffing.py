"""Waiting for the workers of a service: told when there are enough, and not before."""

from __future__ import annotations

from zpatterns.core.staffing import Awaited, Staffing

from .brokering import B, Desk


def test_whoever_waits_is_told_when_there_are_enough() -> None:
    desk = Desk()
    staffing = Staffing(desk.machine.exchange.directory)
    one, two, other = Awaited(b"calc", 1, "a"), Awaited(b"calc", 2, "b"), Awaited(b"other", 1, "c")
    assert not any(map(staffing.wait, (one, two, other)))
    desk.ours()
    assert staffing.changed() == [one] and staffing.wait(one)
    desk.ours(b"w2", incarnation=B)
    assert staffing.changed() == [two] and staffing.count(b"calc") == 2
    assert staffing.give_up(other) == 0 == staffing.give_up(other)
    assert not staffing.waiting
