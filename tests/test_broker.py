"""The broker on real sockets, in both worlds: our clients and workers through it, and plain peers in their own frames."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import zmq

from zpatterns import (
    AddressInUse,
    Broker,
    Closed,
    ConfigurationError,
    Heartbeat,
    Limits,
    NoSuchService,
    OutcomeUnknown,
    Overloaded,
    PeerUnavailable,
    ReplyError,
    ReplyServer,
    RequestTimeout,
    Retry,
    Status,
    asyncio as aio,
)

from .worlds import ADD, COUNT, LIMIT, ONCE, Add, Awaiting, Blocking, Number, Sum, until

QUICK = Heartbeat(interval=0.05, liveness=16)
C01, W01 = b"MDPC01", b"MDPW01"


@pytest.fixture(params=["blocking", "asyncio"])
def world(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "blocking":
        yield Blocking()
    else:
        awaiting = Awaiting()
        yield awaiting
        awaiting.shut()


class Site:
    """A broker, and whatever is put behind and before it; closed at the end, last first."""

    def __init__(self, world: Any, **options: Any) -> None:
        self.world = world
        self.stack = ExitStack()
        kind = Broker if world.name == "blocking" else aio.Broker
        options = {"heartbeat": QUICK, **options}
        ports = ("tcp://127.0.0.1:*",) if options.pop("one_port", False) else ("tcp://127.0.0.1:*",) * 2
        self.broker: Any = self.stack.enter_context(world.serving(kind(*ports, **options)))

    def worker(self, name: str = "calc", *, backend: Any = None, **options: Any) -> Any:
        """A worker with the usual handlers."""
        server = ReplyServer if self.world.name == "blocking" else aio.ReplyServer
        worker = server.worker(backend or self.broker.backend, name=name, **{"heartbeat": QUICK, **options})
        worker.include(handlers())
        return self.stack.enter_context(self.world.serving(worker))

    def client(self, service: str | None = "calc", *, frontend: Any = None, **options: Any) -> Any:
        options = {"heartbeat": QUICK, **options}
        return self.stack.enter_context(self.world.client(frontend or self.broker.frontend, service=service, **options))

    def raw(self, kind: int, endpoint: str) -> Any:
        """A plain peer."""
        socket = zmq.Context.instance().socket(kind)
        self.stack.callback(socket.close, 0)
        socket.set(zmq.RCVTIMEO, int(LIMIT * 1000))
        socket.set(zmq.LINGER, 0)
        socket.connect(endpoint)
        return socket

    def services(self) -> dict[str, Any]:
        if self.world.name == "blocking":
            return {each.name: each for each in self.broker.services()}

        async def ask() -> Any:
            return self.broker.services()

        return {each.name: each for each in self.world.do(ask())}

    def wait(self, count: int = 1, *, timeout: float = LIMIT) -> int:
        """For workers of ``calc``."""
        waits = self.broker.wait_for_workers("calc", count, timeout=timeout)
        return waits if self.world.name == "blocking" else self.world.do(waits)

    def do(self, name: str, *arguments: Any) -> Any:
        if self.world.name == "blocking":
            return getattr(self.broker, name)(*arguments)

        async def ask() -> Any:
            return getattr(self.broker, name)(*arguments)

        return self.world.do(ask())


@contextmanager
def site(world: Any, **options: Any) -> Iterator[Site]:
    here = Site(world, **options)
    with here.stack:
        yield here


def handlers() -> ReplyServer:
    server = ReplyServer("inproc://never", name="calc")

    @server.reply(ADD)
    def add(request: Add) -> Sum:
        return Sum(total=request.a + request.b)

    @server.reply(ONCE)
    def once(request: Add) -> Sum:
        time.sleep(request.a / 1000)
        return Sum(total=request.b)

    @server.reply("calc.fail", inline=True)
    def fail() -> None:
        raise ReplyError(Status.NOT_FOUND, "not here", details={"a": 1})

    @server.stream(COUNT)
    def count(request: Number) -> Iterator[Number]:
        for value in range(request.value):
            yield Number(value=value)

    @server.plain
    def plain(frames: list[bytes]) -> list[bytes]:
        return [b"got", *frames]

    del add, once, fail, count, plain
    return server


def test_requests_streams_and_errors_as_without_a_broker(world: Any) -> None:
    with site(world) as here:
        here.worker()
        client = here.client()
        assert client.call(ADD, Add(a=1, b=2)).total == 3
        futures = [client.start(ADD, Add(a=number, b=0)) for number in range(300)]
        assert [future.result(LIMIT).total for future in futures] == [*range(300)]
        with client.stream(COUNT, Number(value=200)) as parts:
            assert [part.value for part in parts] == [*range(200)]
        with pytest.raises(ReplyError, match="not here") as caught:
            client.call("calc.fail", reply=None)
        assert caught.value.details == {"a": 1}
        assert client.plain([b"a", b""]) == [b"got", b"a", b""]
        service = here.services()["calc"]
        assert service.answered == service.received == 304
        assert service.workers[0].ours and not service.workers[0].in_flight


def test_a_client_may_start_first_and_a_name_that_nobody_serves_is_an_error_at_once(world: Any) -> None:
    with site(world) as here:
        client = here.client("calc")
        early = client.start(ADD, Add(a=1, b=2))
        here.worker()
        assert early.result(LIMIT).total == 3
        until(lambda: "calc" in here.services())
        time.sleep(QUICK.expiry)
        started = time.monotonic()
        with pytest.raises(NoSuchService, match="'nobody'"):
            here.client("nobody").call(ADD, Add(a=1, b=2))
        assert time.monotonic() - started < 5.0


def test_a_broker_that_has_just_started_does_not_have_a_request_wait_for_its_whole_budget(world: Any) -> None:
    with site(world) as here:
        started = time.monotonic()
        with pytest.raises(NoSuchService, match="'nobody'"):
            here.client("nobody").call(ADD, Add(a=1, b=2), timeout=LIMIT)
        assert time.monotonic() - started < LIMIT / 2
        assert here.broker.statistics.refused and not here.broker.statistics.expired


def test_whoever_waits_for_workers_is_told_when_they_are_there_or_how_many_are(world: Any) -> None:
    with site(world) as here:
        with pytest.raises(RequestTimeout, match="0 of 1 workers of 'calc' within"):
            here.wait(timeout=0.05)
        with ThreadPoolExecutor() as threads:
            waiting = threads.submit(here.wait, 2)
            here.worker()
            here.worker()
            assert waiting.result(LIMIT) == 2 == here.wait(1)
            with pytest.raises(RequestTimeout, match="2 of 3"):
                here.wait(3, timeout=0.05)
            waiting = threads.submit(here.wait, 3)
            until(lambda: here.broker._broker._staffing.waiting)
            close(world, here.broker)
            with pytest.raises(Closed):
                waiting.result(LIMIT)
        with pytest.raises(Closed):
            here.wait()


def test_two_workers_share_the_work(world: Any) -> None:
    with site(world) as here:
        here.worker()
        here.worker()
        until(lambda: len(getattr(here.services().get("calc"), "workers", ())) == 2)
        client = here.client()
        for number in range(20):
            assert client.call(ADD, Add(a=number, b=0)).total == number
        assert [worker.answered for worker in here.services()["calc"].workers] == [10, 10]


def test_a_worker_that_closes_loses_nothing(world: Any) -> None:
    with site(world) as here:
        first = here.worker(threads=1)
        client = here.client()
        client.call(ADD, Add(a=0, b=0))
        slow = [client.start(ONCE, Add(a=20, b=number)) for number in range(10)]
        until(lambda: here.services()["calc"].workers[0].in_flight)
        here.worker(threads=1)
        until(lambda: len(here.services()["calc"].workers) == 2)
        close(world, first)
        assert [future.result(LIMIT).total for future in slow] == [*range(10)]


def close(world: Any, server: Any, **options: Any) -> None:
    if world.name == "blocking":
        server.close(**options)
    else:
        world.do(server.close(**options))


def test_the_grace_of_a_broker_and_of_a_worker_is_said_when_it_is_made_or_when_it_is_closed(world: Any) -> None:
    with site(world, grace=0.0) as here:
        worker = here.worker(grace=1000.0)
        here.wait()
        stuck = here.client(timeout=LIMIT).start(ONCE, Add(a=60_000, b=0))
        until(lambda: here.services()["calc"].workers[0].in_flight)
        started = time.monotonic()
        close(world, here.broker)
        with pytest.raises(OutcomeUnknown):  # by the broker's last word; by its silence, if that was not read in time
            stuck.result(LIMIT)
        close(world, worker, grace=0.1)
        assert time.monotonic() - started < LIMIT


def test_a_broker_that_stops_is_open_until_its_last_words_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A DEALER with IMMEDIATE loses what it has not read when the connection ends."""
    heard: list[Any] = []
    with site(Blocking(), grace=0.0) as here:
        here.worker(grace=0.1)
        here.wait()
        stuck = here.client(timeout=LIMIT).start(ONCE, Add(a=60_000, b=0))
        until(lambda: here.services()["calc"].workers[0].in_flight)
        monkeypatch.setattr("zpatterns.drive.brokering.sleep", lambda _: heard.append(stuck.exception(LIMIT)))
        here.broker.close()
        assert "the broker stopped" in str(heard)


def test_a_broker_that_stops_does_not_wait_for_a_worker_that_is_gone(world: Any) -> None:
    with site(world, grace=1000.0) as here:
        worker, _ = lost_worker(here)
        client = here.client(timeout=LIMIT, retry=Retry(attempts=1))
        safe, unsafe = client.start(ADD, Add(a=1, b=2)), client.start(ONCE, Add(a=0, b=7))
        until(lambda: here.services()["calc"].workers[0].in_flight == 2)
        worker.close(0)
        close(world, here.broker)
        for call in (safe, unsafe):
            assert isinstance(call.exception(LIMIT), OutcomeUnknown | PeerUnavailable)  # the latter had not left yet


def test_one_port_serves_clients_and_workers(world: Any) -> None:
    with site(world, one_port=True) as here:
        assert here.broker.frontend == here.broker.backend
        here.worker()
        assert here.client().call(ADD, Add(a=1, b=2)).total == 3


def test_the_broker_answers_for_itself(world: Any) -> None:
    with site(world, name="post-office") as here:
        here.worker()
        client = here.client(None)
        assert client.call("zp.ping", reply=dict)["name"] == "post-office"
        until(lambda: client.call("zp.info", reply=dict)["services"] == {"calc": 1})
        here.client().call(ADD, Add(a=1, b=2))
        assert client.call("zp.stats", reply=dict)["services"][0]["answered"] == 1
        assert client.call("zp.health", reply=dict)["status"] == "SERVING"
        assert client.call("zp.dead_letters", reply=list) == []
        here.do("drain")
        assert client.call("zp.health", reply=dict)["status"] == "NOT_SERVING"
        with pytest.raises(PeerUnavailable, match="drained"):
            here.client().call(ADD, Add(a=1, b=2))
        here.do("resume")
        assert here.client().call(ADD, Add(a=1, b=2)).total == 3


def test_a_full_queue_is_overloaded(world: Any) -> None:
    with site(world, limits=Limits(client_queue=2)) as here:
        here.worker(threads=1, credit=1)
        client = here.client(retry=Retry(attempts=1))
        client.call(ADD, Add(a=0, b=0))
        calls = [client.start(ONCE, Add(a=300, b=number)) for number in range(6)]
        outcomes = [call.exception(LIMIT) for call in calls]
        assert any(isinstance(outcome, Overloaded) for outcome in outcomes)
        assert any(outcome is None for outcome in outcomes)


def test_several_brokers_are_all_used_and_each_may_go(world: Any) -> None:
    with site(world) as here, site(world) as there:
        both = [here.broker.frontend, there.broker.frontend]
        here.worker(backend=[here.broker.backend, there.broker.backend])
        client = here.client(frontend=both)
        for number in range(10):
            assert client.call(ADD, Add(a=number, b=0)).total == number
        assert here.broker.statistics.answered and there.broker.statistics.answered
        close(world, there.broker)
        for number in range(10):
            assert client.call(ADD, Add(a=number, b=0)).total == number


def test_a_broker_that_restarts_is_found_again(world: Any) -> None:
    with site(world) as here:
        front, back = here.broker.frontend, here.broker.backend
        here.worker()
        client = here.client()
        client.call(ADD, Add(a=0, b=0))
        close(world, here.broker)
        kind = Broker if world.name == "blocking" else aio.Broker
        here.stack.enter_context(world.serving(kind(front, back, heartbeat=QUICK)))
        assert client.call(ADD, Add(a=1, b=2), timeout=LIMIT).total == 3


# Plain peers ----------------------------------------------------------------------------------------------------------


def test_a_plain_majordomo_client_and_our_worker(world: Any) -> None:
    with site(world) as here:
        here.worker()
        client = here.raw(zmq.REQ, here.broker.frontend)
        client.send_multipart([C01, b"calc", b"hello"])
        assert client.recv_multipart() == [C01, b"calc", b"got", b"hello"]
        for name, code in ((b"calc", b"200"), (b"nobody", b"404")):
            client.send_multipart([C01, b"mmi.service", name])
            assert client.recv_multipart() == [C01, b"mmi.service", code]
        client.send_multipart([C01, b"mmi.other", b""])
        assert client.recv_multipart() == [C01, b"mmi.other", b"501"]
        new = here.raw(zmq.DEALER, here.broker.frontend)
        new.send_multipart([b"MDPC02", b"\x01", b"calc", b"hi"])
        assert new.recv_multipart() == [b"MDPC02", b"\x03", b"calc", b"got", b"hi"]


def test_a_plain_majordomo_worker_and_our_client(world: Any) -> None:
    with site(world) as here:
        worker = here.raw(zmq.DEALER, here.broker.backend)
        worker.send_multipart([b"", W01, b"\x01", b"echo"])
        client = here.client("echo")
        replies = [client.start(ADD, Add(a=number, b=0)) if number < 0 else None for number in range(0)]
        assert not replies
        future = plain_in_thread(client, b"hello")
        frames = job(worker)
        assert frames[5:] == [b"hello"] and frames[4] == b""
        worker.send_multipart([b"", W01, b"\x03", frames[3], b"", b"olleh"])
        assert future() == [b"olleh"]
        worker.send_multipart([b"", W01, b"\x03", frames[3], b"", b"again"])
        until(lambda: here.broker.statistics.late == 1)
        worker.send_multipart([b"", W01, b"\x01", b"echo"])
        while worker.recv_multipart() != [b"", W01, b"\x05"]:
            pass


def plain_in_thread(client: Any, body: bytes) -> Any:
    import threading

    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(client.plain(body, timeout=LIMIT)))
    thread.start()

    def wait() -> Any:
        thread.join(LIMIT)
        return result[0]

    return wait


def job(worker: Any) -> list[bytes]:
    """The next request; heartbeats are answered."""
    while True:
        frames: list[bytes] = worker.recv_multipart()
        if frames[2] == b"\x02":
            return frames
        worker.send_multipart([b"", W01, b"\x04"])


def test_the_pirates_and_a_plain_client(world: Any) -> None:
    with site(world) as here:
        simple = here.raw(zmq.REQ, here.broker.backend)
        simple.send(b"READY")
        until(lambda: "" in here.services())
        client = here.raw(zmq.REQ, here.broker.frontend)
        client.send(b"hello")
        address, delimiter, body = simple.recv_multipart()
        assert (delimiter, body) == (b"", b"hello")
        paranoid = here.raw(zmq.DEALER, here.broker.backend)
        paranoid.send(b"\x01")
        until(lambda: len(here.services()[""].workers) == 2)
        simple.send_multipart([address, b"", b"done"])
        assert client.recv_multipart() == [b"done"]
        client.send(b"again")  # for the one that is ready for longer
        while len(frames := paranoid.recv_multipart()) == 1:
            assert frames == [b"\x02"]
        assert frames[1:] == [b"", b"again"]
        paranoid.send_multipart([frames[0], b"", b"\x01"])
        assert client.recv_multipart() == [b"\x01"]


def test_majortomo_only_when_asked_for(world: Any) -> None:
    with site(world, dialect="majortomo") as here:
        worker = here.raw(zmq.DEALER, here.broker.backend)
        worker.send_multipart([b"", b"MDPW02", b"\x01", b"echo"])
        client = here.raw(zmq.DEALER, here.broker.frontend)
        client.send_multipart([b"", b"MDPC02", b"\x02", b"echo", b"hello"])
        while (frames := worker.recv_multipart())[2] != b"\x02":
            pass
        worker.send_multipart([b"", b"MDPW02", b"\x03", frames[3], b"", b"part"])
        worker.send_multipart([b"", b"MDPW02", b"\x04", frames[3], b"", b"last"])
        assert client.recv_multipart() == [b"", b"MDPC02", b"\x03", b"part"]
        assert client.recv_multipart() == [b"", b"MDPC02", b"\x04", b"last"]
    with site(world) as here:
        here.raw(zmq.DEALER, here.broker.backend).send_multipart([b"", b"MDPW02", b"\x01", b"echo"])
        until(lambda: here.broker.statistics.undecodable == 1)


# A worker is lost -----------------------------------------------------------------------------------------------------


def lost_worker(here: Site) -> tuple[Any, list[bytes]]:
    """A worker of ours by its frames, and the address of the request it has and will not answer."""
    worker = here.raw(zmq.DEALER, here.broker.backend)
    worker.send_multipart([b"", W01, b"\x01", b"calc"])
    worker.send_multipart([b"", W01, b"\x04", bytes.fromhex("c17a7001930804c4080102030405060708")])
    until(lambda: any(each.ours for each in getattr(here.services().get("calc"), "workers", ())))
    return worker, []


def test_what_may_run_twice_goes_to_another_worker_and_the_rest_is_unknown_at_once(world: Any) -> None:
    with site(world) as here:
        worker, _ = lost_worker(here)
        client = here.client(timeout=LIMIT)
        safe, unsafe = client.start(ADD, Add(a=1, b=2)), client.start(ONCE, Add(a=0, b=7))
        until(lambda: here.services()["calc"].workers[0].in_flight == 2)
        here.worker()
        with pytest.raises(OutcomeUnknown, match="its worker was lost"):
            unsafe.result(LIMIT)
        assert safe.result(LIMIT).total == 3
        statistics = here.broker.statistics
        assert statistics.outcome_unknown == statistics.workers_lost == statistics.redelivered == 1
        worker.close(0)


def test_what_ends_every_worker_is_a_dead_letter_and_can_be_given_out_again(world: Any) -> None:
    with site(world, limits=Limits(deliveries=2)) as here:
        client = here.client(timeout=LIMIT, retry=Retry(attempts=1))
        call = client.start(ADD, Add(a=1, b=2))
        for _ in range(2):
            worker, _ = lost_worker(here)
            until(lambda: here.services()["calc"].workers and here.services()["calc"].workers[0].in_flight)
            worker.close(0)
            until(lambda: not here.services()["calc"].workers)
        with pytest.raises(ReplyError, match="given to 2 workers"):
            call.result(LIMIT)
        [letter] = here.do("dead_letters")
        assert (letter.method, letter.service, letter.deliveries) == ("calc.add", b"calc", 2)
        here.worker()
        assert here.do("replay", letter) is True
        assert here.do("replay", letter) is False
        until(lambda: here.services()["calc"].answered == 1)


# Behind another broker ------------------------------------------------------------------------------------------------


def strict_broker(here: Site) -> tuple[Any, str]:
    """A ROUTER that a test plays."""
    router = zmq.Context.instance().socket(zmq.ROUTER)
    here.stack.callback(router.close, 0)
    router.set(zmq.RCVTIMEO, int(LIMIT * 1000))
    router.bind("tcp://127.0.0.1:*")
    return router, router.get(zmq.LAST_ENDPOINT).rstrip(b"\0").decode()


def hear(router: Any, wanted: bytes) -> list[bytes]:
    while True:
        frames: list[bytes] = router.recv_multipart()
        if wanted in frames:
            return frames
        if b"mmi.zpatterns" in frames:
            router.send_multipart([frames[0], b"", C01, b"mmi.zpatterns", b"501"])


def test_behind_a_strict_broker_one_request_is_under_way(world: Any) -> None:
    with site(world) as here:
        router, endpoint = strict_broker(here)
        client = here.client("echo", frontend=endpoint, timeout=LIMIT)
        calls = [client.start(ADD, Add(a=number, b=0)) for number in range(3)]
        asked = hear(router, b"mmi.service")
        assert asked[1:] == [b"", C01, b"mmi.service", b"echo"]
        router.send_multipart([asked[0], b"", C01, b"mmi.service", b"200"])
        for _ in calls:
            frames = hear(router, b"echo")
            assert frames[1:4] == [b"", C01, b"echo"] and router.poll(50) == 0
            value = frames[5][3]
            router.send_multipart([frames[0], b"", C01, b"echo", FINAL, b"\x81\xa5total" + bytes([value])])
        assert {call.result(LIMIT).total for call in calls} == {0, 1, 2}
        with pytest.raises(ReplyError, match="streams need"), client.stream(COUNT, Number(value=1)) as parts:
            list(parts)


FINAL = bytes.fromhex("c17a70019503000108c4080102030405060708")


def test_a_name_that_a_strict_broker_does_not_know(world: Any) -> None:
    with site(world) as here:
        router, endpoint = strict_broker(here)
        call = here.client("echo", frontend=endpoint, retry=Retry(attempts=1)).start(ADD, Add(a=1, b=2))
        asked = hear(router, b"mmi.service")
        router.send_multipart([asked[0], b"", C01, b"mmi.service", b"404"])
        with pytest.raises(NoSuchService):
            call.result(LIMIT)


def test_a_worker_of_a_strict_broker(world: Any) -> None:
    with site(world) as here:
        router, endpoint = strict_broker(here)
        worker = here.worker("echo", backend=endpoint)
        ready = hear(router, b"echo")
        assert ready[1:] == [b"", W01, b"\x01", b"echo"]
        peer = ready[0]
        for number in range(3):
            router.send_multipart([peer, b"", W01, b"\x02", b"client", b"", b"%d" % number])
            assert hear(router, b"\x03")[1:] == [b"", W01, b"\x03", b"client", b"", b"got", b"%d" % number]
        router.send_multipart([peer, b"", W01, b"\x05"])
        again = hear(router, b"\x01")
        assert again[0] != peer and again[1:] == [b"", W01, b"\x01", b"echo"]
        close(world, worker)
        assert hear(router, b"\x05")[0] == again[0]


# Misuse ---------------------------------------------------------------------------------------------------------------


def test_misuse_says_what_to_do(world: Any) -> None:
    kind = Broker if world.name == "blocking" else aio.Broker
    server = ReplyServer if world.name == "blocking" else aio.ReplyServer
    with pytest.raises(ConfigurationError, match="balance"):
        kind("tcp://127.0.0.1:*", balance="fair")
    with pytest.raises(ConfigurationError, match="dialect"):
        kind("tcp://127.0.0.1:*", dialect="gaterpc")
    with pytest.raises(ConfigurationError, match="credit"):
        server.worker("tcp://127.0.0.1:1", name="calc", credit=0)
    for name in ("", "mmi.calc", "n" * 256):
        with pytest.raises(ConfigurationError, match=r"service|name"):
            server.worker("tcp://127.0.0.1:1", name=name)
    with site(world) as here:
        with pytest.raises(AddressInUse), world.serving(kind(here.broker.frontend)):
            pass
        broker = here.broker
    with pytest.raises(Closed), world.serving(broker):
        pass


def test_a_broker_that_was_not_started_has_nothing_to_tell() -> None:
    broker = Broker("tcp://127.0.0.1:*")
    assert broker.frontend == broker.backend == "tcp://127.0.0.1:*" and not broker.statistics.received
    with pytest.raises(Closed):
        broker.services()
    broker.close()


@pytest.mark.parametrize("balance", ["least recently used", "least loaded"])
def test_workers_are_balanced(balance: Any) -> None:
    with site(Blocking(), balance=balance) as here:
        here.worker(threads=2)
        here.worker(threads=2)
        until(lambda: len(getattr(here.services().get("calc"), "workers", ())) == 2)
        client = here.client()
        until(lambda: all(each.ours for each in here.services()["calc"].workers))
        calls = [client.start(ONCE, Add(a=5, b=number)) for number in range(40)]
        assert [call.result(LIMIT).total for call in calls] == [*range(40)]
        delivered = [worker.answered for worker in here.services()["calc"].workers]
        assert min(delivered) >= 10
