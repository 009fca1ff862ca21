"""The table at the end: every figure is a count of build.py or ledger.py."""

from __future__ import annotations

from build import Build
from ledger import Ledger
from screen import Row, Screen, spaced


def show(build: Build, ledger: Ledger, screen: Screen, *, interrupted: bool) -> bool:
    """Print it; whether all is as it should be."""
    hung, wrong, untyped = len(ledger.hung), (build.wrong or 0) + len(ledger.wrong), len(ledger.untyped)
    lost = 0 if interrupted else build.lost + len(ledger.lost)
    good = not (lost or hung or wrong or untyped)
    if not interrupted:
        verdict = f"{lost} lost, {hung} hung, {wrong} wrong"
        good = good and ledger.complete and build.wrong is not None
    elif ledger.calls:
        verdict = f"interrupted with {ledger.open} calls under way; {hung} hung, {wrong} wrong"
    else:
        verdict = f"interrupted before the calls began; {wrong} wrong"
    if untyped:
        verdict += f", {untyped} failed without a typed error"
    screen.table([*rows_of_build(build), *(rows_of_calls(ledger) if ledger.calls else [])], verdict, good=good)
    return good


def rows_of_build(build: Build) -> list[Row]:
    compared = "not compared yet" if build.wrong is None else "each compared with the compiler's own table"
    return [
        ("files indexed", spaced(len(build.index)), f"by {len(build.heard)} workers, {build.killed} of them killed"),
        ("redelivered", spaced(build.redelivered), "jobs were given to another worker"),
        ("progress", spaced(build.heard.total()), f"messages heard, {build.missed} missed"),
        ("definitions", spaced(build.definitions), compared),
    ]


def rows_of_calls(ledger: Ledger) -> list[Row]:
    times = ledger.latencies or [0.0]
    return [
        ("", "", ""),
        ("calls", spaced(len(ledger.calls)), "" if ledger.complete else f"of {spaced(ledger.planned)}"),
        ("answered", spaced(sum(call.right for call in ledger.ended)), "each compared with its own computation"),
        ("sent again", spaced(ledger.retried + ledger.reopened), f"{ledger.reopened} of them streams, opened again"),
        ("by a broker", spaced(ledger.brokered), f"of them; {ledger.handed_on} went from a lost worker to another one"),
        ("timed out", spaced(ledger.timed_out), ""),
        ("failed", spaced(ledger.failed.total()), ", ".join(f"{n} {name}" for name, n in ledger.failed.items())),
        ("latency", ms(times, 0.5), f"half of them; 99 of 100 within {ms(times, 0.99)}"),
        ("longest", f"{times[-1]:.2f} s", ""),
    ]


def ms(times: list[float], share: float) -> str:
    return f"{1000 * times[int(len(times) * share)]:.0f} ms"
