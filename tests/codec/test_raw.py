"""``bytes`` and ``memoryview`` as whole bodies: as they are."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest

from zpatterns.codec import JSON, MSGPACK, RAW, codec_for
from zpatterns.errors import DecodeError
from zpatterns.policy import Limits


def test_the_payload_is_the_value() -> None:
    codec = codec_for(bytes)
    value = b"\xff" * 100_000
    assert codec.wire_id == RAW
    assert codec.encode(value)[0] is value
    assert codec.encode(value)[1] == ()
    assert codec.decode(RAW, value) is value
    assert codec.decode(RAW, memoryview(value)) == value
    assert type(codec.decode(RAW, memoryview(value))) is bytes


def test_a_view_is_not_copied_when_large() -> None:
    codec = codec_for(memoryview)
    small = codec.encode(memoryview(b"small"))
    assert small == (b"small", ())
    got = codec.decode(RAW, *small)
    assert (type(got), got.readonly, bytes(got)) == (memoryview, True, b"small")
    array = np.zeros(100_000)
    payload, buffers = codec.encode(memoryview(array))
    assert payload == b""
    assert np.shares_memory(np.frombuffer(buffers[0]), array)
    assert codec.decode(RAW, payload, buffers) == buffers[0]
    assert codec_for(bytes).decode(RAW, payload, buffers) == array.tobytes()


def test_either_is_taken_and_nothing_else() -> None:
    codec: Any = codec_for(bytes, limits=Limits(buffer=1000))
    assert codec.encode(bytearray(b"abc"))[0] == b"abc"
    assert codec.encode(memoryview(b"abcdef")[::2])[0] == b"ace"
    for wrong in ("text", 5, None, [b"a"]):
        with pytest.raises(TypeError, match="expected bytes: got a"):
            codec.encode(wrong)


def test_peers_may_send_it_packed() -> None:
    assert codec_for(bytes).decode(MSGPACK, msgpack.packb(b"\xff")) == b"\xff"
    assert codec_for(bytes).decode(JSON, b'"abc"') == b"abc"
    payload, buffers = codec_for(list[memoryview]).encode([memoryview(b"x" * 70_000)])
    assert codec_for(memoryview).decode(MSGPACK, payload[1:], buffers) == b"x" * 70_000


def test_false_frames() -> None:
    for payload, buffers in ((b"a", [b"b"]), (b"", [b"a", b"b"])):
        with pytest.raises(DecodeError, match="more than one frame") as caught:
            codec_for(bytes).decode(RAW, payload, buffers)
        assert caught.value.frames == [payload, *buffers]
    for wire_id in (0, 4, MSGPACK, JSON):
        with pytest.raises(DecodeError):
            codec_for(bytes).decode(wire_id, b"\xc1")
    with pytest.raises(DecodeError, match="codec 3"):
        codec_for(int).decode(RAW, b"1")
