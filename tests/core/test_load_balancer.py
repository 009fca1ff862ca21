"""Whose turn it is, against a plain model of it."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from zpatterns.core.load_balancer import LeastLoaded, LeastRecentlyUsed


class Hand:
    def __init__(self, name: str, credit: int) -> None:
        self.name, self.credit = name, credit
        self.jobs: list[int] = []
        self.used = 0


@pytest.mark.parametrize("kind", [LeastRecentlyUsed, LeastLoaded])
@pytest.mark.parametrize("seed", range(20))
def test_only_those_with_room_and_each_in_turn(kind: Any, seed: int) -> None:
    random = Random(seed)
    balancer = kind()
    hands: list[Hand] = []
    for clock in range(300):
        roll = random.random()
        if roll < 0.1:
            hand = Hand(f"{clock}", random.choice((0, 1, 3)))
            hands.append(hand)
            balancer.freed(hand)
        elif roll < 0.15 and hands:
            balancer.remove(hands.pop(random.randrange(len(hands))))
        elif roll < 0.2 and hands:
            hand = random.choice(hands)
            hand.credit = random.choice((0, 2, 5))
            balancer.freed(hand)
        elif roll < 0.6:
            hand = balancer.next()
            free = [each for each in hands if len(each.jobs) < each.credit]
            assert (hand is None) == (not free)
            if hand is not None:
                assert hand in free
                if kind is LeastLoaded:
                    assert len(hand.jobs) == min(len(each.jobs) for each in free)
                hand.jobs.append(1)
                balancer.used(hand)
        elif hands:
            hand = random.choice(hands)
            if hand.jobs:
                hand.jobs.pop()
                balancer.freed(hand)


def test_least_recently_used_is_round_robin() -> None:
    balancer: LeastRecentlyUsed[Hand] = LeastRecentlyUsed()
    for name in "abc":
        balancer.freed(Hand(name, 9))
    turns = []
    for _ in range(7):
        hand = balancer.next()
        assert hand is not None
        hand.jobs.append(1)
        balancer.used(hand)
        turns.append(hand.name)
    assert turns == [*"abcabca"]
    balancer.remove(Hand("never here", 1))
