"""A story by its seed: one ventilator, workers that come and go, jobs through several stages, faults, then peace.

``run(seed)`` raises Violation, or whatever a machine raised. Nothing but the seed decides what happens.
"""

from __future__ import annotations

import random as chance
from collections.abc import Callable
from typing import Any

import msgpack

from zpatterns.codec import MSGPACK, RAW
from zpatterns.core.crew import Task
from zpatterns.core.jobs import THREADS, Rule
from zpatterns.core.stage_jobs import Begin, Halt, StageJob
from zpatterns.core.ventilator import Ventilator
from zpatterns.core.worker import StageWorker
from zpatterns.drive.virtual_pipeline import VirtualVentilator, VirtualWorker
from zpatterns.drive.virtual_world import START, Faults, World
from zpatterns.errors import Status
from zpatterns.policy import Heartbeat, Limits

from .checker import Checker, must, watch

HEAL = START + 3.0
"""From here on no new faults, and nobody dies."""
END = HEAL + 30.0
"""Every worker has been noticed, every job has been given to another one: all have ended."""
CHANCES = ("delay", "disconnect", "half_open", "partition", "full", "stall_server", "stall_client")
LARGE = b"." * 9000


def unpacked(payload: Any) -> bytes:
    """The content of a job or a result, which knows by its first byte how it was packed."""
    whole = bytes(payload)
    return (whole[1:] if whole[:1] == b"\xc1" else bytes(msgpack.unpackb(whole))).rstrip(b".")


class Worker:
    """A place for a worker, and one process after the other in it."""

    def __init__(self, story: Story, number: int) -> None:
        self.story = story
        self.number = number
        names = list(story.stages)
        served = names if number == 0 else story.random.sample(names, story.random.randint(1, len(names)))
        self.stages = {name: story.random.choice((1, 1, 2, 5)) for name in names if name in served}
        self.incarnations = 0
        self.now: VirtualWorker | None = None

    def start(self) -> None:
        story = self.story
        self.incarnations += 1
        machine = StageWorker(
            {name: (Rule(THREADS), most) for name, most in self.stages.items()},
            incarnation=story.random.getrandbits(64).to_bytes(8, "big"),
            heartbeat=story.heartbeat,
        )
        name = f"worker {self.number}.{self.incarnations}"
        self.now = VirtualWorker(story.world, name, machine, "ventilator", self.handle, story.limits, self.over)
        self.now.loop.watch = story.watch

    def over(self, worker: VirtualWorker) -> None:
        world = self.story.world
        self.now = None
        world.after(world.span(world.faults.down_for), self.start)

    def handle(self, event: Any) -> None:
        worker = self.now
        assert worker is not None
        if type(event) is Begin:
            for job in event.jobs:
                if not worker.loop.dead:  # the one before may have killed it
                    self.begin(worker, job)
        elif type(event) is Halt and (event.job.application == "hangs" or self.story.random.random() < 0.5):
            worker.post(worker.machine.give_back, event.job)  # it obeys, as a coroutine does

    def begin(self, worker: VirtualWorker, job: StageJob) -> None:
        story, world = self.story, self.story.world
        content = unpacked(job.rest[0])
        name, number = story.checker.executed(content, job.method, job.header.attempt)
        if story.trace is not None:
            story.trace("execute", worker.loop.name, content, number)
        if name == story.checker.poison:
            world.after(0.001, worker.crash)
            return
        roll = story.random.random()
        if roll < story.raises and not story.calm:
            story.checker.raised.add(name)
            action: Callable[[], None] = lambda: worker.machine.fail(job, Status.INTERNAL, "raised")
        else:
            result = b"%b|%b:%d" % (content, job.method.encode(), number)
            if story.random.random() < 0.1:
                result += LARGE
            action = lambda: worker.machine.reply(job, *self.story.packed(result))
        roll = story.random.random()
        if story.stages[job.method] < 10.0 and not story.calm and story.random.random() < 0.02:
            job.application = "hangs"
        elif roll < 0.3:
            action()
        else:
            slow = 0.2 if story.calm else (0.02 if roll < 0.7 else 0.2 if roll < 0.95 else 3.0)
            world.after(slow * story.random.random(), worker.post, action)


class Story:
    """One seed."""

    def __init__(self, seed: int, trace: Callable[..., None] | None = None) -> None:
        self.random = chance.Random(seed)
        random = self.random
        self.trace: Callable[..., None] | None = None
        self.calm = random.random() < 0.15
        self.world = World(seed, self.some_faults())
        if trace is not None:
            self.trace = self.world.trace = lambda *what: trace(round(self.world.now - START, 6), *what)
        self.limits = Limits(deliveries=random.choice((3, 5, 5)), drain=random.choice((3, 1000)))
        self.raises = random.choice((0.0, 0.05))
        self.checker = Checker(self.limits.deliveries, calm=self.calm)
        count = random.choice((1, 1, 2, 3))
        timeouts = (300.0,) if self.calm else (0.5, 2.0, 300.0)
        self.stages = {name: random.choice(timeouts) for name in ("a", "b", "c")[:count]}
        self.heartbeat = Heartbeat(interval=random.choice((0.5, 1.0)))
        machine = Ventilator(
            first_id=random.getrandbits(48), timeout=1000.0, limits=self.limits, heartbeat=self.heartbeat
        )
        self.ventilator = VirtualVentilator(self.world, machine, "ventilator", self.ended, self.limits)
        self.turns = 0
        self.ventilator.loop.watch = self.watch
        self.lines = [machine.line(name, timeout) for name, timeout in self.stages.items()]
        self.routes = [self.lines[first:] for first in range(len(self.lines))]
        if random.random() < 0.5:  # of as many callers: what they get does not come together
            self.routes += [list(route) for route in self.routes]
        self.codec = random.choice((MSGPACK, MSGPACK, RAW))
        self.workers = [Worker(self, number) for number in range(random.choice((1, 2, 3, 4)))]
        for worker in self.workers:
            self.world.after(0.0 if random.random() < 0.7 else random.random(), worker.start)
        self.left = random.choice((3, 10, 30))
        self.asked = 0
        self.window = random.choice((1, 4, 16))
        if self.calm and random.random() < 0.5:
            self.checker.poison = b"%d" % random.randrange(self.left)
        for _ in range(self.window):
            self.world.after(random.random() * random.choice((0.01, 2.0)), self.ask)
        if not self.calm:
            for _ in range(random.choice((0, 1, 3, 8))):
                self.world.after(random.random() * (HEAL - START), self.kill)

    def watch(self, loop: Any) -> None:
        """At every third turn: it is a third of the time otherwise."""
        self.turns += 1
        if not self.turns % 3:
            watch(loop)

    def some_faults(self) -> Faults:
        random = self.random
        if self.calm:
            return Faults()
        if random.random() < 0.4:  # one kind of trouble, and much of it
            return Faults(**{random.choice(CHANCES): random.choice((0.03, 0.1))})
        level = random.choice((0.01, 0.05))
        chances: dict[str, Any] = {name: level * random.random() for name in CHANCES if random.random() < 0.4}
        if random.random() < 0.3:
            chances["high_water_mark"] = random.choice((2, 10))
        if random.random() < 0.3:
            chances["notice"] = (0.0, 0.1)
        return Faults(**chances)

    def kill(self) -> None:
        worker = self.random.choice(self.workers).now
        if worker is not None and self.world.now < HEAL:
            (worker.crash if self.random.random() < 0.7 else worker.stop)()

    def ask(self) -> None:
        """One more job, as long as there are some."""
        if self.asked >= self.left:
            return
        random = self.random
        name = b"%d" % self.asked
        self.asked += 1
        route = random.choice(self.routes)
        codec, payload = self.packed(name + LARGE if random.random() < 0.05 else name)
        task = Task(route, payload, codec, (), name)
        self.checker.start(name, task, [line.name for line in route])
        self.ventilator.loop.post(self.put, task)
        if not self.calm and random.random() < 0.05:
            self.world.after(random.random(), self.ventilator.loop.post, self.cancel, task)

    def packed(self, content: bytes) -> tuple[int, bytes]:
        """Codec and payload."""
        return self.codec, msgpack.packb(content) if self.codec == MSGPACK else b"\xc1" + content

    def put(self, task: Task) -> None:
        self.ventilator.machine.put((task,), self.world.now)

    def cancel(self, task: Task) -> None:
        if not task.done:
            self.checker.cancelled.add(task.application)
            self.ventilator.machine.cancel((task,))
            self.ask()

    def ended(self, task: Task) -> None:
        if self.trace is not None:
            self.trace("end", task.application, repr(task.failure))
        if task.failure is None:
            task.payload = unpacked(task.payload)
        self.checker.end(task)
        self.world.after(0.0, self.ask)

    def until_over(self, until: float) -> None:
        while self.world.now < until and not (self.asked == self.left and self.checker.over):
            self.world.run(min(until, self.world.now + 0.25))

    def run(self) -> None:
        self.until_over(HEAL)
        self.world.set_faults(Faults(high_water_mark=max(10, self.world.faults.high_water_mark)))
        self.until_over(END)
        self.world.run(self.world.now + 0.5)  # what comes late must not matter
        self.checker.finish()
        must(self.asked == self.left, "only", self.asked, "of", self.left, "jobs were asked")
        if self.calm:
            must(not self.ventilator.machine.statistics.duplicates, "a result came twice")
        must(not self.ventilator.machine.tasks, "somebody is left")
        counts = self.ventilator.machine.statistics
        ended = counts.done + counts.failed + counts.dead + counts.cancelled + counts.unserved
        must(counts.started == ended, "started", counts.started, "ended", ended)


def run(seed: int, trace: Callable[..., None] | None = None) -> Story:
    """Live through one seed; raises when a rule is broken."""
    story = Story(seed, trace)
    story.run()
    return story
