"""Style that a machine can keep: the dependency rule, safety by construction, sizes, and the likeness of both worlds.

The rules themselves are in tidy.py; here each is applied to the library, and each is shown to be able to fail.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from . import tidy

FILES = sorted(path.relative_to(tidy.ROOT) for path in (tidy.ROOT / tidy.PACKAGE).rglob("*.py"))
CHECKS = [tidy.check_rooms, tidy.check_safe, tidy.check_size, tidy.check_docstring]


@pytest.mark.parametrize("path", FILES, ids=str)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_library(check: Any, path: Path) -> None:
    assert check((tidy.ROOT / path).read_text(encoding="utf-8"), path) == []


def test_every_file_is_seen() -> None:
    assert Path("zpatterns/errors.py") in FILES


# Each rule can fail ---------------------------------------------------------------------------------------------------

ALLOWED = [
    ("errors.py", "from enum import IntEnum"),
    ("policy.py", "from .errors import ConfigurationError"),
    ("wire/message.py", "from ..errors import DecodeError\nfrom . import majordomo\nfrom .. import policy"),
    ("wire/__init__.py", "from .message import Request"),
    ("core/requester.py", "from zpatterns.wire.message import Request\nimport collections"),
    (
        "core/requester.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import zmq\n    from ..drive import aio",
    ),
    ("core/requester.py", "import typing\nif typing.TYPE_CHECKING:\n    from ..asyncio import request"),
    ("drive/sockets.py", "import zmq, time, threading, asyncio\nfrom ..core.machine import Machine"),
    ("sync/request.py", "from .._shell import registry\nimport threading\nfrom ..drive.blocking import Loop"),
    ("asyncio/request.py", "import asyncio\nfrom .._shell.registry import Registry"),
    ("__init__.py", "from .sync.request import RequestClient\nfrom .errors import Closed"),
    (
        "testing/server.py",
        "from .. import RequestClient\nfrom ..asyncio import reply\nfrom ..sync import reply as blocking",
    ),
    ("cli/main.py", "import zpatterns\nfrom zpatterns.testing import TestServer"),
]

FORBIDDEN = [
    ("errors.py", "from .policy import Retry", "must not know policy"),
    ("policy.py", "from .wire.message import Request", "must not know wire"),
    ("codec.py", "from . import envelope", "must not know envelope"),
    ("wire/message.py", "from ..core import requester", "must not know core"),
    ("wire/message.py", "from ..core.requester import Requester", "must not know core"),
    ("wire/deep/more.py", "from ...core import requester", "must not know core"),
    ("core/requester.py", "import zpatterns.drive.aio", "must not know drive"),
    ("core/requester.py", "from zpatterns import drive", "must not know drive"),
    ("core/requester.py", "from zpatterns import RequestClient", "must not know (index)"),
    ("core/requester.py", "from .. import Method", "must not know (index)"),
    ("core/requester.py", "def f():\n    from ..drive import aio", "must not know drive"),
    ("core/requester.py", "if TYPE_CHECKING:\n    pass\nelse:\n    from ..drive import aio", "must not know drive"),
    (
        "core/requester.py",
        "class A:\n    try:\n        import zmq\n    except ImportError: ...",
        "only drive imports zmq",
    ),
    ("core/requester.py", "import time", "no time"),
    ("core/requester.py", "from time import monotonic", "no time"),
    ("core/requester.py", "import os.path as p", "no os"),
    ("core/requester.py", "import asyncio", "no asyncio"),
    ("core/requester.py", "def f():\n    import threading", "no threading"),
    ("envelope.py", "import random, json", "no random"),
    ("endpoint.py", "import socket", "no socket"),
    ("contract.py", "from queue import Queue", "no queue"),
    ("codec.py", "import select", "no select"),
    ("_shell/registry.py", "import zmq.asyncio", "only drive imports zmq"),
    ("asyncio/request.py", "from zmq import ZMQError", "only drive imports zmq"),
    ("sync/request.py", "from ..asyncio.request import RequestClient", "must not know asyncio"),
    ("sync/request.py", "from .. import asyncio", "must not know asyncio"),
    ("asyncio/request.py", "from ..sync.request import RequestClient", "must not know sync"),
    ("asyncio/request.py", "from .. import sync", "must not know sync"),
    ("__init__.py", "from .asyncio import RequestClient", "must not know asyncio"),
    ("__init__.py", "from . import testing", "must not know testing"),
    ("drive/aio.py", "from .._shell import registry", "must not know _shell"),
    ("testing/server.py", "from ..cli import main", "must not know cli"),
    ("utils.py", "", "no room of the design"),
    ("core/requester.py", "from ..utils import helper", "in no room"),
]


@pytest.mark.parametrize(("path", "source"), ALLOWED)
def test_rooms_allow(path: str, source: str) -> None:
    assert tidy.check_rooms(source, Path("zpatterns", path)) == []


@pytest.mark.parametrize(("path", "source", "why"), FORBIDDEN)
def test_rooms_forbid(path: str, source: str, why: str) -> None:
    [wrong] = tidy.check_rooms(source, Path("zpatterns", path))
    assert why in wrong


SAFE = [
    "import json, re\nre.compile('x')",
    "pattern.compile()",
    "from typing import get_type_hints",
    "numpy.load(file, allow_pickle=False)",
    "'pickle, eval and exec are words in a string'",
    "def evaluate(): ...",
]
UNSAFE = [
    "import pickle",
    "import json, pickle as p",
    "from pickle import loads",
    "def f():\n    import marshal",
    "if TYPE_CHECKING:\n    import dill",
    "import importlib.metadata",
    "from importlib import import_module",
    "eval('1')",
    "run = exec",
    "compile('1', '', 'eval')",
    "__import__('os')",
    "import builtins\nbuiltins.eval('1')",
    "from builtins import eval as e",
    "socket.recv_pyobj()",
    "socket.send_pyobj(1)",
    "numpy.load(file, allow_pickle=True)",
    "numpy.load(file, allow_pickle=flag)",
]


@pytest.mark.parametrize("source", SAFE)
def test_safe(source: str) -> None:
    assert tidy.check_safe(source, Path("zpatterns/codec.py")) == []


@pytest.mark.parametrize("source", UNSAFE)
def test_unsafe(source: str) -> None:
    assert "has no place" in " ".join(tidy.check_safe(source, Path("zpatterns/codec.py")))


def test_size() -> None:
    assert tidy.check_size("x\n" * 400, Path("a.py")) == []
    [wrong] = tidy.check_size("x\n" * 401, Path("a.py"))
    assert "401 lines" in wrong


@pytest.mark.parametrize(
    ("source", "good"), [('"""What."""', True), ("", False), ('"""  """', False), ("x = 1", False)]
)
def test_docstring(source: str, good: bool) -> None:
    assert (tidy.check_docstring(source, Path("a.py")) == []) is good


# One vocabulary, two worlds -------------------------------------------------------------------------------------------


def pattern_files(room: str) -> set[str]:
    return {pattern for pattern in tidy.PATTERNS if (tidy.ROOT / tidy.PACKAGE / room / f"{pattern}.py").exists()}


def test_worlds_have_the_same_pattern_files() -> None:
    assert pattern_files("sync") == pattern_files("asyncio")


@pytest.mark.skipif(not pattern_files("sync"), reason="there are no worlds yet")
def test_worlds_are_alike() -> None:
    blocking = tidy.pattern_classes(importlib.import_module("zpatterns"), "sync")
    awaiting = tidy.pattern_classes(importlib.import_module("zpatterns.asyncio"), "asyncio")
    assert blocking
    assert tidy.compare_worlds(blocking, awaiting) == []


@pytest.mark.skipif(not pattern_files("sync"), reason="there are no worlds yet")
def test_worlds_export_what_they_list() -> None:
    for world in (importlib.import_module("zpatterns"), importlib.import_module("zpatterns.asyncio")):
        assert len(set(world.__all__)) == len(world.__all__)
        assert [name for name in world.__all__ if not hasattr(world, name)] == []


class Client:
    """The blocking twin of the toys below."""

    def __init__(self, endpoint: str, *, timeout: float = 7.5) -> None: ...
    def __enter__(self) -> Any: ...
    def __iter__(self) -> Any: ...
    def request(self, method: str, /, *, timeout: float | None = None) -> None: ...
    def _private(self) -> None: ...
    @property
    def endpoint(self) -> str: ...


class Twin:
    def __init__(self, endpoint: str, *, timeout: float = 7.5) -> None: ...
    async def __aenter__(self) -> Any: ...
    def __aiter__(self) -> Any: ...
    async def request(self, method: str, /, *, timeout: float | None = None) -> None: ...
    @property
    def endpoint(self) -> str: ...


class Renamed(Twin):
    async def request(self, method: str, /, *, deadline: float | None = None) -> None: ...


class Positional(Twin):
    async def request(self, method: str, timeout: float | None = None) -> None: ...


class OtherDefault(Twin):
    def __init__(self, endpoint: str, *, timeout: float = 5.0) -> None: ...


class More(Twin):
    def extra(self) -> None: ...


class NoProperty(Twin):
    def endpoint(self) -> str: ...


class NoContext:
    def __init__(self, endpoint: str, *, timeout: float = 7.5) -> None: ...
    def __aiter__(self) -> Any: ...
    async def request(self, method: str, /, *, timeout: float | None = None) -> None: ...
    @property
    def endpoint(self) -> str: ...


def test_twins_are_alike() -> None:
    assert tidy.compare_classes(Client, Twin) == []


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (Renamed, "Client.request"),
        (Positional, "Client.request"),
        (OtherDefault, "Client.__init__"),
        (More, "Client.extra is in the asyncio world only"),
        (NoProperty, "Client.endpoint"),
        (NoContext, "Client.__enter__ is in the blocking world only"),
    ],
)
def test_twins_that_differ(other: type, what: str) -> None:
    [wrong] = tidy.compare_classes(Client, other)
    assert wrong.startswith(what)


def test_a_listed_difference_is_accepted_until_it_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tidy.ONLY_ASYNCIO, "Client", {"extra"})
    assert tidy.compare_classes(Client, More) == []
    assert tidy.compare_classes(Client, Twin) == ["Client.extra is no longer asyncio only"]


def test_a_class_of_one_world_only() -> None:
    assert tidy.compare_worlds({"Client": Client}, {}) == ["Client is in one world only"]


def test_pattern_classes_are_those_of_the_pattern_files() -> None:
    world = ModuleType("world")
    inside = type("RequestClient", (), {"__module__": "zpatterns.sync.request"})
    outside = type("Method", (), {"__module__": "zpatterns.contract"})
    world.__dict__.update(RequestClient=inside, Method=outside, RETRY=3, __all__=["RequestClient", "Method", "RETRY"])
    assert tidy.pattern_classes(world, "sync") == {"RequestClient": inside}
