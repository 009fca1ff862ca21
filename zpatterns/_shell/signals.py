"""SIGINT and SIGTERM for the time that something runs in the main thread. One that is ignored stays so, as shells have it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any


def wanted() -> list[signal.Signals]:
    """In another thread there are no signals; worker processes and background jobs of a shell ignore SIGINT."""
    if threading.current_thread() is not threading.main_thread():
        return []
    return [each for each in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(each) is not signal.SIG_IGN]


@contextmanager
def on_signal(stop: Callable[[str], None]) -> Generator[None]:
    """Call ``stop`` with the signal's name at each of them."""
    previous: dict[int, Any] = {}
    for number in wanted():
        previous[number] = signal.signal(number, lambda got, _: stop(signal.Signals(got).name))
    try:
        yield
    finally:
        for restored, handler in previous.items():
            signal.signal(restored, handler)
