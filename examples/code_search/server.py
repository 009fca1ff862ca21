"""The server: ``python server.py [ENDPOINT]`` answers questions about the standard library until Ctrl-C."""

from __future__ import annotations

import ast
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from time import perf_counter
from typing import Literal

from contracts import (
    ABOUT,
    COUNT_LINES,
    FIND_SYMBOL,
    GET_SOURCE,
    GREP,
    About,
    Lines,
    Match,
    Module,
    Pattern,
    Place,
    Source,
    Symbol,
)
from library import modules, read

from zpatterns import ReplyError, ReplyServer, Status, ZPatternsError

# The index is made at the start, by a regular expression: fast, and right except for text in strings. A syntax tree,
# which is always right, is made of the few files that a question is about.
DEFINITION = re.compile(r"^[ \t]*(?:async[ \t]+def|def|class)[ \t]+(\w+)", re.MULTILINE)

started = perf_counter()
texts = {name: read(path) for name, path in modules().items()}
index: dict[str, set[str]] = defaultdict(set)
definitions = 0
for module, text in texts.items():
    names = DEFINITION.findall(text)
    definitions += len(names)
    for name in names:
        index[name].add(module)
about = About(process=os.getpid(), files=len(texts), definitions=definitions, seconds=perf_counter() - started)

server = ReplyServer(sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5570", name="code")


def text_of(module: str) -> str:
    if module not in texts:
        raise ReplyError(Status.NOT_FOUND, f"no module {module!r}", details={"module": module})
    return texts[module]


@cache
def definitions_in(module: str) -> list[tuple[Place, int]]:
    """Each class and function, and its last line."""
    found: list[tuple[Place, int]] = []
    for node in ast.walk(ast.parse(text_of(module))):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            kind: Literal["class", "function"] = "class" if isinstance(node, ast.ClassDef) else "function"
            place = Place(module=module, name=node.name, line=node.lineno, kind=kind)
            found.append((place, node.end_lineno or node.lineno))
    return found


@server.reply(ABOUT, inline=True)
def tell() -> About:
    return about


@server.reply(FIND_SYMBOL)
def find_symbol(symbol: Symbol) -> list[Place]:
    places = [place for module in index.get(symbol.name, ()) for place, _ in definitions_in(module)]
    return sorted(
        (place for place in places if place.name == symbol.name), key=lambda place: (place.module, place.line)
    )


@server.reply(GET_SOURCE)
def get_source(wanted: Place) -> Source:
    for place, end in definitions_in(wanted.module):
        if place == wanted:
            return Source(text="\n".join(text_of(wanted.module).split("\n")[wanted.line - 1 : end]))
    raise ReplyError(Status.NOT_FOUND, f"no {wanted.kind} {wanted.name!r} there", details=wanted.model_dump())


@server.reply(COUNT_LINES)
def count_lines(module: Module) -> Lines:
    lines = text_of(module.name).split("\n")
    lines.pop()  # what follows the last newline
    return Lines(total=len(lines), blank=sum(not line.strip() for line in lines))


@server.stream(GREP)
def grep(pattern: Pattern) -> Iterator[Match]:
    for module, text in texts.items():
        if pattern.text in text:
            for number, line in enumerate(text.split("\n"), 1):
                if pattern.text in line:
                    yield Match(module=module, line=number, text=line)


if __name__ == "__main__":
    print(f"indexed {about.files} files, {definitions} definitions in {about.seconds:.2f} s", flush=True)
    try:
        server.run()
    except ZPatternsError as error:
        sys.exit(f"{type(error).__name__}: {error}")
