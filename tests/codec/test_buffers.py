"""Large values are frames of their own and come back as what they were; a false placeholder is refused."""

from __future__ import annotations

import subprocess
import sys
from collections import OrderedDict
from typing import Any, NamedTuple

import msgpack
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, strategies as st
from pydantic import BaseModel, ConfigDict

from zpatterns.codec import MSGPACK, codec_for
from zpatterns.codec.buffers import BYTES, EXT, MEMORYVIEW, NDARRAY, Lifter, Taker, contiguous
from zpatterns.errors import DecodeError
from zpatterns.policy import Limits

LOW = Limits(buffer=8)
TIGHT = Limits(buffer=8, frames=9)

BIG = b"x" * 70_000


class Frame(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    pixels: npt.NDArray[np.float64]
    view: memoryview
    raw: bytes


def arrays() -> list[np.ndarray[Any, Any]]:
    grid = np.arange(12.0).reshape(3, 4)
    return [
        grid, grid[:, ::2], grid.T, np.zeros((0, 3)), np.array(5.0), grid.astype(">f4"), np.array(["2024-01-01"], "M8[ns]"),
        np.array([3], "m8[25s]"), np.array([3], "m8"), np.array(["ab", "c"]),
        np.array([b"ab"]), np.array([True, False]), np.array([1j]), np.array([1.5], "f2"), np.array([1], "u8"),
    ]  # fmt: skip


@pytest.mark.parametrize("limits", [Limits(), LOW, TIGHT])
@pytest.mark.parametrize("array", arrays(), ids=lambda array: f"{array.dtype}{array.shape}")
def test_arrays_views_and_bytes_round_trip(array: Any, limits: Limits) -> None:
    codec = codec_for(Frame, limits=limits)
    sent = Frame(pixels=array, view=memoryview(b"view" * 5), raw=b"raw bytes")
    payload, buffers = codec.encode(sent)
    assert len(buffers) <= limits.frames - 8
    for frames in (list(buffers), [memoryview(frame) for frame in buffers], [bytes(frame) for frame in buffers]):
        got = codec.decode(MSGPACK, memoryview(payload), frames)
        assert np.array_equal(got.pixels, array)
        assert (got.pixels.dtype, got.pixels.shape) == (array.dtype, array.shape)
        assert not got.pixels.flags.writeable
        assert (got.view, got.view.readonly) == (b"view" * 5, True)
        assert (got.raw, type(got.raw)) == (b"raw bytes", bytes)


def test_no_copies() -> None:
    codec = codec_for(np.ndarray)
    array = np.zeros(100_000)
    payload, (buffer,) = codec.encode(array)
    assert len(payload) < 100
    assert np.shares_memory(np.frombuffer(buffer), array)
    frame = bytes(buffer)
    assert np.shares_memory(codec.decode(MSGPACK, payload, [frame]), np.frombuffer(frame))
    views = codec_for(list[memoryview])
    payload, buffers = views.encode([memoryview(BIG)])
    assert buffers[0].obj is BIG  # type: ignore[union-attr]
    assert views.decode(MSGPACK, payload, [BIG])[0].obj is BIG


@pytest.mark.parametrize("form", [Any, list[bytes], bytes | None, dict[str, bytes], tuple[bytes, ...]])
def test_large_bytes_travel_beside_the_payload(form: Any) -> None:
    value: Any = {list[bytes]: [BIG, b"small"], dict[str, bytes]: {"a": BIG}, tuple[bytes, ...]: (BIG,)}.get(form, BIG)
    codec = codec_for(form)
    payload, buffers = codec.encode(value)
    assert len(payload) < 100
    assert list(buffers) == [BIG]
    assert codec.decode(MSGPACK, payload, [memoryview(BIG)]) == value
    assert codec.encode(b"small" if form in (Any, bytes | None) else type(value)())[1] == ()


def test_plain_data_of_every_kind_is_lifted() -> None:
    class Pair(NamedTuple):
        a: Any
        b: Any

    value = OrderedDict(a=Pair(bytearray(BIG), {1: {2.5: {BIG[:5]}}}), b=(None, True, frozenset({1})))
    lifter = Lifter(Limits())
    lifted = lifter.lift(value)
    assert lifter.buffers == [BIG]
    assert lifted["a"][1] == {"1": {"2.5": [b"xxxxx"]}}
    assert lifted["b"] == [None, True, [1]]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({(1, 2): 3}, "several values"),
        ({1: 1, "1": 2}, "same text"),
        ([[[[1]]]], "deeper than Limits.depth=3"),
        ({"a": [1] * 5}, "more entries than Limits.items=4"),
        (np.array([object()]), "dtype object"),
        (np.zeros(2, dtype=[("a", "i4")]), "cannot be sent"),
        (np.ma.masked_array([1], [True]), "MaskedArray is more than its numbers"),
        (np.zeros(2, dtype="V3"), "cannot be sent"),
    ],
    ids=range(8),
)
def test_what_the_peer_would_refuse_is_refused_here(value: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        codec_for(Any, limits=Limits(depth=3, items=4)).encode(value)


def placeholder(*parts: object) -> bytes:
    return msgpack.packb(msgpack.ExtType(EXT, msgpack.packb(list(parts))))


FALSE = [
    (placeholder(1, BYTES), "not the next"),
    (placeholder(-1, BYTES), "not the next"),
    (placeholder(True, BYTES), "not the next"),
    (placeholder("0", BYTES), "not the next"),
    (placeholder(0, 3), "unknown kind"),
    (placeholder(0, -1), "unknown kind"),
    (placeholder(0, True), "unknown kind"),
    (placeholder(0), ""),
    (placeholder(), ""),
    (placeholder(0, BYTES, 1, 2), ""),
    (placeholder(0, NDARRAY), ""),
    (placeholder(0, NDARRAY, "<f8", [3]), "not of the size"),
    (placeholder(0, NDARRAY, "<f8", [-1]), "impossible shape"),
    (placeholder(0, NDARRAY, "<f8", [True]), "impossible shape"),
    (placeholder(0, NDARRAY, "<f8", [1] * 33), ""),
    (placeholder(0, NDARRAY, "<f8", [2.0]), "impossible shape"),
    (placeholder(0, NDARRAY, "<f8", "ab"), "impossible shape"),
    (placeholder(0, NDARRAY, "<f8", None), ""),
    (placeholder(0, NDARRAY, "<f8", [2**62, 4]), "not of the size"),
    (placeholder(0, NDARRAY, "O", [2]), "dtype that is not accepted"),
    (placeholder(0, NDARRAY, "|O8", [2]), "dtype that is not accepted"),
    (placeholder(0, NDARRAY, "<f8,<f8", [1]), "dtype that is not accepted"),
    (placeholder(0, NDARRAY, "|V16", [1]), "dtype that is not accepted"),
    (placeholder(0, NDARRAY, "<f3", [2]), ""),
    (placeholder(b"", NDARRAY, "<U999999999", [0]), "dtype that is not accepted"),
    (placeholder(0, NDARRAY, "|U0", [2**63]), ""),
    (placeholder(0, NDARRAY, 5, [2]), ""),
    (placeholder(b"12345678", NDARRAY, "<f8", [0, 2**62]), "not of the size"),
    (placeholder(0, BYTES) * 2, ""),
    (b"\x92" + placeholder(0, BYTES) * 2, "not the next"),
    (msgpack.packb(1), "1 frames belong to no placeholder"),
    (msgpack.packb(msgpack.ExtType(EXT, b"\x93")), ""),
    (msgpack.packb(msgpack.ExtType(EXT, b"")), ""),
    (msgpack.packb(msgpack.ExtType(EXT, placeholder(0, BYTES))), ""),
    (msgpack.packb(msgpack.ExtType(EXT + 1, b"")), "123 is not accepted"),
]


@pytest.mark.parametrize(("payload", "text"), FALSE)
def test_false_placeholders_are_refused(payload: bytes, text: str) -> None:
    for form in (Any, np.ndarray, list[bytes]):
        with pytest.raises(DecodeError) as caught:
            codec_for(form).decode(MSGPACK, payload, [b"\1" * 16])
        if form is Any:
            assert text in str(caught.value)
        assert caught.value.frames == [payload, b"\1" * 16]


def test_a_frame_is_used_once_so_one_frame_cannot_become_many() -> None:
    payload = b"\x93" + placeholder(0, MEMORYVIEW) * 3
    with pytest.raises(DecodeError, match="not the next"):
        codec_for(Any).decode(MSGPACK, payload, [BIG])


def test_a_type_without_buffers_takes_none() -> None:
    with pytest.raises(DecodeError, match="1 frames more"):
        codec_for(list[int]).decode(MSGPACK, b"\x90", [b"x"])


def test_an_empty_shape_of_absurd_size_is_refused() -> None:
    payload = placeholder(b"", NDARRAY, "<f8", [0, 2**63])
    with pytest.raises(DecodeError):
        codec_for(np.ndarray).decode(MSGPACK, payload)


@given(st.binary(max_size=40), st.lists(st.binary(max_size=20), max_size=3))
def test_any_placeholder_is_taken_or_refused(data: bytes, frames: list[bytes]) -> None:
    payload = msgpack.packb([msgpack.ExtType(EXT, data)])
    for form in (Any, list[np.ndarray]):
        try:
            codec_for(form).decode(MSGPACK, payload, frames)
        except DecodeError:
            pass


def test_contiguous_views() -> None:
    grid = memoryview(np.arange(6, dtype="i4").reshape(2, 3))
    assert bytes(contiguous(grid)) == grid.tobytes()
    every_other = contiguous(memoryview(b"abcdef")[::2])
    assert every_other == b"ace"
    assert every_other.c_contiguous
    assert contiguous(memoryview(np.zeros((0, 3)))).nbytes == 0
    assert contiguous(memoryview(bytearray(b"abc"))).readonly


def test_taker_keeps_to_its_frames() -> None:
    taker = Taker([b"a", b"b"])
    assert [taker.take(EXT, msgpack.packb([index, BYTES])) for index in (0, 1)] == [b"a", b"b"]
    taker.finish()


def test_numpy_is_never_imported_for_a_peer() -> None:
    script = (
        "import sys; from typing import Any; from zpatterns.codec import codec_for\n"
        "from zpatterns.errors import DecodeError\n"
        "c = codec_for(Any); assert c.decode(1, *c.encode({'a': [b'x' * 70000]}))\n"
        f"try: c.decode(1, {placeholder(0, NDARRAY, '<f8', [2])!r}, [bytes(16)])\n"
        "except DecodeError as error: assert 'numpy is not imported here' in str(error)\n"
        "else: sys.exit('taken')\n"
        "assert 'numpy' not in sys.modules and 'msgspec' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
