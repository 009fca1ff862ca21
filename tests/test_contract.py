"""A contract is a checked, unchanging value."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from pydantic import BaseModel

from zpatterns.contract import LONGEST_NAME, Method, StreamMethod, Topic, check_name
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


# Topics ---------------------------------------------------------------------------------------------------------------


TEMP = Topic("lab.{room}.temp", int)


def test_a_topic_on_the_wire_ends_where_it_ends():
    topic = Topic("lab.a1", int)
    assert topic.frame == topic.prefix == b"lab.a1\0"
    assert topic.matches(b"lab.a1\0") and not topic.matches(b"lab.a11\0")
    assert topic.fields == ()
    assert topic.match("lab.a1") == {} and topic.match("lab.a2") is None


def test_placeholders_stand_for_one_part():
    assert (TEMP.prefix, TEMP.fields) == (b"lab.", ("room",))
    assert TEMP.match("lab.a1.temp") == {"room": "a1"}
    assert TEMP.matches(b"lab.a1.temp\0")
    for frame in (b"lab.a1.temp", b"lab.a1.b.temp\0", b"else\0", b"lab..temp\0", b"lab.\xff\0"):
        assert not TEMP.matches(frame)
    with pytest.raises(ConfigurationError, match="open placeholders"):
        TEMP.frame


def test_placeholders_are_filled_in():
    two = Topic("{site}.lab-{room}", int)
    assert two.at(site="x", room="1").name == "x.lab-1"
    assert two.at(site="x").fields == ("room",)
    assert two.at(site="x").at(room="1") == two.at(room="1", site="x")
    assert TEMP.at(room="a1") is TEMP.at(room="a1")
    for number in range(5000):
        TEMP.at(room=str(number))
    assert len(TEMP.__dict__["_bound"]) <= 4096


@pytest.mark.parametrize(
    "values", [{"rum": "a"}, {"room": "a.b"}, {"room": ""}, {"room": "{x}"}, {"room": 1}, {"room": "a b"}]
)
def test_what_a_placeholder_does_not_take(values):
    with pytest.raises(ConfigurationError):
        TEMP.at(**values)


@pytest.mark.parametrize("name", ["", "a b", "zp.x", "x" * 255, "a.{b", "a.b}", "{a}.{a}", "{1}", "a\0b"])
def test_names_that_are_no_topics(name):
    with pytest.raises(ConfigurationError):
        Topic(name, int)


def test_which_subscriptions_are_to_a_topic():
    a1 = TEMP.at(room="a1")
    for prefix in (b"", b"lab.", b"lab.a1.temp\0"):
        assert a1.expects(prefix)
    assert not a1.expects(b"lab.b")
    for prefix in (b"", b"la", b"lab.", b"lab.a1.temp\0", b"lab.a1"):
        assert TEMP.expects(prefix)
    for prefix in (b"lab.a1.else\0", b"x"):
        assert not TEMP.expects(prefix)


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("lab.t", "lab.t", True),
        ("lab.t", "lab.u", False),
        ("lab.{room}", "lab.t", True),
        ("lab.{room}", "lab.t.u", False),
        ("{site}.t", "lab.{room}", True),
        ("{site}.t", "lab.{room}.t", False),
        ("{site}.t.u", "lab.{room}.v", False),
        ("lab.a-{x}", "lab.b-{y}", False),
        ("{r}.v{n}", "{r}.v", False),
        ("{a}.room{n}", "{a}.roomy", True),
        ("lab.a-{x}", "lab.{y}-b", True),
        ("lab.{x}-a", "lab.{y}-b", False),
        ("lab.{x}-a.{z}", "lab.b-a.{z}", True),
    ],
)
def test_topics_that_some_name_belongs_to(one: str, other: str, both: bool):
    assert Topic(one, int).overlaps(Topic(other, str)) is both
    assert Topic(other, int).overlaps(Topic(one, str)) is both


def test_a_topic_is_a_value():
    assert Topic("lab.{room}.temp", int) == TEMP and Topic("lab.{room}.temp", str) != TEMP
    assert TEMP.at(room="a1") != TEMP and len({TEMP, Topic("lab.{room}.temp", int)}) == 1
    assert repr(TEMP) == "Topic('lab.{room}.temp', int)"
    assert repr(Topic("a", int, codec="json")) == "Topic('a', int, codec='json')"
    with pytest.raises(AttributeError):
        TEMP.name = "other"


def test_codecs_of_a_topic():
    assert TEMP.encode(5) == (b"\x05", ())
    assert TEMP.wire_id == 1
    assert TEMP.many_codec.decode(1, b"\x92\x05\x06") == [5, 6]
