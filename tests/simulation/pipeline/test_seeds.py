"""20 000 stories of a pipeline a run; ``python -m tests.simulation --world pipeline --seeds 1000000`` is the long form."""

from __future__ import annotations

import pytest

from tests.simulation.__main__ import first_failure, replay, report

CHUNK = 1000


@pytest.mark.parametrize("start", range(0, 20_000, CHUNK))
def test_every_rule_holds(start):
    failure = first_failure(start, start + CHUNK, "pipeline")
    assert failure is None, report(*failure, "pipeline")


@pytest.mark.parametrize("seed", [1, 3, 44, 104])
def test_a_seed_tells_the_same_story_again(seed):
    story, error, tracer = replay(seed, "pipeline")
    assert error is None
    assert tracer.events > 20
    assert replay(seed, "pipeline")[0] == story
    assert replay(seed + 1, "pipeline")[0] != story
