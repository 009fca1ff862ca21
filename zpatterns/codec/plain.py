"""What msgpack has no type for, as something it has: the same text pydantic writes in JSON, which its lax mode reads back."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection
from typing import Any, TypeGuard

from pydantic import Secret, SecretBytes, SecretStr
from pydantic_core import to_jsonable_python

MASKED = "a SecretStr would be sent as asterisks: give its field a serializer"


def plain(value: Any, *, big_ints: bool) -> Any:
    """The ``default`` hook of a packer; a `TypeError` for what cannot be sent.

    msgpack's integers end at 64 bits: beyond, they travel as text, which an ``int`` in a type reads back. Where nothing says that
    it is an ``int`` (``big_ints=False``) that would silently change its type, so it is refused.
    """
    if isinstance(value, int):
        if big_ints:
            return str(value)
        raise TypeError("an integer of more than 64 bits cannot be sent where no type says it is one")
    if is_sequence(value):
        return list(value)
    if isinstance(value, (SecretStr, SecretBytes, Secret)):
        raise TypeError(MASKED)
    msgspec, numpy = sys.modules.get("msgspec"), sys.modules.get("numpy")
    if msgspec is not None and isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    if numpy is not None and isinstance(value, numpy.generic):
        return value.item()
    return to_jsonable_python(value)


def is_dict(value: object) -> TypeGuard[dict[Any, Any]]:
    """``isinstance`` that leaves the type checkers a dict of Any."""
    return isinstance(value, dict)


def is_sequence(value: object) -> TypeGuard[Collection[Any]]:
    """Whether it is what a dump may hold that becomes an array."""
    return isinstance(value, (list, tuple, set, frozenset))


def holds_nan(tree: Any) -> bool:
    """Whether dumped data has a float in it that JSON has no word for."""
    if is_dict(tree):
        return any(map(holds_nan, tree.values()))
    if is_sequence(tree):
        return any(map(holds_nan, tree))
    return isinstance(tree, float) and not math.isfinite(tree)
