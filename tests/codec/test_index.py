"""One codec per type, codec and limits; nothing optional is imported."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from zpatterns import codec as room
from zpatterns.codec import codec_for
from zpatterns.policy import Limits


class First(BaseModel):
    x: int = 1


class Second(BaseModel):
    x: int = 1


def test_the_same_arguments_give_the_same_codec() -> None:
    assert codec_for(First) is codec_for(First)
    assert codec_for(list[int]) is codec_for(list[int])
    assert codec_for(First) is not codec_for(First, codec="json")
    assert codec_for(First) is not codec_for(First, limits=Limits(depth=5))
    assert codec_for(First, limits=Limits()) is codec_for(First)


def test_unions_keep_their_order() -> None:
    assert type(codec_for(First | Second).decode(1, b"\x80")) is First
    assert type(codec_for(Second | First).decode(1, b"\x80")) is Second


def test_a_type_that_cannot_be_hashed_has_a_codec_all_the_same() -> None:
    form: Any = Annotated[int, {"not": "hashable"}]
    assert codec_for(form).decode(1, b"\x05") == 5
    assert codec_for(form) is not codec_for(form)


def test_the_cache_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_MOST_CACHED", 2)
    monkeypatch.setattr(room, "_cache", {})
    for form in (int, str, float, bool, int):
        codec_for(form)
        assert len(room._cache) <= 2


def test_nothing_optional_is_imported() -> None:
    script = (
        "import sys; from zpatterns.codec import codec_for; codec_for(int)\n"
        "assert not {'numpy', 'msgspec'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
