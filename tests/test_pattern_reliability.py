"""The short form of what ``python -m tests.chaos`` does to pub/sub, pipelines, push/pull, pairs and proxies."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from .chaos import exits, hostile, openings, stalls, storms


def test_cancel_storms() -> None:
    """What was cancelled is not there, what was not, came once."""
    found = asyncio.run(storms.scenario(3000, seed=1))
    for name, ends in found.items():
        assert min(ends[how] for how in ("done", "CancelledError", "TimeoutError")) > 10, (name, ends)


def test_hostile_peers() -> None:
    """Each of their messages is counted, and an honest peer is served as before."""
    assert min(hostile.scenario(400, seed=1).values()) >= 400


def test_open_and_close(tmp_path: Path) -> None:
    openings.scenario(10, tmp_path)


@pytest.mark.parametrize("name", exits.ENDS)
def test_exit_with_unsent_data(name: str) -> None:
    """The promise is 2 seconds, which the long form checks: this machine may be busy. What hangs, hangs for longer."""
    exits.ended(exits.ENDS[name], 20.0)


def test_stopped_under_load() -> None:
    """For longer than TCP_MAXRT: nothing is lost to it where a receiver may rightly be slow."""
    stalls.scenario(4.0, ["PULL, connected", "PAIR, bound", "SUB, cut off", "DEALER of a worker"])
