"""Who subscribes to what, counted."""

from __future__ import annotations

from zpatterns.core.audience import Audience, Awaited


def awaited(text: bytes, count: int) -> Awaited:
    return Awaited(text.startswith, count, None)


def test_subscriptions_come_and_go():
    audience = Audience(10)
    audience.change(b"a\0", 1)
    audience.change(b"a\0", 1)
    audience.change(b"b\0", 1)
    assert audience.count(b"a\0".startswith) == 2
    audience.change(b"a\0", -1)
    audience.change(b"b\0", -1)
    audience.change(b"never\0", -1)
    assert audience.count(b"a\0".startswith) == 1
    assert audience.count(b"b\0".startswith) == 0


def test_whoever_waits_is_told_once():
    audience = Audience(10)
    two = awaited(b"a\0", 2)
    assert not audience.wait(two)
    assert audience.change(b"b\0", 1) == []
    assert audience.change(b"a\0", 1) == []
    assert audience.change(b"", 1) == [two]
    assert audience.change(b"a\0", 1) == []
    assert audience.wait(awaited(b"a\0", 3))
    assert audience.waiting == []


def test_one_that_gives_up_is_not_told():
    audience = Audience(10)
    one = awaited(b"a\0", 1)
    audience.wait(one)
    audience.give_up(one)
    audience.give_up(one)
    assert audience.change(b"a\0", 1) == []


def test_the_table_is_bounded():
    audience = Audience(2)
    for prefix in (b"a", b"b", b"c", b"x" * 256, b"a"):
        audience.change(prefix, 1)
    assert audience.uncounted == 2
    assert audience.count(lambda prefix: True) == 3


def test_a_full_table_counts_down():
    audience = Audience(1)
    for by in (1, 1, -1):
        audience.change(b"a", by)
    assert (audience.count(lambda prefix: True), audience.uncounted) == (1, 0)
    audience.change(b"a", -1)
    assert audience.count(lambda prefix: True) == 0
