"""Several values of one type in one payload: decoded at once, which is faster than one by one."""

from __future__ import annotations

from typing import Any

from ..codec import MSGPACK, Buffer, Codec, codec_for
from ..errors import ConfigurationError, DecodeError


class Array:
    """Of the values that ``one`` codes."""

    def __init__(self, form: Any, one: Codec[Any]) -> None:
        self._form = form
        self._packs = one.wire_id == MSGPACK
        self._many: Codec[list[Any]] | None = None

    def decode(self, codec: int, count: int, payload: Buffer) -> list[Any] | None:
        """So many values; None where they are to be looked at one by one: one of them is wrong, or they are no msgpack."""
        if codec != MSGPACK or not self._packs:
            return None
        if self._many is None:
            try:
                self._many = codec_for(list[self._form])  # type: ignore[name-defined]
            except ConfigurationError:
                self._packs = False
                return None
        try:
            values = self._many.decode(MSGPACK, payload)
        except DecodeError:
            return None
        return values if len(values) == count else None
