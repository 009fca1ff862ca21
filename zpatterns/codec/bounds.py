"""What a body may cost before anybody has looked at its type: nesting, entries, containers. Knows msgpack and JSON bytes only.

A container cannot have more entries than the body has bytes, so a small body needs no check of its entries at all, and a
type that has no place for arbitrary data needs none of its depth: what is deeper than the type fails validation, and the
decoders themselves stop at a nesting of 1024 (msgpack) and 200 (pydantic-core's JSON).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgpack

from ..policy import Limits

CONTAINERS_PER_ITEM = 8
"""A body may hold this many times ``Limits.items`` containers in all: an empty map is one byte and becomes 72."""

_class: Callable[[Any], Any] = type  # does not narrow Any to a dict of unknowns
_CONTAINERS = (dict, list, tuple)
_HEADERS = bytes([*range(0x80, 0xA0), *range(0xDC, 0xE0)])
_NOT_A_HEADER = bytes(set(range(256)) - set(_HEADERS))
_NOT_A_BRACKET = bytes(set(range(256)) - set(b"[]{}"))
_STRUCTURE = re.compile(rb"[\[\]{},]")
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""Possessive, and happy without its closing quote: linear in time and constant in memory whatever arrives."""
_ONE_BRACKET = bytes.maketrans(b"{}", b"[]")

_TIMESTAMPS = (b"\xd6\xff", b"\xd7\xff", b"\xc7\x0c\xff")
"""How a timestamp begins. ``ext_hook`` never sees one."""
_TIMESTAMP: type[object] = msgpack.unpackb(_TIMESTAMPS[0] + bytes(4)).__class__
Hook = Callable[[int, Any], Any]


class OverLimit(ValueError):
    """A body is over one of its limits. The text holds nothing of the body."""


def refuse_ext(code: int, data: Any) -> Any:
    """The ``ext_hook`` of every type that cannot hold a buffer."""
    raise OverLimit(f"msgpack extension type {code} is not accepted")


def _headers(payload: bytes) -> int:
    """At least the number of containers in the body: bytes that could be a container's header."""
    return len(payload.translate(None, _NOT_A_HEADER))


def _levels(value: object) -> Iterator[list[Any]]:
    """A value's containers, level by level, so that looking at them cannot itself recurse too deep."""
    level: list[Any] = [value] if type(value) in _CONTAINERS else []
    while level:
        yield level
        level = [child for container in level for child in _children(container) if type(child) in _CONTAINERS]


def _children(container: Any) -> Any:
    return container.values() if _class(container) is dict else container


def too_deep(value: object, limit: int) -> bool:
    """Whether containers nest deeper than ``limit``."""
    return any(depth > limit for depth, _ in enumerate(_levels(value), 1))


def _holds_timestamp(value: object) -> bool:
    return type(value) is _TIMESTAMP or any(
        type(child) is _TIMESTAMP for level in _levels(value) for container in level for child in _children(container)
    )


def unpack(
    payload: bytes | memoryview, limits: Limits, *, finite: bool, ext: Hook, any_key: bool, use_list: bool = True
) -> Any:
    """Plain data out of msgpack, or an exception; the caller turns any into a `DecodeError`."""
    size = len(payload)
    if size <= limits.items:
        value = msgpack.unpackb(payload, ext_hook=ext, strict_map_key=not any_key, use_list=use_list)
    else:
        many = _headers(bytes(payload)) > limits.items * CONTAINERS_PER_ITEM
        count: Any = _counter(limits) if many else None
        hooks: Any = {"object_hook": count, "list_hook": count}
        value = msgpack.unpackb(
            payload,
            ext_hook=ext,
            strict_map_key=not any_key,
            use_list=use_list,
            max_array_len=limits.items,
            max_map_len=limits.items,
            **hooks,
        )
    if not finite:
        _check(value, bytes(payload), limits)
    return value


def _check(value: object, payload: bytes, limits: Limits) -> None:
    """What only a type with a place for arbitrary data has to be asked: depth, and the one extension msgpack reads itself."""
    if len(payload) > limits.depth and _headers(payload) > limits.depth and too_deep(value, limits.depth):
        raise OverLimit(f"nested deeper than {limits.depth}")
    if 0xFF in payload and any(mark in payload for mark in _TIMESTAMPS) and _holds_timestamp(value):
        raise OverLimit("msgpack extension type -1 (a timestamp) is not accepted")


def _counter(limits: Limits) -> Callable[[Any], Any]:
    """A hook that counts containers while they are made, and stops in time."""
    left = limits.items * CONTAINERS_PER_ITEM

    def count(container: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise OverLimit(f"more than {limits.items * CONTAINERS_PER_ITEM} arrays and maps")
        return container

    return count


def check_json(payload: bytes, limits: Limits, *, finite: bool) -> None:
    """Raise `OverLimit` for a JSON text over its limits, before it is parsed.

    Strings that hold brackets are taken out first; with no brackets but one kind left, removing ``[]`` peels one level a
    round, which is exact.
    """
    commas = payload.count(b",")
    opened = payload.count(b"[") + payload.count(b"{")
    containers = limits.items * CONTAINERS_PER_ITEM
    if commas < limits.items and opened <= containers and (finite or opened <= limits.depth):
        return
    bare = _STRING.sub(b"", payload)
    brackets = bare.translate(_ONE_BRACKET, _NOT_A_BRACKET)
    if brackets.count(b"[") > containers:
        raise OverLimit(f"more than {containers} arrays and objects")
    if not finite:
        for _ in range(limits.depth):
            brackets = brackets.replace(b"[]", b"")
        if brackets:
            raise OverLimit(f"nested deeper than {limits.depth}, or brackets that do not match")
    if commas >= limits.items:
        _check_entries(bare, limits.items)


def _check_entries(bare: bytes, most: int) -> None:
    """Raise `OverLimit` when one array or object has more than ``most`` entries, counted by its commas."""
    stack = [1]
    for token in _STRUCTURE.finditer(bare):
        mark = token[0]
        if mark == b",":
            stack[-1] += 1
            if stack[-1] > most:
                raise OverLimit(f"more than {most} entries in one array or object")
        elif mark in b"[{":
            stack.append(1)
        elif len(stack) > 1:  # a stray bracket is the parser's to refuse
            stack.pop()
