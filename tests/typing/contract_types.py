"""What the type checkers infer from a contract, with no plugin: checked by mypy --strict and pyright strict, never run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_type

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from zpatterns.codec import Buffer, Codec, codec_for
from zpatterns.contract import Method, StreamMethod


class Add(BaseModel):
    a: int
    b: int


class Sum(BaseModel):
    total: int


ADD = Method("calc.add", Add, Sum, idempotent=True)
TOKENS = StreamMethod("calc.tokens", Add, Sum)
PING = Method("calc.ping", None, None)
EITHER = Method("calc.either", Add | None, list[Sum])
PIXELS = Method("calc.pixels", npt.NDArray[np.float64], dict[str, Sum | int], codec="json")

assert_type(ADD, Method[Add, Sum])
assert_type(TOKENS, StreamMethod[Add, Sum])
assert_type(PING, Method[None, None])
assert_type(EITHER, Method[Add | None, list[Sum]])
assert_type(PIXELS, Method[npt.NDArray[np.float64], dict[str, Sum | int]])

assert_type(ADD.request_codec, Codec[Add])
assert_type(ADD.reply_codec, Codec[Sum])
assert_type(TOKENS.part_codec, Codec[Sum])
assert_type(ADD.reply_codec.decode(1, b"", ()), Sum)
assert_type(ADD.reply_codec.decode(1, memoryview(b"")), Sum)
assert_type(ADD.request_codec.encode(Add(a=1, b=2)), tuple[bytes, Sequence[Buffer]])
assert_type(ADD.name, str)
assert_type(ADD.idempotent, bool)

assert_type(codec_for(Add), Codec[Add])
assert_type(codec_for(Add | None), Codec[Add | None])
assert_type(codec_for(list[Sum], codec="json").decode(1, b""), list[Sum])
assert_type(codec_for(Any), Codec[Any])
assert_type(codec_for(None).decode(1, b""), None)

ADD.request_codec.encode(Sum(total=1))  # type: ignore[arg-type]
Method("calc.add", Add, Sum, codec="pickle")  # type: ignore[arg-type]
ADD.name = 5  # type: ignore[assignment]
