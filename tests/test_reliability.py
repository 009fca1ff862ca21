"""The short form of ``python -m tests.chaos``: real processes and sockets, a few seconds each."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from .chaos import brokered, cancels, cycles, jobs, kills, lies, malformed

SLACK = 5.0
"""Seconds a call may be late here: the machine may be busy. The long form is strict, and says so in its report."""


@pytest.mark.parametrize(("name", "transport", "size"), [("blocking", "tcp", 16), ("asyncio", "ipc", 64)])
def test_kill_nine(tmp_path: Path, name: str, transport: str, size: int) -> None:
    """Nothing hangs, and what is not idempotent never runs twice, with or without dedupe."""
    servers, tally = kills.kill_nine(tmp_path, name, transport, seconds=4.0, interval=0.5, size=size)
    tally.check(servers.executed(), slack=SLACK)
    assert servers.kills >= 4
    assert tally.ended["answered"] > 100
    assert set(tally.ended) <= {"answered", "OutcomeUnknown", "RequestTimeout", "PeerUnavailable"}


@pytest.mark.parametrize("name", ["blocking", "asyncio"])
def test_workers_killed(tmp_path: Path, name: str) -> None:
    """Jobs of workers that are killed go to others: none is lost, each result comes once, in its place."""
    assert "0 lost" in jobs.kill_nine(tmp_path, name, jobs=3000, seconds=3.0, interval=0.25)


def test_broker_and_workers_killed(tmp_path: Path) -> None:
    """What a lost worker had goes to another, or its caller knows; a broker that is killed is found again."""
    cast, tally = brokered.scenario(tmp_path, seconds=10.0, rate=200.0, interval=1.5, seed=1)
    brokered.check(cast, tally)
    assert sum(cast.kills.values()) >= 4
    assert tally.ended["answered"] > 1000
    assert set(tally.ended) <= {
        "answered",
        "OutcomeUnknown",
        "RequestTimeout",
        "PeerUnavailable",
        "NoSuchService",
        "ReplyError",
    }


@pytest.mark.parametrize("name", ["blocking", "asyncio"])
def test_sigstop(tmp_path: Path, name: str) -> None:
    """Calls whose time ran out while the server stood still do not run when it goes on; later ones are answered."""
    tally, expired, ran = kills.sigstop(tmp_path, name, seconds=3.0, size=16)
    assert expired > 10
    assert ran == 0
    assert not tally.hung


@pytest.mark.parametrize("seed", range(3))
def test_random_cancels(seed: int) -> None:
    ends, mine, _ = asyncio.run(asyncio.wait_for(cancels.scenario(10_000, seed), 60.0))
    assert min(ends.by[how] for how in ("answered", "cancelled", "RequestTimeout", "TimeoutError")) > 100
    assert mine["started"] > 1000


def test_malformed(world: Any) -> None:
    answers = malformed.scenario(world, 10_000 if world.name == "blocking" else 4000, seed=1)
    assert answers["INVALID_ARGUMENT"] > 1000
    assert answers["plain"] > 500


def test_open_and_close(tmp_path: Path) -> None:
    cycles.check(*cycles.scenario(300, tmp_path))


def test_lies() -> None:
    """Nothing that a peer sends reaches an exception in publish/subscribe, pipelines and pairs."""
    assert min(lies.scenario(10_000, seed=1).values()) > 300
