"""From samples to the two tables: what was measured, and what that says about each scenario."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from .rounds import Failed, Sample
from .scenarios import Run, Scenario

Results = dict[Run, list[Sample]]


def cpu(sample: Sample) -> float:
    """CPU microseconds of one call, all processes."""
    return sample["client_us"] + sample["server_us"]


def figure(scenario: Scenario, results: Results) -> float | None:
    """The ratio of the medians, or the difference of CPU per call; None if a side has no sample."""
    ours, rival = results[scenario.ours], results[scenario.rival]
    if not ours or not rival:
        return None
    if scenario.unit == "us":
        return median(map(cpu, ours)) - median(map(cpu, rival))
    return median(sample["rate"] for sample in ours) / median(sample["rate"] for sample in rival)


def by_round(scenario: Scenario, results: Results) -> list[float]:
    """The same figure of each round by itself: how far one run of this machine can be from another."""
    pairs = zip(results[scenario.ours], results[scenario.rival], strict=False)
    if scenario.unit == "us":
        return [cpu(ours) - cpu(rival) for ours, rival in pairs]
    return [ours["rate"] / rival["rate"] for ours, rival in pairs]


def verdict(scenario: Scenario, value: float | None) -> str:
    if value is None:
        return "failed"
    better = (lambda limit: value <= limit) if scenario.unit == "us" else (lambda limit: value >= limit)
    if better(scenario.goal):
        return "met goal"
    return "met bar" if better(scenario.bar) else "below bar"


def measured(results: Results) -> list[str]:
    """A line for each run: rates, and CPU of both ends per call."""
    rows = [["way", "setting", "calls/s", "min - max", "CPU us/call", "client", "server", "rounds"]]
    for run, samples in results.items():
        if not samples:
            rows.append([run.label, run.setting, "failed", "", "", "", "", "0"])
            continue
        rates = [sample["rate"] for sample in samples]
        rows.append(
            [
                run.label,
                run.setting,
                f"{median(rates):,.0f}",
                f"{min(rates):,.0f} - {max(rates):,.0f}",
                f"{median(map(cpu, samples)):.1f}",
                f"{median(sample['client_us'] for sample in samples):.1f}",
                f"{median(sample['server_us'] for sample in samples):.1f}",
                str(len(samples)),
            ]
        )
    return table(rows, left=2)


def judged(scenarios: Sequence[Scenario], results: Results) -> list[str]:
    """A line for each scenario: what was asked, the figure, and what became of it."""
    rows = [["name", "scenario", "against", "bar", "goal", "figure", "min - max", "by CPU", "verdict"]]
    for scenario in scenarios:
        value = figure(scenario, results)
        show = (lambda x: f"{x:.1f} us") if scenario.unit == "us" else (lambda x: f"{x:.2f}x")
        rounds = by_round(scenario, results)
        by_cpu = ""
        if value is not None and scenario.unit == "x":
            theirs, ours = (median(map(cpu, results[run])) for run in (scenario.rival, scenario.ours))
            by_cpu = f"{theirs / ours:.2f}x"
        rows.append(
            [
                scenario.name,
                scenario.title,
                scenario.against,
                f"{scenario.bar:g} us" if scenario.unit == "us" else f"{scenario.bar:g}x",
                f"{scenario.goal:g} us" if scenario.unit == "us" else f"{scenario.goal:g}x",
                show(value) if value is not None else "-",
                f"{show(min(rounds))} - {show(max(rounds))}" if rounds else "",
                by_cpu,
                verdict(scenario, value),
            ]
        )
    return table(rows, left=3)


def table(rows: Sequence[Sequence[str]], *, left: int) -> list[str]:
    """Markdown that lines up in a terminal too; the first ``left`` columns are text, the rest figures."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(f"| {' | '.join(cells)} |")
    rule = ["-" * width if column < left else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    return [lines[0], f"| {' | '.join(rule)} |", *lines[1:]]


def as_json(scenarios: Sequence[Scenario], results: Results, failures: Sequence[tuple[Run, Failed]]) -> dict[str, Any]:
    """Everything, for a program to read: each sample of each round, and the figures made of them."""
    return {
        "scenarios": [
            {
                "name": scenario.name,
                "bar": scenario.bar,
                "goal": scenario.goal,
                "unit": scenario.unit,
                "figure": figure(scenario, results),
                "by_round": by_round(scenario, results),
                "verdict": verdict(scenario, figure(scenario, results)),
                "ours": [asdict(scenario.ours), results[scenario.ours]],
                "rival": [asdict(scenario.rival), results[scenario.rival]],
            }
            for scenario in scenarios
        ],
        "failures": [[run.label, run.setting, str(failure)] for run, failure in failures],
    }
