"""SIGINT and SIGTERM for the time that something runs in the main thread. One that is ignored stays so, as shells have it."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

log: logging.Logger = logging.getLogger("zpatterns")
STOPPING = "%s: stopping after the handler at work; once more stops at once"


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


@contextmanager
def until_second_signal(stop: Callable[[], None]) -> Generator[None]:
    """The first calls ``stop``; the next one ends the block, whatever runs in it."""
    heard: list[str] = []

    def hear(name: str) -> None:
        heard.append(name)
        if len(heard) > 1:
            raise KeyboardInterrupt(name)
        log.info(STOPPING, name)
        stop()

    with on_signal(hear):
        try:
            yield
        except KeyboardInterrupt:
            if len(heard) < 2:  # somebody raised it
                raise
