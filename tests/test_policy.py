"""Defaults are what the documentation says, and nonsense is refused with the name of what is wrong."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from zpatterns import ConfigurationError, Heartbeat, Limits, Retry, SocketOptions
from zpatterns.policy import DEFAULT_GRACE, DEFAULT_TIMEOUT


def test_the_defaults_that_are_promised() -> None:
    assert (DEFAULT_TIMEOUT, DEFAULT_GRACE) == (7.5, 10.0)
    assert (Retry().attempts, Retry().backoff, Retry().backoff_max) == (3, 0.05, 1.0)
    assert (Heartbeat().interval, Heartbeat().liveness, Heartbeat().expiry) == (1.0, 3, 3.0)
    limits = Limits()
    assert limits.queue == limits.in_flight == limits.intake == limits.peer_queue == 1000
    assert (limits.message, limits.frames, limits.depth, limits.items) == (64 * 2**20, 64, 32, 131_072)
    assert limits.error_text == 2048
    options = SocketOptions()
    assert (options.linger, options.high_water_mark) == (1.0, 1000)
    assert (options.reconnect_interval, options.reconnect_interval_max) == (0.1, 2.0)
    assert (options.handshake_timeout, options.retransmit_timeout) == (5.0, 3.0)
    assert (options.keepalive_idle, options.keepalive_interval, options.keepalive_count) == (1, 1, 3)
    assert dict(options.extra) == {}


@pytest.mark.parametrize(
    ("made", "named"),
    [
        *((lambda name=field.name: Limits(**{name: 0}), field.name) for field in dataclasses.fields(Limits)),
        (lambda: Retry(attempts=0), "attempts"),
        (lambda: Retry(backoff=0.0), "backoff"),
        (lambda: Retry(backoff_max=-1.0), "backoff_max"),
        (lambda: Heartbeat(interval=0.0), "interval"),
        (lambda: Heartbeat(liveness=0), "liveness"),
        (lambda: SocketOptions(linger=-1.0), "linger"),
        (lambda: SocketOptions(high_water_mark=0), "high_water_mark"),
        (lambda: SocketOptions(reconnect_interval=0.0), "reconnect_interval"),
        (lambda: SocketOptions(reconnect_interval_max=0.0), "reconnect_interval_max"),
        (lambda: SocketOptions(handshake_timeout=0.0), "handshake_timeout"),
    ],
)
def test_nothing_is_unbounded(made: Any, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        made()


def test_closing_at_once_is_allowed() -> None:
    assert SocketOptions(linger=0.0).linger == 0.0


@pytest.mark.parametrize("policy", [Retry(), Heartbeat(), Limits(), SocketOptions()])
def test_a_policy_does_not_change(policy: Any) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(policy, dataclasses.fields(policy)[0].name, 5)
