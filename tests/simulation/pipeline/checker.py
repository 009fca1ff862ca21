"""What must hold of every job, whatever the world did to its workers; and the invariants of both machines, at every step.

A job is known by its content: ``name`` at first, then ``name|stage:execution|...``, so a result tells what made it.
"""

from __future__ import annotations

from typing import Any

from tests.simulation.checker import Violation, must
from zpatterns.core.crew import Task
from zpatterns.core.ventilator import Ventilator
from zpatterns.core.worker import StageWorker
from zpatterns.errors import DeadLetter, JobFailed

__all__ = ["Checker", "Violation", "must", "watch"]


class Checker:
    """Told of everything callers and handlers see."""

    def __init__(self, deliveries: int, *, calm: bool) -> None:
        self.asked: dict[bytes, Task] = {}
        self.routes: dict[bytes, list[str]] = {}
        self.ended: set[bytes] = set()
        self.cancelled: set[bytes] = set()
        self.executions: dict[tuple[bytes, str], list[int]] = {}
        self.raised: set[bytes] = set()
        self.number = 0
        self.deliveries = deliveries
        self.calm = calm
        self.poison: bytes | None = None

    def start(self, name: bytes, task: Task, route: list[str]) -> None:
        self.asked[name] = task
        self.routes[name] = route

    def executed(self, content: bytes, stage: str, attempt: int) -> tuple[bytes, int]:
        """A handler starts. Returns the job's name and the number of this execution."""
        name, *made = content.split(b"|")
        must(name in self.asked, "a handler got what nobody asked:", content)
        route = self.routes[name]
        at = len(made)
        must(at < len(route) and route[at] == stage, "stage", stage, "got", content, "of", route)
        self._check_made(name, made)
        must(attempt <= self.deliveries, "delivered too often:", content, attempt)
        self.number += 1
        runs = self.executions.setdefault((name, stage), [])
        runs.append(self.number)
        if self.calm and self.poison is None:  # else it takes its neighbours with it
            must(len(runs) == 1, "executed twice in a world without faults:", content)
        return name, self.number

    def _check_made(self, name: bytes, made: list[bytes]) -> None:
        for step, (stage, part) in enumerate(zip(self.routes[name], made, strict=False)):
            by, _, number = part.partition(b":")
            must(by.decode() == stage, "made by another stage:", name, made, "step", step)
            must(int(number) in self.executions.get((name, stage), ()), "made by no execution:", name, made)

    def end(self, task: Task) -> None:
        """The caller is told."""
        name: bytes = task.application
        must(name not in self.ended, "ended twice:", name)
        must(name not in self.cancelled, "an event after its cancel:", name)
        must(task.done, "ended, and not done:", name)
        self.ended.add(name)
        failure = task.failure
        if failure is None:
            got, *made = bytes(task.payload).split(b"|")
            must(got == name, "another job's result:", got, "for", name)
            must(len(made) == len(self.routes[name]), "not through every stage:", name, made)
            self._check_made(name, made)
        elif isinstance(failure, DeadLetter):
            must(task.deliveries == self.deliveries, "a dead letter after", task.deliveries, "deliveries:", name)
            if self.calm:
                must(name == self.poison, "a dead letter, and it is not the poison:", name)
        elif isinstance(failure, JobFailed):
            must(name in self.raised, "an error nobody raised:", name, failure)
        else:
            raise Violation(f"not to be expected: {name!r} {failure!r}")

    @property
    def over(self) -> bool:
        """Whether every job that was asked has come to its end."""
        return len(self.ended) + len(self.cancelled) == len(self.asked)

    def finish(self) -> None:
        """Nothing happens any more."""
        for name in self.asked:
            must(name in self.ended or name in self.cancelled, "never ended:", name)


def watch(loop: Any) -> None:
    """Called after every turn of every loop."""
    machine = loop.machine
    if isinstance(machine, Ventilator):
        _ventilator(machine)
        if loop.world.now > loop.stalled_until + 1.0:
            _in_time(machine, loop.world.now)
    else:
        _worker(machine)


def _ventilator(machine: Ventilator) -> None:
    places = machine.places()
    must(len(places) == len(set(places)), "a task is in two places")
    must(set(places) == set(machine.tasks.values()), "a task is nowhere, or has ended and waits")
    incarnations = [worker.incarnation for worker in machine.workers.values()]
    must(len(incarnations) == len(set(incarnations)), "one worker is known twice")
    for worker in machine.workers.values():
        load = 0
        for line, held in worker.held.items():
            stuck = sum(stuck is line for stuck, _ in worker.stuck.values())
            must(len(held) + stuck <= worker.offers[line.name], "more than its credit:", len(held), stuck)
            load += len(held)
            for task in held.values():
                must(task.worker is worker, "held by somebody else")
        suspects = any(task.deliveries > 2 for held in worker.held.values() for task in held.values())
        must(not suspects or load == 1, "a suspect is not alone")
        line = worker.reserved
        must(line is None or (line.alone and line.reserved is worker), "a worker is kept free for nobody")


def _in_time(machine: Ventilator, now: float) -> None:
    for worker in machine.workers.values():
        for line, held in worker.held.items():
            for task in held.values():
                must(task.assigned_at + line.timeout + 1.0 > now, "it has had more than its time:", task.application)


def _worker(machine: StageWorker) -> None:
    running = dict.fromkeys(machine.stages.values(), 0)
    for job in machine.jobs:
        running[job.stage] += 1
        must(not job.done, "done, and it runs")
    for stage, count in running.items():
        must(count == stage.running <= stage.concurrency, "more run than may:", count, stage.running)
        must(len(stage.waiting) <= stage.concurrency, "more wait than may")
