"""Processes are killed, and the count of what became of each file and each call: ``make demo``.

First an index of the standard library is made by worker processes (build.py, indexer.py), then many calls go to a server
that answers from it, and through a broker to workers that do (calls.py, client.py, server.py). Every result is compared
with what this process has computed itself by other means (questions.py). The counts are kept in build.py and ledger.py.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

import library
from build import WORKERS, Build, build
from calls import TASKS, THREADS, through_a_broker, to_a_server
from ledger import Ledger
from processes import ProcessFailed
from questions import Truth, questions
from screen import Screen, spaced
from table import show

from zpatterns import ZPatternsError


def main() -> int:
    options = arguments()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    files = library.files(options.files)
    count, ledger, screen = Build(files), Ledger(options.calls), Screen(quiet=options.quiet)
    screen.title(
        f"{spaced(len(files))} files of the standard library are indexed by {WORKERS} worker processes;\n"
        f"one is killed. Then {spaced(options.calls)} calls from {THREADS} threads and {TASKS} asyncio tasks: half to\n"
        "a server that is killed twice, half through a broker to four workers, of which\n"
        "one is killed and one stopped. Every result is checked."
    )
    interrupted = False
    try:
        with TemporaryDirectory() as folder:
            index = Path(folder, "index.json")
            build(count, screen)
            library.save(count.index, index)
            truth = Truth(files, lambda done: screen.progress(done, len(files), "files read once more, to compare"))
            count.wrong = truth.wrong(count.index)
            asked = questions(options.calls, options.seed, truth)
            screen.event(f"compared with the compiler's own table; {spaced(len(asked))} questions made of it")
            half = len(asked) // 2
            to_a_server(asked[:half], index, ledger, screen)
            through_a_broker(asked[half:], index, ledger, screen)
    except KeyboardInterrupt:
        interrupted = True
    except (ProcessFailed, ZPatternsError) as error:
        screen.failure(f"{type(error).__name__}: {error}")
        return 1
    good = show(count, ledger, screen, interrupted=interrupted)
    return 130 if interrupted else 0 if good else 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Processes are killed at work, and what became of the work.")
    parser.add_argument("--calls", type=int, default=20_000, help="how many (default: 20000)")
    parser.add_argument("--files", type=int, default=1_000_000, help="at most so many (default: all there are)")
    parser.add_argument("--seed", type=int, default=1, help="chooses what is asked (default: 1)")
    parser.add_argument("--quiet", action="store_true", help="print the table alone")
    options = parser.parse_args()
    if options.calls < 1 or options.files < 100:
        parser.error("--calls must be at least 1, --files at least 100")
    return options


def interrupt(number: int, frame: FrameType | None) -> None:
    """Once: what it ends must not be ended in the middle."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
