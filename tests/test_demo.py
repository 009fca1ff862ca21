"""The demo: a worker and a server die and nothing is lost; its counts can fail; it leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

import pytest

DEMO = Path(__file__).resolve().parent.parent / "examples" / "code_search"
SMALL = ("--files", "100", "--calls", "400")
TWO_WORKERS = "\nimport build; build.WORKERS = 2\n"  # interpreters are slow to start


def play(*arguments: str, before: str = "") -> tuple[int, str, str]:
    """Run it in a process of its own, after ``before``, which may break something in it: status and both outputs."""
    program = f"import sys\nsys.path.insert(0, {str(DEMO)!r})\nimport demo\n{before}\nsys.exit(demo.main())"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": str(DEMO.parent.parent)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def row(output: str, name: str) -> int:
    found = re.search(rf"^  {name} +([\d ]+\d)", output, re.MULTILINE)
    assert found, output
    return int(found[1].replace(" ", ""))


def test_processes_are_lost_and_nothing_else() -> None:
    status, out, errors = play("--files", "100", "--calls", "1400")
    assert (status, errors) == (0, ""), out + errors
    assert "\x1b" not in out and "\r" not in out
    assert max(map(len, out.splitlines())) <= 80
    assert len(re.findall(r"worker \d+ killed \(kill -9\) at work", out)) == 1
    assert row(out, "files indexed") == 100
    assert row(out, "progress") >= 100
    assert row(out, "redelivered") > 0
    killed = re.findall(r"server killed \(kill -9\) with (\d+) calls under way", out)
    assert len(killed) == 2 and all(int(calls) > 0 for calls in killed)
    assert out.count("server back after") == 2
    assert len(re.findall(r"worker (?:stopped|killed) \(kill -\w+\) with [1-9]\d* calls under way", out)) == 2
    assert row(out, "calls") == row(out, "answered") == 1400
    assert row(out, "by a broker") >= 700
    assert re.search(r"of them; [1-9]\d* went from a lost worker", out)
    assert row(out, "sent again") > 0
    assert row(out, "timed out") == row(out, "failed") == 0
    assert out.endswith("0 lost, 0 hung, 0 wrong\n")


# -- the counts can fail: faults planted into a demo that runs ---------------------------------------------------

INDEX_FAULTS = """
import build
demo.to_a_server = demo.through_a_broker = lambda *_: None
results = build.pipeline.map
def with_faults(*arguments, **options):
    for number, indexed in enumerate(results(*arguments, **options)):
        if number == 0:
            indexed = indexed[1:] * 2
        elif number < 9:
            indexed = [each.model_copy(update={"definitions": each.definitions[1:]}) for each in indexed]
        yield indexed
build.pipeline.map = with_faults
"""
CALL_FAULTS = """
import client, ledger, questions
from contracts import Lines
demo.through_a_broker = lambda *_: None
check_off, faults = ledger.Ledger.check_off, iter(["forgotten", "twice", "late"])
def with_faults(self, call):
    fault = next(faults, "none")
    if fault == "late":
        call.deadline -= 60
    for _ in range({"forgotten": 0, "twice": 2}.get(fault, 1)):
        check_off(self, call)
ledger.Ledger.check_off = with_faults
questions.count_lines = lambda text: Lines(total=7, blank=77)
def broken(client, method, call):
    raise LookupError
async def broken_async(client, method, call):
    raise LookupError
client.read_stream, client.read_stream_async = broken, broken_async
"""


@pytest.mark.parametrize(
    ("fault", "verdict"),
    [
        (INDEX_FAULTS, r"  [1-9]\d* lost, 0 hung, [1-9]\d* wrong\n"),
        (CALL_FAULTS, r"  2 lost, 1 hung, [1-9]\d* wrong, [1-9]\d* failed without a typed error\n"),
    ],
    ids=["index", "calls"],
)
def test_the_counts_can_fail(fault: str, verdict: str) -> None:
    status, out, errors = play(*SMALL, "--quiet", before=TWO_WORKERS + fault)
    assert status == 1, out + errors
    assert re.search(verdict, out), out


def test_a_server_that_cannot_start_is_an_error() -> None:
    with socket.socket() as occupied:
        occupied.bind(("127.0.0.1", 0))
        occupied.listen()
        endpoint = f"tcp://127.0.0.1:{occupied.getsockname()[1]}"
        status, out, errors = play(
            *SMALL, before=f"demo.build = lambda *_: None\nimport calls; calls.free_endpoint = lambda: {endpoint!r}"
        )
    assert status == 1
    assert errors.startswith("ProcessFailed: AddressInUse: ")
    assert "lost" not in out


# -- nothing is left behind --------------------------------------------------------------------------------------

SIGNAL_AT = """
import os, processes, screen
start = processes.Process.start
def start_and_tell(self):
    start(self)
    print("started", self.number, flush=True)
processes.Process.start = start_and_tell
def progress(self, done, total, text):
    if {text!r} in text and done > total / 4:
        os.kill(os.getpid(), {number})
screen.Screen.progress = progress
demo.{left_out} = lambda *_: None
"""


@pytest.mark.parametrize(
    ("text", "left_out", "number", "verdict"),
    [
        ("files indexed", "nothing", signal.SIGINT, "interrupted before the calls began; 0 wrong"),
        ("files read once more", "nothing", signal.SIGHUP, "interrupted before the calls began; 0 wrong"),
        ("calls ended", "through_a_broker", signal.SIGTERM, " calls under way; 0 hung, 0 wrong"),
        ("calls ended", "to_a_server", signal.SIGINT, " calls under way; 0 hung, 0 wrong"),
        ("files indexed", "nothing", signal.SIGKILL, None),
        ("calls ended", "to_a_server", signal.SIGKILL, None),
    ],
)
def test_whatever_ends_it_there_is_a_table_and_no_process_left(
    text: str, left_out: str, number: signal.Signals, verdict: str | None
) -> None:
    status, out, errors = play(
        *SMALL, before=TWO_WORKERS + SIGNAL_AT.format(text=text, number=int(number), left_out=left_out)
    )
    assert errors == ""
    if verdict is None:
        assert status == -number
    else:
        assert status == 130
        assert "files indexed" in out and verdict in out
    for process in re.findall(r"^started (\d+)$", out, re.MULTILINE):
        limit_at = monotonic() + 10
        while alive(int(process)):
            assert monotonic() < limit_at, f"process {process} is still there"
            sleep(0.01)


def alive(process: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(process, 0)
        return True
    return False
