"""A story by its seed: publishers that crash, subscribers that stall, readers that are slow, connections that break; then peace.

At the end every message that was published is accounted for: each reader was given it, or was told that it was not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from zpatterns._shell.delivery import opened
from zpatterns.contract import Topic
from zpatterns.core.heard import Arrived, Gap, Ready
from zpatterns.core.intake import Intake
from zpatterns.core.publisher import Publisher
from zpatterns.core.readiness import Waiter
from zpatterns.core.subscriber import Subscriber
from zpatterns.core.subscriptions import Subscription
from zpatterns.drive.virtual_world import START, World
from zpatterns.policy import Heartbeat, Limits, Overflow
from zpatterns.wire import published as wire

from .network import Node, Pipe

HEAL = START + 2.5
"""From here on no new faults."""
PROBE = HEAL + 3.5
"""Every connection and publisher has recovered."""
END = PROBE + 1.2

ROOMS = Topic("lab.{room}.temp", int)
TOPICS = [ROOMS.at(room="a"), ROOMS.at(room="b"), Topic("news", int), Topic("lab.a", int)]
POLICIES = [Overflow.DROP_OLDEST, Overflow.DROP_NEWEST, Overflow.BLOCK]
Key = tuple[bytes, bytes]
"""Incarnation and topic."""


class Violation(AssertionError):
    """A rule was broken."""


def must(holds: bool, *what: Any) -> None:
    if not holds:
        raise Violation(" ".join(map(str, what)))


class Teller:
    """A publisher at one address, through its incarnations."""

    def __init__(self, story: Story, number: int) -> None:
        self.story = story
        self.number = number
        self.pipes: list[Pipe] = []
        self.begin()

    def begin(self) -> None:
        story = self.story
        self.incarnation = story.random.getrandbits(64).to_bytes(8, "big")
        limits = Limits(topics=story.random.choice((2, 100, 100)))
        self.machine = Publisher(
            incarnation=self.incarnation, now=story.world.now, heartbeat=Heartbeat(interval=0.5), limits=limits
        )
        self.node = Node(story.world, self.machine, lambda event: None)
        self.node.out = self.out
        self.unsent: deque[tuple[bytes, int]] = deque()
        """What was published and has not been given to the socket, in order."""
        self.last: dict[bytes, int] = {}
        """By topic, how many messages were given to the socket."""
        self.node.arm(story.world.now)

    def publish(self, topic: Topic[int], count: int) -> None:
        if self.node.dead or self.story.world.now < self.node.stalled_until:
            return
        for _ in range(count):
            self.story.told += 1
            self.unsent.append((topic.frame, self.story.told))
            self.machine.publish(topic.frame, 1, topic.encode(self.story.told)[0], (), self.story.world.now)
        self.node.poke()

    def out(self, port: int, frames: Any) -> None:
        story = self.story
        topic, data = bytes(frames[0]), frames[1]
        _, count, first, _ = wire.read(data)
        if topic.startswith(wire.NONCE_TOPIC):
            story.echoes[topic] = dict(self.last)
        elif count:
            for number, body in enumerate(
                ROOMS.many_codec.decode(1, data[wire.RECORD :])
                if count > 1
                else [ROOMS.body_codec.decode(1, data[wire.RECORD :])]
            ):
                must(self.unsent.popleft() == (topic, body), "not in the order it was published", topic, body)
                story.published[self.incarnation, topic, first + number] = body
            must(first == self.last.get(topic, first - 1) + 1 or story.evicts(self.machine), "a hole in", topic, first)
            self.last[topic] = first + count - 1
        for pipe in self.pipes:
            pipe.publish(frames)

    def crash(self) -> None:
        if self.node.dead:
            return
        self.node.dead = True
        for pipe in self.pipes:
            pipe.cut()
        self.story.world.after(self.story.world.span((0.01, 1.0)), self._again)

    def _again(self) -> None:
        self.begin()
        for pipe in self.pipes:
            pipe.meet(self.node)


class Hearer:
    """A subscriber with one reader, connected to every publisher."""

    def __init__(self, story: Story, number: int) -> None:
        random = story.random
        self.story = story
        self.number = number
        self.limit = random.choice((1, 3, 10, 1000))
        self.policy = random.choice(POLICIES)
        nonces = iter(range(10**6))
        self.forgets = random.random() < 0.2
        """It cannot remember all topics: it may not hear of every loss, and never of one that was none."""
        limits = Limits(drain=10, topics=2) if self.forgets else Limits(drain=10)
        self.machine = Subscriber(
            len(story.tellers), nonce=lambda: b"%04d%012d" % (number, next(nonces)), limits=limits
        )
        self.intake = Intake(self.limit, self.policy, None)
        self.stream: Subscription | None = None
        """A second reader, which has a topic for itself."""
        self.streamed: dict[Key, int] = {}
        """How many it had for itself; while there is one, less what there was before it."""
        self.machine.open(self.intake)
        self.node = Node(story.world, self.machine, self.deliver)
        self.node.out = self.out
        self.node.took = self.took
        self.pipes = [
            Pipe(story.world, teller.node, self.node, port, random.choice((2, 5, 1000)))
            for port, teller in enumerate(story.tellers)
        ]
        for teller, pipe in zip(story.tellers, self.pipes, strict=True):
            teller.pipes.append(pipe)
        self.arrived: dict[Key, set[int]] = {}
        self.start: dict[Key, int] = {}
        """From which sequence on everything should have come."""
        self.renewed: set[Key] = set()
        """What was given up and asked for again: what was given then is another account."""
        self.given: dict[Key, list[int]] = {}
        self.by_route: dict[Any, int] = {}
        self.missed: dict[Key, int] = {}
        self.lost: dict[tuple[str, str], int] = {}
        self.global_order: dict[bytes, int] = {}
        self.ready = False
        self.subscriptions: list[Subscription] = []
        for topic in random.sample([ROOMS, *TOPICS[2:]], random.choice((1, 2, 3))):
            self.subscribe(topic)
        self.node.arm(story.world.now)

    def subscribe(self, topic: Topic[int]) -> None:
        subscription = Subscription(topic.prefix, self.intake, matches=topic.matches, application=topic)
        self.subscriptions.append(subscription)
        self.machine.subscribe(subscription, self.story.world.now)
        self.node.poke()

    def change(self) -> None:
        """Ask for something else."""
        if self.stream is not None or self.story.world.now < self.node.stalled_until:
            return
        if self.subscriptions and self.story.random.random() < 0.5:
            gone = self.subscriptions.pop()
            self.machine.unsubscribe(gone)
            for key in [key for key in self.start if not self.wants(key[1])]:
                del self.start[key]
                self.arrived.pop(key, None)
                self.lost.pop((key[0].hex(), key[1][:-1].decode()), None)
                self.renewed.add(key)
            self.node.poke()
        else:
            wanted = [
                topic
                for topic in (ROOMS, *TOPICS[2:])
                if not any(each.application is topic for each in self.subscriptions)
            ]
            if wanted:
                self.subscribe(self.story.random.choice(wanted))

    def open_stream(self) -> None:
        """A topic gets a reader of its own."""
        wanted = [topic for topic in TOPICS if self.wants(topic.frame)]
        if not wanted or self.story.world.now < self.node.stalled_until:
            return
        topic = self.story.random.choice(wanted)
        intake = Intake(10**6, Overflow.DROP_OLDEST, None, main=False)
        self.stream = Subscription(topic.prefix, intake, matches=topic.matches, application=topic)
        for key in self.start:
            if key[1] == topic.frame:
                self.streamed[key] = self.streamed.get(key, 0) - self.settled(key)
        self.machine.open(intake)
        self.machine.subscribe(self.stream, self.story.world.now)
        self.node.poke()

    def close_stream(self) -> None:
        """And no more."""
        if self.stream is None:
            return
        self.read_stream()
        for key in self.start:
            if key[1] == self.stream.prefix:
                self.streamed[key] = self.streamed.get(key, 0) + self.settled(key)
        self.machine.close(self.stream.intake)
        self.stream = None
        self.node.poke()

    def settled(self, key: Key) -> int:
        """How many of a topic have come, or are known not to come."""
        come = [sequence for sequence in self.arrived.get(key, ()) if sequence >= self.start[key]]
        return len(come) + self.lost.get((key[0].hex(), key[1][:-1].decode()), 0)

    def wants(self, topic: bytes) -> bool:
        return any(each.matches is not None and each.matches(topic) for each in self.subscriptions)

    def out(self, port: int, frames: Any) -> None:
        self.pipes[port].subscribe(frames[0])

    def took(self, port: int, frames: Any) -> None:
        """What the machine was given: the checker's own account."""
        topic, data = frames[0], frames[1]
        head, count, first, _ = wire.read(data)
        incarnation = head[6:]
        if topic.startswith(wire.NONCE_TOPIC):
            if topic == self.machine.readiness.probes[port].nonce:
                snapshot = self.story.echoes[topic]
                for each in TOPICS:
                    if self.wants(each.frame):
                        self.start.setdefault((incarnation, each.frame), snapshot.get(each.frame, 0) + 1)
        elif count and self.wants(topic):
            key = incarnation, topic
            if head[5] & wire.START and first > max(self.arrived.get(key, {0})) + 1 and key in self.start:
                self.forget(key)
            self.start.setdefault(key, first)
            for sequence in range(first, first + count):
                must(sequence not in self.arrived.setdefault(key, set()), "twice in the network", key)
                self.arrived[key].add(sequence)

    def forget(self, key: Key) -> None:
        """The publisher has forgotten the topic."""
        self.start.pop(key)
        self.arrived.pop(key, None)
        self.lost.pop((key[0].hex(), key[1][:-1].decode()), None)

    def deliver(self, event: Any) -> None:
        if isinstance(event, Gap):
            must(event.missed > 0, "an empty gap")
            if event.reason == "lost":
                key = event.publisher, event.topic
                self.lost[key] = self.lost.get(key, 0) + event.missed
            else:
                must(self.intake.held == self.limit, "dropped, and held only", self.intake.held, "of", self.limit)
        elif isinstance(event, Ready):
            self.ready = True
            must(all(event.waiter.heard), "ready, and nobody was heard")
        elif isinstance(event, Arrived) and self.story.random.random() < 0.5:
            self.story.world.after(self.story.world.span((0.0, 0.01)), self.read, 1000)

    def read(self, most: int) -> None:
        """The reader comes back."""
        world = self.story.world
        must(self.intake.held <= max(self.limit, 0) + wire.BATCH_COUNT, "held", self.intake.held, "of", self.limit)
        if self.policy is not Overflow.BLOCK:
            must(self.intake.held <= self.limit, "held", self.intake.held, "of", self.limit)
        for _ in range(most):
            taken = self.intake.take(world.now)
            if taken is None:
                break
            self.check(*taken)
        self.read_stream()
        if self.policy is Overflow.BLOCK:
            self.node.poke()

    def read_stream(self) -> None:
        while self.stream is not None and (taken := self.stream.intake.take(self.story.world.now)) is not None:
            self.check(*taken)

    def check(self, chunk: Any, missed: int) -> None:
        line = chunk.route.line
        key = line.incarnation, line.topic
        bodies = [message.body for message in opened(chunk, missed)]
        first = chunk.first + chunk.start
        for number, body in enumerate(bodies):
            must(self.story.published[*key, first + number] == body, "another body at", key, first + number)
        own = first - chunk.skipped
        last = self.by_route.get(chunk.route)  # another one after it has asked anew, or the publisher has forgotten
        if last is not None:
            must(own > last, "out of order or twice:", key, last, own)
            must(missed == own - last - 1, "missed", missed, "between", last, "and", own)
        must(missed >= 0, "missed", missed)
        self.by_route[chunk.route] = own + len(bodies) - 1
        if chunk.route.intake is self.intake:
            self.given.setdefault(key, []).extend(range(first, first + len(bodies)))
            self.missed[key] = self.missed.get(key, 0) + missed

    def account(self, *, finally_: bool) -> None:
        """Peace, and everything was read: what was published is what was given, and what was told to be missing."""
        must(not self.intake.held, "left in the queue", self.intake.held)
        for teller in self.story.tellers:
            if self.story.evicts(teller.machine):
                continue
            for topic, last in teller.last.items():
                key = teller.incarnation, topic
                if not self.wants(topic):
                    continue
                must(key in self.start, "never heard of", key)
                start = self.start[key]
                come = {sequence for sequence in self.arrived.get(key, ()) if sequence >= start}
                lost = self.lost.get((key[0].hex(), topic[:-1].decode()), 0)
                self.must_be(lost, last - start + 1 - len(come), key, "from", start, "to", last, "came", len(come))
                if key not in self.renewed and finally_:
                    given, missed = len(self.given.get(key, ())), self.missed.get(key, 0)
                    all_ = last - start + 1 - (0 if self.forgets else self.streamed.get(key, 0))
                    self.must_be(given + missed, all_, key, "given", given, "missed", missed)

    def must_be(self, found: int, true: int, *what: Any) -> None:
        must(found <= true if self.forgets else found == true, "found", found, "of", true, *what)


class Story:
    """Everything of one seed."""

    def __init__(self, seed: int, trace: Any = None) -> None:
        self.world = World(seed, trace=trace)
        self.random = self.world.random
        self.told = 0
        self.published: dict[tuple[bytes, bytes, int], int] = {}
        self.echoes: dict[bytes, dict[bytes, int]] = {}
        self.tellers = [Teller(self, number) for number in range(self.random.choice((1, 1, 2)))]
        self.hearers = [Hearer(self, number) for number in range(self.random.choice((1, 2)))]

    def evicts(self, machine: Publisher) -> bool:
        return machine._limits.topics < len(TOPICS)

    def run(self) -> None:
        random, world = self.random, self.world
        at = START
        while at < HEAL:
            at += random.expovariate(25.0)
            world.at(at, self.happen)
        world.run(HEAL)
        for hearer in self.hearers:
            world.at(HEAL + 1.0, hearer.close_stream)
            for number in range(30):
                world.at(HEAL + 0.1 * number, hearer.read, 1000)
            world.at(HEAL + 2.0, self.ask, hearer)
        world.run(PROBE)
        for hearer in self.hearers:
            must(hearer.ready, "not ready in peace")
            hearer.account(finally_=False)
        for teller in self.tellers:
            for number, topic in enumerate(TOPICS):  # one by one, so that the smallest queue has room
                world.at(PROBE + 0.2 * number + 0.1 * teller.number, teller.publish, topic, 1)
        for hearer in self.hearers:
            for number in range(12):
                world.at(PROBE + 0.05 + 0.1 * number, hearer.read, 1000)
        world.run(END)
        for hearer in self.hearers:
            hearer.account(finally_=True)

    def ask(self, hearer: Hearer) -> None:
        hearer.machine.ready(Waiter(1, None), self.world.now)
        hearer.node.poke()

    def happen(self) -> None:
        random, world = self.random, self.world
        dice = random.random()
        teller, hearer = random.choice(self.tellers), random.choice(self.hearers)
        if dice < 0.55:
            teller.publish(random.choice(TOPICS), random.choice((1, 1, 1, 2, 5, 30)))
        elif dice < 0.75:
            hearer.read(random.choice((1, 2, 1000)))
        elif dice < 0.83:
            random.choice(hearer.pipes).cut()
        elif dice < 0.86:
            teller.crash()
        elif dice < 0.91:
            hearer.node.stalled_until = world.now + world.span((0.02, 1.5))
        elif dice < 0.94:
            teller.node.stalled_until = world.now + world.span((0.02, 1.0))
        elif dice < 0.97:
            hearer.change()
        elif hearer.stream is None:
            hearer.open_stream()
        else:
            hearer.close_stream()


def run(seed: int, trace: Callable[..., None] | None = None) -> None:
    """Raises Violation, or whatever a machine raised. Nothing but the seed decides what happens."""
    Story(seed, trace).run()
