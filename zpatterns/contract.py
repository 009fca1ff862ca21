"""Contracts: a method's name and the types of its two bodies, said once and imported by both sides. No I/O.

A contract is a value: two with the same name, types and promises are equal. Its codecs are made at first use, so a module
of contracts costs nothing to import.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from .codec import Codec, CodecName, codec_for
from .errors import ConfigurationError

if TYPE_CHECKING:
    from typing_extensions import TypeForm

Req = TypeVar("Req")
Rep = TypeVar("Rep")

LONGEST_NAME = 255
"""Bytes of UTF-8 in a name."""
RESERVED = ("zp.", "mmi.")
"""Names that begin so belong to the library and to Majordomo's management interface (8/MMI)."""


def check_name(name: object, *, reserved: bool = False) -> str:
    """The name, or ConfigurationError. ``reserved`` allows the library's own names."""
    if not isinstance(name, str):
        raise ConfigurationError(f"a name is a str, not a {type(name).__name__}")
    if not name.isprintable() or any(letter.isspace() for letter in name):
        raise ConfigurationError(f"the name {name!r} holds a space or a character that does not print")
    if not 1 <= len(name.encode()) <= LONGEST_NAME:
        raise ConfigurationError(f"a name has 1 to {LONGEST_NAME} bytes, {name[:20]!r} has {len(name.encode())}")
    if not reserved and name.startswith(RESERVED):
        raise ConfigurationError(f"the name {name!r} is reserved: zp. and mmi. begin the library's own names")
    return name


class _Contract:
    """What both kinds of method share: a checked name, equality by value, and that they never change."""

    _fields: ClassVar[tuple[str, ...]]

    name: str
    codec: CodecName

    def __init__(self, **values: Any) -> None:
        if values["codec"] not in ("msgpack", "json"):
            raise ConfigurationError(f"{values['name']}: codec={values['codec']!r} must be 'msgpack' or 'json'")
        self.__dict__.update(values)

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field) for field in self._fields)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a {type(self).__name__} does not change: make another")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Contract) and type(self) is type(other) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), self.name))  # the types in it may not be hashable

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self._shown())})"

    def _shown(self) -> list[str]:
        shown = [repr(self.name), *(_form(form) for form in self._values()[1:3])]
        shown += [f"{flag}=True" for flag in ("idempotent", "dedupe") if getattr(self, flag, False)]
        return [*shown, f"codec={self.codec!r}"] if self.codec != "msgpack" else shown

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self


def _form(form: object) -> str:
    return form.__name__ if isinstance(form, type) and type(form).__name__ != "GenericAlias" else str(form)


class Method(_Contract, Generic[Req, Rep]):
    """One request, one reply: ``Method("calc.add", Add, Sum, idempotent=True)``. ``None`` is the type of no body.

    ``idempotent`` says that running it twice does no harm, so a request whose server was lost is sent again. ``dedupe``
    says that the server keeps replies for a while and answers a repeated request from there; it is retried to the same
    server only. With neither, a lost server is `OutcomeUnknown`. ``codec="json"`` is for peers that have no msgpack.

    Raises ConfigurationError for a name that is empty, over 255 bytes, reserved, or holds spaces or control characters.
    """

    _fields = ("name", "request", "reply", "idempotent", "dedupe", "codec")

    request: TypeForm[Req]
    reply: TypeForm[Rep]
    idempotent: bool
    dedupe: bool

    def __init__(
        self,
        name: str,
        request_type: TypeForm[Req],
        reply_type: TypeForm[Rep],
        /,
        *,
        idempotent: bool = False,
        dedupe: bool = False,
        codec: CodecName = "msgpack",
        _reserved: bool = False,
    ) -> None:
        super().__init__(
            name=check_name(name, reserved=_reserved),
            request=request_type,
            reply=reply_type,
            idempotent=idempotent,
            dedupe=dedupe,
            codec=codec,
        )

    @cached_property
    def request_codec(self) -> Codec[Req]:
        """Made at first use; raises ConfigurationError if the type cannot be sent."""
        return codec_for(self.request, codec=self.codec)

    @cached_property
    def reply_codec(self) -> Codec[Rep]:
        """Made at first use; raises ConfigurationError if the type cannot be sent."""
        return codec_for(self.reply, codec=self.codec)


class StreamMethod(_Contract, Generic[Req, Rep]):
    """One request, many replies: ``StreamMethod("calc.tokens", Add, Sum)``. Otherwise as `Method`.

    A stream is never sent again by itself: parts of it may have been used.
    """

    _fields = ("name", "request", "part", "codec")

    request: TypeForm[Req]
    part: TypeForm[Rep]

    def __init__(
        self,
        name: str,
        request_type: TypeForm[Req],
        part_type: TypeForm[Rep],
        /,
        *,
        codec: CodecName = "msgpack",
        _reserved: bool = False,
    ) -> None:
        super().__init__(name=check_name(name, reserved=_reserved), request=request_type, part=part_type, codec=codec)

    @cached_property
    def request_codec(self) -> Codec[Req]:
        """Made at first use; raises ConfigurationError if the type cannot be sent."""
        return codec_for(self.request, codec=self.codec)

    @cached_property
    def part_codec(self) -> Codec[Rep]:
        """Made at first use; raises ConfigurationError if the type cannot be sent."""
        return codec_for(self.part, codec=self.codec)
