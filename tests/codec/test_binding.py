"""A type is refused when a codec is made for it, not when its first message is lost."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any, Literal

import msgpack
import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict

from zpatterns.codec import JSON, MSGPACK, codec_for
from zpatterns.codec.binding import label
from zpatterns.errors import ConfigurationError, DecodeError


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    when: dt.datetime
    who: uuid.UUID
    pair: tuple[int, str]
    kinds: set[int]


class StrictNative(BaseModel):
    model_config = ConfigDict(strict=True)
    number: int
    blob: bytes


class StrictBoth(Strict):
    blob: bytes


class Unknown:
    pass


def test_strict_types_choose_the_wire_that_reads_them() -> None:
    value = Strict(when=dt.datetime(2024, 1, 2), who=uuid.UUID(int=1), pair=(1, "a"), kinds={1})
    codec = codec_for(Strict)
    assert codec.wire_id == JSON
    payload, buffers = codec.encode(value)
    assert codec.decode(JSON, payload, buffers) == value
    with pytest.raises(DecodeError):
        codec.decode(JSON, payload.replace(b"[1]", b'["1"]'))
    native = codec_for(StrictNative)
    assert native.wire_id == MSGPACK
    assert native.decode(MSGPACK, *native.encode(StrictNative(number=1, blob=b"\xff"))).blob == b"\xff"
    with pytest.raises(DecodeError, match="number"):
        native.decode(MSGPACK, msgpack.packb({"number": "1", "blob": b""}))


@pytest.mark.parametrize(
    ("form", "codec", "text"),
    [
        (StrictBoth, "msgpack", "StrictBoth is strict and holds bytes"),
        (np.ndarray, "json", "JSON cannot carry"),
        (list[memoryview], "json", "JSON cannot carry"),
        (Unknown, "msgpack", "nothing says how Unknown looks"),
        (list[Unknown | dict[str, Unknown]], "msgpack", "nothing says how Unknown looks"),
        ("Missing", "msgpack", "cannot be a body"),
        (list["Missing"], "msgpack", "cannot be a body"),  # type: ignore[name-defined]  # noqa: F821
        (5, "msgpack", "cannot be a body"),
        (dict[tuple[int, int], int], "msgpack", "do not survive as text"),
        (dict[Literal[1], int], "msgpack", "do not survive as text"),
        (int, "pickle", "must be 'msgpack' or 'json'"),
    ],
    ids=str,
)
def test_what_cannot_be_sent_is_refused_at_once(form: Any, codec: Any, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        codec_for(form, codec=codec)


def test_an_unfinished_model_is_refused() -> None:
    class Waits(BaseModel):
        other: Later  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(ConfigurationError, match="Waits cannot be a body"):
        codec_for(Waits)


def test_a_model_built_late_is_built() -> None:
    class Late(BaseModel):
        model_config = ConfigDict(defer_build=True)
        a: int

    codec = codec_for(Late)
    assert codec.decode(MSGPACK, *codec.encode(Late(a=1))) == Late(a=1)


def test_labels() -> None:
    assert [label(form) for form in (None, type(None), int, list[int], Strict)] == [
        "None",
        "None",
        "int",
        "list[int]",
        "Strict",
    ]
