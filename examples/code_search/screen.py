"""What the demo shows: a progress bar on a terminal, a line a second elsewhere, and the table at the end."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from time import perf_counter

Row = tuple[str, str, str]
"""Of the table: name, value, remark."""


def spaced(value: int) -> str:
    return f"{value:,}".replace(",", " ")


class Screen:
    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self.colours = self.terminal and not os.environ.get("NO_COLOR")
        self.started = self.drawn = perf_counter()
        self.drawing = threading.Lock()

    def title(self, text: str) -> None:
        self.say(text + "\n")

    def event(self, text: str, *, bad: bool = False) -> None:
        self.say(f"{perf_counter() - self.started:6.2f} s  {self.paint(text, '31') if bad else text}")

    def progress(self, done: int, total: int, text: str) -> None:
        now = perf_counter()
        if self.quiet or now < self.drawn + (0.1 if self.terminal else 1.0):
            return
        self.drawn = now
        counts = f"{spaced(done)} of {spaced(total)} {text}"
        if not self.terminal:
            self.say(f"{now - self.started:6.2f} s  {counts}")
            return
        width = max(10, min(40, shutil.get_terminal_size().columns - len(counts) - 14))
        full = width * done // total
        bar = self.paint("#" * full, "32") + "-" * (width - full)
        with self.drawing:
            print(f"\r\x1b[K{'':10}{bar}  {counts}", end="", flush=True)

    def failure(self, text: str) -> None:
        print(self.paint(text, "31"), file=sys.stderr)

    def table(self, rows: list[Row], verdict: str, *, good: bool) -> None:
        self.clear()
        print()
        for row in rows:
            print(f"  {row[0]:<14}{row[1]:>8}  {row[2]}".rstrip())
        print("\n  " + self.paint(verdict, "32" if good else "31"), flush=True)

    # -- inside -------------------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        if not self.quiet:
            with self.drawing:
                self.clear()
                print(text, flush=True)

    def clear(self) -> None:
        if self.terminal and not self.quiet:
            print("\r\x1b[K", end="")

    def paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self.colours and text else text
