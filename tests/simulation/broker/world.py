"""Stories with a broker in the middle, by kind and seed: simple pirate, paranoid pirate, majordomo with peers of all sorts.

``run(kind, seed)`` raises when a rule is broken. Clients call, workers die, stall and say goodbye, the broker crashes and
comes back; then there is peace, and one more call of each client must succeed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from tests.simulation.checker import must
from zpatterns.core.calls import Call, Reopen
from zpatterns.core.jobs import ALWAYS, PLAIN_PREFIX, Job, Rule, Stop
from zpatterns.core.load_balancer import LeastLoaded, LeastRecentlyUsed
from zpatterns.core.majordomo_broker import MajordomoBroker
from zpatterns.core.majordomo_client import MajordomoClient
from zpatterns.core.majordomo_worker import MajordomoWorker
from zpatterns.core.replier import Replier
from zpatterns.core.requester import Requester
from zpatterns.drive.virtual import VirtualLoop
from zpatterns.drive.virtual_network import VirtualDealer, VirtualRouter
from zpatterns.drive.virtual_world import START, Faults, World
from zpatterns.errors import (
    Closed,
    OutcomeUnknown,
    Overloaded,
    PeerUnavailable,
    ReplyError,
    RequestTimeout,
    Status,
    ZPatternsError,
)
from zpatterns.policy import Heartbeat, Limits, Retry

from . import invariants
from .peers import PlainClient, PlainWorker

KINDS = ("simple", "paranoid", "majordomo")
HEAL = START + 6.0
PROBE = HEAL + 12.0
END = PROBE + 14.0
BEAT = Heartbeat(interval=0.25, liveness=3)
FOREIGN = Heartbeat(interval=0.5, liveness=3)
FRONT, BACK = "front", "back"


class Checker:
    """What is known of every call by its content, and of every execution."""

    def __init__(self) -> None:
        self.executions: Counter[bytes] = Counter()
        self.open: dict[bytes, bool] = {}
        """Content of calls that have not ended, and whether they may run more than once."""
        self.sure: dict[bytes, bool] = {}
        self.results: Counter[str] = Counter()

    def asked(self, content: bytes, *, idempotent: bool) -> None:
        must(content not in self.sure, "asked twice", content)
        self.open[content] = self.sure[content] = idempotent

    def executed(self, content: bytes) -> bytes:
        must(content in self.sure, "a request of nobody", content)
        self.executions[content] += 1
        must(self.sure[content] or self.executions[content] == 1, "ran twice, and may not:", content)
        return content + b"!"

    def ended(self, content: bytes, reply: bytes | None, failure: ZPatternsError | None, late: float) -> None:
        must(self.open.pop(content, None) is not None, "ended twice:", content)
        must(late <= 0.0, "late by", late, content)
        if failure is None and reply is not None and reply.startswith(PLAIN_PREFIX):
            failure = ReplyError(Status.ABORTED, "the words of a broker or worker, to a plain body")
        if failure is None:
            must(reply == content + b"!", "another call's reply:", reply, "for", content)
            must(self.executions[content], "answered, and never run:", content)
        elif isinstance(failure, PeerUnavailable | Overloaded):
            must(not self.executions[content] or self.sure[content], "told that it did not run, and it ran", content)
        elif isinstance(failure, ReplyError):
            known = (Status.ABORTED, Status.DEADLINE_EXCEEDED, Status.CANCELLED, Status.UNAVAILABLE)
            must(failure.status in known, "an error that nobody raised:", failure)
        else:
            must(isinstance(failure, RequestTimeout | OutcomeUnknown | Closed), "not to be expected:", failure)
            if isinstance(failure, RequestTimeout) and not failure.sent:
                must(not self.executions[content] or self.sure[content], "told unsent, and it ran", content)
        self.results[type(failure).__name__] += 1


class BrokerProcess:
    """An address pair, and one incarnation of a broker after the other behind it."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.start()

    def start(self) -> None:
        story = self.story
        incarnation = story.random.getrandbits(64).to_bytes(8, "big")
        own = Replier({"zp.ping": Rule(ALWAYS)}, incarnation=incarnation)
        self.machine = MajordomoBroker(
            own=own,
            limits=story.limits,
            heartbeat=BEAT,
            foreign=FOREIGN,
            balancer=story.balancer,
        )
        self.loop = VirtualLoop(story.world, "broker", self.machine, self.deliver, story.limits)
        self.routers = [VirtualRouter(story.world, self.loop, name) for name in (FRONT, BACK)]
        self.loop.ports = self.routers
        self.loop.suffer = self.suffer
        self.loop.watch = invariants.watch
        self.loop.poke()

    def deliver(self, event: Any) -> None:
        must(type(event).__name__ in ("WorkerChanged", "Misplaced", "Job"), "not for the application:", event)

    def suffer(self, fault: str) -> None:
        if self.loop.dead:
            return
        if fault == "stop":
            self.machine.stop()
            self.machine.abort()
            self.loop.end()
        self.loop.dead = True
        for router in self.routers:
            router.close(died=fault != "stop")
        self.story.world.after(self.story.world.span(self.story.world.faults.down_for), self.start)


class OurWorker:
    """A worker of ours, one incarnation after the other: answers now or later, dies, or says goodbye."""

    def __init__(self, story: Story, number: int) -> None:
        self.story, self.number = story, number
        self.starts = 0
        self.start()

    def start(self) -> None:
        story = self.story
        self.starts += 1
        rules: dict[str | None, Rule] = {"m": Rule(), "zp.ping": Rule(ALWAYS), None: Rule()}
        incarnation = story.random.getrandbits(64).to_bytes(8, "big")
        self.replier = Replier(rules, incarnation=incarnation, limits=story.limits, answers_all=True)
        self.machine = MajordomoWorker(
            self.replier,
            1,
            service=b"s",
            credit=min(story.random.choice((1, 2, 8)), story.limits.peer_queue),
            random=story.random.random,
            heartbeat=BEAT,
        )
        name = f"worker {self.number}.{self.starts}"
        self.loop = VirtualLoop(story.world, name, self.machine, self.deliver, story.limits)
        self.dealer = VirtualDealer(story.world, self.loop, BACK)
        self.loop.ports = [self.dealer]
        if not story.peaceful and story.random.random() < 0.6:
            story.world.after(story.random.random() * 6.0, self.leave, self.loop)

    def leave(self, loop: VirtualLoop) -> None:
        """Killed, or told to stop."""
        story = self.story
        if loop is not self.loop or loop.dead or story.peaceful:
            return
        if story.random.random() < 0.5:
            self.die()
        else:
            loop.post(self.replier.stop)
            story.world.after(0.3, self.finish, loop)

    def finish(self, loop: VirtualLoop) -> None:
        if loop is self.loop and not loop.dead:
            self.replier.abort()
            loop.turn()
            self.die()

    def die(self) -> None:
        self.loop.dead = True
        self.dealer.close()
        self.story.world.after(self.story.random.random(), self.start)

    def deliver(self, event: Any) -> None:
        story = self.story
        if type(event) is Reopen:
            self.loop.reopen(event.port)
        elif type(event) is Job:
            if event.method == "zp.ping":
                self.replier.reply(event, 1, b"\xc0")
                return
            reply = story.checker.executed(bytes(event.rest[0]))
            roll = story.random.random()
            if story.peaceful or roll < 0.5:
                self.answer(event, reply)
            elif roll < 0.55:
                story.world.after(0.0, self.leave, self.loop)
            else:
                loop = self.loop
                story.world.after(story.random.random() * 0.5, lambda: loop.post(self.answer, event, reply))
        elif type(event) is Stop and story.random.random() < 0.5:
            self.replier.fail(event.job, Status.CANCELLED, "stopped")

    def answer(self, job: Job, reply: bytes) -> None:
        if job.header is None:
            job_owner_reply(self.replier, job, reply)
        else:
            self.replier.reply(job, 1, reply)


def job_owner_reply(replier: Replier, job: Job, reply: bytes) -> None:
    replier.reply_plain(job, (reply,))


class OurClient:
    """A client of ours, with many calls at once."""

    def __init__(self, story: Story, number: int) -> None:
        self.story, self.number = story, number
        self.asked = 0
        self.requester = Requester(
            1,
            prefix=story.random.getrandbits(64).to_bytes(8, "big"),
            random=story.random.random,
            retry=Retry(attempts=3),
            limits=story.limits,
        )
        self.machine = MajordomoClient(self.requester, service=b"s", heartbeat=BEAT)
        self.loop = VirtualLoop(story.world, f"client {number}", self.machine, self.deliver, story.limits)
        self.loop.ports = [VirtualDealer(story.world, self.loop, FRONT)]

    def ask(self, *, probe: bool = False) -> None:
        story = self.story
        if story.world.now < self.loop.stalled_until:
            story.world.at(self.loop.stalled_until, lambda: self.ask(probe=probe))
            return
        self.asked += 1
        content = b"c%d-%d" % (self.number, self.asked)
        timeout = 6.0 if probe else story.random.choice((0.3, 1.0, 4.0))
        typed = story.random.random() < 0.8
        sure = story.random.random() < 0.5
        call = Call("m" if typed else None, content, story.world.now + timeout, 3)
        call.idempotent = sure
        story.checker.asked(content, idempotent=sure or not typed)  # 7/MDP: a plain body may run twice
        call.application = (content, probe)
        self.loop.post(self.start, call)
        if not probe and story.random.random() < 0.1:
            story.world.after(timeout * story.random.random(), self.loop.post, self.cancel, call)

    def start(self, call: Call) -> None:
        try:
            self.requester.start(call)
        except Overloaded as error:
            call.failure, call.done = error, True
            self.deliver(call)

    def cancel(self, call: Call) -> None:
        if not call.done:
            del self.story.checker.open[call.application[0]]
            self.requester.cancel(call)

    def deliver(self, event: Any) -> None:
        if type(event) is Reopen:
            self.loop.reopen(event.port)
        elif type(event) is Call:
            content, probe = event.application
            now, loop = self.story.world.now, self.loop
            stalled = loop.stalled_until == now and event.deadline >= loop.stalled_at
            late = 0.0 if stalled else now - event.deadline
            must(not probe or event.failure is None, "a probe failed:", event.failure, content)
            reply = bytes(event.reply[0]) if event.reply else None
            self.story.checker.ended(content, reply, event.failure, late)


class Story:
    """One kind, one seed."""

    def __init__(self, kind: str, seed: int, trace: Callable[..., None] | None = None) -> None:
        self.random = random = Random(f"{kind} {seed}")
        self.kind = kind
        self.peaceful = False
        self.calm = random.random() < 0.1
        self.balancer: Any = random.choice((LeastRecentlyUsed, LeastLoaded))
        pick = random.choice
        self.limits = Limits(
            client_queue=pick((3, 1000)),
            service_queue=pick((5, 1000)),
            deliveries=pick((1, 2, 5)),
            peer_queue=pick((2, 1000)),
            drain=pick((3, 1000)),
            request_expiry=4.0,
            busy_silence=2.0,
        )
        self.world = World(random.getrandbits(32), self.some_faults())
        if trace is not None:
            self.world.trace = lambda *what: trace(round(self.world.now - START, 6), *what)
        self.checker = Checker()
        self.broker = BrokerProcess(self)
        self.workers: list[Any] = []
        self.clients: list[Any] = []
        for number in range(pick((1, 2, 3))):
            self.workers.append(self.some_worker(number))
        for number in range(pick((1, 2, 3))):
            self.clients.append(self.some_client(number))
        busy = pick((0.1, 2.0, 5.0))
        for _ in range(pick((3, 8, 20))):
            self.world.after(busy * random.random(), random.choice(self.clients).ask)

    def some_worker(self, number: int) -> Any:
        if self.kind == "majordomo":
            if number == 0 or self.random.random() < 0.6:
                return OurWorker(self, number)
            return PlainWorker(self, number, self.random.choice(("0.1", "0.2")))
        return PlainWorker(self, number, self.kind)

    def some_client(self, number: int) -> Any:
        if self.kind == "majordomo" and (number == 0 or self.random.random() < 0.6):
            return OurClient(self, number)
        return PlainClient(self, number, self.kind == "majordomo")

    def some_faults(self) -> Faults:
        if self.calm:
            return Faults()
        level = self.random.choice((0.01, 0.05))
        names = ["delay", "disconnect", "half_open", "partition", "full", "crash", "stall_server", "stall_client"]
        names += ["stop"] * (self.kind == "majordomo")
        chances: dict[str, Any] = {name: level * self.random.random() for name in names if self.random.random() < 0.3}
        chances["high_water_mark"] = self.random.choice((3, 1000))
        return Faults(**chances)

    def run(self) -> None:
        world = self.world
        world.run(HEAL)
        self.peaceful = True
        world.set_faults(replace(Faults(), high_water_mark=1000))
        world.run(PROBE)
        for number, client in enumerate(self.clients):
            world.after(number * 0.5, lambda client=client: client.ask(probe=True))
        world.run(END)
        must(not self.checker.open, "never ended:", [*self.checker.open])
        invariants.at_rest(self.broker.machine)


def run(kind: str, seed: int, trace: Callable[..., None] | None = None) -> Story:
    """Live through one seed; raises when a rule is broken."""
    story = Story(kind, seed, trace)
    story.run()
    return story
