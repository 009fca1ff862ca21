"""The table: which two ways of doing the same work are compared, in which setting, and what is asked of the figure."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Run:
    """One way to do the work: a server function and a client function of this package, each in a process of its own."""

    label: str
    server: str
    client: str
    in_flight: int = 1
    pinned: bool = True
    """Both processes on one core: the rate is then 1 / (CPU of both per call), free of wake-ups across cores."""
    uvloop: bool = False
    size: int = 0
    """Bytes of an array; 0 is the record. Of pub/sub, more subscribers than one."""

    @property
    def setting(self) -> str:
        parts = (
            [f"{self.in_flight} in flight"]
            if self.in_flight
            else ["1 to 4" if self.size else "1 to 2" if self.server.startswith("work.") else "1 to 1"]
        )
        parts.append("one core" if self.pinned else "any core")
        if self.uvloop:
            parts.append("uvloop")
        if self.size and self.in_flight:
            parts.append(f"{self.size // 2**20} MiB")
        return ", ".join(parts)


@dataclass(frozen=True)
class Scenario:
    """``unit`` "x": our rate / theirs, higher is better. "us": our CPU per call - theirs, lower is better."""

    name: str
    title: str
    against: str
    ours: Run
    rival: Run
    bar: float
    goal: float
    unit: str = "x"


def _run(label: str, server_and_client: str, **setting: object) -> Run:
    module, name = server_and_client.split(".")
    return Run(label, f"{module}.serve_{name}", f"{module}.call_{name}", **setting)  # type: ignore[arg-type]


ASYNC = _run("zpatterns asyncio, pydantic", "ours.asyncio", in_flight=64, uvloop=True)
ASYNC_HAND = _run("zmq.asyncio by hand, pydantic", "byhand.asyncio", in_flight=64, uvloop=True)
DRAIN = _run("bare drain loop, same codec", "drain.drain", in_flight=64, uvloop=True)
NATS = _run("nats-py, pydantic", "nats_echo.nats", in_flight=64, uvloop=True)
ASYNC_FREE = replace(ASYNC, pinned=False, uvloop=False)
ASYNC_HAND_FREE = replace(ASYNC_HAND, pinned=False, uvloop=False)
STRUCTS = _run("zpatterns asyncio, msgspec", "ours.structs", in_flight=64, uvloop=True)
WINDOW = _run("pyzmq blocking window, bytes", "byhand.window", in_flight=64)
ASYNC_ONE = replace(ASYNC, in_flight=1)
ASYNC_HAND_ONE = replace(ASYNC_HAND, in_flight=1)
INLINE = _run("zpatterns blocking, inline=True", "ours.inline")
THREADED = _run("zpatterns blocking, threads", "ours.threaded")
REQ_REP = _run("pyzmq REQ/REP, bytes", "byhand.req_rep")
MANY = _run("zpatterns, one client, 64 threads", "ours.many_threads", in_flight=64, pinned=False)
MANY_HAND = _run("pyzmq by hand, 64 REQ, 64 threads", "byhand.many_threads", in_flight=64, pinned=False)
ARRAY_1 = _run("zpatterns blocking, ndarray", "ours.array", pinned=False, size=2**20)
ARRAY_1_RAW = _run("pyzmq REQ/REP, copy=False", "byhand.array", pinned=False, size=2**20)
ARRAY_16 = replace(ARRAY_1, size=2**24)
ARRAY_16_RAW = replace(ARRAY_1_RAW, size=2**24)
PAIR = _run("zpatterns Pair blocking, pydantic", "ours.pair")
PAIR_HAND = _run("pyzmq PAIR by hand, pydantic", "byhand.pair")
PUBSUB = _run("zpatterns pub/sub asyncio, pydantic", "fan.asyncio", in_flight=0, pinned=False)
PUBSUB_BLOCKING = _run("zpatterns pub/sub blocking, pydantic", "fan.blocking", in_flight=0, pinned=False)
PUBSUB_STRUCTS = _run("zpatterns pub/sub asyncio, msgspec", "fan.asyncio", in_flight=0, pinned=False)
PUBSUB_4 = replace(PUBSUB, size=1)
PUBSUB_HAND = _run("pyzmq PUB/SUB by hand, pydantic", "fan.hand", in_flight=0, pinned=False)
PUBSUB_HAND_4 = replace(PUBSUB_HAND, size=1)
PUBSUB_RAW = _run("pyzmq PUB/SUB, bytes", "fan.raw", in_flight=0, pinned=False)
PUBSUB_NATS = _run("nats-py pub/sub, pydantic", "fan.nats", in_flight=0, pinned=False)
PUBSUB_FASTSTREAM = _run("FastStream on NATS pub/sub, pydantic", "fan.faststream", in_flight=0, pinned=False)
PUSH = _run("zpatterns Push/Pull asyncio, pydantic", "work.push", in_flight=0, pinned=False)
PUSH_STRUCTS = _run("zpatterns Push/Pull asyncio, msgspec", "work.push", in_flight=0, pinned=False)
PUSH_HAND = _run("zmq.asyncio PUSH/PULL by hand, pydantic", "work.hand", in_flight=0, pinned=False)
PUSH_RAW = _run("pyzmq PUSH/PULL, bytes", "work.raw", in_flight=0, pinned=False)
PIPELINE = _run("zpatterns Pipeline asyncio, pydantic", "work.reliable", in_flight=0, pinned=False)
QUEUE_NATS = _run("nats-py queue group, pydantic", "work.nats", in_flight=0, pinned=False)
BROKERED = _run("zpatterns Broker, pydantic", "brokered.ours", in_flight=64, pinned=False)
BROKERED_BYTES = _run("zpatterns Broker, bytes", "brokered.ours_bytes", in_flight=64, pinned=False)
BROKERED_BOOK = _run("Majordomo by the book, bytes", "brokered.book", in_flight=64, pinned=False)
BROKERED_PROXY = _run("zmq.proxy, by hand, pydantic", "brokered.proxy", in_flight=64, pinned=False)
BROKERED_NATS = _run("NATS queue group, pydantic", "brokered.nats", in_flight=64, pinned=False)

_TYPED = "asyncio, 64 in flight, pydantic"
_HAND = "zmq.asyncio by hand, msgpack, pydantic"
SCENARIOS = [
    Scenario("async64", f"{_TYPED}, uvloop, one core", f"{_HAND}, uvloop", ASYNC, ASYNC_HAND, 4.5, 8),
    Scenario("nats64", f"{_TYPED}, uvloop, one core", "nats-py and nats-server, pydantic, uvloop", ASYNC, NATS, 1.8, 3),
    Scenario(
        "added64",
        "asyncio, 64 in flight: CPU added per call, both ends",
        "a drain loop of one's own",
        ASYNC,
        DRAIN,
        5,
        2,
        unit="us",
    ),
    Scenario(
        "msgspec64",
        "asyncio, 64 in flight, msgspec, uvloop, one core",
        "pyzmq blocking window of 64, bytes",
        STRUCTS,
        WINDOW,
        0.35,
        0.7,
    ),
    Scenario(
        "free64", f"{_TYPED}, default loop, any core", f"{_HAND}, default loop", ASYNC_FREE, ASYNC_HAND_FREE, 3, 5
    ),
    Scenario(
        "async1",
        "asyncio, 1 in flight, pydantic, uvloop, one core",
        f"{_HAND}, uvloop",
        ASYNC_ONE,
        ASYNC_HAND_ONE,
        1.8,
        2.3,
    ),
    Scenario(
        "inline1", "blocking, 1 in flight, inline=True, one core", "pyzmq REQ/REP, bytes", INLINE, REQ_REP, 0.65, 0.8
    ),
    Scenario("threads1", "blocking, 1 in flight, handler threads, one core", "the same", THREADED, REQ_REP, 0.4, 0.6),
    Scenario("threads64", "64 threads, one blocking client", "64 threads, a REQ each, typed", MANY, MANY_HAND, 1, 1.3),
    Scenario(
        "pair1",
        "a pair, one message there and one back, blocking, one core",
        "pyzmq by hand",
        PAIR,
        PAIR_HAND,
        0.2,
        0.4,
    ),
    Scenario("array1", "1 MiB numpy echo", "pyzmq REQ/REP, copy=False", ARRAY_1, ARRAY_1_RAW, 0.8, 1),
    Scenario("pubsub1", "pub/sub 1 to 1, pydantic, asyncio", "pyzmq by hand, blocking", PUBSUB, PUBSUB_HAND, 1.8, 3),
    Scenario("pubsubnats", "the same", "nats-py and nats-server", PUBSUB, PUBSUB_NATS, 2.5, 6),
    Scenario("pubsubfast", "the same", "FastStream on NATS", PUBSUB, PUBSUB_FASTSTREAM, 20, 45),
    Scenario("pubsubblock", "the same, blocking", "pyzmq by hand, blocking", PUBSUB_BLOCKING, PUBSUB_HAND, 1, 1.5),
    Scenario(
        "pubsubraw", "pub/sub 1 to 1, msgspec, publish_many of 64", "pyzmq, bytes", PUBSUB_STRUCTS, PUBSUB_RAW, 0.7, 1.1
    ),
    Scenario(
        "pubsub4", "pub/sub 1 to 4, pydantic, asyncio", "pyzmq by hand, blocking", PUBSUB_4, PUBSUB_HAND_4, 1.5, 2.5
    ),
    Scenario(
        "push2",
        "plain pipeline 1 to 2, pydantic, asyncio",
        "zmq.asyncio by hand, msgpack, pydantic",
        PUSH,
        PUSH_HAND,
        5,
        12,
    ),
    Scenario(
        "push2raw", "plain pipeline 1 to 2, msgspec, send_many of 64", "pyzmq, bytes", PUSH_STRUCTS, PUSH_RAW, 0.8, 1.5
    ),
    Scenario(
        "pipeline2",
        "reliable pipeline 1 to 2, pydantic: credit, acks, results back",
        "NATS queue group, pydantic, no acks, no results",
        PIPELINE,
        QUEUE_NATS,
        0.4,
        1,
    ),
    Scenario(
        "broker64raw",
        "broker and 2 workers, 64 in flight, bytes",
        "a Python Majordomo as the guide has it",
        BROKERED_BYTES,
        BROKERED_BOOK,
        5,
        8,
    ),
    Scenario(
        "brokernats", "broker and 2 workers, 64 in flight, pydantic", "NATS queue group", BROKERED, BROKERED_NATS, 1, 2
    ),
    Scenario("brokerproxy", "the same", "zmq.proxy in C, zmq.asyncio by hand", BROKERED, BROKERED_PROXY, 1.6, 4),
    Scenario("array16", "16 MiB numpy echo", "the same", ARRAY_16, ARRAY_16_RAW, 0.9, 1),
]
