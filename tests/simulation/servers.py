"""Servers that come and go, and what their handlers do: answer now or later, fail, crash, ignore that they should stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from zpatterns.core.jobs import ALWAYS, LOOP, THREADS, Credited, Job, Rule, Stop
from zpatterns.core.machine import Frames
from zpatterns.core.replier import Replier
from zpatterns.drive.virtual import VirtualReplier
from zpatterns.errors import Status
from zpatterns.wire import message as w

from .checker import must

if TYPE_CHECKING:
    from .world import Story

RULES: dict[str | None, Rule] = {
    None: Rule(THREADS),
    "zp.ping": Rule(ALWAYS),
    "inline": Rule(LOOP),
    "slow": Rule(THREADS),
    "once": Rule(THREADS, dedupe=True),
    "parts": Rule(THREADS, stream=True),
    "inline.parts": Rule(LOOP, stream=True),
}
LARGE = b"." * 9000
"""Makes a payload too large for a batch."""


class Server:
    """An address, and one incarnation after the other behind it."""

    def __init__(self, story: Story, number: int) -> None:
        self.story = story
        self.name = f"server {number}"
        self.limits = story.some_limits()
        self.threads = 100 if story.calm else story.random.choice((1, 2, 8))
        self.incarnations = 0
        self.now: VirtualReplier | None = None
        self.all: list[VirtualReplier] = []

    def start(self) -> None:
        self.incarnations += 1
        name = f"{self.name}.{self.incarnations}"
        incarnation = self.story.random.getrandbits(64).to_bytes(8, "big")
        machine = Replier(RULES, incarnation=incarnation, threads=self.threads, limits=self.limits)
        handlers = Handlers(self.story)
        server = VirtualReplier(self.story.world, name, machine, self.name, handlers.handle, self.limits)
        handlers.serve(server)
        server.loop.watch = self.story.watch
        server.over = self.over
        self.now = server
        self.all.append(server)

    def over(self, _server: VirtualReplier) -> None:
        world = self.story.world
        self.now = None
        world.after(world.span(world.faults.down_for), self.start)


class Handlers:
    """What the handlers of one incarnation do: answer now or later, fail, crash the process, ignore that they should stop."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.random = story.random
        self.cancelled: set[tuple[bytes, bytes]] = set()
        self.arrived: dict[bytes, float] = {}

    def serve(self, server: VirtualReplier) -> None:
        self.server = server
        self.machine = server.machine
        receive, cancelled, arrived = server.router.receive, self.cancelled, self.arrived
        world = self.story.world

        def tapped() -> Frames:
            frames = receive()
            if len(frames) == 5 and frames[3] == w.CANCEL_HEADER:
                cancelled.add((bytes(frames[0]), bytes(frames[1])))
            elif len(frames) > 4:
                arrived[bytes(frames[1])] = world.now
            elif len(frames) == 4 and not frames[1]:
                arrived.clear()  # a batch: whatever is in it
            return frames

        server.router.receive = tapped  # type: ignore[method-assign]

    def handle(self, event: Any) -> None:
        kind = type(event)
        if kind is Job:
            self.dispatch(event)
        elif kind is Stop:
            self.stop(event.job)
        elif kind is Credited and event.job.application is not None:
            event.job.application.credited()

    def dispatch(self, job: Job) -> None:
        if job.method == "zp.ping":
            self.machine.reply(job, 1, b"\xc0")
            return
        content = bytes(job.rest[0])
        must((job.routing_id, job.id) not in self.cancelled, "dispatched after its cancel was read:", content)
        if self.server.router.inbox and len(job.id) == 16 and self.machine._limits.drain > 3:
            unread = [frames for wire in self.server.router.inbox for frames in wire.unread]
            told = any(frames[1] == job.id and frames[3] == w.CANCEL_HEADER for frames in unread)
            must(not told, "dispatched, and its cancel is there:", content)
        execution = self.story.checker.executed(content, job, self.story.world.now, self.arrived.get(job.id))
        if self.story.trace is not None:
            self.story.trace("execute", self.server.loop.name, content, execution)
        (Unary if not RULES[job.method].stream else Stream)(self, job, content, execution)

    def stop(self, job: Job) -> None:
        must(job.stopped is not None, "told to stop, and not stopped")
        if job.application is not None:
            job.application.stopped()

    def later(self, seconds: float, action: Callable[..., None], *arguments: Any) -> None:
        self.story.world.after(seconds, self.server.post, action, *arguments)


class Unary:
    """A handler that answers once."""

    def __init__(self, handlers: Handlers, job: Job, content: bytes, execution: int) -> None:
        self.handlers, self.job, self.content, self.execution = handlers, job, content, execution
        self.obedient = handlers.random.random() < 0.5
        job.application = self
        roll = handlers.random.random()
        story = handlers.story
        if story.peace or roll < 0.45:
            self.answer()
        elif story.calm:
            handlers.later(story.slowness(), self.answer)
        elif roll < story.crashes + 0.45:
            handlers.server.crash()
        else:
            handlers.later(story.slowness() if roll < 0.95 else 3.0, self.answer)

    def answer(self) -> None:
        machine, job = self.handlers.machine, self.job
        story = self.handlers.story
        if not story.peace and not story.calm and self.handlers.random.random() < 0.1:
            machine.fail(job, Status.INTERNAL, f"{self.execution} raised")
            return
        reply = b"%b|%d" % (self.content, self.execution)
        if self.handlers.random.random() < 0.1:
            reply += LARGE
        if job.header is None:
            machine.reply_plain(job, (reply,))
        else:
            machine.reply(job, 1, reply)

    def stopped(self) -> None:
        if self.obedient:
            self.handlers.machine.fail(self.job, Status.CANCELLED, "the handler stopped")


class Stream:
    """A handler that yields parts, as far as there is credit."""

    def __init__(self, handlers: Handlers, job: Job, content: bytes, execution: int) -> None:
        self.handlers, self.job, self.content, self.execution = handlers, job, content, execution
        story = handlers.story
        self.sent = 0
        self.total = story.checker.asked[content].total
        self.pace = 0.0 if story.peace or handlers.random.random() < 0.5 else story.slowness() / 5
        self.raises_at = self.total * 3 * handlers.random.random() if not story.calm and not story.peace else 1e9
        self.waits = False
        job.application = self
        self.advance()

    def advance(self) -> None:
        machine, job = self.handlers.machine, self.job
        self.waits = False
        while not job.done:
            if self.sent >= self.raises_at:
                machine.fail(job, Status.INTERNAL, f"{self.execution} raised")
            elif self.sent == self.total:
                machine.end(job)
            elif not job.credit:
                self.waits = True
                return
            else:
                part = b"%b|%d|%d" % (self.content, self.execution, self.sent)
                if self.handlers.random.random() < 0.15:
                    part += LARGE
                machine.part(job, 1, part)
                self.sent += 1
                if self.pace:
                    self.handlers.later(self.pace, self.advance)
                    return

    def credited(self) -> None:
        if self.waits:
            self.advance()

    def stopped(self) -> None:
        self.handlers.machine.end(self.job)
