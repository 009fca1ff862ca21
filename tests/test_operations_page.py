"""docs/operations.md names every error, every class with counters, and defaults that are the library's."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import zpatterns
from zpatterns import Limits, SocketOptions, ZPatternsError

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "operations.md").read_text(encoding="utf-8")
_ROW = re.compile(r"^\| (.+?) \| (.+?) \| (.+) \|$", re.MULTILINE)


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_every_error_is_named() -> None:
    exported = (getattr(zpatterns, name) for name in zpatterns.__all__)
    errors = {each.__name__ for each in exported if isinstance(each, type) and issubclass(each, ZPatternsError)}
    assert set(re.findall(r"^\| `(\w+)` \|", section("Errors"), re.MULTILINE)) == errors - {"ZPatternsError"}


def test_every_counter_exists() -> None:
    named = re.findall(r"^\| (`.+?`) \| (.+) \|$", section("Counters"), re.MULTILINE)
    assert len(named) >= 7
    kinds = {"Push": "PushPull", "RequestClient": "RequestClient"}
    for owners, counters in named:
        known: set[str] = set()
        for owner in re.findall(r"`(\w+)`", owners):
            known |= {each.name for each in fields(getattr(zpatterns, kinds.get(owner, owner) + "Statistics"))}
        claimed = set(re.findall(r"`(\w+)`", counters))
        assert claimed <= known, claimed - known


def test_limits_are_the_defaults() -> None:
    rows = [row for row in _ROW.findall(section("Limits")) if row[0].startswith("`")]
    assert len(rows) >= 10
    for name, default, _ in rows:
        owner, _, attribute = name.strip("`").partition(".")
        known = {"Limits": Limits(), "SocketOptions": SocketOptions()}[owner]
        assert float(default.replace(" ", "")) == getattr(known, attribute), name
