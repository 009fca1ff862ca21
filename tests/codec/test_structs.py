"""Structs take msgspec's way, with the same bytes and the same limits."""

from __future__ import annotations

import dataclasses
import datetime as dt
import sys
from collections.abc import Iterator
from typing import Annotated, Any, Generic, TypeVar

import msgpack
import msgspec
import numpy as np
import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from zpatterns.codec import JSON, MSGPACK, RAW, codec_for, structs
from zpatterns.errors import ConfigurationError, DecodeError
from zpatterns.policy import Limits

T = TypeVar("T")


class Order(msgspec.Struct):
    id: int
    tags: list[str] = []


class Cat(msgspec.Struct, tag=True):
    lives: int


class Dog(msgspec.Struct, tag=True):
    name: str


class Tree(msgspec.Struct):
    kids: list[Tree] = []


class Loose(msgspec.Struct):
    data: Any
    keys: dict[tuple[int, int], int] = {}


class Box(msgspec.Struct, Generic[T]):
    value: T


class Rich(msgspec.Struct):
    when: dt.datetime
    table: dict[int, str]
    blob: bytes
    large: int
    kinds: set[int]


class Typed(TypedDict):
    order: Order


@dataclasses.dataclass
class Holder:
    order: Order


class OrderModel(BaseModel):
    id: int
    tags: list[str] = []


CASES: list[tuple[Any, Any]] = [
    (Order, Order(1, ["a"])),
    (list[Order], [Order(1)]),
    (Cat | Dog, Dog("rex")),
    (Order | None, None),
    (Tree, Tree([Tree(), Tree([Tree()])])),
    (Loose, Loose({"a": [1, b"x"]}, {(1, 2): 3})),
    (Box[int], Box(1)),
    (dict[str, Annotated[Order, msgspec.Meta(description="x")]], {"a": Order(1)}),
    (Rich, Rich(dt.datetime(2024, 1, 2), {1: "a"}, b"\xff" * 70_000, 2**63, {1, 2})),
    (Typed, {"order": Order(1)}),
    (Holder, Holder(Order(1))),
]


@pytest.mark.parametrize(("form", "value"), CASES, ids=lambda each: str(each)[:30])
@pytest.mark.parametrize("name", ["msgpack", "json"])
def test_round_trip(form: Any, value: Any, name: Any) -> None:
    if name == "json" and form is Loose:
        value = Loose({"a": [1, "x"]})  # JSON has no pairs for keys, and no bytes
    for limits in (Limits(), Limits(items=8)):
        codec = codec_for(form, codec=name, limits=limits)
        payload, buffers = codec.encode(value)
        assert buffers == ()
        assert codec.wire_id == (JSON if name == "json" else MSGPACK)
        assert codec.decode(codec.wire_id, payload) == value
        assert codec.decode(codec.wire_id, memoryview(payload)) == value


def test_the_same_bytes_as_a_model() -> None:
    payload = codec_for(Order).encode(Order(1, ["a"]))[0]
    assert payload == codec_for(OrderModel).encode(OrderModel(id=1, tags=["a"]))[0]
    assert codec_for(OrderModel).decode(MSGPACK, payload).tags == ["a"]


@pytest.mark.parametrize("name", ["msgpack", "json"])
def test_many_at_once_are_what_each_is(name: Any) -> None:
    codec = codec_for(Order, codec=name)
    assert codec.pack_many is not None
    orders = [Order(1), Order(2, ["a"])]
    packed = codec.pack_many(orders)
    assert packed is not None
    assert codec_for(list[Order]).decode(codec.wire_id, packed) == orders
    assert len(packed) == sum(len(codec.encode(order)[0]) for order in orders) + (1 if name == "msgpack" else 3)
    wrong: Any = [Order(1), {"id": 2}]
    assert codec.pack_many(wrong) is None
    unpackable: Any = [Order(1), Order(object())]  # type: ignore[arg-type]
    assert codec.pack_many(unpackable) is None
    assert codec_for(list[Order], codec=name).pack_many is None


def test_either_wire_is_read() -> None:
    codec = codec_for(Order)
    assert codec.decode(JSON, b'{"id": 1}') == Order(1)
    assert codec_for(Order, codec="json").decode(MSGPACK, msgpack.packb({"id": 1})) == Order(1)
    for wire_id in (0, RAW, 4):
        with pytest.raises(DecodeError, match=f"codec {wire_id} cannot"):
            codec.decode(wire_id, b"\x80")


def test_a_body_that_is_no_struct() -> None:
    codec: Any = codec_for(Order)
    assert codec.encode({"id": 1}) == codec.encode(Order(1))
    for wrong in ({"id": "x"}, {}, 5, None, Cat(1), Dog("a")):
        with pytest.raises(TypeError, match="expected Order"):
            codec.encode(wrong)
    with pytest.raises(TypeError, match="expected Order"):
        codec.encode(Order(object()))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected"):
        codec_for(Cat | Dog).encode(Order(1))  # type: ignore[arg-type]


def test_a_subclass_may_stand_for_its_base() -> None:
    class More(Order):
        extra: int = 5

    codec = codec_for(Order)
    assert codec.decode(MSGPACK, *codec.encode(More(1))) == Order(1)


def test_limits_hold_here_too() -> None:
    loose, orders = codec_for(Loose), codec_for(list[Order], limits=Limits(items=4))
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    with pytest.raises(DecodeError, match="deeper than 32"):
        loose.decode(MSGPACK, msgpack.packb({"data": deep}))
    with pytest.raises(DecodeError, match="deeper than 32"):
        loose.decode(JSON, msgspec.json.encode({"data": deep}))
    for packed in (msgpack.packb([{"id": 1}] * 5), msgspec.json.encode([{"id": 1}] * 5)):
        with pytest.raises(DecodeError):
            orders.decode(MSGPACK if packed[0] == 0x95 else JSON, packed)
    with pytest.raises(DecodeError, match="1 frames more"):
        orders.decode(MSGPACK, b"\x90", [b"x"])
    for extension in (msgpack.ExtType(5, b"x"), msgpack.Timestamp(1)):
        with pytest.raises(DecodeError):
            loose.decode(MSGPACK, msgpack.packb({"data": extension}))
    tree: Any = {}
    for _ in range(40):
        tree = {"kids": [tree]}
    with pytest.raises(DecodeError, match="deeper than 32"):
        codec_for(Tree).decode(MSGPACK, msgpack.packb(tree))


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x80", b"\x81\xa2id\xa1x", b"\xff" * 50, b"\x81\xa2id\xcf"])
def test_garbage(payload: bytes) -> None:
    for form in (Order, Cat | Dog, list[Order], Loose):
        with pytest.raises(DecodeError) as caught:
            codec_for(form).decode(MSGPACK, payload)
        assert caught.value.frames == [payload]


def test_what_msgspec_does_not_know_is_refused_at_once() -> None:
    class Arrays(msgspec.Struct):
        data: np.ndarray[Any, Any]

    class Modelled(msgspec.Struct):
        model: OrderModel

    class Ambiguous(msgspec.Struct):
        either: Order | Box[int]

    for form in (Arrays, Modelled, list[Modelled]):
        with pytest.raises(ConfigurationError, match="does not know"):
            codec_for(form)
    with pytest.raises(ConfigurationError, match="cannot be a body"):
        codec_for(Ambiguous)


def test_structs_are_found_anywhere() -> None:
    for form, _ in CASES:
        assert structs.mentions_struct(form)
    for form in (int, Any, None, list[int], OrderModel, "Order", dict[str, OrderModel]):
        assert not structs.mentions_struct(form)

    @dataclasses.dataclass
    class Broken:
        other: Missing  # type: ignore[name-defined]  # noqa: F821

    @dataclasses.dataclass
    class Ring:
        other: Ring | None

    assert not structs.mentions_struct(Broken)
    assert not structs.mentions_struct(Ring)


@pytest.fixture
def without_msgspec() -> Iterator[None]:
    kept = sys.modules.pop("msgspec")
    yield
    sys.modules["msgspec"] = kept


@pytest.mark.usefixtures("without_msgspec")
def test_without_msgspec_there_are_no_structs() -> None:
    assert not structs.mentions_struct(Order)
