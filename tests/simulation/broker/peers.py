"""Peers that are not ours, written from the RFCs as machines of their own: a lazy pirate client, workers of four kinds."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from tests.simulation.checker import must
from zpatterns.core.calls import Reopen
from zpatterns.core.jobs import PLAIN_PREFIX, ReplyServerStatistics
from zpatterns.core.machine import Frames, Link, Sent
from zpatterns.drive.virtual import VirtualLoop
from zpatterns.drive.virtual_network import VirtualDealer

if TYPE_CHECKING:
    from .world import Story

FRONT, BACK = "front", "back"
C01, W01, W02 = b"MDPC01", b"MDPW01", b"MDPW02"


class Peer:
    """A machine with one DEALER that speaks by itself alone."""

    address = ""
    expects = True

    def __init__(self, story: Story, name: str) -> None:
        self.story = story
        self.statistics = ReplyServerStatistics()
        self.outbox: deque[tuple[int, Frames, Any]] = deque()
        self.events: deque[Any] = deque()
        self.blocked: list[Frames] = []
        """What a socket that blocks would still have to send."""
        self.up = False
        self.wakes_at: float | None = None
        self.loop = VirtualLoop(story.world, name, self, self.deliver, story.limits)  # type: ignore[arg-type]
        self.dealer = VirtualDealer(story.world, self.loop, self.address)
        self.loop.ports = [self.dealer]

    def say(self, *frames: bytes) -> None:
        self.outbox.append((0, frames, frames))

    def deliver(self, event: Any) -> None:
        if type(event) is Reopen:
            self.loop.reopen(0)

    def link(self, port: int, state: Link, now: float) -> None:
        if state is Link.WRITABLE:
            self.outbox.extend((0, frames, frames) for frames in self.blocked)
        else:
            self.up = state is Link.UP
            self.outbox.clear()
            if self.up:
                self.connected(now)
        self.blocked.clear()

    def connected(self, now: float) -> None: ...
    def sent(self, token: Any, outcome: Sent, now: float) -> None:
        self.blocked.append(token)

    def dispatch(self, now: float) -> None: ...
    def flush(self, now: float) -> None: ...
    def wake(self, now: float) -> None: ...


class PlainClient(Peer):
    """Lazy pirate: one request at a time, and after a while the same again on a fresh socket."""

    address = FRONT
    PATIENCE = 1.2

    def __init__(self, story: Story, number: int, majordomo: bool) -> None:
        self.number = number
        self.front = (b"", C01, b"s") if majordomo else (b"",)
        self.queue: deque[tuple[bytes, float, bool]] = deque()
        self.current: tuple[bytes, float, bool] | None = None
        self.asked = 0
        super().__init__(story, f"plain client {number}")

    def ask(self, *, probe: bool = False) -> None:
        self.asked += 1
        content = b"p%d-%d" % (self.number, self.asked)
        self.story.checker.asked(content, idempotent=True)
        self.queue.append((content, self.story.world.now + 6.0, probe))
        self.loop.post(self.next)

    def next(self) -> None:
        if self.current is None and self.queue and self.up:
            self.current = self.queue.popleft()
            self.wakes_at = self.story.world.now + self.PATIENCE
            self.say(*self.front, self.current[0])

    def connected(self, now: float) -> None:
        if self.current is not None:
            self.wakes_at = now + self.PATIENCE
            self.say(*self.front, self.current[0])
        else:
            self.next()

    def receive(self, port: int, frames: Frames, now: float) -> None:
        must(tuple(frames[:-1]) == self.front, "not for this client:", frames)
        if frames[-1][: len(PLAIN_PREFIX)] == PLAIN_PREFIX:
            return  # our worker's own words: it tries again
        if self.current is None or self.current[0] + b"!" != frames[-1]:
            must(bytes(frames[-1][:-1]) in self.story.checker.sure, "an alien reply:", frames)
            return  # of an earlier try, on this very socket
        content, _, _ = self.current
        self.current, self.wakes_at = None, None
        self.story.checker.ended(content, bytes(frames[-1]), None, 0.0)
        self.next()

    def wake(self, now: float) -> None:
        if self.wakes_at is None or now < self.wakes_at:
            return
        self.wakes_at = now + self.PATIENCE
        if self.current is not None and now >= self.current[1]:
            content, _, probe = self.current
            must(not probe, "a probe was not answered:", content)
            del self.story.checker.open[content]  # it has given up, as lazy pirates do
            self.current = None
        self.events.append(Reopen(0))


class PlainWorker(Peer):
    """A worker of 7/MDP, 18/MDP, 6/PPP or the simple pirate; one request at a time, no heartbeats meanwhile."""

    address = BACK
    INTERVAL = 0.5
    PATIENCE = 1.5

    def __init__(self, story: Story, number: int, kind: str) -> None:
        self.number, self.kind = number, kind
        self.life = 0
        """Conversations so far."""
        self.busy = 0
        self.heard_at = 0.0
        self.name = f"{kind} worker {number}"
        super().__init__(story, self.name)

    def connected(self, now: float) -> None:
        self.life += 1
        self.busy = 0
        self.heard_at = now
        self.wakes_at = now + self.INTERVAL if self.kind != "simple" else None
        ready = {
            "0.1": (b"", W01, b"\1", b"s"),
            "0.2": (W02, b"\1", b"s"),
            "paranoid": (b"\1",),
            "simple": (b"", b"READY"),
        }
        self.say(*ready[self.kind])

    def receive(self, port: int, frames: Frames, now: float) -> None:
        self.heard_at = now
        kind = self.kind
        if kind == "paranoid":
            if len(frames) == 1:
                must(frames[0] == b"\2", "not of 6/PPP:", frames)
                return
            address, body = frames[0], frames[2]
        elif kind == "simple":
            address, body = frames[1], frames[3]
        else:
            at = 2 if kind == "0.1" else 1
            must(frames[at - 1] == (W01 if kind == "0.1" else W02), "not of Majordomo:", frames)
            if frames[at] == (b"\5" if kind == "0.1" else b"\6"):
                self.events.append(Reopen(0))
                return
            if frames[at] != b"\2":
                return
            address, body = frames[at + 1], frames[at + 3]
        if (len(frames) > 6 and kind == "0.1") or (
            len(frames) > 5 and kind == "0.2"
        ):  # a typed body: the payload is the second frame of it
            body = frames[-1]
        must(not self.busy, "a second request for a worker that has one:", frames)
        self.busy += 1
        self.work(
            bytes(address), bytes(body), typed=body is not frames[-1] or len(frames) > (6 if kind == "0.1" else 5)
        )

    def work(self, address: bytes, body: bytes, *, typed: bool) -> None:
        story = self.story
        reply = story.checker.executed(body)
        loop, roll = self.loop, story.random.random()
        if not story.peaceful and roll < 0.1:
            story.world.after(0.0, self.die)
        elif story.peaceful or roll < 0.6:
            self.answer(address, reply, typed=typed)
        else:
            life = self.life
            pause = story.random.random() * 0.6
            story.world.after(pause, lambda: loop.post(self.answer_if, life, address, reply, typed))

    def answer_if(self, life: int, address: bytes, reply: bytes, typed: bool) -> None:
        if self.life == life and self.busy and self.up:
            self.answer(address, reply, typed=typed)

    def answer(self, address: bytes, reply: bytes, *, typed: bool) -> None:
        self.busy = 0
        front = {"0.1": (b"", W01, b"\3"), "0.2": (W02, b"\4"), "paranoid": (), "simple": (b"",)}[self.kind]
        body = (FINAL, reply) if typed and self.kind in ("0.1", "0.2") else (reply,)
        self.say(*front, address, b"", *body)

    def die(self) -> None:
        """It is gone, and another one comes."""
        self.loop.reopen(0)

    def wake(self, now: float) -> None:
        if self.wakes_at is None or now < self.wakes_at:
            return
        self.wakes_at = now + self.INTERVAL
        if not self.up:
            return
        if now - self.heard_at > self.PATIENCE:
            self.heard_at = now
            self.events.append(Reopen(0))
        elif not self.busy:
            self.say(*{"0.1": (b"", W01, b"\4"), "0.2": (W02, b"\5"), "paranoid": (b"\2",)}[self.kind])


FINAL = bytes.fromhex("c17a70019503000100c4080102030405060708")
