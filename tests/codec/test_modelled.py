"""Everything pydantic understands comes back as it went, by the fast ways and the general one alike."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import json
import uuid
import warnings
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import msgpack
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    AnyUrl,
    BaseModel,
    ConfigDict,
    Field,
    Json,
    RootModel,
    SecretStr,
    computed_field,
    field_serializer,
    model_serializer,
)
from typing_extensions import TypedDict

from zpatterns.codec import JSON, MSGPACK, codec_for
from zpatterns.errors import DecodeError
from zpatterns.policy import Limits

T = TypeVar("T")
NOW = dt.datetime(2024, 1, 2, 3, 4, 5, 678, tzinfo=dt.UTC)


def repr_of(each: object) -> str:
    return ascii(each)[:40].split(" at 0x")[0]


class Colour(Enum):
    RED = "r"
    GREEN = 2


class Level(IntEnum):
    LOW = 1


class Word(StrEnum):
    YES = "yes"


class Inner(BaseModel):
    x: int = 3


class Order(BaseModel):
    id: int
    symbol: str
    price: float
    tags: list[str] = []
    extra: dict[str, int] = {}
    note: str | None = None


class Nested(BaseModel):
    order: Order
    more: list[Order]


class Blob(BaseModel):
    name: str
    data: bytes | None = None


class Pair(NamedTuple):
    a: int
    b: str


class Typed(TypedDict):
    a: int
    when: dt.date


@dataclasses.dataclass
class Data:
    a: int
    b: list[Inner]


@dataclasses.dataclass(slots=True)
class Slotted:
    a: int
    when: dt.datetime


class Box(BaseModel, Generic[T]):
    value: T
    more: list[T]


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    tricks: set[str] = set()


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]


class Tree(BaseModel):
    value: int
    kids: list[Tree] = []


class Aliased(BaseModel):
    a: int = Field(alias="aa")
    inner: Inner = Field(default=Inner(), alias="in")


class ManyAliases(BaseModel):
    a: int = Field(alias="aa")
    b: int = Field(validation_alias="vb")
    c: int = Field(serialization_alias="sc")
    d: int = Field(validation_alias=AliasChoices("d1", AliasPath("q", 0)))


class Computed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    a: int

    @computed_field
    @property
    def twice(self) -> int:
        return self.a * 2


class Allows(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int


class FieldSerialized(BaseModel):
    a: int

    @field_serializer("a")
    def write(self, value: int) -> str:
        return str(value)


class ModelSerialized(BaseModel):
    a: int

    @model_serializer
    def write(self) -> dict[str, Any]:
        return {"a": self.a}


class Ints(RootModel[list[int]]):
    pass


class Told(BaseModel):
    secret: SecretStr

    @field_serializer("secret")
    def write(self, value: SecretStr) -> str:
        return value.get_secret_value()


class Stored(BaseModel):
    numbers: Json[list[int]]


class Numbers(BaseModel):
    small: int
    large: int
    ratio: float
    nothing: None = None


class Words(BaseModel):
    type: set[int]
    metadata: bytes
    config: dict[str, Any]
    default: dt.date


class Optionals(BaseModel):
    a: int | str | None = None
    b: list[int | None] = []


BOTH: list[tuple[Any, Any]] = [
    (int, 5), (int, 2**100), (int, -(2**63)), (str, "ü\0"), (float, 1.5), (bool, True), (None, None), (type(None), None),
    (list[int], [1, 2]), (set[int], {1, 2}), (frozenset[tuple[int, int]], frozenset({(1, 2)})), (tuple[int, str], (1, "a")),
    (tuple[int, ...], (1, 2)), (dt.datetime, NOW), (dt.date, NOW.date()), (dt.time, NOW.time()), (dt.timedelta, dt.timedelta(1, 2, 3)),
    (decimal.Decimal, decimal.Decimal("1.10")), (uuid.UUID, uuid.UUID(int=5)), (Colour, Colour.GREEN), (Level, Level.LOW),
    (Word, Word.YES), (Path, Path("/a")), (complex, 1 + 2j), (AnyUrl, AnyUrl("http://a.b/")), (Pair, Pair(1, "b")),
    (Typed, {"a": 1, "when": NOW.date()}), (Data, Data(1, [Inner()])), (Slotted, Slotted(1, NOW)),
    (Order, Order(id=1, symbol="ü", price=1.5, tags=["a"], extra={"b": 2})), (Order, Order(id=2**70, symbol="", price=-0.5)),
    (Nested, Nested(order=Order(id=1, symbol="a", price=1), more=[])), (Box[int], Box[int](value=1, more=[2])),
    (Box[dt.date], Box[dt.date](value=NOW.date(), more=[])), (Pet, Dog(tricks={"sit"})), (list[Pet], [Cat(), Dog()]),
    (Tree, Tree(value=1, kids=[Tree(value=2)])), (Aliased, Aliased.model_validate({"aa": 1})),
    (ManyAliases, ManyAliases.model_validate({"aa": 1, "vb": 2, "c": 3, "d1": 4})), (Computed, Computed(a=1)),
    (Allows, Allows.model_validate({"a": 1, "z": [2]})), (FieldSerialized, FieldSerialized(a=5)), (ModelSerialized, ModelSerialized(a=5)),
    (Ints, Ints([1])), (Told, Told(secret=SecretStr("pw"))), (Stored, Stored.model_validate({"numbers": "[1,2]"})),
    (Numbers, Numbers(small=-1, large=2**80, ratio=0.1)), (Optionals, Optionals(a="5", b=[1, None])),
    (dict[int, str], {1: "a"}), (dict[Level, int], {Level.LOW: 1}), (dict[Word, int], {Word.YES: 1}), (dict[Colour, int], {Colour.RED: 1}),
    (dict[dt.date, Inner], {NOW.date(): Inner()}), (dict[uuid.UUID, int], {uuid.UUID(int=1): 1}), (dict[float, int], {1.5: 1}),
    (dict[bool, int], {True: 1}), (dict[str, list[Data]], {"a": [Data(1, [])]}), (Inner | None, None), (Inner | None, Inner()),
    (Inner | int | None, 5), (Literal["a", 1], 1), (Literal[Word.YES], Word.YES), (Any, {"a": [1, None, 2.5, "x", True]}), (bytes | None, b"abc"),
    (Any, None), (Blob, Blob(name="x", data=b"abc")), (Blob, Blob(name="x")),
]  # fmt: skip
MSGPACK_ONLY: list[tuple[Any, Any]] = [
    (Blob, Blob(name="x", data=b"\xff")), (Blob, Blob(name="x", data=b"\xff" * 70_000)), (dict[bytes, int], {b"\xff": 1}),
    (list[bytes], [b"\xff"]), (Any, {"a": b"\xff"}), (Numbers, Numbers(small=1, large=2, ratio=float("inf"))),
    (Words, Words(type={1}, metadata=b"\xff", config={"a": [b"\xfe"]}, default=NOW.date())),
]  # fmt: skip


def check(form: Any, value: Any, name: Any) -> None:
    for limits in (Limits(), Limits(items=8)):  # the second takes the way of bodies that are long for their limit
        codec = codec_for(form, codec=name, limits=limits)
        payload, buffers = codec.encode(value)
        for frame in (payload, memoryview(payload)):
            got = codec.decode(codec.wire_id, frame, tuple(buffers))
            assert got == value
            assert type(got) is type(value)


@pytest.mark.parametrize(("form", "value"), BOTH, ids=repr_of)
@pytest.mark.parametrize("name", ["msgpack", "json"])
def test_round_trip(form: Any, value: Any, name: str) -> None:
    check(form, value, name)


@pytest.mark.parametrize(("form", "value"), MSGPACK_ONLY, ids=repr_of)
def test_round_trip_of_what_json_has_no_word_for(form: Any, value: Any) -> None:
    check(form, value, "msgpack")
    if form not in (Any,):
        with pytest.raises(TypeError, match="expected"):
            codec_for(form, codec="json").encode(value)


TEXT = st.text(max_size=10)
ORDERS = st.builds(
    Order,
    id=st.integers(-(2**70), 2**70),
    symbol=TEXT,
    price=st.floats(allow_nan=False),
    tags=st.lists(TEXT, max_size=4),
    extra=st.dictionaries(TEXT, st.integers(-(2**40), 2**40), max_size=4),
    note=st.none() | TEXT,
)


@given(ORDERS)
def test_the_fast_way_writes_what_the_general_one_would(order: Order) -> None:
    codec = codec_for(Order)
    payload, buffers = codec.encode(order)
    assert buffers == ()
    assert codec.decode(MSGPACK, payload) == order
    if abs(order.id) < 2**63:
        assert payload == msgpack.packb(order.model_dump())


@given(st.lists(ORDERS, min_size=1, max_size=3))
def test_many_at_once_are_what_each_is(orders: list[Order]) -> None:
    pack_many = codec_for(Order).pack_many
    assert pack_many is not None
    packed = pack_many(orders)
    if packed is None:
        assert any(abs(order.id) >= 2**63 for order in orders)
    else:
        assert packed == bytes((0x90 | len(orders),)) + b"".join(codec_for(Order).encode(order)[0] for order in orders)


def test_many_at_once_are_for_flat_models_as_they_should_be() -> None:
    class More(Order):
        more: int = 1

    order = Order(id=1, symbol="a", price=1)
    other: Any = [order, More(id=1, symbol="a", price=1)]
    pack_many = codec_for(Order).pack_many
    assert pack_many is not None
    assert pack_many(other) is None
    order.__dict__["cached"] = 5
    assert pack_many([order]) is None
    assert pack_many([Order(id=1, symbol="\ud800", price=1)]) is None
    for form in (Nested, Blob, int, list[Order], bytes, None):
        assert codec_for(form).pack_many is None
    assert codec_for(Order, codec="json").pack_many is None


@given(st.lists(ORDERS, max_size=3), ORDERS)
def test_nested_models(orders: list[Order], order: Order) -> None:
    codec = codec_for(Nested)
    nested = Nested(order=order, more=orders)
    assert codec.decode(MSGPACK, *codec.encode(nested)) == nested


@pytest.mark.parametrize("name", ["msgpack", "json"])
@pytest.mark.parametrize(
    ("form", "wrong"),
    [
        (Order, Inner()), (Order, {"id": 1}), (Order, None), (Order, "Order"), (None, 1), (int, "x"), (list[int], ["x"]),
        (list[int], 5), (list[Order], [Inner()]), (Data, Inner()), (dt.date, "x"), (Pet, Inner()), (Inner | None, Order),
    ],
    ids=str,
)  # fmt: skip
def test_the_wrong_body_is_the_callers_error(form: Any, wrong: Any, name: Any) -> None:
    with pytest.raises(TypeError, match=r"^expected ") as caught:
        codec_for(form, codec=name).encode(wrong)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("name", ["msgpack", "json"])
def test_plain_data_may_stand_for_a_typed_body(name: Any) -> None:
    for form, given_, meant in (
        (Order, {"id": "1", "symbol": "a", "price": 2}, Order(id=1, symbol="a", price=2)),
        (list[Inner], [{"x": 1}], [Inner(x=1)]),
        (Data, {"a": 1, "b": []}, Data(1, [])),
        (dt.date, "2024-01-02", dt.date(2024, 1, 2)),
        (int, "5", 5),
    ):
        codec: Any = codec_for(form, codec=name)
        assert codec.decode(codec.wire_id, *codec.encode(given_)) == meant


def test_a_type_with_functions_is_not_validated_twice() -> None:
    form: Any = Annotated[list[Inner], AfterValidator(lambda inners: [*inners, Inner(x=0)])]
    codec = codec_for(form)
    assert codec.decode(MSGPACK, *codec.encode([Inner(x=1)])) == [Inner(x=1), Inner(x=0)]
    assert codec.decode(MSGPACK, *codec.encode([{"x": 1}])) == [Inner(x=1), Inner(x=0), Inner(x=0)], (
        "made into one first"
    )
    with pytest.raises(TypeError, match="expected"):
        codec.encode(5)


def test_errors_on_encode_quote_nothing() -> None:
    codec: Any = codec_for(Order)
    with pytest.raises(TypeError, match="expected Order: id: Input should be a valid integer") as caught:
        codec.encode({"id": "hunter2", "symbol": "a", "price": 1})
    assert "hunter2" not in str(caught.value)
    order = Order(id=1, symbol="a", price=1)
    order.tags = {"hunter2"}  # type: ignore[assignment]
    order.note = object()  # type: ignore[assignment]
    with pytest.raises(TypeError, match="Expected `list") as caught, warnings.catch_warnings():
        warnings.simplefilter("error")
        codec.encode(order)
    assert "hunter2" not in str(caught.value)


def test_what_was_assigned_later_takes_the_general_way() -> None:
    codec = codec_for(Order)
    order = Order(id=1, symbol="a", price=1)
    order.tags = ("a", "b")  # type: ignore[assignment]
    with pytest.warns(UserWarning, match="Expected `list"):
        assert codec.decode(MSGPACK, *codec.encode(order)).tags == ["a", "b"]
    order.tags = [object()]  # type: ignore[list-item]
    with pytest.raises(TypeError, match="expected Order"), pytest.warns(UserWarning, match="Expected `str"):
        codec.encode(order)
    order.tags = []
    order.__dict__["cached"] = object()
    assert codec.decode(MSGPACK, *codec.encode(order)).symbol == "a"
    assert codec.encode(Order(id=1, symbol="b", price=1))[0] == msgpack.packb(
        Order(id=1, symbol="b", price=1).model_dump()
    )
    with pytest.raises(TypeError, match="expected Order"):
        codec.encode(Order(id=1, symbol="\ud800", price=1))
    blob = Blob(name="a", data=bytearray(b"xyz"))  # type: ignore[arg-type]
    blob.data = bytearray(b"xyz")  # type: ignore[assignment]
    with pytest.warns(UserWarning, match="Expected `bytes"):
        assert codec_for(Blob).decode(MSGPACK, *codec_for(Blob).encode(blob)).data == b"xyz"
    blob = Blob(name="\ud800")
    with pytest.raises(TypeError, match="expected Blob"):
        codec_for(Blob).encode(blob)
    blob.__dict__["cached"] = 1
    blob.name = "a"
    assert codec_for(Blob).decode(MSGPACK, *codec_for(Blob).encode(blob)).name == "a"
    with pytest.raises(TypeError, match="expected Blob"):
        codec_for(Blob).encode(5)  # type: ignore[arg-type]


def test_what_is_no_field_is_not_sent() -> None:
    for value in (Order(id=1, symbol="a", price=1), Blob(name="a", data=b"x")):
        codec: Any = codec_for(type(value))
        plain = codec.encode(value)
        value.__dict__["cached"] = 5
        assert codec.encode(value) == plain


def test_large_bytes_of_a_flat_model_are_not_copied() -> None:
    data = b"x" * 70_000
    _, buffers = codec_for(Blob).encode(Blob(name="a", data=data))
    assert buffers[0] is data


def test_no_python_runs_while_the_shared_packer_packs() -> None:
    class Sneaky(dict[str, int]):
        def items(self) -> Any:
            codec_for(Order).encode(Order(id=1, symbol="inner", price=1))
            return super().items()

    order = Order(id=7, symbol="outer", price=1)
    order.extra = Sneaky(a=1)
    codec = codec_for(Order)
    assert codec.decode(MSGPACK, *codec.encode(order)) == Order(id=7, symbol="outer", price=1, extra={"a": 1})


def test_a_subclass_is_sent_as_what_the_type_says() -> None:
    class More(Order):
        secret: str = "not in the contract"

    payload, _ = codec_for(Order).encode(More(id=1, symbol="a", price=1))
    assert payload == codec_for(Order).encode(Order(id=1, symbol="a", price=1))[0]


def test_a_nested_model_that_cannot_be_packed_says_so() -> None:
    codec: Any = codec_for(Nested)
    nested = Nested(order=Order(id=1, symbol="\ud800", price=1), more=[])
    with pytest.raises(TypeError, match="expected Nested"):
        codec.encode(nested)
    with pytest.raises(TypeError, match="expected Nested"):
        codec.encode(Inner())


def test_secrets_are_not_sent_as_asterisks() -> None:
    class Login(BaseModel):
        password: SecretStr

    for name in ("msgpack", "json"):
        codec: Any = codec_for(Login, codec=name)  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="asterisks"):
            codec.encode(Login(password=SecretStr("pw")))
        wire_id, payload = (
            (JSON, b'{"password": "pw"}') if name == "json" else (MSGPACK, msgpack.packb({"password": "pw"}))
        )
        assert codec.decode(wire_id, payload).password.get_secret_value() == "pw"


def test_json_has_no_nan() -> None:
    codec = codec_for(Optionals, codec="json")
    assert codec.encode(Optionals())[0] == b'{"a":null,"b":[]}'
    with pytest.raises(TypeError, match="no NaN"):
        codec_for(list[float | None], codec="json").encode([None, float("nan")])


def test_without_a_contract_whatever_is_plain_goes() -> None:
    class Point(msgspec.Struct):
        x: int

    codec = codec_for(Any)
    for value, plain in (
        (Order(id=1, symbol="a", price=1), Order(id=1, symbol="a", price=1).model_dump()),
        (Aliased.model_validate({"aa": 1}), {"aa": 1, "in": {"x": 3}}),
        (Data(1, [Inner()]), {"a": 1, "b": [{"x": 3}]}),
        ({1: {2: Colour.RED}}, {"1": {"2": "r"}}),
        ({"when": NOW.date(), "who": {uuid.UUID(int=1)}}, {"when": "2024-01-02", "who": [str(uuid.UUID(int=1))]}),
        (Pair(1, "b"), [1, "b"]),
        ([Point(1)], [{"x": 1}]),
        ([np.float64(1.5), np.int64(2)], [1.5, 2]),
    ):
        assert codec.decode(MSGPACK, *codec.encode(value)) == plain
    for value in (object(), {"a": object()}, 2**64, [lambda: 1], SecretStr("x")):
        with pytest.raises(TypeError, match="expected Any"):
            codec.encode(value)
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(TypeError, match="expected Any"):
        codec.encode(loop)


def test_either_wire_is_read_and_no_other() -> None:
    codec = codec_for(Inner)
    assert codec.decode(JSON, b'{"x": 1}') == Inner(x=1)
    assert codec_for(Inner, codec="json").decode(MSGPACK, msgpack.packb({"x": 1})) == Inner(x=1)
    for wire_id in (-1, 0, 3, 4):
        with pytest.raises(DecodeError, match=f"codec {wire_id} cannot be one"):
            codec.decode(wire_id, b"\x80")
    with pytest.raises(DecodeError, match="2 frames more"):
        codec.decode(JSON, b"{}", [b"", b""])


def test_native_keys_of_other_peers_are_read_where_the_type_has_them() -> None:
    packed = msgpack.packb({1: "a"})
    assert codec_for(dict[int, str]).decode(MSGPACK, packed) == {1: "a"}
    for form in (Any, dict[str, str]):
        if form is not Any:
            with pytest.raises(DecodeError):
                codec_for(form).decode(MSGPACK, packed)
    with pytest.raises(DecodeError):
        codec_for(dict[int, Any]).decode(MSGPACK, b"\x81\x90\x01")  # a list is no key


FORMS = [form for form, _ in BOTH + MSGPACK_ONLY]


@given(st.sampled_from(FORMS), st.sampled_from([MSGPACK, JSON]), st.binary(max_size=200))
@settings(max_examples=500)
def test_any_bytes_give_a_value_or_a_decode_error(form: Any, wire_id: int, payload: bytes) -> None:
    try:
        codec_for(form).decode(wire_id, payload)
    except DecodeError as error:
        said = error
    else:
        return
    assert said.frames == [payload]
    assert len(str(said).encode()) <= 2048


@given(st.sampled_from(BOTH), st.sampled_from(["msgpack", "json"]), st.data())
@settings(max_examples=1000)
def test_a_damaged_body_gives_a_value_or_a_decode_error(case: tuple[Any, Any], name: Any, data: st.DataObject) -> None:
    codec = codec_for(case[0], codec=name)
    payload = bytearray(codec.encode(case[1])[0])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, max(len(payload) - 1, 0)))
        payload[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    try:
        codec.decode(codec.wire_id, bytes(payload))
    except DecodeError:
        pass


@given(
    st.recursive(
        st.none() | st.integers() | st.floats() | TEXT | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(TEXT | st.integers(), inner),
        max_leaves=10,
    )
)
def test_any_plain_data_against_every_type(value: Any) -> None:
    try:
        payload = msgpack.packb(value)
    except OverflowError:
        return
    text = json.dumps(value, default=repr).encode()
    for form in FORMS:
        for wire_id, frame in ((MSGPACK, payload), (JSON, text)):
            try:
                codec_for(form).decode(wire_id, frame)
            except DecodeError:
                pass
