from __future__ import annotations

import tracemalloc
from array import array
from ctypes import c_uint8
from typing import Any

import pytest
from hypothesis import given, strategies as st

from zpatterns.envelope import describe, split, unwrap, wrap
from zpatterns.errors import ConfigurationError

named = st.binary(min_size=1)
messages = st.lists(st.binary())

# Frames to path and body and back -------------------------------------------------------------------------------------


@given(st.lists(named), messages)
def test_round_trip(path: list[bytes], body: list[bytes]) -> None:
    assert unwrap(wrap(path, body)) == (path, body)


@given(messages)
def test_what_has_a_delimiter_is_put_back(frames: list[bytes]) -> None:
    path, body = unwrap(frames)
    assert (wrap(path, body) if b"" in frames else body) == frames


@given(named, st.lists(named), messages)
def test_router_round_trip(routing_id: bytes, path: list[bytes], body: list[bytes]) -> None:
    assert split([routing_id, *wrap(path, body)]) == (routing_id, path, body)


@given(messages, messages)
def test_views_are_frames(path: list[bytes], body: list[bytes]) -> None:
    for kind in (memoryview, bytearray):
        frames = [kind(frame) for frame in [*path, *body]]
        assert unwrap(frames) == unwrap([*path, *body])
        assert all(type(frame) is bytes for part in unwrap(frames) for frame in part)


@pytest.mark.parametrize(
    ("frames", "path", "body"),
    [
        ([], [], []),
        ([b""], [], []),
        ([b"a"], [], [b"a"]),
        ([b"a", b"b"], [], [b"a", b"b"]),
        ([b"", b"a"], [], [b"a"]),
        ([b"i", b""], [b"i"], []),
        ([b"i", b"j", b"", b"a"], [b"i", b"j"], [b"a"]),
        ([b"i", b"", b"a", b"", b"b"], [b"i"], [b"a", b"", b"b"]),
        ([b"i", b"", b""], [b"i"], [b""]),
    ],
)
def test_unwrap_at_the_first_empty_frame(frames: list[bytes], path: list[bytes], body: list[bytes]) -> None:
    assert unwrap(frames) == (path, body)


def test_wrap() -> None:
    assert wrap([], [b"a"]) == [b"", b"a"]  # what a REQ sends
    assert wrap([b"i", b"j"], [b"a", b"b"]) == [b"i", b"j", b"", b"a", b"b"]
    assert wrap(iter([memoryview(b"i")]), iter([bytearray(b"a")])) == [b"i", b"", b"a"]
    assert all(type(frame) is bytes for frame in wrap([memoryview(b"i")], [bytearray(b"a")]))


@pytest.mark.parametrize("path", [[b""], [b"i", b""], [b"", b"i"], [memoryview(b"")]])
def test_wrap_refuses_a_path_that_ends_early(path: list[Any]) -> None:
    with pytest.raises(ConfigurationError, match="empty frame"):
        wrap(path, [b"a"])


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([b"r"], (b"r", [], [])),
        ([b"r", b"a"], (b"r", [], [b"a"])),  # a DEALER without delimiter
        ([b"r", b"", b"a"], (b"r", [], [b"a"])),
        ([b"r", b"i", b"", b"a"], (b"r", [b"i"], [b"a"])),
    ],
)
def test_split(frames: list[bytes], expected: tuple[bytes, list[bytes], list[bytes]]) -> None:
    assert split(frames) == expected


@pytest.mark.parametrize("frames", [[], [b"", b"a"], [memoryview(b""), b"a"]])
def test_split_needs_a_routing_id(frames: list[Any]) -> None:
    with pytest.raises(ConfigurationError, match="unwrap"):
        split(frames)


@pytest.mark.parametrize("frame", [5, "text", None])
def test_what_is_no_frame_is_no_frame(frame: Any) -> None:
    for call in (lambda: wrap([frame], []), lambda: wrap([], [frame]), lambda: unwrap([frame]), lambda: split([frame])):
        with pytest.raises(TypeError):
            call()


# Printing -------------------------------------------------------------------------------------------------------------

R = b"\x00\x6b\x8b\x45\x67"


def notes(*frames: Any) -> list[str]:
    return [line.partition("<- ")[2] for line in describe(frames).splitlines()]


def test_describe() -> None:
    assert describe([R, b"", b"hello", b"", b"\xff\x00"]).splitlines() == [
        "[0]     5 B  00 6b 8b 45 67  <- routing id",
        "[1]     0 B  <- delimiter",
        "[2]     5 B  'hello'",
        "[3]     0 B  <- empty",
        "[4]     2 B  ff 00",
    ]
    assert describe([]) == "(no frames)"


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([b"", b"MDPC01", b"echo", b"hi"], ["delimiter", "MDP/0.1 client", "service", ""]),
        ([R, b"", b"MDPW01", b"\x01", b"echo"], ["routing id", "delimiter", "MDP/0.1 worker", "READY", ""]),
        (
            [b"", b"MDPW01", b"\x02", R, b"", b"x"],
            ["delimiter", "MDP/0.1 worker", "REQUEST", "routing id", "empty", ""],
        ),
        ([b"", b"MDPW01", b"\x03"], ["delimiter", "MDP/0.1 worker", "REPLY"]),
        ([b"", b"MDPW01", b"\x04"], ["delimiter", "MDP/0.1 worker", "HEARTBEAT"]),
        ([b"", b"MDPW01", b"\x05"], ["delimiter", "MDP/0.1 worker", "DISCONNECT"]),
        ([b"", b"MDPW01", b"\x06"], ["delimiter", "MDP/0.1 worker", "unknown command"]),
        ([b"MDPC02", b"\x01", b"echo", b"hi"], ["MDP/0.2 client", "REQUEST", "", ""]),
        ([b"MDPC02", b"\x02"], ["MDP/0.2 client", "PARTIAL"]),
        ([b"MDPC02", b"\x03"], ["MDP/0.2 client", "FINAL"]),
        ([b"MDPC02", b"\x04"], ["MDP/0.2 client", "unknown command"]),
        ([b"MDPW02", b"\x01", b"echo"], ["MDP/0.2 worker", "READY", ""]),
        ([b"MDPW02", b"\x02", R, b"", b"x"], ["MDP/0.2 worker", "REQUEST", "routing id", "delimiter", ""]),
        ([b"MDPW02", b"\x03"], ["MDP/0.2 worker", "PARTIAL"]),
        ([b"MDPW02", b"\x04"], ["MDP/0.2 worker", "FINAL"]),
        ([b"MDPW02", b"\x05"], ["MDP/0.2 worker", "HEARTBEAT"]),
        ([b"MDPW02", b"\x06"], ["MDP/0.2 worker", "DISCONNECT"]),
        ([b"MDPW02", b"\x01\x01"], ["MDP/0.2 worker", "unknown command"]),
        ([b"MDPW02", b"", b"\x01"], ["MDP/0.2 worker", "delimiter", ""]),
        ([b"MDPW02"], ["MDP/0.2 worker"]),
        ([b"MDPC01", b"x", b"MDPW02", b"\x01"], ["MDP/0.1 client", "service", "", ""]),  # the first header only
        ([b"MDPC011"], [""]),
        ([b"MDPC03"], [""]),
        ([b"\xc1zp\x01\x93", b"payload"], ["zpatterns header, version 1", ""]),
        ([b"\xc1zp\xff"], ["zpatterns header, version 255"]),
        ([b"\xc1zp"], [""]),
        ([b"x\xc1zp\x01"], [""]),
        ([b"\x01abcd", b"\x00abc", b"\x00abcde"], ["", "", ""]),  # no routing id a ROUTER makes
    ],
)
def test_notes(frames: list[bytes], expected: list[str]) -> None:
    assert notes(*frames) == expected
    assert notes(*map(memoryview, frames)) == expected
    assert [line.partition("<- ")[2] for line in describe(frames, limit=0).splitlines()] == expected


@pytest.mark.parametrize(
    ("frame", "limit", "shown"),
    [
        (b"abcdef", 6, "'abcdef'"),
        (b"abcdefg", 6, "'abcdef'..."),
        (b"\x00\x01\x02", 2, "00 01..."),
        ("größe".encode(), 64, "'größe'"),
        ("größe".encode(), 3, "'gr'..."),  # a cut inside a character
        ("日本".encode(), 4, "'日'..."),
        (b"gr\xc3", 64, "67 72 c3"),  # whole, and no UTF-8
        (b"gr\xffabc", 4, "67 72 ff 61..."),
        (b"it's", 64, '"it\'s"'),
        (b"a\nb", 64, "61 0a 62"),
        (b"\x1b[2J", 64, "1b 5b 32 4a"),  # would clear the terminal
        ("\u202eabc".encode(), 64, "e2 80 ae 61 62 63"),  # would turn the line round
        (b"abc", 0, "..."),
        (b"abc", -1, "..."),
    ],
)
def test_frames_are_shown_as_text_or_hex(frame: bytes, limit: int, shown: str) -> None:
    assert describe([frame], limit=limit) == f"[0] {len(frame):>5} B  {shown}"


def test_output_is_bounded() -> None:
    assert len(describe([b"\xff" * 1_000_000])) < 250
    lines = describe([b"\xff" * 1000] * 100_000).splitlines()
    assert len(lines) == 65
    assert lines[-1] == "... and 99936 more frames"
    assert "more" not in describe([b"x"] * 64)


def test_a_long_frame_is_not_copied() -> None:
    frame = bytes(10_000_000)
    tracemalloc.start()
    try:
        assert describe([frame, memoryview(frame)], limit=2).splitlines()[1] == "[1] 10000000 B  00 00..."
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_odd_frames_do_not_raise() -> None:
    released = memoryview(b"gone")
    released.release()
    grid = memoryview(bytes(range(65, 71))).cast("B", (2, 3))
    odd: list[Any] = [released, 5, None, "text", array("I", [1]), memoryview(b"a-b-c")[::2], grid, memoryview(b"")]
    odd.append(c_uint8(5))
    odd.append(array("I", range(1000)))
    assert describe(odd).splitlines() == [
        "[0] not a readable frame: memoryview",
        "[1] not a readable frame: int",
        "[2] not a readable frame: NoneType",
        "[3] not a readable frame: str",
        f"[4]     4 B  {array('I', [1]).tobytes().hex(' ')}",
        "[5]     3 B  'abc'",
        "[6]     6 B  'ABCDEF'",
        "[7]     0 B  <- delimiter",
        "[8]     1 B  05",
        f"[9]  4000 B  {array('I', range(16)).tobytes().hex(' ')}...",
    ]


@given(messages, st.integers())
def test_describe_never_raises(frames: list[bytes], limit: int) -> None:
    lines = describe(frames, limit).splitlines()
    assert len(lines) == max(1, len(frames))
    assert describe([memoryview(frame) for frame in frames], limit).splitlines() == lines
    assert all(line.isprintable() for line in lines)
