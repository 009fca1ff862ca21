"""Programs that speak bare ZeroMQ, against the classes of both worlds: REQ and DEALER as clients, REP and ROUTER as servers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq

from zpatterns import DecodeError, Limits, PeerUnavailable, RequestTimeout, Retry
from zpatterns.wire import message as w

from .worlds import ADD, LIMIT, Add, Sum, in_threads, until

MS = int(LIMIT * 1000)


@contextmanager
def socket(kind: int, *, bind: str = "", connect: str = "") -> Iterator[zmq.Socket[bytes]]:
    with zmq.Context() as context, context.socket(kind) as made:
        made.linger = 0
        made.rcvtimeo = made.sndtimeo = MS
        if bind:
            made.bind(bind)
        if connect:
            made.connect(connect)
        yield made


@pytest.fixture
def shouting(world: Any) -> Iterator[Any]:
    """A server that answers bare frames in capitals, and typed requests too."""
    server = world.Server("tcp://127.0.0.1:*")

    @server.plain
    def plain(frames: list[bytes]) -> list[bytes]:
        return [frame.upper() for frame in frames]

    @server.reply(ADD)
    def add(request: Add) -> Sum:
        return Sum(total=request.a + request.b)

    with world.serving(server):
        yield server


# -- bare clients ------------------------------------------------------------------------------------------------------


def test_a_req(shouting: Any) -> None:
    with socket(zmq.REQ, connect=shouting.endpoint) as req:
        for body in ([b"a"], [b"a", b"b"], [b""], [b"", b""], [b"x" * 100_000]):
            req.send_multipart(body)
            assert req.recv_multipart() == [frame.upper() for frame in body]


def test_a_dealer_with_and_without_a_delimiter(shouting: Any) -> None:
    with socket(zmq.DEALER, connect=shouting.endpoint) as dealer:
        for frames, answer in [
            ([b"", b"body"], [b"", b"BODY"]),
            ([b"id", b"", b"body"], [b"id", b"", b"BODY"]),
            ([b"route", b"id", b"", b"a", b"b"], [b"route", b"id", b"", b"A", b"B"]),
            ([b"bare"], [b"BARE"]),
            ([b"bare", b"frames"], [b"BARE", b"FRAMES"]),
        ]:
            dealer.send_multipart(frames)
            assert dealer.recv_multipart() == answer


def test_a_dealer_with_many_under_way(shouting: Any) -> None:
    with socket(zmq.DEALER, connect=shouting.endpoint) as dealer:
        for number in range(500):
            dealer.send_multipart([b"%d" % number, b"", b"body %d" % number])
        answers = {frames[0]: frames[2] for frames in (dealer.recv_multipart() for _ in range(500))}
        assert answers == {b"%d" % number: b"BODY %d" % number for number in range(500)}


def test_typed_requests_written_by_hand(shouting: Any) -> None:
    """As a program in another language would, from docs/wire.md alone."""
    body = [w.request("calc.add", 5000, 1, 1, 0), msgpack.packb({"a": 1, "b": 2})]
    with socket(zmq.REQ, connect=shouting.endpoint) as req:
        req.send_multipart(body)
        header, payload = req.recv_multipart()
        assert isinstance(w.parse(header), w.Final)
        assert msgpack.unpackb(payload) == {"total": 3}
    with socket(zmq.DEALER, connect=shouting.endpoint) as dealer:
        dealer.send_multipart([b"7", b"", *body])
        assert dealer.recv_multipart()[:2] == [b"7", b""]


def test_a_server_without_a_plain_handler(world: Any) -> None:
    server = world.Server("tcp://127.0.0.1:*")
    server.reply(ADD)(lambda request: Sum(total=0))
    with world.serving(server), socket(zmq.REQ, connect=server.endpoint) as req:
        req.send(b"hello")
        assert req.recv().startswith(b"zpatterns: ")
        assert server.statistics.plain_refused == 1


def test_a_plain_handler_that_fails_or_answers_nonsense(world: Any) -> None:
    server = world.Server("tcp://127.0.0.1:*")

    @server.plain
    def plain(frames: list[bytes]) -> Any:
        if frames == [b"fail"]:
            raise RuntimeError("secret")
        return {b"none": [], b"text": "text", b"one": b"one"}[frames[0]]

    with world.serving(server), socket(zmq.REQ, connect=server.endpoint) as req:
        for body, starts in [(b"none", b""), (b"one", b"one"), (b"fail", None), (b"text", None)]:
            req.send(body)
            answer = req.recv_multipart()
            assert b"secret" not in b"".join(answer)
            assert starts is None or answer == [starts]


def test_peers_that_come_and_go(shouting: Any) -> None:
    def ask(number: int) -> list[bytes]:
        for _ in range(10):
            with socket(zmq.REQ, connect=shouting.endpoint) as req:
                req.send(b"%d" % number)
                answer = req.recv_multipart()
            with socket(zmq.DEALER, connect=shouting.endpoint) as rude:  # does not wait for its answer
                rude.send_multipart([b"", b"gone"])
        return answer

    assert in_threads(8, ask) == [[b"%d" % number] for number in range(8)]


# -- bare servers ------------------------------------------------------------------------------------------------------


@contextmanager
def serving(kind: int, folder: Path, answer: Callable[[list[bytes]], list[list[bytes]]]) -> Iterator[str]:
    """A bare socket in a thread; ``answer`` gives the messages that follow a message."""
    endpoint, over = f"ipc://{folder}/bare", threading.Event()
    ready = threading.Event()

    def serve() -> None:
        with socket(kind, bind=endpoint) as bound:
            ready.set()
            while not over.is_set():
                if bound.poll(20):
                    for frames in answer(bound.recv_multipart()):
                        bound.send_multipart(frames)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert ready.wait(LIMIT)
    yield endpoint
    over.set()
    thread.join(LIMIT)
    assert not thread.is_alive()


def test_a_rep(world: Any, tmp_path: Path) -> None:
    with serving(zmq.REP, tmp_path, lambda body: [[b"re", *body]]) as endpoint, world.client(endpoint) as client:
        assert client.plain(b"one") == [b"re", b"one"]
        assert client.plain([b"one", b"two"]) == [b"re", b"one", b"two"]
        assert client.plain([b"", b""]) == [b"re", b"", b""]
        assert client.plain([]) == [b"re", b""]
        assert in_threads(16, lambda number: client.plain(b"%d" % number)) == [[b"re", b"%d" % n] for n in range(16)]
        assert client.plain(b"as a REQ", envelope="empty") == [b"re", b"as a REQ"]


def test_a_router_that_answers_out_of_order(world: Any, tmp_path: Path) -> None:
    kept: list[list[bytes]] = []

    def answer(frames: list[bytes]) -> list[list[bytes]]:
        kept.append(frames)
        if len(kept) < 8:
            return []
        out, kept[:] = kept[::-1], []
        return out

    with serving(zmq.ROUTER, tmp_path, answer) as endpoint, world.client(endpoint) as client:
        assert in_threads(8, lambda number: client.plain(b"%d" % number)) == [[b"%d" % number] for number in range(8)]


def test_a_router_that_expects_what_a_dealer_sends(world: Any, tmp_path: Path) -> None:
    def answer(frames: list[bytes]) -> list[list[bytes]]:
        assert len(frames) == 2, frames  # routing id and body, no delimiter
        return [[frames[0], frames[1].upper()]]

    with serving(zmq.ROUTER, tmp_path, answer) as endpoint, world.client(endpoint) as client:
        for text in (b"a", b"b"):
            assert client.plain(text, envelope="none") == [text.upper()]


def test_a_late_answer_without_an_id_is_not_given_to_the_next(world: Any, tmp_path: Path) -> None:
    go, seen = threading.Event(), []

    def answer(frames: list[bytes]) -> list[list[bytes]]:
        seen.append(frames[-1])
        if len(seen) == 1:
            go.wait(LIMIT)
        return [[*frames[:-1], frames[-1].upper()]]

    with serving(zmq.ROUTER, tmp_path, answer) as endpoint, world.client(endpoint) as client:
        with pytest.raises(RequestTimeout):
            client.plain(b"first", envelope="none", timeout=0.2)
        go.set()
        assert client.plain(b"second", envelope="none", timeout=LIMIT) == [b"SECOND"]


def test_a_typed_request_to_a_bare_server(world: Any, tmp_path: Path) -> None:
    """It answers, but not in our words: the caller gets the frames it sent."""
    with serving(zmq.REP, tmp_path, lambda body: [[b"what?"]]) as endpoint, world.client(endpoint) as client:
        with pytest.raises(DecodeError, match="use request_plain") as caught:
            client.call(ADD, Add(a=1, b=2))
        assert caught.value.frames == [b"what?"]


def test_answers_nobody_asked_for(world: Any, tmp_path: Path) -> None:
    def answer(frames: list[bytes]) -> list[list[bytes]]:
        peer, request_id = frames[:2]
        final = [w.final(0, 1, 0, b"12345678"), msgpack.packb({"total": 3})]
        return [
            [peer],
            [peer, b"x"],
            [peer, b"nobody's", b"", *final],
            [peer, b"", w.PREFIX, b""],
            [peer, b"", w.batch(2), b"\x00" * 40],
            [peer, request_id, b"", *final],
            [peer, request_id, b"", *final],
        ]

    with serving(zmq.ROUTER, tmp_path, answer) as endpoint, world.client(endpoint) as client:
        for _ in range(3):
            assert client.call(ADD, Add(a=1, b=2)).total == 3
        until(lambda: client.client.statistics.late + client.client.statistics.undecodable >= 8)


def test_the_wrong_kind_of_socket(world: Any, tmp_path: Path) -> None:
    """A PUB refuses the handshake of a DEALER, and libzmq would not try again (libzmq #4196); a right server comes later."""
    endpoint = f"ipc://{tmp_path}/wrong"
    with world.client(endpoint, timeout=LIMIT, retry=Retry(attempts=1)) as client:
        with socket(zmq.PUB, bind=endpoint), pytest.raises((PeerUnavailable, RequestTimeout)):
            client.call(ADD, Add(a=1, b=2), timeout=0.5)
        server = world.Server(endpoint, limits=Limits())
        server.reply(ADD)(lambda request: Sum(total=request.a + request.b))
        with world.serving(server):
            assert client.call(ADD, Add(a=1, b=2)).total == 3
