"""Every example runs as its docstring says, alone or beside its peer, and says what it should within a time limit."""

from __future__ import annotations

import os
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
LIMIT = 20.0


class Program:
    """A running example, and the lines it prints as they come."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-u", *arguments],
            cwd=EXAMPLES,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(line.rstrip("\n"))
        self._queue.put(None)

    def wait_for(self, text: str, limit: float = LIMIT) -> str:
        """The first line from here on that holds ``text``."""
        for line in self._until(monotonic() + limit):
            if text in line:
                return line
        raise AssertionError(f"{text!r} never came; it said:\n" + "\n".join(self.lines))

    def end(self, limit: float = LIMIT) -> int:
        """Its exit status, and every line of it in ``lines``."""
        list(self._until(monotonic() + limit))
        return self.process.wait(limit)

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.end()

    def _until(self, limit_at: float) -> Iterator[str]:
        while True:
            try:
                line = self._queue.get(timeout=max(0.0, limit_at - monotonic()))
            except queue.Empty:
                raise AssertionError("too slow, or it hangs; it said:\n" + "\n".join(self.lines)) from None
            if line is None:
                return
            self.lines.append(line)
            yield line

    def close(self) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self._reader.join(LIMIT)
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def program(*arguments: str) -> Iterator[Program]:
    running = Program(*arguments)
    try:
        yield running
    finally:
        running.close()


def free_endpoint() -> str:
    """Below the ports of outgoing connections: a client that waits for its server at one of those may meet itself."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return f"tcp://127.0.0.1:{port}"


# Pairs: each side bare or ours ----------------------------------------------------------------------------------------

WORLDS = [f"Hello {n} -> World {n}" for n in range(10)]
ECHOES = [str([b"Hello", b"message %d" % n]) for n in range(10)]
PAIRS = [
    ("plain_peers/raw_rep.py", "plain_peers/raw_req.py", WORLDS),
    ("plain_peers/raw_rep.py", "bare_hello_client.py", WORLDS),
    ("bare_hello_server.py", "plain_peers/raw_req.py", WORLDS),
    ("bare_hello_server.py", "bare_hello_client.py", WORLDS),
    ("plain_peers/raw_router.py", "plain_peers/raw_dealer.py", ECHOES),
    ("plain_peers/raw_router.py", "bare_dealer_client.py", ECHOES),
    ("bare_router_server.py", "plain_peers/raw_dealer.py", ECHOES),
    ("bare_router_server.py", "bare_dealer_client.py", ECHOES),
]


@pytest.mark.parametrize("server_first", [True, False], ids=["server_first", "client_first"])
@pytest.mark.parametrize(("server", "client", "lines"), PAIRS)
def test_pair(server: str, client: str, lines: list[str], server_first: bool) -> None:
    endpoint = free_endpoint()
    first, second = (server, client) if server_first else (client, server)
    with program(first, endpoint) as one:
        if server_first:
            one.wait_for(endpoint)
        with program(second, endpoint) as other:
            asking, serving = (other, one) if server_first else (one, other)
            assert asking.end() == 0
            assert asking.lines == lines
            status = serving.interrupt()
            assert status == 0 or server.startswith("plain_peers")  # a bare program ends with a traceback


def test_two_clients_of_a_router_get_their_own_answers() -> None:
    endpoint = free_endpoint()
    with program("bare_router_server.py", endpoint) as server, program("plain_peers/raw_dealer.py", endpoint) as raw:
        with program("bare_dealer_client.py", endpoint) as ours:
            assert (raw.end(), ours.end()) == (0, 0)
            assert raw.lines == ours.lines == ECHOES
        assert server.interrupt() == 0


def test_a_bare_client_without_a_server_ends_by_itself() -> None:
    with program("bare_hello_client.py", free_endpoint()) as client:
        assert client.end() == 1
        assert client.lines[-1].startswith("PeerUnavailable: ")


def test_a_bare_client_whose_server_dies_ends_by_itself() -> None:
    endpoint = free_endpoint()
    with (
        program("plain_peers/raw_rep.py", endpoint, "3") as server,
        program("bare_hello_client.py", endpoint) as client,
    ):
        assert server.end() == 0
        assert client.end() == 1
        assert client.lines[:2] == WORLDS[:2]  # the last reply may meet the end of its connection
        assert client.lines[-1].split(":")[0] in ("OutcomeUnknown", "PeerUnavailable")


def test_typed_hello() -> None:
    endpoint = free_endpoint()
    with program("typed_hello.py", "server", endpoint) as server:
        with program("typed_hello.py", "client", endpoint) as client:
            assert client.end() == 0
            assert client.lines == [f"Hello {n} -> World, you {n}" for n in range(10)]
        assert server.interrupt() == 0
        assert server.lines == [f"serving at {endpoint}", *(f"Hello {n}" for n in range(10))]


def test_start_before_server() -> None:
    endpoint = free_endpoint()
    with program("start_before_server.py", "client", endpoint) as client:
        assert client.wait_for("PeerUnavailable: ")
        submitted = client.wait_for("submitted in ")
        assert float(submitted.split()[2]) < 100.0
        with program("start_before_server.py", "server", endpoint) as server:
            assert client.end() == 0
            assert client.lines[-1] == "the reply is 42"
            assert server.interrupt() == 0


GREETINGS = [f"sub 1 hello {n} from {{0}}" for n in range(5)] + ["sub 1 END of {0}"]


@pytest.mark.parametrize("subscriber", ["bare_subscriber.py", "plain_peers/raw_sub.py"])
@pytest.mark.parametrize("publisher", ["bare_publisher.py", "plain_peers/raw_pub.py"])
def test_greetings_of_two_publishers(publisher: str, subscriber: str) -> None:
    ends = [free_endpoint(), free_endpoint()]
    with (
        program(publisher, "Ada", ends[0]) as one,
        program(subscriber, *ends) as reader,
        program(publisher, "Bob", ends[1]) as two,
    ):
        assert [each.end() for each in (reader, one, two)] == [0, 0, 0], reader.lines
        for name in ("Ada", "Bob"):
            assert [line for line in reader.lines if name in line] == [line.format(name) for line in GREETINGS]
        assert len(reader.lines) == 12


def test_typed_greetings() -> None:
    ends = [free_endpoint(), free_endpoint()]
    script = "typed_greetings.py"
    with (
        program(script, "publisher", "Ada", ends[0]) as one,
        program(script, "subscriber", *ends) as reader,
        program(script, "publisher", "Bob", ends[1]) as two,
    ):
        assert [each.end() for each in (reader, one, two)] == [0, 0, 0], reader.lines
        assert reader.lines[-1] == "missed: 0"
        assert len(reader.lines) == 13


def test_ventilator_workers_and_sink_with_a_kill_signal() -> None:
    port = str(random.randrange(20_000, 32_000))
    with (
        program("ventilator.py", "sink", port) as sink,
        program("ventilator.py", "worker", port) as one,
        program("ventilator.py", "worker", port) as two,
    ):
        one.wait_for("ready")
        two.wait_for("ready")
        with program("ventilator.py", "ventilator", port) as ventilator:
            assert ventilator.end() == 0
            assert ventilator.lines == ["100 jobs are handed out"]
        assert sink.end() == 0
        assert sink.lines == [f"100 results, their sum is {sum(n * n for n in range(100))}"]
        assert one.end() == two.end() == 0
        done = [int(worker.lines[-1].split()[2]) for worker in (one, two)]
        assert sum(done) == 100


def test_pipeline_whose_worker_is_killed() -> None:
    endpoint = free_endpoint()
    with (
        program("pipeline.py", "worker", endpoint) as victim,
        program("pipeline.py", "worker", endpoint) as worker,
        program("pipeline.py", "ventilator", endpoint) as ventilator,
    ):
        victim.process.kill()
        assert ventilator.end() == 0
        assert ventilator.lines[-1] == "1000 results, the last is 999 * 999 = 998001; 0 dead letters"
        assert worker.end() == 0
        assert worker.lines == ["no more work"]


# Whole programs -------------------------------------------------------------------------------------------------------

ALONE = {
    "typed_dealer_router.py": [f"Hello message {n} from me" for n in range(9, -1, -1)],
    "streaming.py": ["1000151", "the server's generator was closed: True", "it ran at most 64 parts ahead: True"],
    "errors_with_details.py": [
        "1. 0.5",
        "2. INVALID_ARGUMENT b is 0 {'field': 'b', 'given': 0.0}",
        "3. INTERNAL: the handler of calc.crash raised RuntimeError",
        "4. INVALID_ARGUMENT: ",
        "5. UNIMPLEMENTED: ",
    ],
    "dedupe.py": ["balance: 70", "sent again: 1 run: 1"],
    "thread_relay.py": ["step 3 is ready", "step 2 heard of it", "step 1: the test is successful"],
    "thread_and_loop.py": ["squares of 0 to 999, from a loop in another thread: 332833500", "both have ended: True"],
    "shared_queue.py": [
        "typed: 100 of 100 answers are right",
        "plain: ONE TWO THREE",
        "True that replies went back through the queue",
    ],
    "espresso.py": [
        "subscribed to A",
        "A before",
        "came through a paused forwarder: False",
        "A while paused",
        "captured:",
        "  A",
        "  A before",
        "  A while paused",
    ],
    "bare_weather.py": ["the mean of 100 updates is between -10 and 35: True"],
    "weather.py": [
        "alarm.10115: storm",
        "weather.10115: 100 updates, mean between -10 and 35: True",
        "weather.20095: 100 updates, mean between -10 and 35: True",
    ],
    "late_joiner.py": [
        "first messages lost by 100 late joiners: 0",
        "the last one's first message is number 1001: 1000 were before it",
        "missed since it was ready: 0",
        "bare: [b'bare', b'hello']",
    ],
    "slow_subscriber.py": [
        "the newest 100: 9900 missed before them, 9900 by the hook",
        "the latest of price.abc: 9999.0, after 9999 that nobody had to read",
        "the latest of price.xyz: 9999.0, after 9999 that nobody had to read",
    ],
    "broker.py": [
        "squares: 332833500",
        "given out again: True lost: 0",
        "plain: [b'MDPC01', b'calc', b'HELLO']",
        "NoSuchService: no worker serves 'poems'",
    ],
    "worker_processes.py": ["workers: 4", "right: 200 of 200", "workers: ", "all have ended: True"],
    "many_threads.py": ["8000 of 8000 answers are right"],
    "many_clients.py": ["50 of 50 clients got their own reply"],
    "asyncio_pipeline.py": ["page 0", "page 1", "page 2", "job 3: there is no page 3", "page 4", "page 5"],
    "asyncio_hello.py": ["Hello, task 0 ... Hello, task 63: 64 replies, side by side: True", "z e r o"],
}


@pytest.mark.parametrize("name", ALONE)
def test_alone(name: str) -> None:
    with program(name) as example:
        assert example.end() == 0, example.lines
        assert len(example.lines) >= len(ALONE[name])
        for line, expected in zip(example.lines[-len(ALONE[name]) :], ALONE[name], strict=True):
            assert line.startswith(expected)
        assert not any("hunter2" in line for line in example.lines)


def test_every_example_is_run_here_and_is_short() -> None:
    files = {path.relative_to(EXAMPLES).as_posix(): path for path in EXAMPLES.rglob("*.py")}
    files = {name: path for name, path in files.items() if not name.startswith("code_search/")}
    run = {*ALONE, *(name for pair in PAIRS for name in pair[:2]), "typed_hello.py", "start_before_server.py"}
    run |= {"bare_publisher.py", "bare_subscriber.py", "typed_greetings.py"}
    run |= {"plain_peers/raw_pub.py", "plain_peers/raw_sub.py"}
    run |= {"ventilator.py", "pipeline.py"}
    assert set(files) == run
    assert [name for name, path in files.items() if len(path.read_text().splitlines()) >= 60] == []
