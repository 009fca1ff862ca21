"""The demo: its server dies twice and nothing is lost; its count can fail; it leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import pytest

DEMO = Path(__file__).resolve().parent.parent / "examples" / "code_search"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(DEMO.parent.parent)}


def play(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """Run the demo in a process of its own, after ``before``, which may break something in it."""
    program = f"import sys\nsys.path.insert(0, {str(DEMO)!r})\nimport demo, ledger\n{before}\nsys.exit(demo.main())"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *arguments],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def row(output: str, name: str) -> int:
    found = re.search(rf"^  {name} +([\d ]+\d)", output, re.MULTILINE)
    assert found, output
    return int(found[1].replace(" ", ""))


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_two_kills_and_nothing_lost() -> None:
    done = play("--calls", "600")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout and "\r" not in done.stdout
    killed = re.findall(r"server killed \(kill -9\) with (\d+) calls under way", done.stdout)
    assert len(killed) == 2 and all(int(calls) > 0 for calls in killed)
    assert done.stdout.count("server back after") == 2
    assert row(done.stdout, "started") == row(done.stdout, "answered") == 600
    assert row(done.stdout, "sent again") > 0
    assert row(done.stdout, "timed out") == row(done.stdout, "failed") == 0
    assert done.stdout.endswith("0 lost, 0 hung, 0 wrong\n")


DROP = """
check_off, dropped = ledger.Ledger.check_off, []
def forget_one(self, call):
    dropped.append(call) if not dropped else check_off(self, call)
ledger.Ledger.check_off = forget_one
"""
TWICE = """
check_off = ledger.Ledger.check_off
ledger.Ledger.check_off = lambda self, call: [check_off(self, call) for _ in range(2)]
"""
LATE = "ledger.GRACE = -20.0"
WRONG = """
import demo, questions
from contracts import Lines
questions.count_lines = lambda path: Lines(total=7, blank=77)
"""
UNTYPED = """
import client
def broken(client, method, call):
    raise LookupError
client.read_stream = broken
"""


@pytest.mark.parametrize(
    ("fault", "verdict"),
    [
        (DROP, r"\b1 lost, 0 hung, 0 wrong"),
        (TWICE, r"\b[1-9]\d* lost, 0 hung"),
        (LATE, r"0 lost, [1-9]\d* hung"),
        (WRONG, r"0 lost, 0 hung, [1-9]\d* wrong"),
        (UNTYPED, r"0 wrong, [1-9]\d* failed without a typed error"),
    ],
    ids=["lost", "twice", "hung", "wrong", "untyped"],
)
def test_the_count_can_fail(fault: str, verdict: str) -> None:
    done = play("--calls", "300", "--quiet", before=fault)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(verdict, done.stdout), done.stdout


def test_a_server_that_cannot_start_is_an_error() -> None:
    with socket.socket() as occupied:
        occupied.bind(("127.0.0.1", 0))
        occupied.listen()
        endpoint = f"tcp://127.0.0.1:{occupied.getsockname()[1]}"
        done = play("--calls", "10", before=f"demo.free_endpoint = lambda: {endpoint!r}")
    assert done.returncode == 1
    assert done.stderr.startswith("ServerFailed: AddressInUse: ")
    assert "lost" not in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_shows_the_table_and_leaves_no_process(number: signal.Signals) -> None:
    demo = subprocess.Popen(
        [sys.executable, str(DEMO / "demo.py")],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert demo.stdout is not None
    server = 0
    for line in demo.stdout:
        if "server started: process" in line:
            server = int(line.split()[5])
        if "calls ended" in line:
            break
    assert alive(server)
    demo.send_signal(number)
    rest, errors = demo.communicate(timeout=20)
    assert demo.returncode == 130
    assert errors == ""
    assert "interrupted with" in rest
    limit_at = monotonic() + 5
    while alive(server):
        assert monotonic() < limit_at
        sleep(0.01)
