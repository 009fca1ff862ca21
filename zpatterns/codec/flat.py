"""When packing a model's ``__dict__`` is the same as dumping the model: twice as fast, and only right if proven here."""

from __future__ import annotations

from typing import Any

from .shape import SCALARS, SIMPLE, Schema


def flat_fields(schema: Any) -> dict[str, str] | None:
    """Field names with their kinds, when packing ``__dict__`` is the same as dumping the model; else None."""
    if schema["type"] != "model" or schema.get("root_model") or "serialization" in schema:
        return None
    inner = schema["schema"]
    behaviour = (inner.get("extra_behavior"), schema.get("config", {}).get("extra_fields_behavior"))
    if inner["type"] != "model-fields" or inner.get("computed_fields") or "allow" in behaviour:
        return None
    kinds: dict[str, str] = {}
    for name, each in inner["fields"].items():
        if set(each) - {"type", "schema", "metadata", "frozen"}:  # an alias, an exclusion
            return None
        kind = _flat_kind(each["schema"])
        if kind is None:
            return None
        kinds[name] = kind
    return kinds


def _flat_kind(schema: Schema) -> str | None:
    while schema["type"] in ("default", "nullable") and "serialization" not in schema:
        schema = schema["schema"]
    kind: str = schema["type"]
    if "serialization" in schema:
        return None
    if kind in SCALARS or kind == "bytes":
        return kind
    if kind == "literal":
        return kind if all(type(value) in SIMPLE for value in schema["expected"]) else None
    if kind == "list" and "items_schema" in schema:
        return kind if _flat_kind(schema["items_schema"]) in SCALARS else None
    if kind == "dict" and schema.get("keys_schema", {}).get("type") == "str" and "values_schema" in schema:
        return kind if _flat_kind(schema["values_schema"]) in SCALARS else None
    return None
