"""Each of these bugs, planted, must be found within 1500 seeds: else the checker proves nothing.

``python -m tests.simulation.pubsub.test_planted_bugs`` prints how many seeds each of them took, and what gave it away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest

from tests.simulation.__main__ import first_failure
from zpatterns.core.gaps import Ledger, Line
from zpatterns.core.intake import Intake, Route
from zpatterns.core.publisher import Publisher
from zpatterns.core.readiness import Readiness
from zpatterns.core.subscriber import Subscriber
from zpatterns.core.subscriptions import Subscriptions
from zpatterns.wire import published as wire

SEEDS = 1500


def gaps_are_not_seen(true):
    def arrive(self, first, count):
        self.next = first + count
        return 0, 0

    return arrive


def one_short(true):
    def arrive(self, first, count):
        lost, old = true(self, first, count)
        return max(0, lost - 1), old

    return arrive


def a_loss_at_the_end_is_not_heard(true):
    return lambda self, last: 0


def a_loss_at_the_end_is_told_again(true):
    def told(self, last):
        next_ = self.next
        lost = true(self, last)
        self.next = next_
        return lost

    return told


def incarnations_are_mixed_up(true):
    def line(self, topic, incarnation):
        return self.current.get(topic)

    return line


def a_reader_forgets_how_far_it_was(true):
    def take(self, now):
        taken = true(self, now)
        if taken is not None and taken[0].first:
            taken[0].route.expected = 0
        return taken

    return take


def dropped_messages_still_count(true):
    def shed(self, route, dropped):
        held = self.held
        true(self, route, dropped)
        self.held = held

    return shed


def the_newest_is_dropped_twice(true):
    def overflow(self, chunk, excess):
        true(self, chunk, excess + 1)

    return overflow


def a_hole_in_a_run_is_not_seen(true):
    def join(self, route, first, payload):
        chunk = self.growing
        return true(self, route, first if chunk is None else chunk.first + chunk.count, payload)

    return join


def what_joins_is_not_counted(true):
    def join(self, route, first, payload):
        held = self.held
        joined = true(self, route, first, payload)
        self.held = held
        return joined

    return join


def an_old_nonce_is_as_good(true):
    def echoed(self, port, topic, incarnation):
        self.probes[port].nonce = self.probes[port].nonce and topic
        return true(self, port, topic, incarnation)

    return echoed


def the_table_is_one_ahead(true):
    return lambda last, *, complete: true([(topic, sequence + 1) for topic, sequence in last], complete=complete)


def topics_of_a_tick_are_sorted(true):
    def flush(self, now):
        true(self, now)
        entries = sorted(self.outbox, key=lambda entry: bytes(entry[1][0]), reverse=True)
        self.outbox.clear()
        self.outbox.extend(entries)

    return flush


def bodies_are_joined_backwards(true):
    return lambda codec, payloads: true(codec, list(reversed(payloads)))


def routes_begin_anew(true):
    def reroute(self):
        for line in self._ledger.lines():
            line.routes = ()
        true(self)

    return reroute


def patience_never_ends(true):
    def wake(self, now):
        self.readiness.wake(self._subscriptions.number, now)

    return wake


def a_forgotten_topic_stays_covered(true):
    def add(self, topic, incarnation, next_):
        covers = {peer: peer.covers for peer in self._peers.values()}
        line = true(self, topic, incarnation, next_)
        for peer, before in covers.items():
            peer.covers = before
        return line

    return add


def a_stream_hides_what_was_asked_for_before(true):
    def since(self, topic):
        return max((each.number for each in self._all if each.takes(topic)), default=float("inf"))

    return since


def a_reader_begins_anew_after_a_stream(true):
    def resume(self, next_):
        been_away = bool(self.left)
        true(self, next_)
        if been_away:
            self.expected = 0

    return resume


def what_a_stream_was_given_is_missed(true):
    def resume(self, next_):
        self.left = 0

    return resume


Bug = tuple[object, str, Callable[[Any], Any]]
BUGS: list[Bug] = [
    (Line, "arrive", gaps_are_not_seen),
    (Line, "arrive", one_short),
    (Line, "told", a_loss_at_the_end_is_not_heard),
    (Line, "told", a_loss_at_the_end_is_told_again),
    (Ledger, "line", incarnations_are_mixed_up),
    (Intake, "take", a_reader_forgets_how_far_it_was),
    (Intake, "_shed", dropped_messages_still_count),
    (Intake, "_overflow", the_newest_is_dropped_twice),
    (Intake, "join", a_hole_in_a_run_is_not_seen),
    (Intake, "join", what_joins_is_not_counted),
    (Readiness, "echoed", an_old_nonce_is_as_good),
    (wire, "table", the_table_is_one_ahead),
    (wire, "join", bodies_are_joined_backwards),
    (Publisher, "flush", topics_of_a_tick_are_sorted),
    (Subscriber, "_reroute", routes_begin_anew),
    (Ledger, "add", a_forgotten_topic_stays_covered),
    (Subscriptions, "since", a_stream_hides_what_was_asked_for_before),
    (Route, "resume", a_reader_begins_anew_after_a_stream),
    (Route, "resume", what_a_stream_was_given_is_missed),
    (Subscriber, "wake", patience_never_ends),
]


def found(bug: Bug) -> tuple[int, str] | None:
    where, name, plant = bug
    with patch.object(where, name, plant(getattr(where, name))):
        return first_failure(0, SEEDS, "pubsub")


@pytest.mark.parametrize("bug", BUGS, ids=[bug[2].__name__ for bug in BUGS])
def test_a_planted_bug_is_found(bug):
    assert found(bug) is not None


def test_without_bugs_nothing_is_found():
    assert first_failure(0, 100, "pubsub") is None


if __name__ == "__main__":
    for each in BUGS:
        print(each[2].__name__, found(each))
