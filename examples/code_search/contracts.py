"""What the code-search service can be asked. Both sides import this page; nothing else is shared.

All four methods only read, so a request whose server died may be sent again: ``idempotent=True``.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt

from zpatterns import Method, StreamMethod


class Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Module(Body):
    name: str  # dotted, as in an import


class Symbol(Body):
    name: str


class Place(Body):
    module: str
    name: str
    line: PositiveInt
    kind: Literal["class", "function"]


class Source(Body):
    text: str


class Lines(Body):
    total: NonNegativeInt
    blank: NonNegativeInt


class Pattern(Body):
    text: str


class Match(Body):
    module: str
    line: PositiveInt
    text: str


class About(Body):
    process: int
    files: int
    definitions: int
    seconds: float


ABOUT = Method("code.about", None, About, idempotent=True)
FIND_SYMBOL = Method("code.find_symbol", Symbol, list[Place], idempotent=True)
GET_SOURCE = Method("code.get_source", Place, Source, idempotent=True)
COUNT_LINES = Method("code.count_lines", Module, Lines, idempotent=True)
GREP = StreamMethod("code.grep", Pattern, Match)
