"""A link between two network namespaces is cut: both ways, or one way. The broker is on one side, workers and clients on both.

``outside`` makes the first namespace and runs this file in it; ``inside`` makes the second one, joined to it by a veth
pair, and starts processes there. One way is cut by a route to nowhere: what comes is heard, and nothing can be answered.
Where no namespace can be made it says so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from zpatterns import Broker, Insecure, ReplyServer, RequestClient, ZPatternsError

from .cast import BEAT
from .load import QUICK, Tally
from .server import FREE

NEAR, FAR = "10.213.0.1", "10.213.0.2"
TIMEOUT = 1.0
"""Of each call."""
HEALED = 10.0
"""Seconds after the link is mended at which whoever is not served is called stuck: libzmq gives a half-open link 4."""
PLAIN = Insecure()


def outside(cycles: int, cut: float = 2.0) -> str:
    """Run it in a namespace of its own: what it reports, or SKIPPED and why. Raises AssertionError when a rule is broken."""
    missing = [tool for tool in ("unshare", "nsenter", "ip") if shutil.which(tool) is None]
    if missing:
        return f"SKIPPED: {', '.join(missing)} are not installed"
    for space in (["unshare", "--map-root-user", "--net"], ["unshare", "--net"]):
        if (
            subprocess.run([*space, "ip", "link", "add", "type", "veth"], capture_output=True, check=False).returncode
            == 0
        ):
            break
    else:
        return "SKIPPED: no network namespace with a veth pair can be made here"
    command = [*space, sys.executable, "-m", "tests.chaos.partition", str(cycles), str(cut)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120 + cycles * (cut + 40), check=False)
    assert run.returncode == 0, (run.stdout + run.stderr)[-3000:]
    return run.stdout.strip()


def _ip(*arguments: str, inside: list[str] | None = None) -> None:
    subprocess.run([*(inside or []), "ip", *arguments], check=True)


class Link:
    """The veth pair, and the ways to cut it."""

    def __init__(self, stack: ExitStack) -> None:
        keeper = stack.enter_context(subprocess.Popen(["unshare", "--net", "sleep", "100000"]))
        stack.callback(keeper.kill)
        self.there = ["nsenter", f"--net=/proc/{keeper.pid}/ns/net"]
        _ip("link", "set", "lo", "up")
        self._until_other_namespace(keeper.pid)
        _ip("link", "add", "near", "type", "veth", "peer", "name", "far", "netns", str(keeper.pid))
        _ip("addr", "add", f"{NEAR}/24", "dev", "near")
        _ip("addr", "add", f"{FAR}/24", "dev", "far", inside=self.there)
        _ip("link", "set", "near", "up")
        _ip("link", "set", "far", "up", inside=self.there)

    @staticmethod
    def _until_other_namespace(pid: int) -> None:
        over = time.monotonic() + 10.0
        while os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            assert time.monotonic() < over
            time.sleep(0.01)

    def cut(self, how: str) -> Callable[[], None]:
        """What mends it."""
        if how == "both ways":
            _ip("link", "set", "near", "down")
            return lambda: _ip("link", "set", "near", "up")
        inside, address = (None, FAR) if how == "from here" else (self.there, NEAR)
        _ip("route", "add", "blackhole", f"{address}/32", inside=inside)
        return lambda: _ip("route", "del", "blackhole", f"{address}/32", inside=inside)


class Far:
    """The client on the other side: it writes begin, end and outcome of each call to a file."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal

    def calls(self) -> list[tuple[float, float, str]]:
        lines = self._journal.read_text(encoding="utf-8").splitlines() if self._journal.exists() else []
        split = (line.split() for line in lines if line.endswith("."))
        return [(float(began), float(ended), outcome) for began, ended, outcome, _ in split]

    def served_since(self, at: float) -> bool:
        return any(began > at and outcome == "answered" for began, _, outcome in self.calls())


def inside(cycles: int, cut: float) -> str:
    """As root in a namespace of our own."""
    with ExitStack() as stack:
        link = Link(stack)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zpatterns-")))
        broker = stack.enter_context(
            Broker(f"tcp://{NEAR}:*", f"tcp://{NEAR}:*", heartbeat=BEAT, grace=0.0, security=PLAIN)
        )
        for where in ([], link.there):
            _program(stack, where, "worker", broker.backend)
        _program(stack, link.there, "client", broker.frontend, str(folder / "far"))
        client = stack.enter_context(_client(broker.frontend))
        far, tally, heals = Far(folder / "far"), Tally(), list[float]()
        broker.wait_for_workers("chaos", 2, timeout=60.0)
        _until(lambda: far.served_since(0.0), "the far client is served", 60.0)
        for number in range(cycles):
            how = ("both ways", "from here", "from there")[number % 3]
            mend = link.cut(how)
            _calls(client, tally, time.monotonic() + cut)
            _until(lambda: len(broker.services()[0].workers) == 1, f"{how}: the far worker is known to be away")
            mend()
            mended = time.monotonic()
            _until(lambda at=mended: far.served_since(at), f"{how}: the far client is served again")  # type: ignore[misc]
            _until(lambda: len(broker.services()[0].workers) == 2, f"{how}: the far worker is there again")
            heals.append(time.monotonic() - mended)
            _calls(client, tally, time.monotonic() + 0.2)
        late = [ended - began - TIMEOUT for began, ended, _ in far.calls() if ended - began > TIMEOUT + 1.0]
        assert not late, f"calls of the far client ended late: {late}"
        tally.check(tally_of_nobody(), slack=1.0)
        assert set(tally.ended) == {"answered"}, f"a worker is on this side: {tally}"
        heals.sort()
        return (
            f"{cycles} cuts of {cut} s, 0 stuck; all served again after {heals[len(heals) // 2]:.2f} s in the median, "
            f"{heals[-1]:.2f} s at most; here: {tally}; {len(far.calls())} calls of the far client ended in time"
        )


def tally_of_nobody() -> Any:
    """Nothing is known of what ran."""

    class Ran(dict[str, int]):
        def __missing__(self, key: str) -> int:
            return 1

    return Ran()


def _calls(client: RequestClient, tally: Tally, until: float) -> None:
    """From this side, where a worker is in any case."""
    while (began := time.monotonic()) < until:
        request, result = f"{FREE.name}-{began}", None
        try:
            result = client.request(FREE, request, timeout=TIMEOUT + BEAT.expiry)
        except ZPatternsError as error:
            result = error
        tally.end(request, began, TIMEOUT + BEAT.expiry, result)
        time.sleep(0.005)


def _until(condition: Callable[[], bool], what: str, limit: float = HEALED) -> None:
    over = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < over, f"not within {limit} s: {what}"
        time.sleep(0.02)


def _client(front: str) -> RequestClient:
    return RequestClient(front, service="chaos", timeout=TIMEOUT, heartbeat=BEAT, options=QUICK, security=PLAIN)


def _program(stack: ExitStack, where: list[str], *arguments: str) -> None:
    command = [*where, sys.executable, "-m", "tests.chaos.partition", *arguments]
    process = stack.enter_context(subprocess.Popen(command, stdin=subprocess.DEVNULL))
    stack.callback(process.kill)


def _worker(backend: str) -> None:
    worker = ReplyServer.worker(backend, name="chaos", heartbeat=BEAT, options=QUICK, security=PLAIN)

    @worker.reply(FREE)
    def free(request: str) -> str:
        return request

    worker.run()


def _far_client(front: str, journal: str) -> None:
    with _client(front) as client, open(journal, "a", encoding="utf-8", buffering=1) as out:
        while True:
            began, outcome = time.monotonic(), "answered"
            try:
                client.request(FREE, "far")
            except ZPatternsError as error:
                outcome = type(error).__name__
            out.write(f"{began} {time.monotonic()} {outcome} .\n")
            time.sleep(0.02)


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        _worker(sys.argv[2])
    elif sys.argv[1] == "client":
        _far_client(*sys.argv[2:4])
    else:
        print(inside(int(sys.argv[1]), float(sys.argv[2])))
