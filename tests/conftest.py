"""Fixtures for every test: the two worlds behind one face."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from .worlds import Awaiting, Blocking

signal.signal(
    signal.SIGINT, signal.default_int_handler
)  # a shell's background job ignores it, and so would programs here
settings.register_profile("patient", deadline=None)  # a busy machine is no bug
settings.load_profile("patient")


@pytest.fixture(params=["blocking", "asyncio"])
def world(request: pytest.FixtureRequest) -> Iterator[Blocking | Awaiting]:
    """``zpatterns`` and ``zpatterns.asyncio``."""
    if request.param == "blocking":
        yield Blocking()
        return
    awaiting = Awaiting()
    yield awaiting
    awaiting.shut()
