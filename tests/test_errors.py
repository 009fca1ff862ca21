"""The exception tree: one root, the builtin kinds that callers may catch instead, and copies that keep what they know."""

from __future__ import annotations

import copy

import pytest

from zpatterns import errors
from zpatterns.errors import DecodeError, JobFailed, ReplyError, RequestTimeout, Status, ZPatternsError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]


def test_there_is_one_root() -> None:
    assert all(issubclass(kind, ZPatternsError) for kind in KINDS)


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("ConfigurationError", ValueError),
        ("RequestTimeout", TimeoutError),
        ("PeerUnavailable", ConnectionError),
        ("PermissionDenied", PermissionError),
        ("DecodeError", ValueError),
    ],
)
def test_some_are_also_what_python_has_a_name_for(name: str, builtin: type[Exception]) -> None:
    assert issubclass(getattr(errors, name), builtin)


def test_each_is_drawn() -> None:
    assert errors.__doc__ is not None
    assert [kind.__name__ for kind in KINDS if kind.__name__ not in errors.__doc__] == []


def test_a_reply_error_keeps_its_three_values_when_it_is_copied() -> None:
    error = copy.copy(ReplyError(Status.NOT_FOUND, "no such order", details={"id": 3}))
    assert (error.status, error.message, error.details) == (Status.NOT_FOUND, "no such order", {"id": 3})
    assert str(error) == "NOT_FOUND: no such order"
    assert str(ReplyError(Status.ABORTED)) == "ABORTED"


def test_what_is_known_of_a_loss() -> None:
    assert RequestTimeout("late", sent=True).sent
    assert DecodeError("odd", frames=(b"frame",)).frames == [b"frame"]


def test_a_failed_job_says_which_one() -> None:
    failed = JobFailed(Status.INTERNAL, "it raised")
    assert str(failed) == "INTERNAL: it raised"
    failed.stage, failed.job = "resize", {"name": "x" * 1000}
    assert str(failed).startswith("INTERNAL: it raised (stage 'resize', job {'name': 'xxx")
    assert len(str(failed)) < 200
