"""What has no type in msgpack becomes pydantic's text for it, or a TypeError: never a guess."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections import deque
from pathlib import Path

import msgspec
import numpy as np
import pytest
from pydantic import SecretBytes, SecretStr

from zpatterns.codec.plain import holds_nan, plain


class Point(msgspec.Struct):
    x: int


def test_text_forms() -> None:
    for value, text in (
        (dt.date(2024, 1, 2), "2024-01-02"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (decimal.Decimal("1.10"), "1.10"),
        (Path("/a/b"), "/a/b"),
        (2**64, str(2**64)),
        ({1}, [1]),
        (frozenset("a"), ["a"]),
        (deque([1]), [1]),
        (Point(3), {"x": 3}),
        (np.int64(5), 5),
    ):
        assert plain(value, big_ints=True) == text


def test_what_would_change_silently_is_refused() -> None:
    with pytest.raises(TypeError, match="more than 64 bits"):
        plain(2**64, big_ints=False)
    for secret in (SecretStr("x"), SecretBytes(b"x")):
        with pytest.raises(TypeError, match="asterisks"):
            plain(secret, big_ints=True)
    with pytest.raises(Exception, match="object"):
        plain(object(), big_ints=True)


def test_nan_is_found_at_any_place() -> None:
    nan, inf = float("nan"), float("inf")
    assert all(map(holds_nan, (nan, -inf, [1, nan], {"a": [(inf,)]}, {nan})))
    assert not any(map(holds_nan, (1, 1.5, None, "nan", [], {"a": [(1.0,)]})))
