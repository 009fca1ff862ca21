"""What the demo shows: a progress bar on a terminal, a line a second elsewhere, and the table at the end."""

from __future__ import annotations

import os
import shutil
import sys
from time import perf_counter

from ledger import Ledger


def spaced(value: int) -> str:
    return f"{value:,}".replace(",", " ")


class Screen:
    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self.colours = self.terminal and not os.environ.get("NO_COLOR")
        self.started = self.drawn = perf_counter()

    def title(self, calls: int, threads: int, tasks: int, kills: int) -> None:
        self.say(
            f"{spaced(calls)} calls to a code-search server, from {threads} threads and {tasks} asyncio tasks at once."
        )
        self.say(f"The server will be killed {kills} times while it works. Every answer is checked.\n")

    def event(self, text: str, *, bad: bool = False) -> None:
        self.say(f"{perf_counter() - self.started:6.2f} s  {self.paint(text, '31') if bad else text}")

    def progress(self, ended: int, calls: int, open_: int) -> None:
        now = perf_counter()
        if self.quiet or now < self.drawn + (0.1 if self.terminal else 1.0):
            return
        self.drawn = now
        counts = f"{spaced(ended)} of {spaced(calls)} calls ended, {open_} under way"
        if not self.terminal:
            self.say(f"{now - self.started:6.2f} s  {counts}")
            return
        width = max(10, min(40, shutil.get_terminal_size().columns - len(counts) - 14))
        done = width * ended // calls
        print(f"\r\x1b[K{'':10}{self.paint('#' * done, '32')}{'-' * (width - done)}  {counts}", end="", flush=True)

    def failure(self, text: str) -> None:
        print(self.paint(text, "31"), file=sys.stderr)

    def table(self, ledger: Ledger, calls: int, retried: int, *, interrupted: bool) -> None:
        times = ledger.latencies or [0.0]
        failed = ", ".join(f"{count} {name}" for name, count in ledger.failed.items())
        rows = [
            ("started", spaced(len(ledger.calls)), "" if len(ledger.calls) == calls else f"of {spaced(calls)}"),
            (
                "answered",
                spaced(sum(call.right for call in ledger.ended)),
                "and each compared with its own computation",
            ),
            (
                "sent again",
                spaced(retried + ledger.reopened),
                f"{ledger.reopened} of them streams, opened again",
            ),
            ("timed out", spaced(ledger.timed_out), ""),
            ("failed", spaced(sum(ledger.failed.values())), failed),
            (
                "latency",
                f"{1000 * times[len(times) // 2]:.0f} ms",
                f"half of them; 99 of 100 within {1000 * times[int(len(times) * 0.99)]:.0f} ms",
            ),
            ("longest", f"{times[-1]:.2f} s", ""),
        ]
        self.clear()
        print()
        for name, value, remark in rows:
            print(f"  {name:<12}{value:>9}  {remark}".rstrip())
        verdict = f"{len(ledger.lost)} lost, {len(ledger.hung)} hung, {len(ledger.wrong)} wrong"
        if ledger.untyped:
            verdict += f", {len(ledger.untyped)} failed without a typed error"
        if interrupted:
            verdict = (
                f"interrupted with {ledger.open} calls under way; {len(ledger.hung)} hung, {len(ledger.wrong)} wrong"
            )
        print("\n  " + self.paint(verdict, "32" if ledger.good else "31"), flush=True)

    # -- inside -------------------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        if not self.quiet:
            self.clear()
            print(text, flush=True)

    def clear(self) -> None:
        if self.terminal and not self.quiet:
            print("\r\x1b[K", end="")

    def paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self.colours and text else text
