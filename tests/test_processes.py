"""``run(processes=N)``: as many interpreters with the same handlers, replaced when they end, all told to end together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import zpatterns.asyncio
from zpatterns import Broker, ConfigurationError, ReplyServer, RequestClient

from .fleet import NAP, QUICK, WHO
from .worlds import ADD, LIMIT, Add, Sum, until

ROOT = Path(__file__).resolve().parent.parent
FINISHES = 60.0


class Fleet:
    """A broker here, and the worker's parent process with its children."""

    def __init__(self, world: str, count: int) -> None:
        self.broker = Broker("tcp://127.0.0.1:*", "tcp://127.0.0.1:*", heartbeat=QUICK, grace=0.0)
        self.broker.__enter__()
        command = [sys.executable, "-m", "tests.fleet", self.broker.backend, world, str(count)]
        self.parent = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
        self.client = RequestClient(self.broker.frontend, service="fleet", timeout=FINISHES, heartbeat=QUICK)
        self.count = count

    def pids(self) -> set[int]:
        """Of the processes that serve, once all do."""
        self.broker.wait_for_workers("fleet", self.count, timeout=FINISHES)
        found: set[int] = set()
        over = time.monotonic() + FINISHES
        while len(found) < self.count:
            assert time.monotonic() < over, found
            found.add(self.client.request(WHO))
        return found

    def napping(self) -> None:
        assert self.parent.stdout is not None
        assert self.parent.stdout.readline() == "napping\n"

    def close(self) -> None:
        self.client.close()
        self.broker.close()
        if self.parent.poll() is None:
            os.killpg(self.parent.pid, signal.SIGKILL)
        assert self.parent.stdout is not None
        self.parent.stdout.close()
        self.parent.wait(LIMIT)


@contextmanager
def fleet(world: str, count: int = 2) -> Iterator[Fleet]:
    here = Fleet(world, count)
    try:
        yield here
    finally:
        here.close()


def alive(pid: int) -> bool:
    """Zombies, whom nobody may have buried, are not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # it ends while we look
        return False


@pytest.mark.parametrize("name", ["blocking", "asyncio"])
def test_each_is_a_process_and_one_that_ends_is_replaced_and_all_end_together(name: str) -> None:
    with fleet(name) as here:
        first = here.pids()
        assert here.parent.pid not in first
        os.kill(min(first), signal.SIGKILL)
        os.kill(max(first), signal.SIGTERM)  # one that ends gracefully, too
        until(lambda: not any(map(alive, first)), limit=FINISHES)
        second = here.pids()
        assert not first & second
        nap = here.client.submit(NAP, 0.5)
        here.napping()
        here.parent.terminate()
        assert nap.result(FINISHES) in second  # within the grace
        assert here.parent.wait(FINISHES) == 0
        assert not any(map(alive, second))
        assert here.parent.stdout is not None
        assert here.parent.stdout.read() == "over\n"


def test_ctrl_c_reaches_the_whole_group_and_is_one_signal_for_all_that() -> None:
    with fleet("blocking") as here:
        pids = here.pids()
        nap = here.client.submit(NAP, 0.5)
        here.napping()
        os.killpg(here.parent.pid, signal.SIGINT)
        assert nap.result(FINISHES) in pids
        assert here.parent.wait(FINISHES) == 0


def test_a_second_signal_does_not_wait() -> None:
    with fleet("blocking") as here:
        pids = here.pids()
        here.client.submit(NAP, 1000.0)
        here.napping()
        started = time.monotonic()
        here.parent.terminate()
        until(lambda: len(here.broker.services()[0].workers) < 2)
        here.parent.terminate()
        assert here.parent.wait(FINISHES) == 0
        assert not any(map(alive, pids))
        assert time.monotonic() - started < 30.0  # its grace is 60


def test_they_do_not_survive_their_parent() -> None:
    with fleet("asyncio") as here:
        pids = here.pids()
        here.parent.kill()
        until(lambda: not any(map(alive, pids)), limit=FINISHES)


SCRIPTS = {
    "inside a function": """
def main():
    worker = zp.ReplyServer.worker(NOBODY, name="calc")
    @worker.reply("calc.one")
    def one() -> int: return 1
    worker.run(processes=2)
if __name__ == "__main__": main()
""",
    "below if __name__": """
if __name__ == "__main__":
    worker = zp.ReplyServer.worker(NOBODY, name="calc")
    @worker.reply("calc.one")
    def one() -> int: return 1
    worker.run(processes=2)
""",
    "without if __name__": """
worker = zp.ReplyServer.worker(NOBODY, name="calc")
@worker.reply("calc.one")
def one() -> int: return 1
worker.run(processes=2)
""",
}


@pytest.mark.parametrize("how", SCRIPTS)
def test_what_another_process_could_not_find_is_said(how: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"import zpatterns as zp\nNOBODY = 'tcp://127.0.0.1:1'\n{SCRIPTS[how]}", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 1
    assert run.stderr.strip().splitlines()[-1].startswith("zpatterns.errors.ConfigurationError: ")
    assert "at the top of a module" in run.stderr or "make the server at its top" in run.stderr


@pytest.mark.parametrize("kind", [ReplyServer, zpatterns.asyncio.ReplyServer])
def test_what_cannot_be_several_processes(kind: Any) -> None:
    server = kind("tcp://127.0.0.1:*")

    @server.reply(ADD)
    def add(request: Add) -> Sum:
        return Sum(total=request.a + request.b)

    with pytest.raises(ConfigurationError, match="Put a Broker in front"):
        server.run(processes=2)
    with pytest.raises(ConfigurationError, match="at least one"):
        server.run(processes=0)
    worker = kind.worker("tcp://127.0.0.1:1", name="calc")
    with pytest.raises(ConfigurationError, match="no handler"):
        worker.run(processes=2)
