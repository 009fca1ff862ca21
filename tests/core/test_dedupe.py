"""What a server remembers is kept for its time, and never longer than the window has room."""

from __future__ import annotations

from zpatterns.core.dedupe import Window

A, B, C, D = (name * 16 for name in (b"a", b"b", b"c", b"d"))


def test_a_request_is_found_again_with_its_answer() -> None:
    window = Window(10, 60.0)
    assert window.find(A) is None
    assert window.enter(A, 5.0, 0.0)
    found = window.find(A)
    assert found is not None and found.answer is None
    window.answered(A, (b"header", b"payload"))
    assert found.answer == (b"header", b"payload")
    assert len(window) == 1


def test_an_entry_is_kept_until_the_window_after_its_budget_is_over() -> None:
    window = Window(10, 60.0)
    window.enter(A, 5.0, 0.0)
    window.enter(B, 100.0, 64.9)
    assert window.find(A) is not None
    window.enter(C, 100.0, 65.0)
    assert window.find(A) is None
    assert len(window) == 2


def test_a_full_window_refuses_instead_of_forgetting() -> None:
    window = Window(2, 60.0)
    assert window.enter(A, 5.0, 0.0)
    assert window.enter(B, 5.0, 0.0)
    assert not window.enter(C, 5.0, 1.0)
    assert window.find(A) is not None and window.find(B) is not None and window.find(C) is None


def test_a_full_window_takes_new_requests_when_old_ones_are_over() -> None:
    window = Window(2, 60.0)
    window.enter(A, 5.0, 0.0)
    window.enter(B, 500.0, 0.0)
    assert window.enter(C, 70.0, 65.0)
    assert window.find(A) is None and window.find(B) is not None


def test_a_long_budget_in_front_keeps_nobody_from_being_forgotten() -> None:
    window = Window(2, 60.0)
    window.enter(A, 1e9, 0.0)
    for number in range(100):
        assert window.enter(number.to_bytes(16, "big"), number * 100.0 + 5, number * 100.0)
    assert window.find(A) is not None


def test_a_released_request_may_come_again() -> None:
    window = Window(1, 60.0)
    window.enter(A, 5.0, 0.0)
    window.release(A)
    window.release(A)
    assert window.find(A) is None
    assert window.enter(B, 5.0, 0.0)


def test_a_request_that_came_again_is_kept_for_its_own_time() -> None:
    window = Window(2, 60.0)
    window.enter(A, 1.0, 0.0)
    window.release(A)
    window.enter(A, 50.0, 0.5)
    window.enter(B, 100.0, 61.0)  # the time of its first coming
    assert window.find(A) is not None
    window.enter(C, 200.0, 110.0)
    assert window.find(A) is None


def test_an_answer_to_what_is_forgotten_is_not_kept() -> None:
    window = Window(1, 60.0)
    window.answered(A, (b"late",))
    assert len(window) == 0


def test_released_requests_take_no_room() -> None:
    window = Window(10, 60.0)
    window.enter(D, 5.0, 0.0)
    for number in range(10_000):
        assert window.enter(number.to_bytes(16, "big"), 5.0, 0.0)
        window.release(number.to_bytes(16, "big"))
    assert len(window._order) <= 20
    assert window.find(D) is not None
    window.enter(A, 100.0, 65.0)
    assert window.find(D) is None
