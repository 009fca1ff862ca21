"""What the demo asks, and the answers it must get: computed here by other means than the workers' and the server's."""

from __future__ import annotations

import inspect
import io
import random
import re
import symtable
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from contracts import (
    COUNT_LINES,
    FIND_SYMBOL,
    GET_SOURCE,
    GREP,
    File,
    Indexed,
    Kind,
    Lines,
    Match,
    Module,
    Pattern,
    Place,
    Source,
    Symbol,
)
from library import read

from zpatterns import Method, StreamMethod

WORDS = ("yield from", "os.urandom", "weakref.ref(", "TimeoutError", "nonlocal ", "struct.unpack(", "socketpair")


@dataclass(frozen=True)
class Question:
    method: Method[Any, Any] | StreamMethod[Any, Any]
    body: Any
    expected: Any


class Truth:
    """The classes and functions of every file as the compiler's own table of names has them: no syntax tree here."""

    def __init__(self, files: list[File], progress: Callable[[int], None]) -> None:
        self.texts: dict[str, str] = {}
        self.places: dict[str, list[Place]] = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the compiler thinks of other people's code
            for file in files:
                text = self.texts[file.module] = read(file)
                table = symtable.symtable(text, file.path, "exec")
                self.places[file.module] = list(scopes(file.module, table))
                progress(len(self.texts))

    def wrong(self, index: list[Indexed]) -> int:
        """How many files have another index than here."""
        return sum(
            Counter(self.places[indexed.file.module])
            != Counter(
                Place(module=indexed.file.module, name=each.name, line=each.line, kind=each.kind)
                for each in indexed.definitions
            )
            for indexed in index
        )


def scopes(module: str, table: symtable.SymbolTable) -> Iterator[Place]:
    for scope in table.get_children():
        nameless = scope.get_name() == "lambda" or ".0" in scope.get_identifiers()  # .0: what a comprehension is over
        if scope.get_type() in ("class", "function") and not nameless:
            kind: Kind = "class" if scope.get_type() == "class" else "function"
            yield Place(module=module, name=scope.get_name(), line=scope.get_lineno(), kind=kind)
        yield from scopes(module, scope)


def questions(count: int, seed: int, truth: Truth) -> list[Question]:
    """``count`` questions in a random order, drawn from some hundred different ones; 1 in 25 is a streamed grep."""
    chance, texts = random.Random(seed), truth.texts
    every = [place for places in truth.places.values() for place in places]
    named: dict[str, list[Place]] = defaultdict(list)
    for place in every:
        named[place.name].append(place)
    rare = [name for name, places in named.items() if len(places) <= 4]
    packages = Counter(map(package_of, texts)).most_common(15)
    patterns = [Pattern(text=word, package=package) for package, _ in packages for word in WORDS]

    def some(of: list[Any], number: int) -> list[Any]:
        return chance.sample(of, min(number, len(of)))

    pools = [
        [Question(COUNT_LINES, Module(name=name), count_lines(texts[name])) for name in some(sorted(texts), 150)],
        [Question(GET_SOURCE, place, source(texts[place.module], place)) for place in some(every, 200)],
        [
            Question(FIND_SYMBOL, Symbol(name=name), sorted(named[name], key=lambda place: (place.module, place.line)))
            for name in some(rare, 100)
        ],
        [Question(GREP, each, list(grep(each, texts))) for each in some(patterns, 40)],
    ]
    return [chance.choice(pool) for pool in chance.choices(pools, weights=[60, 26, 10, 4], k=count)]


def count_lines(text: str) -> Lines:
    stripped = [line.strip() for line in io.StringIO(text)]
    return Lines(total=len(stripped), blank=stripped.count(""))


def source(text: str, place: Place) -> Source:
    """Token by token. ``inspect`` takes comments after the end for a part of it; a syntax tree does not."""
    lines = [line + "\n" for line in text.split("\n")]
    block = inspect.getblock(lines[place.line - 1 :])
    while not block[-1].strip() or block[-1].lstrip().startswith("#"):
        block.pop()
    return Source(text="".join(block).rstrip("\n"))


def grep(pattern: Pattern, texts: dict[str, str]) -> Iterator[Match]:
    line = re.compile(f".*{re.escape(pattern.text)}.*")
    for module, text in texts.items():
        if package_of(module) == pattern.package and pattern.text in text:
            for match in line.finditer(text):
                yield Match(module=module, line=text.count("\n", 0, match.start()) + 1, text=match[0])


def package_of(module: str) -> str:
    return re.split(r"\.", module)[0]
