"""Only what packs the same either way is called flat."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from zpatterns.codec.flat import flat_fields

from .test_shape import (
    After,
    Aliased,
    Allows,
    BareDict,
    BareList,
    Box,
    Caching,
    Computed,
    DeepLists,
    Enumerated,
    Excluded,
    FieldSerialized,
    Frozen,
    Initialising,
    Ints,
    ItemSerialized,
    KeyedByInt,
    ModelSerialized,
    Nests,
    NullableSerialized,
    Outer,
    Plain,
    Point,
    Sets,
    Tree,
    Words,
)


def flat(form: Any) -> dict[str, str] | None:
    return flat_fields(TypeAdapter(form).core_schema)


def test_flat_models_are_found_with_their_kinds() -> None:
    assert flat(Plain) == dict(
        zip("abcdefgh", ["int", "str", "list", "dict", "literal", "int", "bytes", "none"], strict=True)
    )
    assert flat(Frozen) == {"a": "int"}
    assert flat(Caching) == {"a": "int"}
    assert flat(Initialising) == {"a": "int"}, "how it is made does not change what it holds"
    assert flat(Box[str]) == {"value": "str"}


NOT_FLAT = (Allows, Aliased, Excluded, Computed, FieldSerialized, ModelSerialized, Outer, Tree, Ints, Point, list[int])
NOT_FLAT_FIELDS = (Sets, Nests, DeepLists, BareList, BareDict, KeyedByInt, Enumerated, After, ItemSerialized)


@pytest.mark.parametrize("form", [*NOT_FLAT, *NOT_FLAT_FIELDS, NullableSerialized, Words])
def test_whatever_changes_a_dump_is_not_flat(form: Any) -> None:
    assert flat(form) is None
