"""How far a ``map`` is: rich's progress bar where rich is installed (extra ``[progress]``), plain lines where it is not."""

from __future__ import annotations

import sys
from time import monotonic
from typing import Any

_BAR_INTERVAL = 0.1
_LINE_INTERVAL = 2.0


class Progress:
    """``total`` is 0 where it is not known. Everything goes to stderr, so that a program's output stays its own."""

    def __init__(self, title: str, total: int) -> None:
        self._title = title
        self._total = total
        self._ended = 0
        self._failed = 0
        self._began = monotonic()
        self._next = self._began
        self._bar: Any = None
        self._row: Any = None
        try:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress as Bar, TextColumn, TimeRemainingColumn
        except ImportError:
            self._next += _LINE_INTERVAL
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Bar(*columns, TextColumn("{task.fields[state]}"), console=Console(stderr=True))
        self._row = self._bar.add_task(title, total=total or None, state="")
        self._bar.start()

    def one(self, *, failed: bool) -> None:
        """One more job has ended."""
        self._ended += 1
        self._failed += failed

    def look(self, under_way: int, workers: int) -> None:
        """Show it, if it is time to."""
        now = monotonic()
        if now >= self._next:
            self._next = now + (_BAR_INTERVAL if self._bar is not None else _LINE_INTERVAL)
            self._show(under_way, workers)

    def close(self, under_way: int, workers: int) -> None:
        """Show the end of it."""
        self._show(under_way, workers)
        if self._bar is not None:
            self._bar.stop()

    def _show(self, under_way: int, workers: int) -> None:
        rate = self._ended / max(monotonic() - self._began, 1e-9)
        state = f"{rate:.1f}/s, {under_way} under way, {workers} worker{'s' * (workers != 1)}"
        if self._failed:
            state += f", {self._failed} failed"
        if self._bar is not None:
            self._bar.update(self._row, completed=self._ended, state=state)
        else:
            of = f" of {self._total}" if self._total else ""
            print(f"{self._title}: {self._ended}{of} done, {state}", file=sys.stderr, flush=True)  # noqa: T201
