"""What a caller is told: the right class, and words that say what to do next."""

from __future__ import annotations

import pytest

from zpatterns.core import verdicts
from zpatterns.core.calls import Call
from zpatterns.errors import (
    AuthenticationError,
    DecodeError,
    OutcomeUnknown,
    Overloaded,
    PeerUnavailable,
    PermissionDenied,
    ReplyError,
    Status,
)

SPECIAL = {Status.PERMISSION_DENIED: PermissionDenied, Status.UNAUTHENTICATED: AuthenticationError}


def call_of(**more: object) -> Call:
    call = Call("calc.add", b"", 7.5, 3)
    for name, value in more.items():
        setattr(call, name, value)
    return call


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.OK])
def test_every_status_has_its_class(status: Status) -> None:
    error = verdicts.error_of(status, "why", {"a": 1})
    assert type(error) is SPECIAL.get(status, ReplyError)
    assert "why" in str(error)
    if isinstance(error, ReplyError):
        assert (error.status, error.message, error.details) == (status, "why", {"a": 1})


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (Status.RESOURCE_EXHAUSTED, Overloaded),
        (Status.UNAVAILABLE, PeerUnavailable),
        (Status.FAILED_PRECONDITION, PeerUnavailable),
        (Status.INVALID_ARGUMENT, ReplyError),
        (Status.PERMISSION_DENIED, PermissionDenied),
    ],
)
def test_a_refusal_says_that_it_did_not_run(status: Status, kind: type[Exception]) -> None:
    error = verdicts.refused(status, "why", {})
    assert type(error) is kind
    assert "why" in str(error)


def test_nobody_there() -> None:
    assert "is it running" in str(verdicts.unavailable("x was not sent"))


@pytest.mark.parametrize(
    ("what", "advice"),
    [
        ({"stream": True}, "Open the stream again"),
        ({"idempotent": True}, "Retry(attempts=)"),
        ({"dedupe": True}, "Check at the server"),
        ({}, "idempotent=True or dedupe=True"),
    ],
)
def test_an_unknown_outcome_says_what_can_be_done(what: dict[str, bool], advice: str) -> None:
    error = verdicts.unknown(call_of(**what), "the connection was lost")
    assert type(error) is OutcomeUnknown
    assert "'calc.add' was sent, and the connection was lost; it may or may not have run" in str(error)
    assert advice in str(error)


def test_a_late_reply_says_how_often_it_was_sent() -> None:
    assert "sent 2 " in verdicts.late(call_of(attempt=2))
    assert "after 5 parts" in verdicts.late(call_of(stream=True, parts=5))


def test_a_hole_in_a_stream_is_data_loss() -> None:
    assert verdicts.lost_part(call_of(parts=5)).status is Status.DATA_LOSS


def test_a_plain_answer_to_a_typed_request_points_at_request_plain() -> None:
    error = verdicts.not_typed(call_of(), DecodeError("no header"), [b"hello"])
    assert "request_plain" in str(error) and "no header" in str(error)
    assert error.frames == [b"hello"]


def test_a_call_without_a_method_has_a_name_too() -> None:
    assert Call(None, b"", 1.0, 1).name == "the plain request"
    assert call_of().name == "'calc.add'"


def test_who_is_out_of_time_hears_of_messages_that_were_no_answers() -> None:
    call = call_of(lost=True, attempt=1)
    assert "no answers" not in str(verdicts.timed_out(call, (), 0))
    assert "5 messages came back that are no answers" in str(verdicts.timed_out(call, (), 5))
