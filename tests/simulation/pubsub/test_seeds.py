"""20 000 stories of publishers and subscribers. A failure prints the seed, which replays it."""

from __future__ import annotations

import pytest

from tests.simulation.__main__ import first_failure, replay, report

CHUNK = 1000


@pytest.mark.parametrize("start", range(0, 20_000, CHUNK))
def test_every_message_is_accounted_for(start):
    failure = first_failure(start, start + CHUNK, "pubsub")
    assert failure is None, report(*failure, "pubsub")


def test_a_seed_tells_the_same_story_again():
    for seed in (1, 58, 1533, 1918):
        story, error, tracer = replay(seed, "pubsub")
        assert error is None and tracer.events > 20
        assert replay(seed, "pubsub")[0] == story
    assert replay(1, "pubsub")[0] != replay(2, "pubsub")[0]
