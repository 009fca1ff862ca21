"""A DecodeError says where and what was expected, in bounded text, and never what came."""

from __future__ import annotations

import logging
import traceback
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgpack
import msgspec
import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from zpatterns.codec import JSON, MSGPACK, codec_for
from zpatterns.codec.bounds import OverLimit
from zpatterns.codec.failure import decode_error, shorten
from zpatterns.errors import DecodeError
from zpatterns.policy import Limits

SECRET = "hunter2-swordfish"


class Colour(StrEnum):
    RED = "red"


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


def refuse(value: str) -> str:
    raise ValueError(f"{value} is bad")


def custom(value: str) -> str:
    raise PydanticCustomError("mine", "custom says {got}", {"got": value})


def careless(value: str) -> str:
    raise KeyError(value)


class Everything(BaseModel):
    model_config = ConfigDict(extra="forbid")
    number: int = 0
    colour: Colour = Colour.RED
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None
    pattern: Annotated[str, Field(pattern="^a$")] = "a"
    table: dict[str, int] = {}
    items: list[int] = []
    own: Annotated[str, AfterValidator(refuse)] = ""
    custom: Annotated[str, AfterValidator(custom)] = ""
    careless: Annotated[str, AfterValidator(careless)] = ""
    blob: bytes = b""
    pair: int | bool = 0


class Whole(BaseModel):
    a: dict[str, Any]

    @model_validator(mode="before")
    @classmethod
    def look(cls, value: Any) -> Any:
        raise ValueError(f"what is {value['a']['deep'][0]}?")


class Login(msgspec.Struct, forbid_unknown_fields=True):
    user: str
    colour: Colour = Colour.RED
    level: Literal[1, 2] = 1
    number: int = 0

    def __post_init__(self) -> None:
        if self.user == SECRET:
            raise ValueError(f"no {self.user} here")


BODIES: list[tuple[Any, Any]] = [
    (Everything, {"number": SECRET}),
    (Everything, {"colour": SECRET}),
    (Everything, {"pet": {"kind": SECRET}}),
    (Everything, {"pattern": SECRET}),
    (Everything, {"table": {SECRET: "x"}}),
    (Everything, {"items": [1, SECRET]}),
    (Everything, {"own": SECRET}),
    (Everything, {"custom": SECRET}),
    (Everything, {"careless": SECRET}),
    (Everything, {SECRET: 1}),
    (Everything, {"pair": SECRET}),
    (Everything, SECRET),
    (Whole, {"a": {"deep": [SECRET]}}),
    (Whole, {"a": {"deep": [SECRET.encode()]}}),
    (dict[int, int], {SECRET: SECRET}),
    (Login, {"user": SECRET}),
    (Login, {"user": "x", SECRET: 1}),
    (Login, {"user": "x", "colour": SECRET}),
    (Login, {"user": "x", "level": 3}),
    (Login, {"user": "x", "number": SECRET}),
    (None, SECRET),
    (bytes, [SECRET]),
]


@pytest.mark.parametrize(("form", "body"), BODIES)
@pytest.mark.parametrize("wire_id", [MSGPACK, JSON])
def test_a_password_is_never_quoted(form: Any, body: Any, wire_id: int, caplog: pytest.LogCaptureFixture) -> None:
    payload = msgpack.packb(body) if wire_id == MSGPACK else msgspec.json.encode(body)
    with pytest.raises(DecodeError) as caught:
        codec_for(form).decode(wire_id, payload)
    error = caught.value
    with caplog.at_level(logging.ERROR):
        logging.getLogger("test").error("failed", exc_info=error)
    shown = "".join(traceback.format_exception(error)) + caplog.text + repr(error)
    assert SECRET not in shown
    assert error.__cause__ is None
    assert error.__context__ is None, "pydantic's error would hang on to the input"
    assert error.frames == [payload]


def text_of(form: Any, body: object) -> str:
    with pytest.raises(DecodeError) as caught:
        codec_for(form).decode(MSGPACK, msgpack.packb(body))
    return str(caught.value)


def test_the_text_names_the_place_and_what_was_expected() -> None:
    text = text_of(Everything, {"number": "x", "items": [1, "y"]})
    assert text.startswith("this is no Everything: number: Input should be a valid integer")
    assert "items.1: Input should be a valid integer" in text
    assert "colour: Input should be 'red'" in text_of(Everything, {"colour": "x"})
    assert "pet: the tag is none of the expected" in text_of(Everything, {"pet": {"kind": "x"}})
    assert "table.*: Input should be a valid integer" in text_of(Everything, {"table": {"k": "x"}})
    assert "own: refused by its validator" in text_of(Everything, {"own": "x"})
    assert "Expected `int`, got `str` - at `$.number`" in text_of(Login, {"user": "x", "number": "y"})
    assert "missing required field `user`" in text_of(Login, {})
    assert "an unknown field" in text_of(Login, {"user": "", "x": 1})
    assert "Invalid enum value - at `$.colour`" in text_of(Login, {"user": "", "colour": "x"})
    assert text_of(Login, {"user": SECRET}).endswith("refused by its validator")


def test_what_a_validator_says_is_passed_on_if_it_repeats_nothing() -> None:
    class Even(BaseModel):
        number: int

        @field_validator("number")
        @classmethod
        def even(cls, value: int) -> int:
            if value % 2:
                raise ValueError("must be even")
            if value > 1000:
                raise AssertionError("is too large")
            return value

    assert "number: Value error, must be even" in text_of(Even, {"number": 7})
    assert "number: Assertion failed, is too large" in text_of(Even, {"number": 1234})

    class Many(BaseModel):
        numbers: list[int]

        @field_validator("numbers")
        @classmethod
        def refuse(cls, value: list[int]) -> list[int]:
            raise ValueError("no")

    assert "numbers: Value error, no" in text_of(Many, {"numbers": [1, 2]})
    assert "numbers: refused by its validator" in text_of(Many, {"numbers": [1] * 200}), "too many to look through"


def test_at_most_ten_errors_and_two_kilobytes() -> None:
    text = text_of(list[int], ["x"] * 200)
    assert text.count("Input should be") == 10
    assert text.endswith("and 190 more")

    class Long(BaseModel):
        value: Annotated[Literal["ü" * 5000], Field()]

    assert len(text_of(Long, {"value": "x"}).encode()) <= 2048


def test_two_hundred_thousand_bad_items_make_a_short_text() -> None:
    wide = Limits(items=300_000)
    with pytest.raises(DecodeError) as caught:
        codec_for(list[int], limits=wide).decode(MSGPACK, msgpack.packb(["x"] * 200_000))
    assert len(str(caught.value)) < 2048
    assert "200000 errors" in str(caught.value)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 10, 100])
def test_shorten_never_cuts_a_letter_and_never_exceeds(size: int) -> None:
    for text in ("ü" * 200, "plain text that is long" * 10, "\ud800" * 50):
        assert len(shorten(text, size).encode()) <= size
    assert shorten("ok", 100) == "ok"


def test_other_errors_give_their_class_only() -> None:
    limits = Limits()
    assert "nested too deep" in str(decode_error(RecursionError(SECRET), "X", [], limits))
    assert str(decode_error(KeyError(SECRET), "X", [], limits)) == "this is no X: it cannot be decoded (KeyError)"
    assert str(decode_error(OverLimit("too much"), "X", [b"a"], limits)) == "this is no X: too much"
    assert issubclass(ValidationError, ValueError)
