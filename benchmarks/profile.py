"""Where the time of one call goes: ``python -m benchmarks.profile rpc64|rpc1|blocking1 --side client|server [--cprofile]``.

By layers: both machines in this process with a pair of real sockets between, and the CPU that this thread spends in each
step. What the same run in two processes costs more is the event loop, the driver, libzmq's own thread and the kernel.

``--cprofile`` instead shows the functions of one side of that run, all its threads, by the wall clock: on one core
``send`` and ``poll`` also hold the time in which the others had the core. It slows Python down, C code hardly.
"""

from __future__ import annotations

import argparse
import os
import pstats
import random
import tempfile
from collections import defaultdict
from itertools import pairwise
from statistics import median
from time import monotonic, thread_time_ns

import zmq

import zpatterns as z
from zpatterns._shell.calls import Maker, finish
from zpatterns._shell.handlers import Handlers, rules_of
from zpatterns._shell.work import HandlerWork
from zpatterns.core.machine import Frames, Link
from zpatterns.core.replier import Replier
from zpatterns.core.requester import Requester
from zpatterns.drive import replying, sockets

from .byhand import address, opened
from .ours import ECHO
from .record import ORDER, Order
from .rounds import cores, measure
from .scenarios import ASYNC, ASYNC_ONE, INLINE

RUNS = {"rpc64": ASYNC, "rpc1": ASYNC_ONE, "blocking1": INLINE}
CALLS = 3200
ROUNDS = 15
Laps = dict[tuple[str, str], list[float]]
"""(side, layer) -> microseconds per call, of each round."""


class Stopwatch:
    """This thread's CPU by layer, without what asking costs; ``skip()`` leaves out what passed since the last lap."""

    def __init__(self) -> None:
        self.spent: dict[tuple[str, str], float] = defaultdict(float)
        asked = [thread_time_ns() for _ in range(1000)]
        self._asking = median(later - sooner for sooner, later in pairwise(asked))
        self._last = thread_time_ns()

    def skip(self) -> None:
        self._last = thread_time_ns()

    def lap(self, side: str, layer: str) -> None:
        self.spent[side, layer] += thread_time_ns() - self._last - self._asking
        self._last = thread_time_ns()


class Pair:
    """A requester and a replier in one thread, with the sockets that they would have."""

    def __init__(self) -> None:
        limits = z.Limits()
        handlers = Handlers("bench", "0", None)

        @handlers.reply(ECHO, inline=True)
        def echo(order: Order) -> Order:
            return order

        self.limits = limits
        self.maker = Maker(timeout=7.5, retry=z.Retry(), limits=limits)
        self.work = HandlerWork({}, limits)
        self.requester = Requester(1, prefix=os.urandom(8), random=random.random)
        rules = rules_of(handlers._handlers)
        self.replier = Replier(rules, incarnation=os.urandom(8))
        self.requester.link(0, Link.UP, monotonic())
        self.requester.events.clear()
        context = zmq.Context()
        self.router = opened(context, zmq.ROUTER)
        self.dealer = opened(context, zmq.DEALER, address(self.router))

    def send(self, machine: Requester | Replier, socket: zmq.Socket[bytes]) -> int:
        count = len(machine.outbox)
        while machine.outbox:
            sockets.send(socket, machine.outbox.popleft()[1])
        return count

    def receive(
        self, watch: Stopwatch, side: str, machine: Requester | Replier, socket: zmq.Socket[bytes], count: int
    ) -> None:
        """``count`` messages; the wait for the first is not on the clock."""
        messages: list[Frames] = []
        while len(messages) < count:
            socket.poll(1000)
            watch.skip()
            frames = sockets.receive(socket, self.limits)
            sockets.readable(socket)  # as the driver asks after each message
            if frames is not None:
                messages.append(frames)
            watch.lap(side, "receive")
        now = monotonic()
        for frames in messages:
            machine.receive(0, frames, now)
        watch.lap(side, "machine receives")

    def turn(self, watch: Stopwatch, batch: int) -> None:
        """``batch`` calls from their making to their values."""
        maker, requester, replier, work = self.maker, self.requester, self.replier, self.work
        watch.skip()
        calls = [maker.unary(ECHO, ORDER, None, None, None, idempotent=None, wait_for_ready=True) for _ in range(batch)]
        watch.lap("client", "make call, encode")
        for call, _ in calls:
            requester.start(call)
        watch.lap("client", "machine starts call")
        requester.flush(monotonic())
        watch.lap("client", "machine flushes")
        count = self.send(requester, self.dealer)
        watch.lap("client", "send")
        self.receive(watch, "server", replier, self.router, count)
        replier.dispatch(monotonic())
        jobs = list(replier.events)
        replier.events.clear()
        watch.lap("server", "machine dispatches")
        results = [(job, work.answer(job)) for job in jobs]
        watch.lap("server", "decode, handler, encode")
        for job, result in results:
            replying.finish(replier, job, result)
        watch.lap("server", "machine takes reply")
        replier.flush(monotonic())
        watch.lap("server", "machine flushes")
        count = self.send(replier, self.router)
        watch.lap("server", "send")
        self.receive(watch, "client", requester, self.dealer, count)
        requester.events.clear()
        watch.skip()
        for call, codec in calls:
            finish(call, codec)
        watch.lap("client", "decode, finish")


def codec_alone() -> tuple[float, float]:
    """Microseconds of one encode and one decode, which are part of the layers above."""
    codec = ECHO.request_codec
    payload, _ = codec.encode(ORDER)
    encodes, decodes = [], []
    for _ in range(ROUNDS):
        began = thread_time_ns()
        for _ in range(CALLS):
            codec.encode(ORDER)
        encoded = thread_time_ns()
        for _ in range(CALLS):
            codec.decode(codec.wire_id, payload)
        encodes.append((encoded - began) / CALLS / 1000)
        decodes.append((thread_time_ns() - encoded) / CALLS / 1000)
    return median(encodes), median(decodes)


def layers(batch: int) -> Laps:
    pair, laps = Pair(), defaultdict(list)
    for _ in range(ROUNDS):
        watch = Stopwatch()
        for _ in range(CALLS // batch):
            pair.turn(watch, batch)
        for layer, spent in watch.spent.items():
            laps[layer].append(spent / CALLS / 1000)
    return laps


def by_layer(name: str, side: str) -> None:
    run = RUNS[name]
    with cores(one=True):
        laps = layers(run.in_flight)
        encode, decode = codec_alone()
    whole = median(measure(run, seconds=1.0, warm_up=0.3)[f"{side}_us"] for _ in range(3))
    print(f"{run.label}, {run.setting}: CPU us per call of the {side}\n")
    known = 0.0
    for (where, layer), spent in laps.items():
        if where == side:
            known += median(spent)
            print(f"{median(spent):8.2f}  {layer}")
    print(
        f"{whole - known:8.2f}  the rest: event loop or poll, driver, libzmq's thread, kernel\n{whole:8.2f}  in all\n"
    )
    print(f"of these, one encode {encode:.2f} and one decode {decode:.2f}")


def by_function(name: str, side: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/profile"
        sample = measure(RUNS[name], seconds=2.0, warm_up=0.3, profile={side: path})
        print(f"{RUNS[name].label}, {RUNS[name].setting}: {side}, {sample['calls']:,.0f} calls in 2 s under cProfile\n")
        pstats.Stats(path).strip_dirs().sort_stats("tottime").print_stats(40)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("run", choices=RUNS)
    parser.add_argument("--side", choices=("client", "server"), default="client")
    parser.add_argument("--cprofile", action="store_true", help="functions instead of layers")
    asked = parser.parse_args()
    (by_function if asked.cprofile else by_layer)(asked.run, asked.side)


if __name__ == "__main__":
    main()
