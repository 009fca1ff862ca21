"""What the ends of a pair say to each other: tests/vectors/pair.json both ways, and every header that must be refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from zpatterns.errors import DecodeError
from zpatterns.wire import message as m, pair as w

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "pair.json").read_text(encoding="utf-8"))
COMMANDS: dict[str, Any] = {"HELLO": w.Hello, "WELCOME": w.Welcome, "ITEM": w.Item, "BYE": w.Bye}
ENCODERS: dict[str, Any] = {
    "HELLO": lambda **fields: w.hello(**fields)[0],
    "WELCOME": lambda **fields: w.welcome(**fields)[0],
    "ITEM": w.item,
    "BYE": lambda **fields: w.bye(**fields)[0],
}


def fields(vector: dict[str, Any]) -> dict[str, Any]:
    """JSON has no bytes: incarnations are hex in the vectors."""
    found = vector["fields"]
    return {name: bytes.fromhex(value) if isinstance(value, str) else value for name, value in found.items()}


def named(vectors: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(vector, id=vector.get("name") or vector["reason"]) for vector in vectors]


def test_version() -> None:
    assert VECTORS["protocol"] == m.VERSION


@pytest.mark.parametrize("vector", named(VECTORS["valid"]))
def test_valid(vector: dict[str, Any]) -> None:
    header = bytes.fromhex(vector["hex"])
    for form in (header, memoryview(header)):
        assert w.parse(form) == COMMANDS[vector["kind"]](**fields(vector))
    if vector["written"]:
        assert ENCODERS[vector["kind"]](**fields(vector)) == header


@pytest.mark.parametrize("vector", named(VECTORS["invalid"]))
def test_invalid(vector: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        w.parse(bytes.fromhex(vector["hex"]))


def test_too_long() -> None:
    with pytest.raises(DecodeError, match="more than"):
        w.parse(m.PREFIX + b"\x92\x32" + b"\0" * m.HEADER_MAX)


def test_greeting_and_farewell_have_an_empty_payload() -> None:
    assert w.hello(b"12345678", 5, b"")[1] == w.welcome(b"12345678", 5, b"")[1] == w.bye(5)[1] == b""
