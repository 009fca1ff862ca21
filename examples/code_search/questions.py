"""What the demo asks, and the answers it must get: computed here by other means than the server's (no ``ast`` here)."""

from __future__ import annotations

import inspect
import random
import symtable
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from contracts import COUNT_LINES, FIND_SYMBOL, GET_SOURCE, GREP, Lines, Match, Module, Pattern, Place, Source, Symbol
from library import modules, read

from zpatterns import Method, StreamMethod

WORDS = ("yield from", "os.urandom", "weakref.ref(", "TimeoutError", "nonlocal ", "struct.unpack(", "socketpair")

NAMELESS = ("lambda", "genexpr", "listcomp", "setcomp", "dictcomp")  # scopes without a def or class


@dataclass(frozen=True)
class Question:
    method: Method[Any, Any] | StreamMethod[Any, Any]
    body: Any
    expected: Any


def questions(count: int, seed: int) -> list[Question]:
    """``count`` questions in a random order, drawn from some hundred different ones; 1 in 25 is a streamed grep."""
    chance, files = random.Random(seed), modules()
    places: dict[str, list[Place]] = defaultdict(list)
    outer: list[Place] = []
    for module, path in files.items():
        for depth, place in scopes(module, symtable.symtable(read(path), str(path), "exec")):
            if place.name not in NAMELESS:
                places[place.name].append(place)
                if depth == 0:
                    outer.append(place)
    rare = [name for name, found in places.items() if len(found) <= 4]
    pools = [
        [
            Question(COUNT_LINES, Module(name=name), count_lines(files[name]))
            for name in chance.sample(sorted(files), 150)
        ],
        [Question(GET_SOURCE, place, source(files[place.module], place)) for place in chance.sample(outer, 200)],
        [
            Question(FIND_SYMBOL, Symbol(name=name), sorted(places[name], key=by_place))
            for name in chance.sample(rare, 100)
        ],
        [Question(GREP, Pattern(text=word), list(grep(word, files))) for word in WORDS],
    ]
    return [chance.choice(pool) for pool in chance.choices(pools, weights=[60, 26, 10, 4], k=count)]


def by_place(place: Place) -> tuple[str, int]:
    return place.module, place.line


def scopes(module: str, table: symtable.SymbolTable, depth: int = 0) -> Iterator[tuple[int, Place]]:
    """Classes and functions as the compiler's own table of names has them."""
    for scope in table.get_children():
        if scope.get_type() in ("class", "function"):
            kind: Literal["class", "function"] = "class" if scope.get_type() == "class" else "function"
            yield depth, Place(module=module, name=scope.get_name(), line=scope.get_lineno(), kind=kind)
        yield from scopes(module, scope, depth + 1)


def count_lines(path: Path) -> Lines:
    with path.open(encoding="utf-8", errors="replace") as file:
        stripped = [line.strip() for line in file]
    return Lines(total=len(stripped), blank=stripped.count(""))


def source(path: Path, place: Place) -> Source:
    """Token by token. ``inspect`` takes comments after the end for a part of it; a syntax tree does not."""
    lines = [line + "\n" for line in read(path).split("\n")]
    block = inspect.getblock(lines[place.line - 1 :])
    while not block[-1].strip() or block[-1].lstrip().startswith("#"):
        block.pop()
    return Source(text="".join(block).rstrip("\n"))


def grep(word: str, files: dict[str, Path]) -> Iterator[Match]:
    for module, path in files.items():
        with path.open(encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file, 1):
                if word in line:
                    yield Match(module=module, line=number, text=line.rstrip("\n"))
