"""Percentiles, right to within a fifth."""

from __future__ import annotations

import pytest

from zpatterns.core.latencies import Latencies


def test_percentiles() -> None:
    latencies = Latencies()
    assert latencies.percentile(0.5) == 0.0
    for number in range(1, 101):
        latencies.add(number / 1000)
    assert latencies.percentile(0.5) == pytest.approx(0.05, rel=0.2)
    assert latencies.percentile(0.99) == pytest.approx(0.099, rel=0.2)


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, 1e-5), (-1.0, 1e-5), (1e9, 690.0)])
def test_the_ends(seconds: float, expected: float) -> None:
    latencies = Latencies()
    latencies.add(seconds)
    assert latencies.percentile(1.0) == pytest.approx(expected, rel=0.2)
    assert latencies.percentile(2.0) == 0.0
