"""What ``import zpatterns`` brings along: a worker that is started again should be there soon."""

from __future__ import annotations

import subprocess
import sys

OTHERS = ["asyncio", "numpy", "msgspec", "rich", "uvloop", "pytest"]


def test_the_blocking_world_imports_neither_asyncio_nor_extras() -> None:
    program = f"import sys, zpatterns; print(*[name for name in {OTHERS} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.split() == []
