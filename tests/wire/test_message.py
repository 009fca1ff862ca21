"""What the vectors do not say: caches, limits, and that nothing a peer sends costs more than it may or raises anything else."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime
from typing import Any

import msgpack
import pytest
from hypothesis import example, given, settings, strategies as st

from zpatterns.errors import DecodeError
from zpatterns.wire import message as w

INCARNATION = b"12345678"
ID = bytes(w.ID_BYTES)

numbers = st.integers(0, 2**53 - 1)
flags = st.integers(0, 63)
incarnations = st.binary(min_size=1, max_size=32)
extras = st.fixed_dictionaries(
    {},
    optional={
        "headers": st.dictionaries(st.text(), st.text(), max_size=4),
        "credit": st.integers(0, w.CREDIT_MAX),
        "deadline": numbers,
        "incarnation": incarnations,
    },
)
requests = st.builds(w.Request, st.text(), numbers, numbers, numbers, flags, extras)
commands: st.SearchStrategy[w.Command] = st.one_of(
    requests,
    st.builds(w.Partial, numbers, numbers, flags),
    st.builds(w.Final, numbers, numbers, flags, incarnations),
    st.builds(w.Error, st.integers(1, 16), flags, incarnations),
    st.just(w.Cancel()),
    st.builds(w.Credit, st.integers(0, w.CREDIT_MAX)),
    st.builds(w.Batch, st.integers(1, w.BATCH_COUNT_MAX)),
    st.builds(w.Capacity, st.integers(0, w.CREDIT_MAX), incarnations),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text() | st.integers(0, 9), inner, max_size=3),
    max_leaves=20,
)


def encoded(command: w.Command) -> bytes:
    match command:
        case w.Request(method, budget, attempt, codec, bits, extra):
            return w.request(method, budget, attempt, codec, bits, extra)
        case w.Partial(sequence, codec, bits):
            return w.partial(sequence, codec, bits)
        case w.Final(parts, codec, bits, incarnation):
            return w.final(parts, codec, bits, incarnation)
        case w.Error(status, bits, incarnation):
            return w.error(status, bits, incarnation)
        case w.Cancel():
            return w.CANCEL_HEADER
        case w.Credit(parts):
            return w.credit(parts)
        case w.Batch(count):
            return w.batch(count)
        case w.Capacity(credit, incarnation):
            return w.capacity(credit, incarnation)


# Headers --------------------------------------------------------------------------------------------------------------


@given(commands)
def test_what_is_written_is_read(command: w.Command) -> None:
    header = encoded(command)
    assert w.is_typed(header) and w.is_typed(memoryview(header))
    assert w.parse(header) == command
    assert w.parse(memoryview(header)) == command


def parses_or_refuses(header: Any) -> None:
    try:
        command = w.parse(header)
    except DecodeError:
        return
    assert w.parse(encoded(command)) == command  # whatever is accepted can be written again


@given(st.binary() | st.binary().map(lambda rest: w.PREFIX + rest))
def test_garbage_is_refused(garbage: bytes) -> None:
    parses_or_refuses(garbage)
    parses_or_refuses(memoryview(garbage))


@given(anything)
def test_any_msgpack_is_read_or_refused(value: Any) -> None:
    parses_or_refuses(w.PREFIX + msgpack.packb(value))


@given(st.sampled_from(range(10)) | anything, st.lists(anything, max_size=8))
@example([], [])
@example({}, [])
def test_any_array_is_read_or_refused(kind: Any, fields: list[Any]) -> None:
    parses_or_refuses(w.PREFIX + msgpack.packb([kind, *fields]))


@given(commands, st.data())
@settings(max_examples=500)
def test_a_header_with_other_bytes_is_read_or_refused(command: w.Command, data: st.DataObject) -> None:
    header = bytearray(encoded(command))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(header) - 1))
        change = data.draw(st.sampled_from(("set", "cut", "insert", "drop")))
        if change == "set":
            header[at] = data.draw(st.integers(0, 255))
        elif change == "cut":
            del header[max(1, at) :]
        elif change == "insert":
            header.insert(at, data.draw(st.integers(0, 255)))
        elif len(header) > 1:
            del header[at]
    parses_or_refuses(bytes(header))


@given(requests, st.text(), anything)
def test_an_unknown_key_is_ignored(command: w.Request, key: str, value: Any) -> None:
    fields = [w.REQUEST, "m", 1, 1, 1, 0, {**command.extra, f"x{key}": value}]
    try:
        assert w.parse(w.PREFIX + msgpack.packb(fields)).extra == command.extra  # type: ignore[union-attr]
    except DecodeError:
        with pytest.raises(ValueError):  # msgpack itself does not read it: a map inside with keys that are no text
            msgpack.unpackb(msgpack.packb(value))


def test_both_directions_are_cached_by_value() -> None:
    header = w.request("cached", 7500, 1, 1, 0)
    assert w.request("cached", 7500, 1, 1, 0) is header
    assert w.parse(header) is w.parse(bytes(bytearray(header)))
    assert w.parse(header) is w.parse(memoryview(header))


def test_a_command_has_no_place_for_more() -> None:
    command: Any = w.parse(w.CANCEL_HEADER)
    with pytest.raises((AttributeError, TypeError)):
        command.anything = 1


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(w, "_CACHED_HEADERS", 100)
    for number in range(1000):
        w.parse(w.request("m", number, 1, 1, 0))
        assert len(w.parsed) <= 100


def test_a_long_header_is_not_cached() -> None:
    header = w.request("m" * 300, 1, 1, 1, 0)
    assert w.parse(header) is not w.parse(header)


def test_a_header_has_a_longest() -> None:
    longest = w.request("m" * (w.HEADER_MAX - 13), 1, 1, 1, 0)
    assert len(longest) == w.HEADER_MAX
    assert type(w.parse(longest)) is w.Request
    for kind in (bytes, memoryview):
        with pytest.raises(DecodeError, match="more than 65536"):
            w.parse(kind(w.request("m" * (w.HEADER_MAX - 12), 1, 1, 1, 0)))


def peak(call: Any) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


HOSTILE = {
    "empty maps": lambda size: b"\xdd" + size.to_bytes(4, "big") + b"\x80" * size,
    "empty arrays": lambda size: b"\xdd" + size.to_bytes(4, "big") + b"\x90" * size,
    "nested arrays": lambda size: b"\x91" * size + b"\xc0",
    "nested maps": lambda size: b"\x81\xa1a" * (size // 3) + b"\xc0",
    "arrays of arrays": lambda size: b"\xdd" + (size // 64).to_bytes(4, "big") + (b"\xdc\x00\x3d" + b"\x90" * 61) * (size // 64),
    "an array said to be long": lambda size: b"\xdd\xff\xff\xff\xff" + b"\xc0" * size,
    "a map said to be long": lambda size: b"\xdf\xff\xff\xff\xff" + b"\xa1a\xc0" * (size // 3),
    "a text said to be long": lambda size: b"\xdb\xff\xff\xff\xff" + b"a" * size,
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("size", [1000, 60_000, 5_000_000])
def test_a_hostile_header_costs_little(name: str, size: int) -> None:
    header = w.PREFIX + HOSTILE[name](size)
    view = memoryview(header)
    assert peak(lambda: w.parse(header)) < 8_000_000
    assert peak(lambda: w.parse(view)) < 8_000_000


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("size", [1000, 250_000, 5_000_000])
def test_a_hostile_batch_costs_little(name: str, size: int) -> None:
    payload = HOSTILE[name](size)
    assert peak(lambda: w.decode_batch(w.Batch(w.BATCH_COUNT_MAX), payload)) < 32_000_000


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("size", [1000, 60_000, 5_000_000])
def test_a_hostile_error_costs_little(name: str, size: int) -> None:
    payload = b"\x92\xa1a" + HOSTILE[name](size)
    tracemalloc.start()
    try:
        assert w.decode_error(payload) == ("(the error text did not decode)", {})
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_is_typed_is_about_the_first_three_bytes(before: bytes, after: bytes) -> None:
    assert w.is_typed(w.MAGIC + after)
    assert w.is_typed(before + after) is (before + after).startswith(b"\xc1zp")


# Errors ---------------------------------------------------------------------------------------------------------------


@given(st.text(), st.dictionaries(st.text(), anything, max_size=3), st.integers(16, 70_000))
def test_an_error_always_gets_through(text: str, details: dict[str, Any], limit: int) -> None:
    payload = w.encode_error(text, details, limit)
    assert len(payload) <= limit
    read, found = w.decode_error(payload)
    assert read != "(the error text did not decode)"
    assert msgpack.packb(found) == msgpack.packb(details if found else {})
    if not found:
        assert read.startswith(text[: (limit - 8) // 4].encode(errors="replace").decode())


@given(st.binary())
def test_decode_error_never_raises(payload: bytes) -> None:
    text, details = w.decode_error(payload)
    assert type(text) is str and type(details) is dict
    assert w.decode_error(memoryview(payload)) == (text, details)


def test_details_come_back() -> None:
    details = {"field": "b", "nested": {"a": [1, None, 2.5, True, b"x"]}}
    assert w.decode_error(w.encode_error("bad", details, 2048)) == ("bad", details)


@pytest.mark.parametrize(
    "details",
    [
        {"when": datetime.now(UTC)},  # msgpack does not know it
        {"big": 2**64},
        {"object": object()},
        {1: "a key that is no text"},
        {"inside": {1: 2}},
        {"ext": msgpack.ExtType(1, b"")},
        {"stamp": msgpack.Timestamp(1)},
        {"surrogate": "\ud800"},
    ],
)
def test_details_that_cannot_be_read_are_left_out(details: dict[Any, Any]) -> None:
    assert w.decode_error(w.encode_error("bad", details, 2048)) == ("bad (the details could not be sent)", {})


def test_details_that_are_too_deep_are_left_out() -> None:
    deep: Any = 1
    for _ in range(2000):
        deep = [deep]
    assert w.decode_error(w.encode_error("bad", {"deep": deep}, 2048)) == ("bad (the details could not be sent)", {})


def test_details_that_are_too_long_are_left_out() -> None:
    found = w.decode_error(w.encode_error("bad", {"long": "x" * 3000}, 2048))
    assert found == ("bad (the details were over 2048 bytes)", {})


def test_a_text_that_is_too_long_is_cut() -> None:
    payload = w.encode_error("ü" * 3000, {}, 2048)
    text, details = w.decode_error(payload)
    assert (set(text), details) == ({"ü"}, {})
    assert 2030 < len(payload) <= 2048
    assert len(w.encode_error("x" * 1_000_000, {}, 1_000_000)) <= w.ERROR_MAX  # the limit of the wire comes first


def test_a_text_that_is_no_unicode_gets_through() -> None:
    assert w.decode_error(w.encode_error("a\ud800b", {}, 2048)) == ("a?b", {})


# Batches --------------------------------------------------------------------------------------------------------------

triples = st.lists(st.tuples(st.binary(min_size=16, max_size=16), st.binary(), st.binary()), min_size=1, max_size=9)


@given(triples)
def test_a_batch_comes_back(items: list[tuple[bytes, bytes, bytes]]) -> None:
    flat = [part for item in items for part in item]
    command = w.parse(w.batch(len(items)))
    assert w.decode_batch(command, w.encode_batch(flat)) == flat
    assert w.decode_batch(command, memoryview(w.encode_batch(flat))) == flat


@given(st.integers(1, 4), st.binary() | anything.map(msgpack.packb))
def test_a_batch_of_anything_is_read_or_refused(count: int, payload: bytes) -> None:
    try:
        items = w.decode_batch(w.Batch(count), payload)
    except DecodeError:
        return
    assert w.decode_batch(w.Batch(count), w.encode_batch(items)) == items


@given(triples, st.data())
def test_a_batch_with_other_bytes_is_read_or_refused(
    items: list[tuple[bytes, bytes, bytes]], data: st.DataObject
) -> None:
    payload = bytearray(w.encode_batch([part for item in items for part in item]))
    payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = w.decode_batch(w.Batch(len(items)), bytes(payload))
    except DecodeError:
        return
    assert len(found) == 3 * len(items)


def test_a_batch_has_a_longest() -> None:
    items = [ID, w.CANCEL_HEADER, bytes(w.BATCH_MAX - 32)]
    payload = w.encode_batch(items)
    assert len(payload) == w.BATCH_MAX
    assert w.decode_batch(w.Batch(1), payload) == items
    items[2] += b"x"
    with pytest.raises(DecodeError):
        w.decode_batch(w.Batch(1), w.encode_batch(items))


@pytest.mark.parametrize("command", [w.Cancel(), w.Final(0, 1, 0, INCARNATION), w.Request("m", 1, 1, 1, 0, {})])
def test_only_a_batch_is_a_batch(command: w.Command) -> None:
    with pytest.raises(DecodeError, match="only a batch"):
        w.decode_batch(command, w.encode_batch([ID, w.CANCEL_HEADER, b""]))
