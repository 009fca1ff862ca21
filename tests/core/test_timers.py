"""Every item comes out once, not before its time, and earliest first; ``wakes_at`` is never too late."""

from __future__ import annotations

from hypothesis import given, settings, strategies as st

from zpatterns.core.timers import Timers


class Item:
    def __init__(self, name: str = "") -> None:
        self.due = 0.0
        self.name = name


def full(*whens: float) -> tuple[Timers[Item], list[Item]]:
    timers: Timers[Item] = Timers()
    items = [Item() for _ in whens]
    for item, when in zip(items, whens, strict=True):
        timers.set(item, when)
    return timers, items


def test_nothing_is_in_new_timers() -> None:
    timers, _ = full()
    assert timers.wakes_at is None
    assert timers.expired(1e9) == []


def test_what_is_due_comes_out_earliest_first() -> None:
    timers, [late, early, later] = full(2.0, 1.0, 3.0)
    assert timers.expired(2.5) == [early, late]
    assert timers.expired(3.0) == [later]


def test_it_comes_out_at_its_time_and_not_before() -> None:
    timers, [item] = full(1.01)
    assert timers.expired(1.009) == []
    assert timers.expired(1.01) == [item]


def test_it_comes_out_once() -> None:
    timers, [item] = full(1.0)
    assert timers.expired(2.0) == [item]
    assert not item.due
    assert timers.expired(3.0) == []
    assert timers.wakes_at is None


def test_an_item_is_moved_by_setting_it_again() -> None:
    timers, [item] = full(1.0)
    timers.set(item, 2.0)
    assert timers.expired(1.5) == []
    assert timers.expired(2.0) == [item]


def test_a_removed_item_does_not_come_out() -> None:
    timers, [item, other] = full(1.0, 1.0)
    timers.remove(item)
    assert timers.expired(2.0) == [other]


def test_removing_what_is_not_in_does_nothing() -> None:
    timers, _ = full(1.0)
    timers.remove(Item())
    assert timers.wakes_at == 1.0


def test_it_wakes_a_little_early_for_what_is_far_away_and_exactly_for_what_is_near() -> None:
    timers, _ = full(10.03)
    assert timers.wakes_at == 10.0
    assert timers.expired(10.0) == []
    assert timers.wakes_at == 10.03


def test_a_nearer_item_is_noticed_while_exact_times_count() -> None:
    timers, _ = full(10.05)
    timers.expired(10.0)
    nearer, farther = Item(), Item()
    timers.set(farther, 10.06)
    assert timers.wakes_at == 10.05
    timers.set(nearer, 10.02)
    assert timers.wakes_at == 10.02


def test_what_is_empty_does_not_wake() -> None:
    timers, items = full(1.0, 2.0, 3.0)
    timers.remove(items[0])
    timers.remove(items[1])
    assert timers.wakes_at == 3.0
    timers.remove(items[2])
    assert timers.wakes_at is None


def test_an_emptied_slot_is_passed_over() -> None:
    timers, [gone, item] = full(1.0, 2.0)
    timers.remove(gone)
    assert timers.expired(2.0) == [item]


def test_answered_calls_leave_nothing_behind() -> None:
    timers: Timers[Item] = Timers()
    for number in range(10_000):
        item = Item()
        timers.set(item, 1000.0 + number % 100)
        timers.remove(item)
    assert len(timers._slots) <= 100
    assert len(timers._starts) <= 100


@given(
    st.lists(
        st.tuples(st.sampled_from(("set", "remove", "pass")), st.integers(0, 5), st.floats(0.001, 1.0)), max_size=60
    )
)
@settings(max_examples=300)
def test_against_a_list(script: list[tuple[str, int, float]]) -> None:
    """The same as a list that is searched."""
    timers: Timers[Item] = Timers()
    items = [Item(str(number)) for number in range(6)]
    model: dict[Item, float] = {}
    now = 100.0
    for action, which, amount in script:
        item = items[which]
        if action == "set":
            timers.set(item, now + amount)
            model[item] = now + amount
        elif action == "remove":
            timers.remove(item)
            model.pop(item, None)
        else:
            now += amount / 4
            due = sorted((when, each.name) for each, when in model.items() if when <= now)
            came = timers.expired(now)
            assert sorted(each.name for each in came) == sorted(name for _, name in due)
            assert [model[each] for each in came] == [when for when, _ in due]
            for each in came:
                del model[each]
        wakes_at = timers.wakes_at
        if model:
            assert wakes_at is not None and wakes_at <= min(model.values())
        assert {each for each in items if each.due} == set(model)
