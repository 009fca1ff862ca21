"""Answers questions about the indexed files until Ctrl-C.

``python server.py INDEX ENDPOINT`` is a server; ``python server.py INDEX BACKEND SERVICE`` a worker of a broker.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

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
from library import load, read
from processes import end_with_parent

from zpatterns import ReplyError, ReplyServer, Status, ZPatternsError

index, endpoint, *service = sys.argv[1:]
end_with_parent()
started = perf_counter()
texts: dict[str, str] = {}
places: dict[str, list[Place]] = defaultdict(list)
ends: dict[Place, int] = {}
for indexed in load(Path(index)):
    module = indexed.file.module
    texts[module] = read(indexed.file)
    for each in indexed.definitions:
        place = Place(module=module, name=each.name, line=each.line, kind=each.kind)
        places[each.name].append(place)
        ends[place] = each.end
about = About(files=len(texts), definitions=len(ends), seconds=perf_counter() - started)

server = ReplyServer(endpoint, name="code")


def text_of(module: str) -> str:
    if module not in texts:
        raise ReplyError(Status.NOT_FOUND, f"no module {module!r}", details={"module": module})
    return texts[module]


@server.reply(ABOUT)
def tell() -> About:
    return about


@server.reply(FIND_SYMBOL)
def find_symbol(symbol: Symbol) -> list[Place]:
    return sorted(places.get(symbol.name, ()), key=lambda place: (place.module, place.line))


@server.reply(GET_SOURCE)
def get_source(place: Place) -> Source:
    if place not in ends:
        raise ReplyError(Status.NOT_FOUND, f"no {place.kind} {place.name!r} there", details=place.model_dump())
    return Source(text="\n".join(text_of(place.module).split("\n")[place.line - 1 : ends[place]]))


@server.reply(COUNT_LINES)
def count_lines(module: Module) -> Lines:
    lines = text_of(module.name).split("\n")
    if not lines[-1]:
        lines.pop()  # what follows the last newline
    return Lines(total=len(lines), blank=sum(not line.strip() for line in lines))


@server.stream(GREP)
def grep(pattern: Pattern) -> Iterator[Match]:
    for module, text in texts.items():
        if module.partition(".")[0] == pattern.package and pattern.text in text:
            for number, line in enumerate(text.split("\n"), 1):
                if pattern.text in line:
                    yield Match(module=module, line=number, text=line)


if __name__ == "__main__":
    try:
        if service:
            worker = ReplyServer.worker(endpoint, name=service[0])
            worker.include(server)
            worker.run()
        else:
            server.run()
    except ZPatternsError as error:
        sys.exit(f"{type(error).__name__}: {error}")
