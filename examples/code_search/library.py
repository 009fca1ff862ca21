"""The files that all is about: this Python's own standard library, with its tests where they are installed."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

from contracts import File, Indexed
from pydantic import TypeAdapter

LEFT_OUT = {
    "site-packages", "dist-packages", "__pycache__",
    "data", "test_future_stmt", "tokenizedata",  # tests with files that no Python accepts
}  # fmt: skip


def files(at_most: int) -> list[File]:
    """One for each module, in order; if there are too many, as many of them, from all over."""
    root = Path(sysconfig.get_path("stdlib"))
    found: dict[str, File] = {}
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name.isidentifier() and name not in LEFT_OUT)
        for name in sorted(names):
            if name.endswith(".py"):
                path = Path(folder, name)
                parts = path.relative_to(root).with_suffix("").parts
                module = ".".join(parts if parts[-1] != "__init__" or len(parts) == 1 else parts[:-1])
                found[module] = File(module=module, path=str(path))
    every, count = [found[module] for module in sorted(found)], min(at_most, len(found))
    return [every[n * len(every) // count] for n in range(count)]


def read(file: File) -> str:
    return Path(file.path).read_text(encoding="utf-8", errors="replace")


INDEX = TypeAdapter(list[Indexed])


def save(index: list[Indexed], path: Path) -> None:
    """In the order of ``files``."""
    path.write_bytes(INDEX.dump_json(sorted(index, key=lambda indexed: indexed.file.module)))


def load(path: Path) -> list[Indexed]:
    return INDEX.validate_json(path.read_bytes())
