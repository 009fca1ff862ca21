"""The text of a `DecodeError`: where, and what was expected, never what came. Knows pydantic's and msgspec's errors.

A body may hold a password, so nothing of it is quoted: not values, not keys the type does not know, and not the text of a
user's own validator when it repeats its input.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import core_schema

from ..errors import DecodeError
from ..policy import Limits
from .bounds import OverLimit

MOST_ERRORS = 10
"""Errors described in one text."""
_MOST_LISTED = 1000
"""Beyond this, pydantic's list of errors is not even made: it costs a microsecond and a dict for each."""
_MOST_LEAVES = 100

_PYDANTICS_TEXT = frozenset(get_args(core_schema.ErrorType)) - {"value_error", "assertion_error"}
"""Errors whose text is pydantic's; the others come from a user's validator."""
_UNKNOWN_FIELD = re.compile(r"unknown field `.*`", re.DOTALL)
_INVALID_VALUE = re.compile(r"(Invalid (?:enum )?value) .*?(?= - at `|\Z)", re.DOTALL)


def decode_error(
    error: BaseException,
    label: str,
    frames: Sequence[bytes | memoryview],
    limits: Limits,
    names: frozenset[str] = frozenset(),
) -> DecodeError:
    """The error to raise, its text cut to ``limits.error_text`` bytes, its ``frames`` as they came."""
    text = validation_text(error, names) if isinstance(error, ValidationError) else _other_text(error)
    return DecodeError(shorten(f"this is no {label}: {text}", limits.error_text), frames=frames)


def shorten(text: str, size: int) -> str:
    """``text`` in at most ``size`` bytes of UTF-8."""
    raw = text.encode("utf-8", "backslashreplace")
    if len(raw) <= size:
        return raw.decode()
    return raw[: max(size - 3, 0)].decode("utf-8", "ignore") + "..."[:size]


def validation_text(error: ValidationError, names: frozenset[str]) -> str:
    """Where and what was expected, for the first errors. Names the type does not know are shown as ``*``."""
    count = error.error_count()
    if count > _MOST_LISTED:
        return f"{count} errors"
    shown = error.errors(include_url=False, include_context=False)[:MOST_ERRORS]
    lines = [_line(item["type"], item["loc"], item["msg"], item["input"], names) for item in shown]
    if count > MOST_ERRORS:
        lines.append(f"and {count - MOST_ERRORS} more")
    return "; ".join(lines)


def _line(kind: str, place: Iterable[int | str], text: str, came: Any, names: frozenset[str]) -> str:
    if kind == "union_tag_invalid":
        text = "the tag is none of the expected"
    elif kind not in _PYDANTICS_TEXT and _repeats(text, came):
        text = "refused by its validator"
    where = ".".join(str(step) if isinstance(step, int) or step in names else "*" for step in place)
    return f"{where}: {text}" if where else text


def _repeats(text: str, came: Any) -> bool:
    """Whether a text says any leaf of the input again. With too many leaves to look at: assume so."""
    pending, seen = [came], 0
    while pending:
        value = pending.pop()
        seen += 1
        if seen > _MOST_LEAVES:
            return True
        if isinstance(value, dict):
            pending += [*value.keys(), *value.values()]
        elif isinstance(value, (list, tuple, set, frozenset)):
            pending += value
        elif isinstance(value, (bytes, bytearray)):
            pending.append(value.decode("utf-8", "backslashreplace"))
        elif value is not None and not isinstance(value, bool) and str(value) and str(value) in text:
            return True
    return False


def _other_text(error: BaseException) -> str:
    """What failed before or beside pydantic. Only texts known to hold nothing of the body are passed on."""
    msgspec = sys.modules.get("msgspec")
    if isinstance(error, OverLimit):
        return str(error)
    if msgspec is not None and isinstance(error, msgspec.DecodeError):
        return _struct_text(error)
    if isinstance(error, RecursionError):
        return "nested too deep"
    return f"it cannot be decoded ({type(error).__name__})"


def _struct_text(error: BaseException) -> str:
    """msgspec names places and types, and quotes unknown fields, tags and enum values: those are left out."""
    if error.__cause__ is not None:  # a validator of the user's (``__post_init__``) raised
        return "refused by its validator"
    return _UNKNOWN_FIELD.sub("an unknown field", _INVALID_VALUE.sub(r"\1", str(error)))
