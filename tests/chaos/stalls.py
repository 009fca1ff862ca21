"""Scenario: a receiver of each kind is stopped for some seconds under load, and goes on: it is not aborted, and its account closes.

With ZMTP heartbeats libzmq 4.3.5 aborts such a process (libzmq #3937); with TCP_MAXRT the kernel cuts off one that reads nothing
for longer, and what was under way is lost.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from tests.worlds import LIMIT, in_threads
from zpatterns import Overloaded, Pair, PeerUnavailable, Publisher, Pull, Push, RequestTimeout, SocketOptions

from .stalled import BLOB, END, pipeline_at

SOME = SocketOptions(high_water_mark=100)
ANYWHERE = "tcp://127.0.0.1:*"


class Stalled:
    """The other process."""

    def __init__(self, kind: str, endpoint: str, way: str) -> None:
        self.name = f"{kind}, {way}"
        self._process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", "tests.chaos.stalled", kind, endpoint, way],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.endpoint: str = self._says()["endpoint"]

    def _says(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"{self.name} ended with {self._process.wait(LIMIT)}: an abort is -6"
        found: dict[str, Any] = json.loads(line)
        return found

    def stall(self, seconds: float) -> None:
        """Stop it for so long."""
        os.kill(self._process.pid, signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            os.kill(self._process.pid, signal.SIGCONT)

    def ended(self) -> dict[str, Any]:
        """What came to it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        came = self._says()
        assert self._process.wait(LIMIT) == 0, f"{self.name} ended with {self._process.returncode}"
        return came

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """Whatever it does."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with suppress(OSError):
                stream.close()


@contextmanager
def stalled(kind: str, endpoint: str = ANYWHERE, way: str = "bind") -> Iterator[Stalled]:
    """One of them; killed at the end."""
    made = Stalled(kind, endpoint, way)
    try:
        yield made
    finally:
        made.kill()


@contextmanager
def load(send: Callable[[bytes], None]) -> Iterator[Callable[[], int]]:
    """Numbered messages without a pause; one that is refused is sent again. Yields: how many, when it is over."""
    over, sent, failures = threading.Event(), [0], list[BaseException]()

    def run() -> None:
        try:
            while not over.is_set():
                with suppress(Overloaded, PeerUnavailable, RequestTimeout):
                    send(b"%08d" % sent[0] + bytes(500))
                    sent[0] += 1
        except BaseException as error:  # noqa: BLE001  raised again below
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def end() -> int:
        over.set()
        thread.join(LIMIT)
        assert not thread.is_alive() and not failures, failures
        return sent[0]

    try:
        yield end
    finally:
        over.set()


def _told(send: Callable[[bytes], None]) -> None:
    while True:
        with suppress(Overloaded, PeerUnavailable, RequestTimeout):
            send(END)
            return


def _push(seconds: float, *, bind: bool) -> dict[str, int]:
    if bind:
        with Push.bind(ANYWHERE, bytes, options=SOME, timeout=0.05) as push:
            with stalled("pull", push.endpoint, "connect") as other:
                return _one_way(push, other, seconds)
    with stalled("pull") as other, Push.connect(other.endpoint, bytes, options=SOME, timeout=0.05) as push:
        return _one_way(push, other, seconds)


def _one_way(source: Any, other: Stalled, seconds: float) -> dict[str, int]:
    with load(source.send) as end:
        time.sleep(0.5)
        other.stall(seconds)
        time.sleep(0.5)
        sent = end()
    _told(source.send)
    came = other.ended()
    assert came["received"] + came["missed"] == sent, (came, sent)
    return {"sent": sent, "missed": came["missed"]}


def _pair(seconds: float, *, bind: bool) -> dict[str, int]:
    if bind:
        with Pair.bind(ANYWHERE, bytes, options=SOME, timeout=0.05) as pair:
            with stalled("pair", pair.endpoint, "connect") as other:
                return _one_way(pair, other, seconds)
    with stalled("pair") as other, Pair.connect(other.endpoint, bytes, options=SOME, timeout=0.05) as pair:
        return _one_way(pair, other, seconds)


def _publisher(seconds: float, *, bind: bool) -> dict[str, int]:
    if bind:
        with Publisher(ANYWHERE, options=SOME) as publisher:
            with stalled("subscriber", publisher.endpoint, "connect") as other:
                return _published(publisher, other, seconds)
    with stalled("subscriber") as other, Publisher(other.endpoint, bind=False, options=SOME) as publisher:
        return _published(publisher, other, seconds)


def _published(publisher: Publisher, other: Stalled, seconds: float) -> dict[str, int]:
    publisher.wait_for_subscribers(BLOB, timeout=LIMIT)
    with load(lambda body: publisher.publish(BLOB, body)) as end:
        time.sleep(0.5)
        other.stall(seconds)
        time.sleep(0.5)
        sent = end()
    until = time.monotonic() + LIMIT
    told = 0
    while not other.over and time.monotonic() < until:
        publisher.publish(BLOB, END)  # until there is room for it
        told += 1
        time.sleep(0.05)
    came = other.ended()
    assert sent <= came["received"] + came["missed"] <= sent + told, (came, sent, told)
    return {"sent": sent, "missed": came["missed"]}


def _cut_off(seconds: float) -> dict[str, int]:
    """The kernel gives the subscriber up meanwhile: it connects again, and what it missed is known exactly."""
    options = SocketOptions(high_water_mark=100, extra={"TCP_MAXRT": 1000})
    with Publisher(ANYWHERE, options=options) as publisher:
        with stalled("subscriber", publisher.endpoint, "connect") as other:
            found = _published(publisher, other, seconds)
        assert publisher.statistics.subscribed > 2, "it was not cut off"
        return found


def _worker(seconds: float) -> dict[str, int]:
    pipeline, size = pipeline_at(ANYWHERE)
    with (
        pipeline,
        stalled("worker", pipeline.endpoint, "connect") as one,
        stalled("worker", pipeline.endpoint) as other,
    ):
        over = time.monotonic() + seconds + 1.5

        def jobs() -> Iterator[bytes]:
            while time.monotonic() < over:
                yield bytes(500)

        stop = threading.Timer(0.5, one.stall, (seconds,))
        stop.start()
        results = list(pipeline.map(jobs(), size))
        stop.join()
        assert set(results) == {500}
        for each in (one, other):
            while not each.over:
                pipeline.stop_workers()
                time.sleep(0.05)
            each.ended()
        return {"sent": len(results), "missed": 0, "redelivered": pipeline.statistics.redelivered}


def _ventilator(seconds: float) -> dict[str, int]:
    with stalled("ventilator") as other:
        pipeline, _ = pipeline_at(ANYWHERE)
        with pipeline.worker(other.endpoint), pipeline.worker(other.endpoint):
            time.sleep(0.5)
            other.stall(seconds)
            came = other.ended()
        return {"sent": came["received"], "missed": 0}


def _proxy(seconds: float) -> dict[str, int]:
    with stalled("proxy") as other:
        front, back = other.endpoint.split()
        with Push.connect(front, bytes, options=SOME, timeout=0.05) as push, Pull.connect(back, bytes) as pull:
            got: list[bytes] = []

            def read() -> None:
                while not got or got[-1] != END:
                    got.append(pull.receive(timeout=LIMIT)[:8])

            reader = threading.Thread(target=read, daemon=True)
            reader.start()
            with load(push.send) as end:
                time.sleep(0.5)
                other.stall(seconds)
                time.sleep(0.5)
                sent = end()
            _told(push.send)
            reader.join(LIMIT)
            assert not reader.is_alive()
            assert got[:-1] == [b"%08d" % number for number in range(sent)]
        other.ended()
        return {"sent": sent, "missed": 0}


RUNS: dict[str, Callable[[float], dict[str, int]]] = {
    "PULL, connected": lambda seconds: _push(seconds, bind=True),
    "PULL, bound": lambda seconds: _push(seconds, bind=False),
    "PAIR, connected": lambda seconds: _pair(seconds, bind=True),
    "PAIR, bound": lambda seconds: _pair(seconds, bind=False),
    "SUB, connected": lambda seconds: _publisher(seconds, bind=True),
    "SUB, bound": lambda seconds: _publisher(seconds, bind=False),
    "SUB, cut off": _cut_off,
    "DEALER of a worker": _worker,
    "ROUTER of a ventilator": _ventilator,
    "PULL and PUSH of a proxy": _proxy,
}


def scenario(seconds: float, names: Sequence[str] = tuple(RUNS)) -> dict[str, dict[str, int]]:
    """All of these at once. Asserts that nothing was lost but to subscribers."""
    results = in_threads(len(names), lambda number: RUNS[names[number]](seconds), LIMIT + 4 * seconds + 30)
    found = dict(zip(names, results, strict=True))
    lossy = {name: each for name, each in found.items() if each["missed"] and not name.startswith("SUB")}
    assert not lossy, lossy
    return found
