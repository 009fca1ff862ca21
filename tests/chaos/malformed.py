"""Scenario (d): a raw DEALER sends what no client of ours sends, while an honest client calls all along."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from random import Random
from typing import Any

import msgpack
import zmq

import zpatterns
from tests.worlds import ADD, COUNT, LIMIT, Add, Awaiting, Blocking, Number, Sum
from zpatterns.errors import DecodeError
from zpatterns.wire import message as w

LARGEST = 2048 + 256
"""Bytes of an answer: the error text, and its header."""
Message = list[bytes]


def scenario(world: Blocking | Awaiting, count: int, seed: int) -> Counter[str]:
    """How the garbage was answered. Asserts that everything was counted, and that whatever can be answered was."""
    server = _server(world)
    with world.serving(server), world.client(server.endpoint) as honest:
        over, failures, served = threading.Event(), [], [0]

        def call() -> None:
            while not over.is_set():
                try:
                    assert honest.call(ADD, Add(a=served[0], b=1), timeout=LIMIT).total == served[0] + 1
                    served[0] += 1
                except BaseException as error:  # noqa: BLE001  reported below
                    failures.append(error)
                    return

        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        before = Counter(asdict(server.statistics))
        answers, sent, bodies = _send(server.endpoint, count, seed)
        over.set()
        thread.join(LIMIT)
        assert not thread.is_alive() and not failures, failures
        assert served[0] > 0
        assert honest.call(ADD, Add(a=1, b=1)).total == 2
        counted = Counter(asdict(server.statistics)) - before
        server._grace = 0.0  # streams whose reader never grants credit would use all of it up
    by = Counter[str]()
    for request_id, expected in sent.items():
        got = answers.get(request_id)
        if expected == "answer":
            assert got is not None, f"never answered: {bodies[request_id]}"
        by[_kind(got)] += 1
    size = max(sum(map(len, answer)) for answer in answers.values())
    assert size <= LARGEST, f"an answer of {size} bytes"
    silent = sum(expected == "silence" for expected in sent.values())
    counters = ("received", "undecodable", "plain_refused")
    assert sum(counted[name] for name in counters) >= count - silent
    by["bytes of the largest answer"] = size
    by["honest calls meanwhile"] = served[0]
    return by


def _kind(answer: Message | None) -> str:
    if answer is None:
        return "silence"
    try:
        command = w.parse(answer[0])
    except DecodeError:
        return "plain"
    return zpatterns.Status(command.status).name if isinstance(command, w.Error) else type(command).__name__


def _server(world: Any) -> Any:
    server = world.Server("tcp://127.0.0.1:*", threads=4)

    @server.reply(ADD, inline=True)
    def add(request: Add) -> Sum:
        return Sum(total=request.a + request.b)

    @server.stream(COUNT, inline=True)  # on a thread, readers that never grant credit would hold it
    def count(request: Number) -> Iterator[Number]:
        for value in range(min(3, request.value)):
            yield Number(value=value)

    return server


def _send(endpoint: str, count: int, seed: int) -> tuple[dict[bytes, Message], dict[bytes, str], dict[bytes, Message]]:
    """Send in small groups, and read all answers of a group before the next: nothing is lost to a full queue."""
    answers: dict[bytes, Message] = {}
    sent: dict[bytes, str] = {}
    bodies: dict[bytes, Message] = {}
    chance, garbage = Random(seed), _garbage(Random(seed))
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.connect(endpoint)
        for first in range(0, count, 50):
            for number in range(first, min(first + 50, count)):
                request_id = number.to_bytes(8, "big") + chance.randbytes(8)
                body = next(garbage)
                sent[request_id], bodies[request_id] = _expected(body), body
                dealer.send_multipart([request_id, b"", *body])
            sentinel = b"sentinel" + first.to_bytes(8, "big")
            dealer.send_multipart([sentinel, b"", w.request("zp.ping", 10_000, 1, 1, 0), w.EMPTY_BODY])
            while sentinel not in answers:
                assert dealer.poll(LIMIT * 1000), "the server does not answer any more"
                frames = dealer.recv_multipart()
                if len(frames) > 2 and not frames[1]:
                    answers.setdefault(frames[0], frames[2:])
        while dealer.poll(300):  # streams on threads may come after
            frames = dealer.recv_multipart()
            answers.setdefault(frames[0], frames[2:])
    return answers, sent, bodies


def _expected(body: Message) -> str:
    """Our own reading of docs/wire.md: what deserves an answer."""
    if not body or not w.is_typed(body[0]):
        return "answer"
    if len(body) < 2:
        return "answer"
    if len(body) > zpatterns.Limits().frames:
        return "silence"  # read off and dropped before anybody knows whom to answer
    try:
        command = w.parse(body[0])
        if isinstance(command, w.Batch):
            w.decode_batch(command, body[1])
            return "whatever"  # the requests in it have ids of their own
    except DecodeError:
        return "answer"
    if isinstance(command, w.Request):
        return (
            "whatever" if command.flags & (w.DEDUPE | w.BATCHES) or command.budget < 1000 else "answer"
        )  # or in a batch
    return "silence"


def _garbage(chance: Random) -> Iterator[Message]:
    valid = [
        [w.request("calc.add", 5000, 1, 1, 0), msgpack.packb({"a": 1, "b": 2})],
        [w.request("calc.add", 5000, 1, 1, w.BATCHES | w.DEDUPE, {"headers": {"a": "b"}}), msgpack.packb({"a": 1})],
        [w.request("calc.count", 5000, 1, 1, w.STREAM, {"credit": 2, "deadline": 9000}), msgpack.packb({"value": 3})],
        [w.request("zp.info", 5000, 1, 1, 0), w.EMPTY_BODY],
        [w.final(0, 1, 0, b"12345678"), b"\xc0"],
        [w.error(13, 0, b"12345678"), w.encode_error("text", {"a": 1}, 2048)],
        [w.CANCEL_HEADER, b""],
        [w.credit(5), b""],
        [w.batch(2), w.encode_batch([b"i" * 16, w.request("zp.ping", 5000, 1, 1, 0), b"\xc0"] * 2)],
    ]
    for frames in valid:  # every prefix of every frame
        for at, frame in enumerate(frames):
            for cut in range(len(frame)):
                yield [*frames[:at], frame[:cut], *frames[at + 1 :]]
    while True:
        frames = list(chance.choice(valid))
        kind = chance.random()
        if kind < 0.6:  # a few bytes changed
            at = chance.randrange(len(frames))
            changed = bytearray(frames[at])
            for _ in range(chance.choice((1, 1, 1, 2, 8))):
                if changed:
                    changed[chance.randrange(len(changed))] = chance.randrange(256)
            frames[at] = bytes(changed)
        elif kind < 0.7:
            frames[chance.randrange(len(frames))] = chance.randbytes(chance.randrange(200))
        elif kind < 0.75:
            frames[1] = msgpack.packb({"a": [[[[chance.random()]]] * 50] * 50, "b": "x" * chance.randrange(5000)})
        elif kind < 0.8:
            frames[1] = b"\x91" * chance.randrange(1, 5000)  # nested without end
        elif kind < 0.85:
            frames += [chance.randbytes(10) for _ in range(chance.randrange(1, 90))]
        elif kind < 0.9:
            frames = [chance.randbytes(chance.randrange(50)) for _ in range(chance.randrange(1, 5))]
        elif kind < 0.95:
            frames[0] = w.PREFIX + msgpack.packb([chance.choice(_ODD) for _ in range(chance.randrange(9))])
        else:
            frames[0] = frames[0][:4] + b"\xdf\xff\xff\xff\xff" + frames[0][4:]  # a map of 4 billion entries
        yield frames


_ODD: list[Any] = [
    0,
    1,
    2,
    7,
    -1,
    2**53,
    2**63,
    "calc.add",
    "x" * 3000,
    b"raw",
    None,
    True,
    1.5,
    [],
    {},
    {"a": {}},
    [[]],
]
