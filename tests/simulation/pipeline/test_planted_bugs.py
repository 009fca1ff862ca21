"""A checker that has never failed proves nothing: each of these bugs, planted, must be found within 500 seeds.

``python -m tests.simulation.pipeline.test_planted_bugs`` prints how many seeds each of them took, and what gave it away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest

from zpatterns.core import crew, ventilator
from zpatterns.core.handing import Handing
from zpatterns.core.ventilator import Ventilator
from zpatterns.core.worker import StageWorker
from zpatterns.wire import jobs as j

from . import world

SEEDS = 500

Bug = tuple[object, str, Callable[[Any], Any]]
"""Where, which name, and from the true function to the wrong one."""


def lost_jobs_are_forgotten(true):
    return lambda self, task: None if task.deliveries == 1 else true(self, task)


def results_are_taken_twice(true):
    def results(self, *message):
        before = dict(self.tasks)
        true(self, *message)
        for job_id, task in before.items():
            if task.done:
                self.tasks[job_id] = task

    return results


def the_id_stays_the_same(true):
    def enter(self, task):
        job_id, counter = task.id, self._next_id
        if job_id:
            self._next_id = job_id
        true(self, task)
        if job_id:
            self._next_id = counter

    return enter


def full_counts_as_delivered(true):
    return lambda self, token, outcome, now: None


def too_many_deliveries(true):
    def again(self, task):
        task.deliveries -= task.deliveries == self._limits.deliveries and task.id % 2
        true(self, task)

    return again


def dead_letters_too_early(true):
    def again(self, task):
        kept = self._limits
        self._limits = world.Limits(deliveries=max(1, kept.deliveries - 1))
        true(self, task)
        self._limits = kept

    return again


def stuck_places_count_as_free(true):
    def free(self, line):
        stuck, self.stuck = self.stuck, {}
        try:
            return true(self, line)
        finally:
            self.stuck = stuck

    return free


def suspects_are_not_alone(true):
    def give_alone(self, line, now):
        line.again.extend(line.alone)
        line.alone.clear()
        return False

    return give_alone


def suspects_join_others(true):
    return lambda self, line: self.offers[line.name] - len(self.held[line]) if self.alone else true(self, line)


def a_worker_is_kept_free_for_ever(true):
    return lambda self: None


def a_cancelled_task_gets_an_event(true):
    def cancel(self, tasks):
        true(self, tasks)
        self.events.extend(tasks)

    return cancel


def a_worker_may_be_known_twice(true):
    def ready(self, routing_id, command, now):
        found = [each for each in self.workers.values() if each.incarnation == command.incarnation]
        for each in found:
            each.incarnation = b""
        true(self, routing_id, command, now)
        for each in found:
            each.incarnation = command.incarnation

    return ready


def expired_jobs_stay(true):
    return lambda self, *looked_at: None


def returned_jobs_are_lost(true):
    def returned(self, worker, command, payload):
        for job_id in j.decode_ids(command.count, payload):
            task = self.tasks.get(job_id)
            if task is not None and task.worker is worker and worker is not None:
                task.release(worker)

    return returned


def a_worker_greets_once(true):
    def greet(self):
        greeted = self.statistics.connections > 0
        true(self)
        self._greeted = greeted

    return greet


def results_that_were_not_taken_are_dropped(true):
    def sent(self, token, outcome, now):
        greeted = bytes(token[0]) != bytes(self._greeting)
        self._blocked = True
        self._greeted = self._greeted and greeted

    return sent


def more_run_than_may(true):
    def dispatch(self, now):
        for stage in self.stages.values():
            stage.concurrency += 1
        true(self, now)
        for stage in self.stages.values():
            stage.concurrency -= 1

    return dispatch


def a_result_is_said_twice(true):
    def reply(self, job, codec, payload, buffers=()):
        true(self, job, codec, payload, buffers)
        job.stage.ids.append(job.id)
        job.stage.payloads.append(bytes(payload))

    return reply


def results_change_places(true):
    def split(self):
        return list(true(self))[::-1]

    return split


def a_bundle_is_not_taken_from_its_worker(true):
    def end_together(known, worker, ids):
        held = {} if worker is None else {line: dict(tasks) for line, tasks in worker.held.items()}
        tasks = true(known, worker, ids)
        if tasks is not None:
            for line, before in held.items():
                worker.held[line].update(before)
        return tasks

    return end_together


BUGS: dict[str, Bug] = {
    "jobs of a lost worker are forgotten": (Ventilator, "_again", lost_jobs_are_forgotten),
    "a result is taken twice": (Ventilator, "_results", results_are_taken_twice),
    "a job keeps its id from stage to stage": (Ventilator, "_enter", the_id_stays_the_same),
    "FULL counts as delivered": (Ventilator, "sent", full_counts_as_delivered),
    "one delivery too many": (Ventilator, "_again", too_many_deliveries),
    "a dead letter too early": (Ventilator, "_again", dead_letters_too_early),
    "places that are stuck count as free": (crew.Worker, "free", stuck_places_count_as_free),
    "suspects are not alone": (Handing, "_give_alone", suspects_are_not_alone),
    "a suspect gets company": (crew.Worker, "free", suspects_join_others),
    "a worker is kept free for what has ended": (crew.Line, "_relax", a_worker_is_kept_free_for_ever),
    "a cancelled job gets an event": (Ventilator, "cancel", a_cancelled_task_gets_an_event),
    "a worker may be known twice": (Ventilator, "_ready", a_worker_may_be_known_twice),
    "jobs that take too long stay where they are": (Ventilator, "_expire", expired_jobs_stay),
    "jobs that are given back are lost": (Ventilator, "_returned", returned_jobs_are_lost),
    "a worker greets only once": (StageWorker, "_greet", a_worker_greets_once),
    "results that were not taken are dropped": (StageWorker, "sent", results_that_were_not_taken_are_dropped),
    "more handlers run than may": (StageWorker, "dispatch", more_run_than_may),
    "results that come together change places": (crew.Bundle, "split", results_change_places),
    "what came together stays with its worker": (ventilator, "end_together", a_bundle_is_not_taken_from_its_worker),
    "a result is said twice": (StageWorker, "reply", a_result_is_said_twice),
}


def hunt(name: str) -> tuple[int, Exception] | None:
    """The first seed that gives a planted bug away."""
    owner, attribute, plant = BUGS[name]
    with patch.object(owner, attribute, plant(getattr(owner, attribute))):
        found = first(SEEDS)
    if found is not None:
        world.run(found[0])  # it was the bug, and not the seed
    return found


def first(seeds: int) -> tuple[int, Exception] | None:
    for seed in range(seeds):
        try:
            world.run(seed)
        except Exception as error:  # noqa: BLE001  whatever it is, it is the finding
            return seed, error
    return None


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(name):
    found = hunt(name)
    assert found is not None, f"not within {SEEDS} seeds"
    print(f"{found[0] + 1} seeds: {found[1]}")


if __name__ == "__main__":
    for name in BUGS:
        found = hunt(name)
        what = f"{found[0] + 1} seeds" if found else "NOT FOUND"
        why = f"{type(found[1]).__name__}: {found[1]!s:.90}" if found else ""
        print(f"{what:>12}   {name:45} {why}", flush=True)
