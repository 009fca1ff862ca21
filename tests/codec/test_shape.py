"""Every fact is proven from the schema or not claimed; a field's name never passes for a schema's word."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
from collections.abc import Callable
from enum import Enum, IntEnum
from functools import cached_property
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import numpy as np
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Json,
    PlainSerializer,
    PydanticSchemaGenerationError,
    RootModel,
    SecretStr,
    TypeAdapter,
    computed_field,
    field_serializer,
    model_serializer,
)

from zpatterns.codec.shape import Shape, rechecks, shape_of

T = TypeVar("T")


def shape(form: Any) -> Shape:
    try:
        return shape_of(TypeAdapter(form).core_schema)
    except PydanticSchemaGenerationError:
        return shape_of(TypeAdapter(form, config=ConfigDict(arbitrary_types_allowed=True)).core_schema)


class Plain(BaseModel):
    a: int
    b: str | None = None
    c: list[float] = []
    d: dict[str, bool] = {}
    e: Literal["x", 1] = 1
    f: Annotated[int, Field(gt=1)] = 2
    g: bytes = b""
    h: None = None


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)
    a: int


class Inner(BaseModel):
    a: int


class Outer(BaseModel):
    inner: Inner
    more: list[Inner]


class Tree(BaseModel):
    kids: list[Tree] = []


class Mutual(BaseModel):
    other: Optionally | None = None


class Optionally(BaseModel):
    back: Mutual | None = None


class Words(BaseModel):
    """Field names that are words of a core schema."""

    type: set[int]
    metadata: bytes
    default: Any
    config: dict[int, int]
    serialization: int
    function: int
    expected: int


class Number(IntEnum):
    ONE = 1


class Shade(Enum):
    DARK = object()


class Pair(NamedTuple):
    a: int
    b: int


class Allows(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int


class Aliased(BaseModel):
    a: int = Field(alias="x")


class Excluded(BaseModel):
    a: int = Field(default=1, exclude=True)


class Computed(BaseModel):
    a: int

    @computed_field
    @property
    def b(self) -> int:
        return 1


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


class Caching(BaseModel):
    a: int

    @cached_property
    def b(self) -> int:
        return 2


class Initialising(BaseModel):
    a: int

    def __init__(self, **data: Any) -> None:
        super().__init__(**data)


class Box(BaseModel, Generic[T]):
    value: T


@dataclasses.dataclass
class Point:
    x: int


class Ints(RootModel[list[int]]):
    pass


class Attributes(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    code: int


class Sets(BaseModel):
    a: set[int]


class Nests(BaseModel):
    a: list[Inner]


class DeepLists(BaseModel):
    a: list[list[int]]


class BareList(BaseModel):
    a: list  # type: ignore[type-arg]


class BareDict(BaseModel):
    a: dict  # type: ignore[type-arg]


class KeyedByInt(BaseModel):
    a: dict[int, int]


class Enumerated(BaseModel):
    a: Literal[Number.ONE]


class After(BaseModel):
    a: Annotated[int, AfterValidator(str)]


class ItemSerialized(BaseModel):
    a: list[Annotated[int, PlainSerializer(str)]]


class NullableSerialized(BaseModel):
    a: Annotated[int | None, PlainSerializer(str)]


FINITE = [Plain, Outer, Box[list[int]], Point, int, list[set[int]], dt.datetime, Number, Literal["a"], tuple[int, str]]
NOT_FINITE = [
    Any, list, dict, dict[str, Any], Tree, Mutual, Allows, Words, Initialising, Json[list[int]], Callable[[], int], Attributes,
    Annotated[int, BeforeValidator(int)], Pair, set, Box[Any], object, list[Tree],
]  # fmt: skip


def test_finite() -> None:
    assert [form for form in FINITE if not shape(form).finite] == []
    assert [form for form in NOT_FINITE if shape(form).finite] == []


def test_native() -> None:
    assert all(
        shape(form).native for form in (Plain, Outer, Tree, int, Literal["a", 1] | None, dict[str, bytes], Point)
    )
    others = (set[int], dt.date, Number, Literal[Number.ONE], Words, Any, FieldSerialized, After, tuple[int], Computed)
    assert not any(shape(form).native for form in others)


def test_a_schema_that_says_nothing_of_its_items_lets_anything_in() -> None:
    for schema in ({"type": "list"}, {"type": "dict"}, {"type": "tuple"}):
        assert not shape_of(schema).finite


def test_text_keys() -> None:
    assert shape(dict[str, dict[str, int]]).text_keys
    assert not any(shape(form).text_keys for form in (dict[int, int], Any, dict, Words, list[dict[dt.date, int]]))


def test_binary_arrays_and_opaque() -> None:
    arrays = [np.ndarray, memoryview, list[np.ndarray]]
    assert [(shape(form).binary, shape(form).arrays) for form in arrays] == [(True, True)] * 3
    assert (shape(bytes).binary, shape(bytes).arrays, shape(bytes).opaque) == (True, False, False)
    assert not shape(Plain).opaque
    assert all(shape(form).opaque for form in (Any, FieldSerialized, ModelSerialized, Allows, list, Pair, BareDict))
    assert shape(decimal.Context).foreign == {decimal.Context}


def test_ext_blind() -> None:
    assert all(shape(form).ext_blind for form in (Plain.__annotations__ and list[str], Inner, list[Inner], list[Point]))
    cannot = (list[int], list[bytes], list[Ints], tuple[int, bytes], set[float], Any, list, Attributes, list[Number])
    assert not any(shape(form).ext_blind for form in cannot)


def test_strict_is_the_users() -> None:
    class Model(BaseModel):
        model_config = ConfigDict(strict=True)
        a: int

    class Single(BaseModel):
        a: int = Field(strict=True)

    class Secret(BaseModel):
        a: SecretStr

    assert shape(Model).strict
    assert shape(Single).strict
    assert not shape(Secret).strict, "pydantic's own, inside a standard type"
    assert shape(Secret).secret


def test_aliases_are_followed_when_what_is_written_is_read() -> None:
    class Choices(BaseModel):
        a: int = Field(validation_alias=AliasChoices("x", "y", AliasPath("q", 0)), serialization_alias="y")

    class Path(BaseModel):
        a: int = Field(validation_alias=AliasPath("q"))

    class DeepPath(BaseModel):
        a: int = Field(validation_alias=AliasPath("q", 0))

    class Writes(BaseModel):
        a: int = Field(serialization_alias="x")

    class Reads(BaseModel):
        a: int = Field(validation_alias="x")

    facts = {
        form: (shape(form).aliased, shape(form).by_name)
        for form in (Inner, Aliased, Choices, Path, DeepPath, Writes, Reads)
    }
    assert facts == {
        Inner: (False, False),
        Aliased: (True, False),
        Choices: (True, False),
        Path: (True, True),
        DeepPath: (True, True),
        Writes: (True, True),
        Reads: (True, True),
    }
    assert {"a", "x", "y"} <= shape(Choices).names


def test_what_would_not_read_back() -> None:
    for form in (dict[tuple[int, int], int], dict[Literal[1], int], dict[frozenset[int], int], Literal[Shade.DARK]):
        assert shape(form).unreadable
    for form in (dict[str, int], dict[int, int], dict[Literal["a"], int], Literal[Number.ONE]):
        assert not shape(form).unreadable


def test_rebuilds() -> None:
    assert shape(Computed).rebuilds
    assert shape(Json[int]).rebuilds
    assert not shape(Plain).rebuilds


def test_tags_may_be_named() -> None:
    class Cat(BaseModel):
        kind: Literal["cat"]

    class One(BaseModel):
        kind: Literal[Number.ONE]

    assert {"cat", "1", "Cat"} <= shape(Annotated[Cat | One, Field(discriminator="kind")]).names


def test_only_what_comes_back_the_same_is_validated_again() -> None:
    def again(form: Any) -> bool:
        return rechecks(TypeAdapter(form).core_schema)

    assert all(map(again, (int, Pair, list[After], dict[str, Point], Inner | None, list[SecretStr], Tree)))
    assert not any(
        map(again, (Annotated[int, AfterValidator(abs)], list[Json[int]], Annotated[int, BeforeValidator(abs)]))
    )
