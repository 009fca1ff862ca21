"""Nesting, entries and containers are bounded before a type is asked, exactly, and quickly."""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import given, strategies as st

from zpatterns.codec import JSON, MSGPACK, codec_for
from zpatterns.codec.bounds import OverLimit, check_json, refuse_ext, too_deep, unpack
from zpatterns.errors import DecodeError
from zpatterns.policy import Limits

FEW = Limits(depth=3, items=4)


def nested(depth: int, leaf: object = 1) -> Any:
    value: Any = leaf
    for _ in range(depth):
        value = [value]
    return value


def depth_of(value: object) -> int:
    if isinstance(value, (list, dict)):
        return 1 + max(map(depth_of, value.values() if isinstance(value, dict) else value), default=0)
    return 0


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('[]{},"\\:a', max_size=4), inner, max_size=3),
    max_leaves=20,
)


@given(ANYTHING, st.integers(1, 6))
def test_depth_is_exact(value: object, limit: int) -> None:
    assert too_deep(value, limit) == (depth_of(value) > limit)


@given(ANYTHING, st.integers(1, 5), st.integers(1, 5))
def test_both_forms_refuse_the_same(value: object, depth: int, items: int) -> None:
    limits = Limits(depth=depth, items=items)

    def wide(inner: object) -> bool:
        if not isinstance(inner, (list, dict)):
            return False
        return len(inner) > items or any(map(wide, inner.values() if isinstance(inner, dict) else inner))

    bad = depth_of(value) > depth or wide(value)
    for refused in (refuses_msgpack(value, limits), refuses_json(value, limits)):
        assert refused == bad


def refuses_msgpack(value: object, limits: Limits) -> bool:
    try:
        assert unpack(msgpack.packb(value), limits, finite=False, ext=refuse_ext, any_key=False) == value
    except ValueError:
        return True
    return False


def refuses_json(value: object, limits: Limits) -> bool:
    try:
        check_json(json.dumps(value).encode(), limits, finite=False)
    except OverLimit:
        return True
    return False


def test_default_depth_is_allowed_and_one_more_is_not() -> None:
    codec = codec_for(Any)
    for wire_id, write in ((MSGPACK, msgpack.packb), (JSON, lambda value: json.dumps(value).encode())):
        assert codec.decode(wire_id, write(nested(32))) == nested(32)
        with pytest.raises(DecodeError, match="deeper than 32"):
            codec.decode(wire_id, write(nested(33)))


@pytest.mark.parametrize("depth", [200, 1000, 1023, 1025, 100_000])
def test_absurd_depth_is_refused_by_every_type(depth: int) -> None:
    packed, text = b"\x91" * depth + b"\x01", b"[" * depth + b"]" * depth
    for form in (Any, list[Any], list[list[int]], dict[str, int]):
        for wire_id, payload in ((MSGPACK, packed), (JSON, text)):
            with pytest.raises(DecodeError):
                codec_for(form).decode(wire_id, payload)


def test_a_megabyte_of_empty_maps_is_refused_in_bounded_memory() -> None:
    bomb = b"\xdd" + (2**20).to_bytes(4, "big") + b"\x80" * 2**20
    flood = msgpack.packb([[{}] * 131_000] * 9)  # no container over the limit, and 1.2 million of them
    text = json.dumps([[{}] * 131_000] * 9).encode()
    codec = codec_for(Any)
    for wire_id, payload, most in ((MSGPACK, bomb, 4), (MSGPACK, flood, 120), (JSON, text, 40)):
        tracemalloc.start()
        try:
            with pytest.raises(DecodeError):
                codec.decode(wire_id, payload)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < most * 2**20, peak


def test_a_text_full_of_brackets_is_no_container() -> None:
    text = json.dumps({"a": '[{"\\' * 100_000 + "x,"}).encode()
    check_json(text, FEW, finite=False)


def test_unfinished_strings_cost_linear_time() -> None:
    began = time.process_time()
    check_json(b'"' + b'\\"[' * 500_000, FEW, finite=False)
    check_json(b"[" + b'"\\' * 500_000, FEW, finite=True)
    assert time.process_time() - began < 5  # of this process alone; in square time it would be hours


def test_entries_in_json_are_counted_per_container() -> None:
    check_json(b"[[1,2,3,4],[1,2,3,4]]", FEW, finite=True)
    with pytest.raises(OverLimit, match="more than 4 entries"):
        check_json(b"[[1],[1,2,3,4,5]]", FEW, finite=True)
    check_json(b"]]][1,2,3],[4,5,6]", FEW, finite=True)  # the parser's to refuse
    with pytest.raises(OverLimit, match="more than 32 arrays"):
        check_json(b"[" * 33, FEW, finite=True)


def test_a_body_larger_than_items_is_still_read() -> None:
    values = ["xxxxxxxx"] * 4
    assert unpack(msgpack.packb(values), FEW, finite=True, ext=refuse_ext, any_key=False) == values
    with pytest.raises(ValueError, match="4"):
        unpack(msgpack.packb(["x"] * 5), FEW, finite=True, ext=refuse_ext, any_key=False)


def test_many_bytes_that_look_like_headers_are_counted_exactly() -> None:
    noise = {"a": "\x80" * 40}
    assert unpack(msgpack.packb(noise), FEW, finite=False, ext=refuse_ext, any_key=False) == noise
    deep_noise = ["\x80" * 40, [1]]
    assert unpack(msgpack.packb(deep_noise), FEW, finite=False, ext=refuse_ext, any_key=False) == deep_noise


@pytest.mark.parametrize("code", [-1, 0, 5, 0x7A, 127])
def test_extensions_are_refused_where_none_can_be(code: int) -> None:
    payload = msgpack.packb([msgpack.ExtType(code, b"12345678")] if code >= 0 else [msgpack.Timestamp(1, 2)])
    for form in (list[int], list[str], Any, list[bytes], tuple[list[int], ...]):
        with pytest.raises(DecodeError):
            codec_for(form).decode(MSGPACK, payload)
