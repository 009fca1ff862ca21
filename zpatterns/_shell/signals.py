"""SIGINT and SIGTERM for the time that something runs in the main thread."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any


@contextmanager
def on_signal(stop: Callable[[str], None]) -> Generator[None]:
    """Call ``stop`` with the signal's name at each of them; in another thread there are no signals."""
    previous: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            previous[number] = signal.signal(number, lambda got, _: stop(signal.Signals(got).name))
    try:
        yield
    finally:
        for restored, handler in previous.items():
            signal.signal(restored, handler)
