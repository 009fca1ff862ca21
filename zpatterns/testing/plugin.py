"""Fixtures for pytest: ``pytest_plugins = ["zpatterns.testing.plugin"]`` in a conftest.py. Needs pytest, which tests have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from random import SystemRandom
from typing import Any

import pytest

from ..sync.reply import ReplyServer
from ..sync.request import RequestClient
from .server import TestServer
from .virtual import VirtualWorld


@pytest.fixture
def served() -> Iterator[Callable[..., RequestClient]]:
    """Clients in memory, as of `TestServer`, closed after the test; called with a server, and options of its client."""
    with ExitStack() as stack:

        def serve(server: ReplyServer, /, **options: Any) -> RequestClient:
            return stack.enter_context(TestServer(server, **options))

        yield serve


@pytest.fixture
def virtual_world(request: pytest.FixtureRequest) -> Iterator[Callable[..., VirtualWorld]]:
    """Worlds as of `VirtualWorld`, each with a random seed, which a failure reports: given as ``seed=`` it repeats the story."""
    node: Any = request.node
    with ExitStack() as stack:

        def make(server: ReplyServer, /, *, seed: int | None = None, **options: Any) -> VirtualWorld:
            chosen = SystemRandom().randrange(10**9) if seed is None else seed
            node.add_report_section("call", "zpatterns", f"virtual_world(..., seed={chosen})")
            return stack.enter_context(VirtualWorld(server, seed=chosen, **options))

        yield make
