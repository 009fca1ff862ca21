"""The files the service is about: this Python's own standard library, without its tests."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "lib2to3", "__pycache__"}


def modules() -> dict[str, Path]:
    """Every module by its dotted name."""
    root = Path(sysconfig.get_path("stdlib"))
    found: dict[str, Path] = {}
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name.isidentifier() and name not in LEFT_OUT)
        for file in sorted(files):
            if file.endswith(".py"):
                path = Path(folder, file)
                parts = path.relative_to(root).with_suffix("").parts
                found[".".join(parts if parts[-1] != "__init__" or len(parts) == 1 else parts[:-1])] = path
    return found


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
