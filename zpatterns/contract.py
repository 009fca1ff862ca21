"""Contracts: the name of a method or topic and the types of its bodies, said once and imported by both sides. No I/O.

A contract is a value: two with the same name, types and promises are equal. Its codecs are made at first use, so a module
of contracts costs nothing to import.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from .codec import Codec, CodecName, Encode, codec_for
from .errors import ConfigurationError

if TYPE_CHECKING:
    from typing_extensions import TypeForm

Req = TypeVar("Req")
Rep = TypeVar("Rep")
T = TypeVar("T")

LONGEST_NAME = 255
"""Bytes of UTF-8 in a name."""
RESERVED = ("zp.", "mmi.")
"""Names that begin so belong to the library and to Majordomo's management interface (8/MMI)."""


TERMINATOR = b"\0"
"""Ends a topic on the wire, so that a subscription to ``lab.a`` does not get ``lab.ab``. No name has it."""


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


_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_MOST_BOUND = 4096
LONGEST_TOPIC = LONGEST_NAME - 1
"""Bytes of a topic's name: with its terminator it has LONGEST_NAME, which the publisher's socket enforces."""


def _parts_overlap(one: str, other: str) -> bool:
    for text, part in ((one, other), (other, one)):
        if "{" not in text:
            return re.fullmatch("[^.]+".join(map(re.escape, re.split(r"\{.*?\}", part))), text) is not None
    begins = one.partition("{")[0], other.partition("{")[0]
    ends = one.rpartition("}")[2], other.rpartition("}")[2]
    return (begins[0].startswith(begins[1]) or begins[1].startswith(begins[0])) and (
        ends[0].endswith(ends[1]) or ends[1].endswith(ends[0])
    )


class Topic(_Contract, Generic[T]):
    """What is published under one name, or a family of names: ``Topic("lab.{room}.temp", Reading)``.

    ``{room}`` stands for one dot-free part. `at` fills it in; with open placeholders a topic can be subscribed to, not
    published on. ``codec="json"`` is for peers that have no msgpack.

    Raises ConfigurationError for a name as `Method` does, for one over 254 bytes, and for braces that are no placeholder.
    """

    _fields = ("name", "body", "codec")

    body: TypeForm[T]
    fields: tuple[str, ...]
    """The open placeholders, in order."""
    prefix: bytes
    """What libzmq filters by: the whole topic with its terminator, or what comes before the first placeholder."""

    def __init__(self, template: str, body_type: TypeForm[T], /, *, codec: CodecName = "msgpack") -> None:
        name = check_name(template)
        if len(name.encode()) > LONGEST_TOPIC:
            raise ConfigurationError(
                f"a topic has at most {LONGEST_TOPIC} bytes, {name[:20]!r} has {len(name.encode())}"
            )
        fields = tuple(_PLACEHOLDER.findall(name))
        bare = _PLACEHOLDER.sub("", name)
        if "{" in bare or "}" in bare or len(set(fields)) != len(fields):
            raise ConfigurationError(f"the topic {name!r}: a placeholder is {{name}}, each name once")
        prefix = name.partition("{")[0].encode() if fields else name.encode() + TERMINATOR
        super().__init__(name=name, body=body_type, codec=codec)
        self.__dict__.update(fields=fields, prefix=prefix, _bound={})
        if not fields:
            self.__dict__["frame"] = prefix

    def at(self, **values: str) -> Topic[T]:
        """This topic with placeholders filled in. Raises ConfigurationError for an unknown one or a value with a dot."""
        bound: dict[Any, Topic[T]] = self.__dict__["_bound"]
        key = tuple(values.items())
        found = bound.get(key)
        if found is None:
            if len(bound) >= _MOST_BOUND:
                bound.clear()
            found = bound[key] = self._at(values)
        return found

    def _at(self, values: Mapping[str, str]) -> Topic[T]:
        name = self.name
        for field, value in values.items():
            if field not in self.fields:
                raise ConfigurationError(f"the topic {self.name!r} has no {{{field}}}; it has {self.fields or 'none'}")
            if not isinstance(value, str) or not value or set(value) & set(".{}"):
                raise ConfigurationError(
                    f"{field}={value!r}: a placeholder takes a str of one part, without dots and braces"
                )
            name = name.replace(f"{{{field}}}", value)
        return Topic(name, self.body, codec=self.codec)

    @cached_property
    def frame(self) -> bytes:
        """The topic on the wire. Raises ConfigurationError while placeholders are open."""
        raise ConfigurationError(
            f"the topic {self.name!r} has open placeholders; fill them in first: .at({self.fields[0]}=...)"
        )

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        parts = _PLACEHOLDER.split(self.name)  # text, field, text, field, ..., text
        texts = [re.escape(part) if number % 2 == 0 else f"(?P<{part}>[^.]+)" for number, part in enumerate(parts)]
        return re.compile("".join(texts))

    def match(self, name: str) -> dict[str, str] | None:
        """The values of the placeholders in a topic's name, or None for another topic."""
        found = self._pattern.fullmatch(name)
        return None if found is None else found.groupdict()

    def matches(self, frame: bytes) -> bool:
        """Whether a message that starts with this frame belongs to it."""
        if not self.fields:
            return frame == self.prefix
        if not frame.startswith(self.prefix) or frame[-1:] != TERMINATOR:
            return False
        return self.match(frame[:-1].decode(errors="replace")) is not None

    def overlaps(self, other: Topic[Any]) -> bool:
        """Whether some name belongs to both. Two parts with text around their placeholders are taken to, unless it differs."""
        if not self.fields:
            return other.match(self.name) is not None
        if not other.fields:
            return self.match(other.name) is not None
        mine, theirs = self.name.split("."), other.name.split(".")
        return len(mine) == len(theirs) and all(map(_parts_overlap, mine, theirs))

    def expects(self, prefix: bytes) -> bool:
        """Whether a subscription to this prefix is one to some topic of this name."""
        if self.prefix.startswith(prefix):
            return True
        return (
            bool(self.fields) and prefix.startswith(self.prefix) and (prefix[-1:] != TERMINATOR or self.matches(prefix))
        )

    @cached_property
    def body_codec(self) -> Codec[T]:
        """Made at first use; raises ConfigurationError if the type cannot be sent."""
        return codec_for(self.body, codec=self.codec)

    @cached_property
    def encode(self) -> Encode[T]:
        """The encoder of the body, without a look at the codec in between."""
        return self.body_codec.encode

    @cached_property
    def wire_id(self) -> int:
        """What `encode` writes."""
        return self.body_codec.wire_id

    @cached_property
    def many_codec(self) -> Codec[list[T]]:
        """Of several bodies at once: one call instead of many."""
        return codec_for(list[self.body], codec=self.codec)  # type: ignore[name-defined]

    def _shown(self) -> list[str]:
        shown = [repr(self.name), _form(self.body)]
        return [*shown, f"codec={self.codec!r}"] if self.codec != "msgpack" else shown
