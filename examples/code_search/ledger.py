"""The count: every call is entered when it starts and checked off when it ends. What the demo claims is read off here."""

from __future__ import annotations

from collections import Counter
from time import perf_counter
from types import TracebackType
from typing import Any, Self

from questions import Question

from zpatterns import ReplyError, RequestTimeout, ZPatternsError

GRACE = 1.0
"""Seconds after its deadline from which a call counts as hung."""


class Call:
    """One line of the ledger. ``with ledger.call(...) as call: call.answer = ...`` checks it off, whatever happens."""

    def __init__(self, ledger: Ledger, question: Question, budget: float) -> None:
        self.ledger = ledger
        self.question = question
        self.started = perf_counter()
        self.deadline = self.started + budget
        self.ends: list[float] = []
        self.reopened = 0
        self.answer: Any = None
        self.error: Exception | None = None
        ledger.calls.append(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is not None and not isinstance(error, Exception):
            return False  # Ctrl-C: it has not ended
        self.error = error
        self.ledger.check_off(self)
        return True

    @property
    def left(self) -> float:
        return max(0.001, self.deadline - perf_counter())

    @property
    def right(self) -> bool:
        return self.error is None and bool(self.answer == self.question.expected)


class Ledger:
    def __init__(self, planned: int) -> None:
        self.planned = planned
        self.retried = 0
        self.brokered = 0
        """Requests that a broker saw answered."""
        self.handed_on = 0
        """Of these, by another worker than the first that had it."""
        self.calls: list[Call] = []
        self.ended: list[Call] = []  # list.append is atomic: threads and tasks share these without a lock

    def call(self, question: Question, budget: float) -> Call:
        return Call(self, question, budget)

    def check_off(self, call: Call) -> None:
        call.ends.append(perf_counter())
        self.ended.append(call)

    @property
    def reopened(self) -> int:
        return sum(call.reopened for call in self.calls)

    @property
    def open(self) -> int:
        return len(self.calls) - len(self.ended)

    # -- what went wrong ----------------------------------------------------------------------------------------

    @property
    def lost(self) -> list[Call]:
        """Never ended, or ended twice."""
        return [call for call in self.calls if len(call.ends) != 1]

    @property
    def hung(self) -> list[Call]:
        return [call for call in self.calls if call.ends and call.ends[0] > call.deadline + GRACE]

    @property
    def wrong(self) -> list[Call]:
        """Every question has an answer, so an error that a handler raised is a wrong one."""
        answered = [call for call in self.calls if call.ends and (not call.error or isinstance(call.error, ReplyError))]
        return [call for call in answered if not call.right]

    @property
    def untyped(self) -> list[Call]:
        return [call for call in self.calls if call.error is not None and not isinstance(call.error, ZPatternsError)]

    @property
    def timed_out(self) -> int:
        return sum(isinstance(call.error, RequestTimeout) for call in self.calls)

    @property
    def failed(self) -> Counter[str]:
        errors = [call.error for call in self.calls if call.error and not isinstance(call.error, RequestTimeout)]
        return Counter(type(error).__name__ for error in errors)

    @property
    def complete(self) -> bool:
        return len(self.calls) == self.planned

    @property
    def latencies(self) -> list[float]:
        return sorted(call.ends[0] - call.started for call in self.calls if call.ends)
