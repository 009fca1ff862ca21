"""What a pydantic core schema proves about its type, once, when a codec is made. Every fast path rests on a fact found here.

Unknown kinds of schema prove nothing: whatever is not in the lists below takes the general, slower way.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from pydantic import Secret, SecretBytes, SecretStr

from .buffers import is_array_class
from .plain import is_dict, is_sequence

Schema = Mapping[str, Any]

SCALARS = frozenset({"str", "int", "float", "bool", "none"})
_NATIVE = SCALARS | {
    "bytes", "list", "dict", "nullable", "union", "tagged-union", "default", "definitions", "definition-ref",
    "model", "model-fields", "model-field", "typed-dict", "typed-dict-field",
    "dataclass", "dataclass-args", "dataclass-field",
}  # fmt: skip
"""Kinds that serialise to what msgpack has a type for."""
_FINITE = _NATIVE | {
    "literal", "enum", "decimal", "date", "time", "datetime", "timedelta", "uuid", "url", "multi-host-url", "complex",
    "set", "frozenset", "tuple", "function-after", "lax-or-strict", "json-or-python", "chain",
}  # fmt: skip
"""Kinds that let no arbitrary data through: a value of them is no deeper than its type."""
_REFUSES_INT = {"str", "list", "dict", "typed-dict", "dataclass"}
_NO_KEYS = {"tuple", "frozenset", "nullable", "none", "model", "dataclass", "call"}
_PYDANTICS_OWN = {"lax-or-strict", "json-or-python"}
"""Kinds inside which ``strict`` is how pydantic built a standard type, not what the user asked for."""
_NOT_VALIDATION = {
    "metadata",
    "default",
    "expected",
    "members",
    "config",
    "function",
    "serialization",
    "computed_fields",
}


@dataclass(slots=True)
class Shape:
    """The facts. Each starts as the fast answer, and is lost by the first schema that contradicts it."""

    finite: bool = True
    """Nothing in it may be arbitrarily deep."""
    native: bool = True
    """It serialises to nothing msgpack has no type for."""
    text_keys: bool = True
    """All its dicts have ``str`` keys."""
    ext_blind: bool = True
    """A decoded msgpack extension (a tuple of an int and bytes, in Python) can pass for nothing in it."""
    binary: bool = False
    """It says ``bytes``, ``memoryview`` or an array somewhere."""
    arrays: bool = False
    """It says ``memoryview`` or an array somewhere, which JSON cannot carry."""
    opaque: bool = False
    """It has a place where anything can be: ``Any``, custom serializers."""
    strict: bool = False
    """The user asked for strict validation somewhere."""
    unreadable: str = ""
    """What in it would be written as text that does not read back."""
    rebuilds: bool = False
    """Dumping needs ``round_trip``: computed fields, ``Json[...]``."""
    aliased: bool = False
    by_name: bool = False
    """Some alias it is written under is not one it is read under: names are used instead."""
    secret: bool = False
    """It holds a ``SecretStr``, which would be sent as asterisks."""
    kinds: set[str] = field(default_factory=set[str])
    names: set[str] = field(default_factory=set[str])
    """What an error text may name: fields, aliases, types, tags."""
    foreign: set[type] = field(default_factory=set[type])
    """Classes it only checks for with ``isinstance``: nothing from the wire is ever one."""


def shape_of(schema: Any) -> Shape:
    """The facts about a type's core schema."""
    shape = Shape()
    for node, users in _nodes(schema):
        _look(node, users, shape)
    if _recursive(schema):
        shape.finite = False
    shape.names |= shape.kinds
    return shape


def rechecks(schema: Any) -> bool:
    """Whether validating a value of the type again gives the same value: models are only looked at, functions would run."""
    nodes = _nodes(schema, stop=_PYDANTICS_OWN | {"model", "dataclass"})
    return not any(node["type"].startswith("function") or node["type"] in ("json", "call") for node, _ in nodes)


def _nodes(schema: Any, stop: AbstractSet[str] = frozenset()) -> Iterator[tuple[Schema, bool]]:
    """Every schema in a schema, with whether ``strict`` there is the user's. Does not look into kinds in ``stop``."""
    pending: list[tuple[Any, bool]] = [(schema, True)]
    while pending:
        item, users = pending.pop()
        if is_dict(item):
            kind = item.get("type")  # a mapping of fields may hold one called ``type``: that is a dict, not a str
            if isinstance(kind, str):
                yield item, users
                users = users and kind not in _PYDANTICS_OWN
                if kind not in stop:
                    pending += [(value, users) for key, value in item.items() if key not in _NOT_VALIDATION]
            else:
                pending += [(value, users) for value in item.values()]
        elif is_sequence(item):
            pending += [(value, users) for value in item]


def _look(node: Schema, users: bool, shape: Shape) -> None:
    kind: str = node["type"]
    shape.kinds.add(kind)
    config: Schema = node.get("config") or {}
    if kind not in _NATIVE:
        shape.native = kind == "literal" and shape.native and all(type(v) in SIMPLE for v in node["expected"])
    if kind not in _FINITE or kind.startswith("function") or "serialization" in node:
        shape.opaque = shape.opaque or kind != "is-instance"
        shape.native = False
        shape.finite = shape.finite and kind in _FINITE
        shape.ext_blind = shape.ext_blind and kind in _FINITE
    if users and (node.get("strict") is True or config.get("strict") is True):
        shape.strict = True
    if "allow" in (node.get("extra_behavior"), config.get("extra_fields_behavior")) or node.get("custom_init"):
        _anything(shape)
    if config.get("from_attributes"):  # an extension is an object with attributes, too
        shape.opaque, shape.finite, shape.ext_blind = True, False, False
    if (look := _LOOKS.get(kind)) is not None:
        look(node, shape)


def _anything(shape: Shape) -> None:
    shape.opaque = True
    shape.finite = shape.native = shape.text_keys = shape.ext_blind = False


def _look_dict(node: Schema, shape: Shape) -> None:
    if "values_schema" not in node:
        _anything(shape)
    keys = node.get("keys_schema", {})
    if keys.get("type") != "str":
        shape.text_keys = False
    texts = [value for value in keys.get("expected", ()) if not isinstance(value, str)]
    if texts or keys.get("type") in _NO_KEYS:
        shape.unreadable = "a dict whose keys do not survive as text; use a list of pairs"


def _look_literal(node: Schema, shape: Shape) -> None:
    if any(isinstance(value, Enum) and not isinstance(value, (str, int)) for value in node["expected"]):
        shape.unreadable = "a Literal of an Enum's members; make it an Enum of str"


def _look_items(node: Schema, shape: Shape) -> None:
    items = node.get("items_schema")
    if items is None:
        _anything(shape)
        return
    listed: Collection[Any] = items if is_sequence(items) else [items]
    for item in listed:
        if item["type"] not in _REFUSES_INT and not (item["type"] == "model" and not item.get("root_model")):
            shape.ext_blind = False


def _look_fields(node: Schema, shape: Shape) -> None:
    fields: Any = node["fields"]
    named: Any = fields.items() if is_dict(fields) else [(each["name"], each) for each in fields]
    if node.get("computed_fields"):
        shape.rebuilds = True
        shape.native = False
    for name, each in named:
        written: str = each.get("serialization_alias", name)
        read = _read_names(name, each.get("validation_alias"))
        shape.names |= {name, written} | read
        if written != name or read != {name}:
            shape.aliased = True
            shape.by_name = shape.by_name or written not in read


def _read_names(name: str, alias: Any) -> set[str]:
    """The keys a field is read from: its name, its one alias, or those of its alias choices that are no deeper paths."""
    if alias is None or isinstance(alias, str):
        return {alias or name}
    choices = alias if is_sequence(alias[0]) else [alias]
    return {choice[0] for choice in choices if len(choice) == 1}


def _look_instance(node: Schema, shape: Shape) -> None:
    cls: Any = node["cls"]
    shape.ext_blind = False
    if cls is memoryview or is_array_class(cls):
        shape.binary = shape.arrays = True
    elif issubclass(cls, (SecretStr, SecretBytes, Secret)):
        shape.secret = shape.opaque = True
    else:
        shape.opaque = True
        shape.foreign.add(cls)


def _look_choices(node: Schema, shape: Shape) -> None:
    shape.names |= {str(getattr(tag, "value", tag)) for tag in node["choices"]} | {str(tag) for tag in node["choices"]}


SIMPLE = (str, int, float, bool, type(None))
_LOOKS: dict[str, Callable[[Schema, Shape], None]] = {
    "any": lambda _, shape: _anything(shape),
    "dict": _look_dict,
    "literal": _look_literal,
    "list": _look_items,
    "set": _look_items,
    "frozenset": _look_items,
    "tuple": _look_items,
    "model-fields": _look_fields,
    "typed-dict": _look_fields,
    "dataclass-args": _look_fields,
    "is-instance": _look_instance,
    "model": lambda node, shape: shape.names.add(node["cls"].__name__),
    "dataclass": lambda node, shape: shape.names.add(node["cls"].__name__),
    "tagged-union": _look_choices,
    "bytes": lambda _, shape: setattr(shape, "binary", True),
    "json": lambda _, shape: setattr(shape, "rebuilds", True),
}


def _recursive(schema: Any) -> bool:
    """Whether some definition leads back to itself."""
    leads: dict[str, set[str]] = {}
    for node, _ in _nodes(schema):
        if isinstance(ref := node.get("ref"), str):
            leads[ref] = {inner["schema_ref"] for inner, _ in _nodes(node) if inner["type"] == "definition-ref"}
    while ends := {ref for ref, to in leads.items() if not to & leads.keys()}:  # peel what leads nowhere any more
        leads = {ref: to for ref, to in leads.items() if ref not in ends}
    return bool(leads)
