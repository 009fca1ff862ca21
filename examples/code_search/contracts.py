"""What the processes of the demo say to each other. All of them import this page; nothing else is shared.

All methods only read, so a request whose server died may be sent again: ``idempotent=True``.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt

from zpatterns import Method, StreamMethod, Topic

Kind = Literal["class", "function"]


class Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


# -- jobs of the pipeline, and what becomes of them: indexer.py --------------------------------------------------


class File(Body):
    module: str  # dotted, as in an import
    path: str


class Definition(Body):
    name: str
    kind: Kind
    line: PositiveInt
    end: PositiveInt  # its last line


class Indexed(Body):
    file: File
    definitions: list[Definition]


# -- progress: every worker publishes it, on a topic of its own --------------------------------------------------


class FileDone(Body):
    module: str
    definitions: NonNegativeInt


DONE = Topic("code.indexed.{worker}", FileDone)

# -- what the server can be asked: server.py ---------------------------------------------------------------------


class Module(Body):
    name: str


class Symbol(Body):
    name: str


class Place(Body):
    module: str
    name: str
    line: PositiveInt
    kind: Kind


class Source(Body):
    text: str


class Lines(Body):
    total: NonNegativeInt
    blank: NonNegativeInt


class Pattern(Body):
    text: str
    package: str  # its modules alone are searched


class Match(Body):
    module: str
    line: PositiveInt
    text: str


class About(Body):
    files: int
    definitions: int
    seconds: float  # to load the index


ABOUT = Method("code.about", None, About, idempotent=True)
FIND_SYMBOL = Method("code.find_symbol", Symbol, list[Place], idempotent=True)
GET_SOURCE = Method("code.get_source", Place, Source, idempotent=True)
COUNT_LINES = Method("code.count_lines", Module, Lines, idempotent=True)
GREP = StreamMethod("code.grep", Pattern, Match)

SERVICES = ("symbols", "text")
SERVICE_OF = {
    FIND_SYMBOL.name: "symbols",
    GET_SOURCE.name: "symbols",
    COUNT_LINES.name: "text",
    GREP.name: "text",
}
"""Behind a broker: which service answers what."""
