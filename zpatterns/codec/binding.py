"""What is known about one pydantic type, found out once: its adapter, its proven shape, its wire id, how it is dumped and read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from pydantic import VERSION, BaseModel, ConfigDict, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter

from ..errors import ConfigurationError
from ..policy import Limits
from .shape import Shape, rechecks, shape_of

_BY_NAME_TOO: dict[str, Any] = {"by_alias": True, "by_name": True} if VERSION >= "2.11" else {}
"""pydantic 2.10 reads by alias alone, unless the model says populate_by_name."""

MSGPACK, JSON, RAW = 1, 2, 3
"""Wire ids: what the codec field of a header says."""


def label(form: Any) -> str:
    """A type as messages name it."""
    if form is None or form is type(None):
        return "None"
    return form.__name__ if isinstance(form, type) and not hasattr(form, "__origin__") else repr(form)


class Bound:
    """One type, bound to its codec and limits."""

    def __init__(self, form: Any, codec: str, limits: Limits) -> None:
        self.label: str = label(form)
        self.limits = limits
        self.adapter: TypeAdapter[Any] = _adapter(form, self.label)
        self.shape: Shape = shape_of(self.adapter.core_schema)
        self.names: frozenset[str] = frozenset(self.shape.names)
        self.wire_id: int = self._choose(codec)
        self.cls: type[Any] | None = form if _is_model(form) else None
        dumping, reading = _arguments(self.shape)
        self.rechecks: bool = self.cls is None and form is not Any and rechecks(self.adapter.core_schema)
        if self.cls is None and form is not Any and not self.rechecks:
            dumping["warnings"] = "error"  # a microsecond, where no other check tells that a body is the wrong one
        self.to_python: Callable[[Any], Any] = _with(self.adapter.serializer.to_python, dumping)
        self.to_json: Callable[[Any], Any] = _with(self.adapter.serializer.to_json, dumping)
        self.validate: Callable[[Any], Any] = _with(self.adapter.validator.validate_python, reading)
        self.recheck: Callable[[Any], Any] = _with(self.adapter.validator.validate_python, _BY_NAME_TOO)
        self.validate_json: Callable[[Any], Any] = _with(self.adapter.validator.validate_json, reading)

    @property
    def proven_native(self) -> bool:
        """Whether a dump of it needs no look before it is packed."""
        shape = self.shape
        return shape.native and shape.text_keys and not shape.binary and not shape.opaque

    def dumped(self, dump: Callable[[Any], Any], value: Any) -> Any:
        """A dump of a value, or of what the value is as this type: a dict may stand for a model."""
        if self.cls is not None:
            return dump(value if isinstance(value, self.cls) else self.recheck(value))
        if self.rechecks:  # serialising alone writes ``{}`` for another model in a list, without a word
            return dump(self.recheck(value))
        try:
            return dump(value)
        except Exception:  # noqa: BLE001
            return dump(self.recheck(value))

    def _choose(self, codec: str) -> int:
        shape = self.shape
        if shape.unreadable:
            raise ConfigurationError(f"{self.label} holds {shape.unreadable}")
        if codec == "json":
            if shape.arrays:
                raise ConfigurationError(
                    f"{self.label} holds arrays or memoryviews, which JSON cannot carry: use msgpack"
                )
            return JSON
        if not shape.strict or shape.native:
            return MSGPACK
        if not shape.binary:
            return JSON  # strict validation takes text for a datetime, or a list for a set, from JSON only
        raise ConfigurationError(
            f"{self.label} is strict and holds bytes: strict validation reads some of its types from JSON only, and JSON "
            "has no bytes. Drop strict where it is not needed"
        )


def _adapter(form: Any, name: str) -> TypeAdapter[Any]:
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(form)
        adapter.rebuild(raise_errors=True)
        return adapter
    except PydanticSchemaGenerationError as error:
        return _array_adapter(form, name, error)
    except Exception as error:
        raise ConfigurationError(f"{name} cannot be a body: {error}") from error


def _array_adapter(form: Any, name: str, unknown: PydanticSchemaGenerationError) -> TypeAdapter[Any]:
    """For a type with a class pydantic does not know, which may be an array or a memoryview, and nothing else."""
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(form, config=ConfigDict(arbitrary_types_allowed=True))
    except (PydanticUserError, UserWarning):  # a dataclass or TypedDict has its own config; 5 is no type at all
        raise ConfigurationError(f"{name} cannot be a body: {unknown}") from unknown
    shape = shape_of(adapter.core_schema)
    if shape.foreign or not shape.arrays:
        names = ", ".join(sorted(cls.__name__ for cls in shape.foreign)) or name
        raise ConfigurationError(f"{name} cannot be sent: nothing says how {names} looks on the wire")
    return adapter


def _is_model(form: Any) -> bool:
    cls: Any = form if isinstance(form, type) else object
    return issubclass(cls, BaseModel) or hasattr(cls, "__dataclass_fields__")


def _arguments(shape: Shape) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keyword arguments for dumping and for reading, so that what is written can be read; none if none are needed."""
    dumping: dict[str, Any] = {}
    reading: dict[str, Any] = {}
    if shape.rebuilds or shape.opaque:
        dumping["round_trip"] = True
    if shape.by_name:
        dumping["by_alias"] = False
        reading.update(_BY_NAME_TOO)
    elif shape.aliased or shape.opaque:
        dumping["by_alias"] = True
    return dumping, reading


def _with(call: Callable[..., Any], arguments: dict[str, Any]) -> Callable[[Any], Any]:
    return partial(call, **arguments) if arguments else call
