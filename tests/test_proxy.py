"""``Proxy`` in both worlds, with plain sockets at both ends: what passes, what waits, what is counted, and that it stops."""

from __future__ import annotations

import gc
import inspect
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import zmq

import zpatterns
from zpatterns import (
    AddressInUse,
    Closed,
    ConfigurationError,
    ForkedError,
    InsecureEndpointError,
    ProxyStatistics,
    Publisher,
    ReplyServer,
    RequestClient,
    RequestTimeout,
    SocketOptions,
    Subscriber,
    Topic,
)

from .worlds import ADD, LIMIT, Add, Sum, fresh, in_threads, until

TRANSPORTS = ["inproc", "ipc", "tcp"]


class Face:
    """A proxy of either world, called from a thread."""

    def __init__(self, world: Any, proxy: Any) -> None:
        self._world = world
        self.proxy = proxy

    def do(self, value: Any) -> Any:
        return self._world.do(value) if inspect.iscoroutine(value) else value

    def pause(self, **options: Any) -> None:
        self.do(self.proxy.pause(**options))

    def resume(self) -> None:
        self.do(self.proxy.resume())

    def start(self) -> None:
        self.do(self.proxy.start())

    def close(self) -> None:
        self.do(self.proxy.close())

    @property
    def counts(self) -> ProxyStatistics:
        found: ProxyStatistics = self.proxy.statistics
        return found


@contextmanager
def running(world: Any, kind: str, front: str, back: str, **options: Any) -> Iterator[Face]:
    module = zpatterns if world.name == "blocking" else zpatterns.asyncio
    face = Face(world, getattr(module.Proxy, kind)(front, back, **options))
    face.start()
    try:
        yield face
    finally:
        face.close()


@contextmanager
def plain(kind: int, endpoint: str, mark: int = 1000) -> Iterator[Any]:
    """A plain socket, connected."""
    socket = zmq.Context.instance().socket(kind)
    socket.linger, socket.sndtimeo, socket.rcvtimeo = 0, int(LIMIT * 1000), int(LIMIT * 1000)
    socket.sndhwm = socket.rcvhwm = mark
    if kind == zmq.SUB:
        socket.subscribe(b"")
    socket.connect(endpoint)
    try:
        yield socket
    finally:
        socket.close()


def pair(folder: Path, transport: str = "tcp") -> tuple[str, str]:
    return fresh(transport, folder), fresh(transport, folder)


def fill(socket: Any, size: int = 1000) -> int:
    """Send until nothing more is taken for a while; how many were."""
    socket.sndtimeo = 300
    sent = 0
    with suppress(zmq.Again):
        while True:
            socket.send(b"x" * size)
            sent += 1
    return sent


def drain(socket: Any, pause: float = 0.3) -> int:
    got = 0
    while socket.poll(int(pause * 1000)):
        socket.recv_multipart()
        got += 1
    return got


# -- what passes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_streamer(world: Any, transport: str, tmp_path: Path) -> None:
    with running(world, "streamer", *pair(tmp_path, transport)) as face:
        assert "*" not in face.proxy.frontend + face.proxy.backend
        with plain(zmq.PUSH, face.proxy.frontend) as producer, plain(zmq.PULL, face.proxy.backend) as worker:
            for number in range(100):
                producer.send_multipart([b"job", b"%d" % number])
            assert [worker.recv_multipart() for _ in range(100)] == [[b"job", b"%d" % n] for n in range(100)]
            counts = face.counts
            assert (counts.frontend_received, counts.backend_sent, counts.frontend_sent) == (200, 200, 0)
            assert counts.frontend_received_bytes == counts.backend_sent_bytes == 490


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_queue(world: Any, transport: str, tmp_path: Path) -> None:
    with running(world, "queue", *pair(tmp_path, transport)) as face:

        def answer(server: Any) -> None:
            with suppress(zmq.ContextTerminated, zmq.Again):
                while (request := server.recv()) != b"end":
                    server.send(request.upper())

        with plain(zmq.REP, face.proxy.backend) as server, plain(zmq.REQ, face.proxy.frontend) as client:
            thread = threading.Thread(target=answer, args=(server,), daemon=True)
            thread.start()
            for number in range(20):
                client.send(b"r%d" % number)
                assert client.recv() == b"R%d" % number
            counts = face.counts
            assert counts.frontend_received == counts.backend_sent == 60  # routing id, delimiter, body
            assert counts.backend_received == counts.frontend_sent == 60
            client.send(b"end")
            thread.join(LIMIT)
            assert not thread.is_alive()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_forwarder(world: Any, transport: str, tmp_path: Path) -> None:
    with (
        running(world, "forwarder", *pair(tmp_path, transport)) as face,
        plain(zmq.XPUB, face.proxy.frontend) as publisher,
        plain(zmq.SUB, face.proxy.backend) as subscriber,
    ):
        assert publisher.recv() == b"\1"  # the subscription has come through
        for number in range(100):
            publisher.send_multipart([b"topic", b"%d" % number])
        assert [subscriber.recv_multipart()[1] for _ in range(100)] == [b"%d" % n for n in range(100)]
        assert face.counts.backend_received == face.counts.frontend_sent == 1


def test_a_side_that_connects(world: Any, tmp_path: Path) -> None:
    """Two proxies in a row: a bridge."""
    with running(world, "streamer", *pair(tmp_path)) as first:
        front = first.proxy.backend
        with (
            running(world, "streamer", front, fresh("tcp", tmp_path), connect_frontend=True) as second,
            plain(zmq.PUSH, first.proxy.frontend) as producer,
            plain(zmq.PULL, second.proxy.backend) as worker,
        ):
            producer.send(b"across")
            assert worker.recv() == b"across"


def test_typed_requests_through_a_queue(world: Any, tmp_path: Path) -> None:
    """Two typed clients, many in flight, and a plain REQ share one typed server behind a queue."""
    server = ReplyServer("tcp://127.0.0.1:*", threads=4)
    server.reply(ADD)(lambda request: Sum(total=request.a + request.b))
    server.plain(lambda frames: frames)
    with server, running(world, "queue", fresh("tcp", tmp_path), server.endpoint, connect_backend=True) as face:

        def call(number: int) -> None:
            with RequestClient(face.proxy.frontend, timeout=LIMIT) as client:
                futures = [client.submit(ADD, Add(a=number, b=n)) for n in range(200)]
                assert [future.result(LIMIT).total for future in futures] == [number + n for n in range(200)]

        in_threads(2, call)
        with plain(zmq.REQ, face.proxy.frontend) as old:
            old.send(b"hello")
            assert old.recv() == b"hello"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_typed_subscribers_behind_a_forwarder(world: Any, transport: str, tmp_path: Path) -> None:
    """Once ready, none of them misses the first message."""
    number = Topic("lab.number", int)
    with running(world, "forwarder", *pair(tmp_path, transport)) as face:
        with Publisher(face.proxy.frontend, bind=False) as publisher:
            for value in range(20):
                with Subscriber(face.proxy.backend, number) as subscriber:
                    subscriber.ready(LIMIT)
                    publisher.publish(number, value)
                    message = subscriber.receive(LIMIT)
                    assert (message.body, message.missed) == (value, 0)


# -- steering ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_pause_and_resume(world: Any, transport: str, tmp_path: Path) -> None:
    with (
        running(world, "streamer", *pair(tmp_path, transport)) as face,
        plain(zmq.PUSH, face.proxy.frontend) as producer,
        plain(zmq.PULL, face.proxy.backend) as worker,
    ):
        for round_ in range(1, 4):
            for _ in range(10):
                producer.send(b"passes")
            assert [worker.recv() for _ in range(10)] == [b"passes"] * 10
            face.pause()
            assert face.proxy.paused
            for _ in range(10):
                producer.send(b"waits")
            assert not worker.poll(100)
            assert face.counts.frontend_received == 20 * round_ - 10
            face.resume()
            assert [worker.recv() for _ in range(10)] == [b"waits"] * 10
            assert face.counts.frontend_received == face.counts.backend_sent == 20 * round_
        face.pause()
        face.pause()
        face.resume()
        face.resume()
        assert not face.proxy.paused


def test_pause_under_load(world: Any, tmp_path: Path) -> None:
    """Counted exactly: what came out is what is said to have been sent."""
    with running(world, "streamer", *pair(tmp_path)) as face:
        got, over = [0], threading.Event()

        def produce() -> None:
            with plain(zmq.PUSH, face.proxy.frontend) as producer:
                producer.sndtimeo = 50
                while not over.is_set():
                    with suppress(zmq.Again):
                        producer.send(b"x")

        def consume() -> None:
            with plain(zmq.PULL, face.proxy.backend) as worker:
                while not over.is_set() or worker.poll(300):
                    if worker.poll(20):
                        worker.recv()
                        got[0] += 1

        threads = [threading.Thread(target=work, daemon=True) for work in (produce, consume)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            before = face.counts.backend_sent
            until(lambda before=before: face.counts.backend_sent > before + 100)
            face.pause(timeout=LIMIT)
            sent = face.counts.backend_sent
            until(lambda sent=sent: got[0] == sent)
            face.resume()
        over.set()
        for thread in threads:
            thread.join(LIMIT)
        until(lambda: got[0] == face.counts.backend_sent)


def test_paused_while_it_goes_to_forward(world: Any, tmp_path: Path) -> None:
    """What it is told at that moment is heard, and not thrown away with what came before."""
    with (
        running(world, "streamer", *pair(tmp_path)) as face,
        plain(zmq.PUSH, face.proxy.frontend) as producer,
        plain(zmq.PULL, face.proxy.backend) as worker,
    ):
        face.pause()
        steered = face.proxy._proxy
        told: list[threading.Thread] = []

        class Slow(threading.Event):
            def clear(self) -> None:
                super().clear()
                if not told:
                    teller = threading.Thread(target=lambda: face.pause(timeout=LIMIT))
                    teller.start()
                    told.append(teller)
                    with suppress(AssertionError):
                        until(lambda: steered._unanswered, limit=0.2)  # it waits until the proxy is in C

        steered._outside.__class__ = Slow
        producer.send(b"waits")
        face.resume()
        until(lambda: told)
        told[0].join(LIMIT)
        assert not told[0].is_alive()
        assert face.proxy.paused
        face.resume()
        assert worker.recv() == b"waits"
        producer.send(b"passes")
        assert worker.recv() == b"passes"


def test_messages_that_wait_cost_no_processor_time(world: Any, tmp_path: Path) -> None:
    """libzmq's proxy spins while it is paused, and while nobody takes what waits."""
    with (
        running(world, "streamer", *pair(tmp_path)) as face,
        plain(zmq.PUSH, face.proxy.frontend) as producer,
        plain(zmq.PULL, face.proxy.backend) as worker,
    ):
        producer.send(b"first")
        assert worker.recv() == b"first"  # it forwards, in C
        face.pause()
        producer.send(b"second")
        assert not worker.poll(100)
        used = time.process_time()
        time.sleep(0.5)
        assert time.process_time() - used < 0.25
        face.resume()
        assert worker.recv() == b"second"


def test_nobody_to_take_what_waits(world: Any, tmp_path: Path) -> None:
    options = SocketOptions(high_water_mark=5)
    with (
        running(world, "streamer", *pair(tmp_path, "inproc"), options=options) as face,
        plain(zmq.PUSH, face.proxy.frontend) as producer,
        plain(zmq.PULL, face.proxy.backend, 5) as worker,
    ):
        for _ in range(30):
            producer.send(b"x")
            assert worker.recv() == b"x"  # it forwards, in C
        for _ in range(10):
            producer.send(b"fits")
        until(lambda: face.counts.backend_sent == 40)
        producer.send(b"waits")
        time.sleep(1.0)  # it is given a moment to find out
        used = time.process_time()
        time.sleep(0.5)
        assert time.process_time() - used < 0.25
        assert [worker.recv() for _ in range(11)] == [b"fits"] * 10 + [b"waits"]


@pytest.mark.parametrize("transport", ["inproc", "tcp"])
def test_a_consumer_that_does_not_read(world: Any, transport: str, tmp_path: Path) -> None:
    options = SocketOptions(high_water_mark=10, linger=1.0)
    with running(world, "streamer", *pair(tmp_path, transport), options=options) as face:
        proxy = face.proxy
        with plain(zmq.PUSH, proxy.frontend) as producer, plain(zmq.PULL, proxy.backend, 10) as worker:
            face.pause()
            sent = fill(producer)
            face.resume()
            sent += fill(producer)
            with suppress(RequestTimeout) if transport == "tcp" else pytest.raises(RequestTimeout, match="not read"):
                face.pause(timeout=0.1)
            assert face.counts.undelivered == 0
            got = drain(worker)
            assert face.proxy.paused
            assert face.counts.backend_sent == got
            face.resume()
            assert got + drain(worker) == sent
            face.pause()
            fill(producer)
            face.resume()
            fill(producer)
            began = time.monotonic()
            face.close()
            assert time.monotonic() - began < LIMIT
            assert not proxy.running
            assert proxy.statistics.undelivered > 0 or transport == "tcp"  # there it may not have been stuck
            with running(world, "streamer", proxy.frontend, proxy.backend):
                pass  # the addresses are free


def test_a_server_that_does_not_read(world: Any, tmp_path: Path) -> None:
    options = SocketOptions(high_water_mark=10)
    with (
        running(world, "queue", *pair(tmp_path), options=options) as face,
        plain(zmq.DEALER, face.proxy.frontend, 10) as client,
        plain(zmq.ROUTER, face.proxy.backend, 10) as server,
    ):
        client.send(b"first")
        server.recv_multipart()
        fill(client)
        began = time.monotonic()
        face.close()
        assert time.monotonic() - began < LIMIT


def test_clients_that_have_gone(world: Any, tmp_path: Path) -> None:
    """A reply to nobody must not end the proxy."""
    with running(world, "queue", *pair(tmp_path)) as face, plain(zmq.ROUTER, face.proxy.backend) as server:
        with plain(zmq.REQ, face.proxy.frontend) as client:
            client.send(b"anybody?")
            request = server.recv_multipart()
        time.sleep(0.1)
        server.send_multipart(request)
        with plain(zmq.REQ, face.proxy.frontend) as client:
            client.send(b"still there?")
            server.send_multipart(server.recv_multipart())
            assert client.recv() == b"still there?"


def test_long_subscriptions_are_not_passed_on(world: Any, tmp_path: Path) -> None:
    with (
        running(world, "forwarder", *pair(tmp_path)) as face,
        plain(zmq.XPUB, face.proxy.frontend) as publisher,
        plain(zmq.XSUB, face.proxy.backend) as bad,
        plain(zmq.SUB, face.proxy.backend) as good,
    ):
        assert publisher.recv() == b"\1"
        bad.send(b"\1" + b"x" * 5000)
        bad.send(b"\0" + b"x" * 5000)
        good.subscribe(b"y" * 255)
        assert publisher.recv() == b"\1" + b"y" * 255
        assert not publisher.poll(100)
        publisher.send(b"hello")
        assert good.recv() == b"hello"


# -- capture -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_capture(world: Any, transport: str, tmp_path: Path) -> None:
    seen: list[list[bytes]] = []
    with (
        running(world, "queue", *pair(tmp_path, transport), capture=seen.append) as face,
        plain(zmq.DEALER, face.proxy.frontend) as client,
        plain(zmq.ROUTER, face.proxy.backend) as server,
    ):
        for number in range(50):
            client.send_multipart([b"", b"%d" % number])
            server.send_multipart(server.recv_multipart())
            client.recv_multipart()
    assert [message[-1] for message in seen] == [b"%d" % (n // 2) for n in range(100)]
    counts = face.counts
    assert (counts.captured, counts.capture_missed, counts.capture_failed) == (100, 0, 0)


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_a_capture_that_is_slow_or_raises(
    world: Any, error: type[BaseException], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    go, seen = threading.Event(), []

    def capture(message: list[bytes]) -> None:
        go.wait(LIMIT)
        seen.append(message)
        raise error(message)

    options = SocketOptions(high_water_mark=10)
    with (
        running(world, "streamer", *pair(tmp_path), capture=capture, options=options) as face,
        plain(zmq.PUSH, face.proxy.frontend) as producer,
        plain(zmq.PULL, face.proxy.backend) as worker,
    ):
        for _ in range(200):
            producer.send(b"x")
            worker.recv()
        go.set()
        until(lambda: face.counts.capture_failed == len(seen) > 10)
        until(lambda: face.counts.captured + face.counts.capture_missed == 200)
        assert face.counts.capture_missed > 100
    assert "the capture callback raised" in caplog.text


def test_close_within_a_capture(tmp_path: Path) -> None:
    """It waits for the proxy, which does not wait for it."""
    closed = threading.Event()
    took: list[float] = []

    def capture(message: list[bytes]) -> None:
        began = time.monotonic()
        proxy.close()
        took.append(time.monotonic() - began)
        closed.set()

    front, back = pair(tmp_path)
    proxy = zpatterns.Proxy.streamer(front, back, capture=capture, options=SocketOptions(linger=LIMIT))
    with proxy, plain(zmq.PUSH, proxy.frontend) as producer, plain(zmq.PULL, proxy.backend) as worker:
        producer.send(b"x")
        assert worker.recv() == b"x"
        assert closed.wait(2 * LIMIT)
    assert took[0] < LIMIT / 2


# -- misuse ------------------------------------------------------------------------------------------------------------


def refused(kind: type[Exception], says: str, run: Callable[[], object]) -> None:
    with pytest.raises(kind, match=says) as caught:
        run()
    assert type(caught.value) is kind


def test_misuse(world: Any, tmp_path: Path) -> None:
    module = zpatterns if world.name == "blocking" else zpatterns.asyncio
    make: Any = module.Proxy.streamer
    refused(InsecureEndpointError, "loopback", lambda: make("tcp://0.0.0.0:*", "tcp://127.0.0.1:*"))
    refused(ConfigurationError, "transport", lambda: make("127.0.0.1:1", "tcp://127.0.0.1:*"))
    refused(ConfigurationError, "write the number", lambda: make("tcp://127.0.0.1:*", "ipc://x", connect_frontend=True))
    refused(ConfigurationError, "capture", lambda: make("tcp://127.0.0.1:*", "ipc://x", capture=5))
    face = Face(world, make(*pair(tmp_path)))
    refused(Closed, "not started", face.pause)
    refused(Closed, "not started", face.resume)
    assert face.counts == ProxyStatistics()
    assert not face.proxy.running
    face.close()
    face.start()
    refused(Closed, "make a new one", face.start)
    taken = Face(world, make(face.proxy.frontend, fresh("tcp", tmp_path)))
    refused(AddressInUse, "in use", taken.start)
    face.close()
    face.close()
    refused(Closed, "make a new one", face.start)
    face.pause()
    face.resume()
    face.proxy.stop()
    assert not face.proxy.running


def test_the_second_side_cannot_be_opened(world: Any, tmp_path: Path) -> None:
    """Then the first is given back."""
    with running(world, "streamer", *pair(tmp_path)) as other:
        front = fresh("ipc", tmp_path)
        with pytest.raises(AddressInUse), running(world, "streamer", front, other.proxy.backend):
            pass
        with running(world, "streamer", front, fresh("ipc", tmp_path)):
            pass


def test_a_context_that_is_terminated(world: Any, tmp_path: Path) -> None:
    context: zmq.Context[Any] = zmq.Context()
    with running(world, "streamer", *pair(tmp_path), context=context) as face:
        in_threads(1, lambda _: context.term())
        until(lambda: not face.proxy.running)


def test_dropped(world: Any, tmp_path: Path) -> None:
    """It ends, and its addresses are free again."""
    face = Face(world, (zpatterns if world.name == "blocking" else zpatterns.asyncio).Proxy.streamer(*pair(tmp_path)))
    face.start()
    steered, addresses = face.proxy._proxy, (face.proxy.frontend, face.proxy.backend)
    held = [face]
    del face

    def drop() -> None:
        held.clear()
        until(lambda: gc.collect() >= 0 and steered.over.is_set())  # the loop may hold it a moment longer

    with pytest.warns(ResourceWarning, match="a Proxy was dropped"):
        drop()
    assert steered.join(LIMIT)
    with running(world, "streamer", *addresses):
        pass


def test_after_fork(tmp_path: Path) -> None:
    with zpatterns.Proxy.streamer(*pair(tmp_path)) as proxy:
        child = os.fork()
        if not child:
            status = 1
            with suppress(ForkedError):
                proxy.close()
                proxy.stop()
                if proxy.statistics == ProxyStatistics():
                    proxy.pause()
                status = 2
            os._exit(0 if status == 1 else status)
        assert os.waitpid(child, 0)[1] == 0
        with plain(zmq.PUSH, proxy.frontend) as producer, plain(zmq.PULL, proxy.backend) as worker:
            producer.send(b"x")
            assert worker.recv() == b"x"


PROGRAM = """
from {module} import Proxy
proxy = Proxy.queue("ipc://{folder}/front", "ipc://{folder}/back")
proxy.run()
print("ended", flush=True)
"""


@pytest.mark.parametrize("module", ["zpatterns", "zpatterns.asyncio"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_until_a_signal(module: str, number: signal.Signals, tmp_path: Path) -> None:
    program = PROGRAM.format(module=module, folder=tmp_path)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        until((tmp_path / "back").exists)
        time.sleep(0.2)  # the signal handler is set after the sockets are open
        process.send_signal(number)
        assert process.communicate(timeout=LIMIT)[0] == "ended\n"
        assert process.returncode == 0


def test_the_interpreter_ends_while_a_proxy_runs(tmp_path: Path) -> None:
    program = "from zpatterns import Proxy\nproxy = Proxy.queue('ipc://%s/a', 'ipc://%s/b').start()\n" % (
        2 * (tmp_path,)
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=LIMIT)
