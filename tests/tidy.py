"""The checks behind test_tidy.py: each takes source text and returns what is wrong, in words; nothing here is imported by the library.

The rooms and their order are DESIGN's "dependency rule": a room knows itself and the rooms before it, nothing else.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

PACKAGE = "zpatterns"
ROOT = Path(__file__).resolve().parent.parent

# A room may import from itself and from rooms earlier in this list. INDEX is zpatterns/__init__.py: the blocking world's names.
INDEX = "(index)"
BEFORE_DRIVE = ("errors", "policy", "endpoint", "codec", "contract", "envelope", "wire", "core")
ROOMS = (*BEFORE_DRIVE, "drive", "_shell", "sync", "asyncio", INDEX, "testing", "cli")
STRANGERS = {("asyncio", "sync"), (INDEX, "asyncio")}  # (who, whom): the worlds are neighbours that never meet

# Sockets, clocks, threads and chance are handed to these rooms as frames, instants, callables and numbers.
IMPURE = {
    *("zmq", "asyncio", "threading", "time", "random", "socket", "queue", "os", "select"),
    *("_thread", "concurrent", "multiprocessing", "secrets", "selectors", "signal", "ssl", "subprocess", "uuid"),
}
DANGEROUS_MODULES = {
    "pickle",
    "_pickle",
    "cPickle",
    "cloudpickle",
    "dill",
    "marshal",
    "shelve",
    "importlib",
    "imp",
    "runpy",
}
DANGEROUS_NAMES = {"eval", "exec", "compile", "__import__"}
DANGEROUS_ATTRIBUTES = {"recv_pyobj", "send_pyobj", "__import__", "import_module", "eval", "exec"}

MAX_LINES = 400


class Import(NamedTuple):
    """One imported module by its full dotted name, and the line that asks for it."""

    module: str
    line: int


def module_name(path: Path) -> str:
    """``zpatterns/wire/message.py`` -> ``zpatterns.wire.message``; a package's ``__init__.py`` has the package's name."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """The room a module of the library belongs to: its first name below the package."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else INDEX


def imports(source: str, path: Path) -> list[Import]:
    """Every import that can run, also inside functions; those under ``if TYPE_CHECKING`` cannot and are left out.

    ``from .. import errors`` names ``zpatterns.errors``: what stands after ``import`` counts where it may be a room.
    """
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package.pop()
    found = []
    for node in _running(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = [*base, *(node.module.split(".") if node.module else [])]
            if base == [PACKAGE]:
                found += [Import(_below_index(alias.name), node.lineno) for alias in node.names]
            else:
                found.append(Import(".".join(base), node.lineno))
    return found


def _below_index(name: str) -> str:
    return f"{PACKAGE}.{name}" if name in ROOMS else PACKAGE


def _running(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    if isinstance(node, ast.If) and _is_type_checking(node.test):
        children: list[ast.AST] = [*node.orelse]
    else:
        children = [*ast.iter_child_nodes(node)]
    for child in children:
        yield from _running(child)


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def check_rooms(source: str, path: Path) -> list[str]:
    """The dependency rule: only earlier rooms, no clock or socket before drive, zmq in drive alone."""
    room = room_of(module_name(path))
    if room not in ROOMS:
        return [f"{path}: {room} is no room of the design; tests/tidy.py lists them"]
    wrong = []
    for module, line in imports(source, path):
        top = module.split(".")[0]
        where = f"{path}:{line}"
        if top == PACKAGE:
            other = room_of(module)
            if other not in ROOMS:
                wrong.append(f"{where}: imports {module}, which is in no room")
            elif other != room and (ROOMS.index(other) > ROOMS.index(room) or (room, other) in STRANGERS):
                wrong.append(f"{where}: room {room} must not know {other} ({module})")
        elif top == "zmq" and room != "drive":
            wrong.append(f"{where}: only drive imports zmq")
        elif room in BEFORE_DRIVE and top in IMPURE:
            wrong.append(f"{where}: rooms before drive have no {top}; let the caller hand it in")
    return wrong


def check_safe(source: str, path: Path) -> list[str]:
    """Nothing that could turn bytes into code: no pickle, marshal, eval, exec, import by name, recv_pyobj."""
    wrong = []
    for node in ast.walk(ast.parse(source)):
        found: list[str] = []
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names if alias.name.split(".")[0] in DANGEROUS_MODULES]
        elif isinstance(node, ast.ImportFrom):
            if not node.level and node.module and node.module.split(".")[0] in DANGEROUS_MODULES:
                found = [node.module]
            found += [alias.name for alias in node.names if alias.name in DANGEROUS_NAMES | DANGEROUS_ATTRIBUTES]
        elif isinstance(node, ast.Name) and node.id in DANGEROUS_NAMES:
            found = [node.id]
        elif isinstance(node, ast.Attribute) and node.attr in DANGEROUS_ATTRIBUTES:
            found = [node.attr]
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            if not (isinstance(node.value, ast.Constant) and node.value.value is False):
                found = ["allow_pickle"]
        wrong += [f"{path}:{getattr(node, 'lineno', '?')}: {name} has no place in this library" for name in found]
    return wrong


def check_size(source: str, path: Path, limit: int = MAX_LINES) -> list[str]:
    """One file, one idea: past the limit there are two in it."""
    lines = len(source.splitlines())
    return [f"{path}: {lines} lines, more than {limit}; which two ideas are in it?"] if lines > limit else []


def check_docstring(source: str, path: Path) -> list[str]:
    """A file says on top what it is for and what it may know."""
    return (
        [] if (ast.get_docstring(ast.parse(source)) or "").strip() else [f"{path}: says nowhere on top what it is for"]
    )


# One vocabulary, two worlds -------------------------------------------------------------------------------------------

PATTERNS = ("request", "reply", "broker", "publish", "subscribe", "pipeline", "worker", "push", "pair", "proxy")
TWINS = {"__aenter__": "__enter__", "__aexit__": "__exit__", "__aiter__": "__iter__", "__anext__": "__next__"}
# What one world has alone, and why: class -> names. An entry that is no longer needed is reported too.
ONLY_BLOCKING: dict[str, set[str]] = {
    "RequestClient": {"submit"},  # awaiting tasks do not need a future
}
ONLY_ASYNCIO: dict[str, set[str]] = {
    "Broker": {"serve"},
    "ReplyServer": {"serve"},  # run() for a loop that is already running
    "PipelineWorker": {"serve"},  # the same
    "Proxy": {"serve"},  # the same
    "Subscriber": {"serve"},  # the same
}


def pattern_classes(world: ModuleType, room: str) -> dict[str, type]:
    """The classes of a world's ``__all__`` that its pattern files define: RequestClient, ReplyServer, ..."""
    homes = tuple(f"{PACKAGE}.{room}.{pattern}" for pattern in PATTERNS)
    exported = {name: getattr(world, name) for name in world.__all__}
    return {name: cls for name, cls in exported.items() if isinstance(cls, type) and cls.__module__ in homes}


def compare_worlds(blocking: dict[str, type], awaiting: dict[str, type]) -> list[str]:
    """The same class names, the same public methods, the same parameters; what differs must be listed above."""
    wrong = [f"{name} is in one world only" for name in sorted(blocking.keys() ^ awaiting.keys())]
    for name in sorted(blocking.keys() & awaiting.keys()):
        wrong += compare_classes(blocking[name], awaiting[name])
    return wrong


def compare_classes(blocking: type, awaiting: type) -> list[str]:
    """Differences between the two twins of one class, each in a sentence."""
    name = blocking.__name__
    ours, theirs = _public(blocking), _public(awaiting)
    sides = [
        ("blocking", ours.keys() - theirs.keys(), ONLY_BLOCKING.get(name, set())),
        ("asyncio", theirs.keys() - ours.keys(), ONLY_ASYNCIO.get(name, set())),
    ]
    wrong = []
    for world, alone, listed in sides:
        wrong += [f"{name}.{member} is in the {world} world only" for member in sorted(alone - listed)]
        wrong += [f"{name}.{member} is no longer {world} only" for member in sorted(listed - alone)]
    for member in sorted(ours.keys() & theirs.keys()):
        if ours[member] != theirs[member]:
            wrong.append(f"{name}.{member}: blocking ({ours[member]}), asyncio ({theirs[member]})")
    return wrong


def _public(cls: type) -> dict[str, str]:
    members = {}
    for name in dir(cls):
        twin = TWINS.get(name, name)
        if (name.startswith("_") and twin not in {*TWINS.values(), "__init__", "__new__"}) or _is_inherited_magic(
            cls, name
        ):
            continue
        member = inspect.getattr_static(cls, name)
        members[twin] = _parameters(getattr(cls, name)) if not isinstance(member, property) else "property"
    return members


def _is_inherited_magic(cls: type, name: str) -> bool:
    return getattr(cls, name) is getattr(object, name, None)


def _parameters(member: Any) -> str:
    if not callable(member):
        return "attribute"
    return ", ".join(
        {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        + p.name
        + ("" if p.default is p.empty else f"={p.default!r}")
        + {p.POSITIONAL_ONLY: " /", p.KEYWORD_ONLY: " (keyword)"}.get(p.kind, "")
        for p in inspect.signature(member).parameters.values()
    )
