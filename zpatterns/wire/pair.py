"""What the two ends of a pair say to each other: a greeting, items, and a farewell. Spec: docs/wire.md.

The header frame is that of ``message.py``, with kinds of its own. Items carry no number: within a connection nothing is
lost, and each greeting and farewell says how many were sent before, which tells what was lost between connections.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import msgpack

from ..errors import DecodeError
from . import message as w
from .message import Buffer, Rule

HELLO: int = 48
WELCOME: int = 49
ITEM: int = 50
BYE: int = 51

_class: Callable[[Any], Any] = type
_CACHED_HEADER = 48


@dataclass(frozen=True, slots=True)
class Hello:
    """Here I am; say WELCOME. ``sent``: items so far, to the peer that last greeted me, ``to`` (empty: nobody has)."""

    incarnation: bytes
    sent: int
    to: bytes


@dataclass(frozen=True, slots=True)
class Welcome(Hello):
    """The answer, with the same about the one who answers."""


@dataclass(frozen=True, slots=True)
class Item:
    """One message; payload and buffers follow."""

    codec: int


@dataclass(frozen=True, slots=True)
class Bye:
    """I close. ``sent`` as in the greeting."""

    sent: int


Command: TypeAlias = Hello | Welcome | Item | Bye


def hello(incarnation: bytes, sent: int, to: bytes) -> tuple[bytes, bytes]:
    """A greeting."""
    return w.PREFIX + msgpack.packb((HELLO, incarnation, sent, to)), b""


def welcome(incarnation: bytes, sent: int, to: bytes) -> tuple[bytes, bytes]:
    """The answer to a greeting."""
    return w.PREFIX + msgpack.packb((WELCOME, incarnation, sent, to)), b""


@lru_cache(16)
def item(codec: int) -> bytes:
    """The header of an item."""
    return w.PREFIX + msgpack.packb((ITEM, codec))


def bye(sent: int) -> tuple[bytes, bytes]:
    """A farewell."""
    return w.PREFIX + msgpack.packb((BYE, sent)), b""


def parse(header: Buffer) -> Command:
    """The command in a header frame; raises DecodeError for anything else."""
    if len(header) <= _CACHED_HEADER:
        return _cached(bytes(header))
    return _parse(bytes(header[: w.HEADER_MAX + 1]))


def _parse(header: bytes) -> Command:
    fields = w.header_fields(header)
    if _class(fields) is list and fields and _class(fields[0]) is int and fields[0] in _KINDS:
        make, rules = _KINDS[fields.pop(0)]
        if len(fields) == len(rules) and all(rule(field) for rule, field in zip(rules, fields, strict=True)):
            return make(*fields)
    raise DecodeError("a header with a wrong shape", frames=[header])


_cached = lru_cache(256)(_parse)


def _peer(field: Any) -> bool:
    return field == b"" or w._incarnation(field)


_KINDS: dict[int, tuple[Callable[..., Command], tuple[Rule, ...]]] = {
    HELLO: (Hello, (w._incarnation, w._number, _peer)),
    WELCOME: (Welcome, (w._incarnation, w._number, _peer)),
    ITEM: (Item, (w._number,)),
    BYE: (Bye, (w._number,)),
}
"""Kind -> its command, and a rule for each field, in the order of the wire."""
