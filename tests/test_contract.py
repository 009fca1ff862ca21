"""A contract is a checked, unchanging value."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from pydantic import BaseModel

from zpatterns.contract import LONGEST_NAME, Method, StreamMethod, check_name
from zpatterns.errors import ConfigurationError


class Add(BaseModel):
    a: int
    b: int


class Sum(BaseModel):
    total: int


@pytest.mark.parametrize("name", ["a", "calc.add", "ümläut/1", "x" * LONGEST_NAME, "zpa", "mmi", "zp"])
def test_good_names(name: str) -> None:
    assert Method(name, Add, Sum).name == name
    assert StreamMethod(name, Add, Sum).name == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a b",
        " a",
        "a\n",
        "a\0",
        "a\x7f",
        "\u00a0",
        "\ud800",
        "x" * (LONGEST_NAME + 1),
        "ü" * 128,
        "zp.ping",
        "mmi.service",
    ],
)
def test_bad_names(name: str) -> None:
    for make in (Method, StreamMethod):
        with pytest.raises(ConfigurationError):
            make(name, Add, Sum)


def test_a_name_is_text() -> None:
    for name in (b"calc.add", None, 5):
        with pytest.raises(ConfigurationError, match="a name is a str"):
            check_name(name)


def test_the_library_makes_its_own_names() -> None:
    assert Method("zp.ping", None, None, _reserved=True).name == "zp.ping"
    assert StreamMethod("mmi.x", None, None, _reserved=True).name == "mmi.x"
    with pytest.raises(ConfigurationError, match="space"):
        Method("zp. ping", None, None, _reserved=True)


def test_attributes_and_repr() -> None:
    method = Method("calc.add", Add, list[Sum], idempotent=True, dedupe=True, codec="json")
    assert (method.request, method.reply, method.idempotent, method.dedupe, method.codec) == (
        Add,
        list[Sum],
        True,
        True,
        "json",
    )
    assert repr(
        method
    ) == "Method('calc.add', Add, list[test_contract.Sum], idempotent=True, dedupe=True, codec='json')".replace(
        "test_contract", Sum.__module__
    )
    stream = StreamMethod("calc.tokens", Add, None)
    assert (stream.request, stream.part, stream.codec) == (Add, None, "msgpack")
    assert repr(stream) == "StreamMethod('calc.tokens', Add, None)"
    assert repr(Method("a", Add, Sum)) == "Method('a', Add, Sum)"


def test_equal_by_value() -> None:
    method = Method("calc.add", Add, Sum)
    same = Method("calc.add", Add, Sum)
    assert method == same
    assert hash(method) == hash(same)
    others: list[Any] = [
        Method("calc.sub", Add, Sum), Method("calc.add", Sum, Sum), Method("calc.add", Add, Add), Method("calc.add", Add, Sum, idempotent=True),
        Method("calc.add", Add, Sum, dedupe=True), Method("calc.add", Add, Sum, codec="json"), StreamMethod("calc.add", Add, Sum), "calc.add",
    ]  # fmt: skip
    for other in others:
        assert method != other

    class Special(Method[Add, Sum]):
        pass

    assert method != Special("calc.add", Add, Sum)
    assert StreamMethod("a", Add, Sum) == StreamMethod("a", Add, Sum)
    assert copy.copy(method) is method
    assert copy.deepcopy(method) is method


def test_it_does_not_change() -> None:
    method = Method("calc.add", Add, Sum)
    for name in ("name", "request", "new"):
        with pytest.raises(AttributeError, match="make another"):
            setattr(method, name, "x")
    assert method.name == "calc.add"


def test_codecs_are_made_at_first_use_and_kept() -> None:
    class Nothing:
        pass

    lazy = Method("a", Nothing, Nothing)
    with pytest.raises(ConfigurationError, match="Nothing"):
        lazy.request_codec
    method = Method("calc.add", Add, Sum, codec="json")
    assert method.request_codec is method.request_codec
    assert method.request_codec.encode(Add(a=1, b=2)) == (b'{"a":1,"b":2}', ())
    assert method.reply_codec.encode(Sum(total=3))[0] == b'{"total":3}'
    stream = StreamMethod("calc.tokens", Add, Sum)
    assert stream.request_codec.decode(1, *stream.request_codec.encode(Add(a=1, b=2))) == Add(a=1, b=2)
    assert stream.part_codec.encode(Sum(total=3))[0] == b"\x81\xa5total\x03"


def test_a_codec_of_no_such_name() -> None:
    wrong: Any = "pickle"
    for make in (Method, StreamMethod):
        with pytest.raises(ConfigurationError, match="must be 'msgpack' or 'json'"):
            make("a", Add, Sum, codec=wrong)
