"""A body that is one array: the short way and the general one write the same bytes, read the same arrays, refuse the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from zpatterns.codec import JSON, MSGPACK, arrays, codec_for, modelled
from zpatterns.errors import DecodeError
from zpatterns.policy import Limits

LIMITS = Limits(buffer=64)
CODEC = codec_for(np.ndarray, limits=LIMITS)
GENERAL = modelled.bind(np.ndarray, "msgpack", LIMITS)

ARRAYS = [
    np.arange(100.0),
    np.arange(120, dtype=np.int16).reshape(2, 3, 20),
    np.zeros(200, dtype=bool),
    np.arange(3.0),
    np.empty(0),
    np.array(3.0),
    np.arange(100, dtype=">f8"),
    np.arange(100, dtype=np.float16),
    np.arange(100, dtype=np.complex128),
    np.arange(100).astype("M8[s]"),
    np.array(["text"] * 50),
    np.arange(200.0)[::2],
    np.asfortranarray(np.arange(200.0).reshape(10, 20)),
]


def bytes_of(encoded: Any) -> tuple[bytes, list[bytes]]:
    return bytes(encoded[0]), [bytes(buffer) for buffer in encoded[1]]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}{array.flags.c_contiguous}")
def test_it_does_what_the_general_way_does(array: np.ndarray) -> None:
    payload, buffers = CODEC.encode(array)
    assert bytes_of((payload, buffers)) == bytes_of(GENERAL[1](array))
    assert all(buffer.readonly for buffer in buffers if isinstance(buffer, memoryview))
    for _ in range(2):  # for the first time, and again
        back = CODEC.decode(MSGPACK, payload, buffers)
        assert back.dtype == array.dtype and back.shape == array.shape
        assert np.array_equal(back, array)
        assert not back.flags.writeable


def test_a_large_array_is_not_copied() -> None:
    array = np.arange(100.0)
    payload, buffers = CODEC.encode(array)
    assert np.shares_memory(CODEC.decode(MSGPACK, payload, buffers), array)


@pytest.mark.parametrize("wrong", [[1.0] * 100, "text", None, np.array([{}] * 100), np.ma.masked_array(np.arange(100))])
def test_what_is_no_plain_array_is_a_type_error(wrong: Any) -> None:
    with pytest.raises(TypeError):
        CODEC.encode(wrong)


def test_a_payload_that_was_seen_before_still_has_to_fit_its_frame() -> None:
    payload, buffers = CODEC.encode(np.arange(100.0))
    CODEC.decode(MSGPACK, payload, buffers)
    for frames in ([bytes(799)], [bytes(801)], [], [bytes(800), b""]):
        with pytest.raises(DecodeError):
            CODEC.decode(MSGPACK, payload, frames)
    with pytest.raises(DecodeError):
        CODEC.decode(JSON, payload, buffers)


def test_the_payload_may_be_a_view() -> None:
    payload, buffers = CODEC.encode(np.arange(100.0))
    assert np.array_equal(CODEC.decode(MSGPACK, memoryview(payload), buffers), np.arange(100.0))


def test_ever_new_shapes_fill_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "_CACHED", 3)
    _, encode, decode = arrays.bind(np.ndarray, "msgpack", LIMITS)
    cells = dict(zip(decode.__code__.co_freevars, decode.__closure__, strict=True))  # type: ignore[attr-defined]
    for size in range(100, 120):
        payload, buffers = encode(np.arange(float(size)))
        assert len(decode(MSGPACK, payload, buffers)) == size
        assert len(cells["seen"].cell_contents) <= 3
