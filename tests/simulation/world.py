"""A story by its seed: servers, clients, calls of every kind, faults, then peace, and one more call that must succeed.

``run(seed)`` raises Violation, or whatever a machine raised. Nothing but the seed decides what happens.
"""

from __future__ import annotations

import random as chance
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from zpatterns.core.calls import EMPTY, ID, NONE, Call, Part
from zpatterns.core.requester import Requester
from zpatterns.drive.virtual import VirtualRequester
from zpatterns.drive.virtual_world import CHANCES, START, Faults, World
from zpatterns.policy import Limits, Retry

from . import invariants
from .checker import Asked, Checker, must
from .servers import Server

HEAL = START + 6.0
"""From here on no new faults."""
PROBE = HEAL + 9.0
"""Every connection, server and handler has recovered: calls must succeed."""
END = PROBE + 8.0

AMPLE = Limits()
AMPLE_BUT_CREDIT = [Limits(credit=credit) for credit in (1, 2, 3, 8, 64)]


def some_limits(random: Random) -> Limits:
    pick = random.choice
    return Limits(
        queue=pick((2, 5, 1000)),
        in_flight=pick((1, 2, 5, 1000)),
        intake=pick((1, 3, 1000)),
        concurrency=pick((1, 3, 1000)),
        peer_queue=pick((1, 4, 1000)),
        credit=pick((1, 2, 3, 8, 64)),
        dedupe=pick((1, 3, 10_000)),
        drain=pick((3, 1000, 1000)),
    )


LIMITS = [some_limits(chance.Random(seed)) for seed in range(256)]


class Client:
    """A caller with a client of its own."""

    def __init__(self, story: Story, number: int, servers: list[Server]) -> None:
        self.story = story
        self.number = number
        self.limits = story.some_limits()
        self.closed = False
        prefix = story.random.getrandbits(64).to_bytes(8, "big")
        attempts = story.random.choice((1, 2, 3, 3, 3, 5))
        self.attempts = attempts
        machine = Requester(
            len(servers),
            prefix=prefix,
            random=story.random.random,
            retry=Retry(attempts=attempts),
            limits=self.limits,
        )
        self.driver = VirtualRequester(
            story.world, f"client {number}", machine, [server.name for server in servers], self.limits
        )
        self.driver.loop.watch = story.watch
        self.asked = 0

    def ask(self, *, probe: bool = False) -> None:
        """Start a call of some kind, now."""
        world, loop = self.story.world, self.driver.loop
        if world.now < loop.stalled_until:  # the caller is in the same process
            world.at(loop.stalled_until, lambda: self.ask(probe=probe))
            return
        if self.closed:
            return
        random = self.story.random
        name = b"%d-%d" % (self.number, self.asked)
        self.asked += 1
        timeout = 5.0 if probe or self.story.calm else random.choice(self.story.timeouts) * (0.5 + random.random())
        roll = random.random()
        kind = "unary" if roll < 0.65 else "stream" if roll < 0.85 else "plain"
        method = None if kind == "plain" else random.choice(("inline", "slow"))
        call = Call(method, name, world.now + timeout, self.attempts)
        if kind == "unary":
            self.vary(call, random, probe=probe)
        elif kind == "stream":
            call.method = random.choice(("parts", "inline.parts"))
            call.stream = True
            call.timeout = timeout
            call.quiet_at = world.now + timeout
            call.deadline = world.now + timeout * (100 if self.story.calm or probe else random.choice((1, 3, 100)))
            if not self.story.calm and not probe:
                call.deadline = min(call.deadline, PROBE - 1.0)
        else:
            call.bare = (
                random.choice((ID, ID, ID, EMPTY, NONE)) if not self.story.calm else ID
            )  # others want the port alone
            call.idempotent = call.bare == ID and random.random() < 0.3
        if not self.story.calm and not probe:
            call.wait_for_ready = random.random() < 0.85
        asked = Asked(name, kind, call, world.now)
        asked.probe = probe
        asked.credit = self.limits.credit
        asked.total = random.choice((0, 1, 3, 10, 30 * (not probe))) if kind == "stream" else 0
        slow_reader = random.random() < 0.3 and not probe
        read_pause = (0.0 if not slow_reader else min(0.3, 3 * timeout / 30) * random.random()) if asked.total else 0.0
        call.application = Reader(self, asked, read_pause)
        self.story.checker.start(asked)
        if self.story.trace is not None:
            self.story.trace("ask", loop.name, name, method or call.method, call.idempotent, call.dedupe, timeout)
        self.driver.submit(call)
        if not self.story.calm and not probe and random.random() < 0.15:
            world.after(timeout * random.random(), self.cancel, asked)

    def vary(self, call: Call, random: Random, *, probe: bool) -> None:
        roll = random.random()
        if roll < 0.35 and self.story.deduping < 1.0:
            call.idempotent = True
        elif roll < self.story.deduping and not probe:  # a dedupe window that is full stays so
            call.dedupe = True
            call.method = random.choice(("once", "slow"))
        if random.random() < 0.1:
            call.buffers = (b"a frame of its own",)

    def cancel(self, asked: Asked) -> None:
        self.driver.loop.post(self.really_cancel, asked)

    def really_cancel(self, asked: Asked) -> None:
        if not asked.ended:
            asked.cancelled = True
            self.driver._drop(asked.call)

    def close(self) -> None:
        self.closed = True
        self.driver.close()


class Reader:
    """Where a call's events go."""

    __slots__ = ("asked", "client", "pause", "reads_at")

    def __init__(self, client: Client, asked: Asked, pause: float) -> None:
        self.client, self.asked, self.pause = client, asked, pause
        self.reads_at = 0.0

    def __call__(self, event: Any) -> None:
        client, asked = self.client, self.asked
        checker, world = client.story.checker, client.story.world
        if type(event) is Part:
            checker.part(asked, bytes(event.frames[0]))
            self.reads_at = max(world.now, self.reads_at) + self.pause
            if self.pause:
                world.at(self.reads_at, client.driver.loop.post, self.read)
            else:
                client.driver.loop.post(self.read)
        else:
            must(event is asked.call, "another call's end")
            loop = client.driver.loop
            if client.story.trace is not None:
                client.story.trace("end", loop.name, asked.name, repr(event.failure))
            checker.end(asked, world.now, loop.stalled_at, loop.stalled_until)

    def read(self) -> None:
        self.asked.read += 1
        self.client.driver._read(self.asked.call)


class Story:
    """One seed."""

    def __init__(self, seed: int, trace: Callable[..., None] | None = None) -> None:
        self.random = chance.Random(seed)
        random = self.random
        self.trace: Callable[..., None] | None = None
        self.calm = random.random() < 0.05
        self.peace = False
        self.world = World(seed, self.some_faults())
        if trace is not None:
            self.trace = self.world.trace = lambda *what: trace(round(self.world.now - START, 6), *what)
        blinking = self.world.faults.blink >= 0.05
        self.timeouts = (1.0, 3.0) if blinking else (0.05, 0.3, 1.0, 3.0)
        self.deduping = 1.0 if blinking or random.random() < 0.3 else 0.65  # what is below, and no stream, is dedupe
        self.crashes = 0.05 if not self.calm and random.random() < 0.2 else 0.0
        self.checker = Checker(calm=self.calm)
        self.watch = invariants.watch
        self.servers = [Server(self, number) for number in range(random.choice((1, 1, 2, 3)))]
        for server in self.servers:
            late = 0.0 if self.calm or random.random() < 0.8 else random.random()
            self.world.after(late, server.start)
        self.clients = []
        for number in range(random.choice((1, 1, 2, 3))):
            known = random.sample(self.servers, random.randint(1, len(self.servers)))
            self.clients.append(Client(self, number, known))
        busy = random.choice((0.05, 1.0, 4.0))
        for _ in range(random.choice((3, 5, 8, 12, 20))):
            client = random.choice(self.clients)
            self.world.after(busy * random.random(), client.ask)

    def some_limits(self) -> Limits:
        random = self.random
        if self.calm:
            return AMPLE_BUT_CREDIT[random.randrange(len(AMPLE_BUT_CREDIT))]
        return AMPLE if random.random() < 0.4 else LIMITS[random.randrange(len(LIMITS))]

    def some_faults(self) -> Faults:
        if self.calm:  # or narrow: everything waits, nothing is lost
            short = (0.001, 0.05)  # so that a timeout of 5 s is ample
            narrow = Faults(full=0.1, full_for=short, high_water_mark=3)
            return self.random.choice((Faults(), Faults(delay=0.03, full=0.1, full_for=short), narrow))
        random = self.random
        if random.random() < 0.3:  # one kind of trouble, and much of it
            return Faults(**{random.choice((*CHANCES, *["blink"] * 5)): random.choice((0.05, 0.15))})
        level = random.choice((0.01, 0.03, 0.1))
        chances: dict[str, Any] = {name: level * random.random() for name in CHANCES if random.random() < 0.3}
        if random.random() < 0.2:
            chances["refuse"] = 0.3
        if random.random() < 0.3:
            chances["high_water_mark"] = random.choice((1, 3, 10))
        if random.random() < 0.3:
            chances["notice"] = (0.0, 0.1)
        return Faults(**chances)

    def slowness(self) -> float:
        return (
            self.random.choice((0.3,) if self.world.faults.blink >= 0.05 else (0.0001, 0.01, 0.3))
            * self.random.random()
        )

    def run(self) -> None:
        world = self.world
        world.run(HEAL)
        world.set_faults(replace(Faults(), high_water_mark=max(10, world.faults.high_water_mark)))
        for client in self.clients:
            if not self.calm and self.random.random() < 0.1:
                client.close()
        world.run(PROBE)
        self.peace = True
        for number, client in enumerate(self.clients):
            if not client.closed:
                world.after(number * 0.7, lambda client=client: client.ask(probe=True))
        world.run(END)
        self.checker.finish()
        for client in self.clients:
            invariants.at_rest(client.driver.machine)
        for server in self.servers:
            must(server.now is not None, "nobody started", server.name)
            invariants.at_rest(server.now.machine)


def run(seed: int, trace: Callable[..., None] | None = None) -> Story:
    """Live through one seed; raises when a rule is broken."""
    story = Story(seed, trace)
    story.run()
    return story
