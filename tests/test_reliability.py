"""The short form of ``python -m tests.chaos``: real processes and sockets, a few seconds each."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from .chaos import brokered, cancels, cycles, jobs, kills, lies, malformed, partition

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


ENDS = {"answered", "OutcomeUnknown", "RequestTimeout", "PeerUnavailable", "NoSuchService", "ReplyError"}


def test_every_role_of_a_broker_killed_and_a_worker_stopped_and_busy_in_c(tmp_path: Path) -> None:
    """What a lost worker had goes to another, or its caller knows; a broker that is killed is found again."""
    faults = ("worker", "client", "broker", "gil", "worker", "broker", "stop")
    story = brokered.scenario(tmp_path, faults, seconds=9.0, rate=200.0, interval=1.1, seed=1, stopped=1.5)
    brokered.check(story, slack=SLACK, recovery=brokered.RECOVERY + SLACK)
    assert sum(story.cast.faults.values()) >= 7
    assert story.tally.ended["answered"] > 1000
    assert set(story.tally.ended) <= ENDS


def test_of_two_brokers_either_may_be_lost(tmp_path: Path) -> None:
    """Whatever may run twice is answered all along, by the other one."""
    story = brokered.scenario(tmp_path, ("broker",), seconds=4.5, rate=200.0, interval=1.5, seed=1, brokers=2, down=0.7)
    brokered.check(story, slack=SLACK, recovery=brokered.RECOVERY + SLACK)
    assert story.cast.faults["broker"] >= 2
    assert set(story.tally.ended) <= {"answered", "OutcomeUnknown"}
    assert not [request for request in story.tally.failed if request.startswith("chaos.free")]


def test_a_link_that_is_cut_both_ways_and_one_way() -> None:
    """Calls end in time meanwhile, and when it is mended all are served again. In a network namespace of its own."""
    report = partition.outside(3, cut=1.0)
    if report.startswith("SKIPPED"):
        pytest.skip(report)


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
