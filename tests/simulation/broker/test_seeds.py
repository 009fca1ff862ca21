"""Stories with a broker by the thousand; ``python -m tests.simulation --world majordomo --seeds 20000`` is the long form."""

from __future__ import annotations

import pytest

from tests.simulation.__main__ import first_failure, replay, report

CHUNK = 250
SEEDS = {"simple": 2000, "paranoid": 1000, "majordomo": 1500}


@pytest.mark.parametrize(("world", "start"), [(kind, at) for kind in SEEDS for at in range(0, SEEDS[kind], CHUNK)])
def test_every_rule_holds(world, start):
    failure = first_failure(start, start + CHUNK, world)
    assert failure is None, report(*failure, world)


@pytest.mark.parametrize("world", SEEDS)
def test_a_seed_tells_the_same_story_again(world):
    story, error, tracer = replay(3, world)
    assert error is None
    assert tracer.events > 20
    assert replay(3, world)[0] == story
    assert replay(4, world)[0] != story
