"""The byte vectors of tests/vectors, which other languages use too, against our encoder and our decoder, both ways."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from zpatterns.core import compose
from zpatterns.core.calls import Call
from zpatterns.core.jobs import PLAIN_REFUSED, Job, Rule
from zpatterns.core.machine import Link
from zpatterns.core.replier import Replier
from zpatterns.core.requester import Requester
from zpatterns.errors import DecodeError, ReplyError, Status
from zpatterns.wire import message as w

VECTORS = Path(__file__).parent.parent / "vectors"
INCARNATION = bytes(range(1, 9))


def load(name: str) -> dict[str, Any]:
    vectors = json.loads((VECTORS / name).read_text(encoding="utf-8"))
    assert vectors["protocol"] == w.VERSION
    return vectors


def named(vectors: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(vector, id=vector.get("name") or vector["reason"]) for vector in vectors]


# Headers --------------------------------------------------------------------------------------------------------------

HEADERS = load("headers.json")
COMMANDS = {
    "REQUEST": w.Request,
    "PARTIAL": w.Partial,
    "FINAL": w.Final,
    "ERROR": w.Error,
    "CANCEL": w.Cancel,
    "CREDIT": w.Credit,
    "BATCH": w.Batch,
    "CAPACITY": w.Capacity,
}
ENCODERS: dict[str, Any] = {
    "REQUEST": w.request,
    "PARTIAL": w.partial,
    "FINAL": w.final,
    "ERROR": w.error,
    "CANCEL": lambda: w.CANCEL_HEADER,
    "CREDIT": w.credit,
    "BATCH": w.batch,
    "CAPACITY": w.capacity,
}


def fields(vector: dict[str, Any]) -> dict[str, Any]:
    """JSON has no bytes: incarnations are hex in the vectors."""
    values = deepcopy(vector["fields"])
    for holder in (values, values.get("extra", {})):
        if "incarnation" in holder:
            holder["incarnation"] = bytes.fromhex(holder["incarnation"])
    return values


@pytest.mark.parametrize("vector", named(HEADERS["valid"]))
@pytest.mark.parametrize("frame", [bytes, memoryview])
def test_a_valid_header_is_read(vector: dict[str, Any], frame: Any) -> None:
    expected = COMMANDS[vector["kind"]](**fields(vector))
    assert w.parse(frame(bytes.fromhex(vector["hex"]))) == expected


@pytest.mark.parametrize("vector", named([vector for vector in HEADERS["valid"] if vector["written"]]))
def test_a_header_is_written(vector: dict[str, Any]) -> None:
    assert ENCODERS[vector["kind"]](**fields(vector)).hex() == vector["hex"]


@pytest.mark.parametrize("vector", named(HEADERS["invalid"]))
def test_an_invalid_header_is_refused(vector: dict[str, Any]) -> None:
    header = bytes.fromhex(vector["hex"])
    with pytest.raises(DecodeError) as caught:
        w.parse(header)
    assert caught.value.frames == [header]


def test_every_kind_has_vectors() -> None:
    assert {vector["kind"] for vector in HEADERS["valid"]} == set(COMMANDS)
    assert len({vector["hex"] for part in ("valid", "invalid") for vector in HEADERS[part]}) == sum(
        len(HEADERS[part]) for part in ("valid", "invalid")
    )


# Errors and batches ---------------------------------------------------------------------------------------------------

ERRORS = load("errors.json")
BATCHES = load("batches.json")


@pytest.mark.parametrize("vector", named(ERRORS["valid"]))
def test_an_error_is_read_and_written(vector: dict[str, Any]) -> None:
    payload = bytes.fromhex(vector["hex"])
    assert w.decode_error(payload) == (vector["text"], vector["details"])
    if vector["written"]:
        assert w.encode_error(vector["text"], vector["details"], 2048) == payload


@pytest.mark.parametrize("vector", named(ERRORS["invalid"]))
def test_an_error_that_is_none_still_says_so(vector: dict[str, Any]) -> None:
    assert w.decode_error(bytes.fromhex(vector["hex"])) == ("(the error text did not decode)", {})


def items_of(vector: dict[str, Any]) -> list[bytes]:
    return [bytes.fromhex(item[part]) for item in vector["items"] for part in ("id", "header", "payload")]


@pytest.mark.parametrize("vector", named(BATCHES["valid"]))
def test_a_batch_is_read_and_written(vector: dict[str, Any]) -> None:
    header, payload, items = bytes.fromhex(vector["header"]), bytes.fromhex(vector["payload"]), items_of(vector)
    assert w.decode_batch(w.parse(header), memoryview(payload)) == items
    assert w.batch(len(items) // 3) == header
    if vector["written"]:
        assert w.encode_batch(items) == payload


@pytest.mark.parametrize("vector", named(BATCHES["invalid"]))
def test_an_invalid_batch_is_refused(vector: dict[str, Any]) -> None:
    payload = bytes.fromhex(vector["payload"])
    with pytest.raises(DecodeError) as caught:
        w.decode_batch(w.parse(bytes.fromhex(vector["header"])), payload)
    assert caught.value.frames == [payload]


# Whole messages -------------------------------------------------------------------------------------------------------

MESSAGES = load("messages.json")["messages"]


def at(place: str, **wanted: Any) -> list[Any]:
    """The messages at one end of the wire."""
    return named(
        [
            vector
            for vector in MESSAGES
            if vector["at"] == place and all(vector.get(key) in values for key, values in wanted.items())
        ]
    )


def frames_of(vector: dict[str, Any]) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(frame) for frame in vector["frames"])


def new_replier(*methods: str, plain: bool = True) -> Replier:
    rules: dict[str | None, Rule] = {name: Rule() for name in methods}
    rules["calc.tokens"] = Rule(stream=True)
    if plain:
        rules[None] = Rule()
    return Replier(rules, incarnation=INCARNATION)


@pytest.mark.parametrize("vector", at("DEALER sends", body=["typed"]))
def test_a_client_sends_these_frames(vector: dict[str, Any]) -> None:
    frames = frames_of(vector)
    command = w.parse(frames[-2] if vector["kind"] == "BATCH" else frames[2])
    if type(command) is w.Request:
        assert compose.frames(call_of(frames, command), 0.0, 64) == frames
    elif type(command) is w.Cancel:
        assert compose.cancel(call_of(frames, command)) == frames
    elif type(command) is w.Credit:
        assert (frames[0], b"", w.credit(command.parts), b"") == frames
    else:
        items = w.decode_batch(command, frames[2])
        triples = [(items[i], items[i + 1], items[i + 2]) for i in range(0, len(items), 3)]
        assert list(compose.batches(triples)) == [(len(triples), frames)]


def call_of(frames: tuple[bytes, ...], command: w.Command) -> Call:
    """The call that a client would have made, at time 0."""
    call = Call("", frames[3], 7.5, 1, buffers=frames[4:])
    call.id, call.attempt = frames[0], 1
    if type(command) is w.Request:
        call.method, call.codec, call.flags = command.method, command.codec, command.flags
        call.deadline = command.extra.get("deadline", command.budget) / 1000
        call.stream = bool(command.flags & w.STREAM)
        call.timeout = call.quiet_at = command.budget / 1000
    return call


@pytest.mark.parametrize("vector", at("ROUTER receives", kind=["REQUEST", "BATCH"], body=["typed"]))
def test_a_server_takes_these_requests(vector: dict[str, Any]) -> None:
    frames = frames_of(vector)
    replier = new_replier("calc.add", "blob.put", "zp.ping")
    replier.receive(0, frames, 0.0)
    replier.dispatch(0.0)
    jobs = list(replier.events)
    assert [type(event) for event in replier.events] == [Job] * len(jobs)
    stack = [bytes.fromhex(frame) for frame in vector["stack"]]
    if vector["kind"] == "BATCH":
        items = w.decode_batch(w.parse(frames[2]), frames[3])
        assert [job.id for job in jobs] == items[::3]
        assert [job.header for job in jobs] == [w.parse(header) for header in items[1::3]]
        assert [job.rest for job in jobs] == [(payload,) for payload in items[2::3]]
        assert {job.routing_id for job in jobs} == {stack[0]}
    else:
        [job] = jobs
        assert [job.routing_id, *job.path] == stack
        assert job.header == w.parse(frames[len(stack)])
        assert tuple(job.rest) == frames[len(stack) + 1 :]


@pytest.mark.parametrize("vector", at("ROUTER receives", kind=["CANCEL", "CREDIT"]))
def test_a_server_understands_these(vector: dict[str, Any]) -> None:
    replier = new_replier("calc.add")
    replier.receive(0, frames_of(vector), 0.0)
    assert not replier.outbox
    assert not replier.statistics.undecodable


@pytest.mark.parametrize("vector", at("ROUTER receives", body=["plain"]))
def test_a_server_takes_these_as_plain(vector: dict[str, Any]) -> None:
    frames, stack = frames_of(vector), [bytes.fromhex(frame) for frame in vector["stack"]]
    replier = new_replier()
    replier.receive(0, frames, 0.0)
    replier.dispatch(0.0)
    [event] = replier.events
    assert event.header is None
    assert [event.routing_id, *event.path] == (stack or list(frames[:1]))
    assert tuple(event.rest) == frames[len(stack) or 1 :]


@pytest.mark.parametrize("vector", at("ROUTER receives", body=["undecodable"]))
def test_a_server_refuses_these(vector: dict[str, Any]) -> None:
    replier = new_replier("calc.add")
    replier.receive(0, frames_of(vector), 0.0)
    replier.dispatch(0.0)
    replier.flush(0.0)
    assert not replier.events
    [(_, answer, _)] = replier.outbox
    stack = [bytes.fromhex(frame) for frame in vector["stack"]]
    assert list(answer[:-2]) == stack
    assert w.parse(answer[-2]) == w.Error(Status.INVALID_ARGUMENT, w.NOT_TAKEN, INCARNATION)
    assert replier.statistics.undecodable == 1


@pytest.mark.parametrize("vector", at("ROUTER sends", body=["typed"]))
def test_a_server_sends_these_frames(vector: dict[str, Any]) -> None:
    frames = frames_of(vector)
    replier = new_replier("calc.add")
    header = w.request("calc.tokens", 60_000, 1, 1, w.BATCHES | w.STREAM, {"credit": 64})
    if vector["kind"] == "BATCH":
        items = w.decode_batch(w.parse(frames[2]), frames[3])
        unary = w.request("calc.add", 60_000, 1, 1, w.BATCHES)
        for request_id, payload in zip(items[::3], items[2::3], strict=True):
            replier.receive(0, (frames[0], request_id, b"", unary, b"\xc0"), 0.0)
            replier.dispatch(0.0)
            replier.reply(replier.events.popleft(), 1, payload)
    else:
        command = w.parse(frames[3])
        if type(command) is w.Final and not command.parts:
            header = w.request("calc.add", 60_000, 1, 1, w.BATCHES)
        replier.receive(0, (*frames[:3], header, b"\xc0"), 0.0)
        replier.dispatch(0.0)
        job = replier.events.popleft()
        if type(command) is w.Error:
            text, details = w.decode_error(frames[4])
            replier.fail(job, Status(command.status), text, details)
        elif type(command) is w.Partial:
            replier.part(job, command.codec, frames[4])
        elif type(command) is w.Final and command.parts:
            for _ in range(command.parts):
                replier.part(job, 1, b"\xc0")
            replier.flush(0.0)
            replier.outbox.clear()
            replier.end(job)
        else:
            replier.reply(job, 1, frames[4])
    replier.flush(0.0)
    assert [entry[1] for entry in replier.outbox] == [frames]


@pytest.mark.parametrize("vector", at("ROUTER sends", body=["plain"]))
def test_a_server_sends_these_plain_frames(vector: dict[str, Any]) -> None:
    frames = frames_of(vector)
    refused = frames[-1] == PLAIN_REFUSED
    replier = new_replier(plain=not refused)
    replier.receive(0, (*frames[:-1], b"hello"), 0.0)
    replier.dispatch(0.0)
    if not refused:
        replier.reply_plain(replier.events.popleft(), frames[-1:])
    assert [entry[1] for entry in replier.outbox] == [frames]


@pytest.mark.parametrize("vector", at("DEALER receives"))
def test_a_client_understands_these(vector: dict[str, Any]) -> None:
    frames = frames_of(vector)
    ids = [frames[0]]
    command = None
    if vector["body"] == "typed":
        command = w.parse(frames[2] if frames[0] else frames[1])
        if type(command) is w.Batch:
            ids = w.decode_batch(command, frames[2])[::3]
    requester = Requester(1, prefix=ids[0][:8], random=lambda: 0.0)
    requester._sending._counter = int.from_bytes(ids[0][8:], "big") - 1  # so that the next ids are those of the vector
    requester.link(0, Link.UP, 0.0)
    requester.events.clear()
    calls = []
    for request_id in ids:
        call = Call("m" if vector["body"] == "typed" else None, b"\xc0", 7.5, 1)
        call.timeout = call.quiet_at = 7.5
        call.stream = type(command) is w.Partial or (type(command) is w.Final and command.parts > 0)
        calls.append(call)
        requester.start(call)
        assert call.id == request_id
    requester.flush(0.0)
    if type(command) is w.Final:
        for sequence in range(command.parts):
            requester.receive(0, (ids[0], b"", w.partial(sequence, 1), b"\xc0"), 0.0)
        requester.events.clear()
    requester.receive(0, frames, 0.0)
    if type(command) is w.Partial:
        [part] = requester.events
        assert (part.call, part.codec, tuple(part.frames)) == (calls[0], command.codec, frames[3:])
        return
    assert list(requester.events) == calls
    if type(command) is w.Error:
        assert type(calls[0].failure) is ReplyError
        assert (calls[0].failure.status, calls[0].failure.message) == (command.status, w.decode_error(frames[3])[0])
    elif type(command) is w.Batch:
        assert [tuple(call.reply) for call in calls] == [(item,) for item in w.decode_batch(command, frames[2])[2::3]]
    elif vector["body"] == "plain":
        assert tuple(calls[0].reply) == frames[2:]
    elif calls[0].stream:
        assert calls[0].failure is None
    else:
        assert tuple(calls[0].reply) == frames[3:]


def test_every_message_is_checked() -> None:
    assert {(vector["at"], vector["body"]) for vector in MESSAGES} == {
        ("DEALER sends", "typed"),
        ("DEALER sends", "plain"),
        ("DEALER receives", "typed"),
        ("DEALER receives", "plain"),
        ("ROUTER receives", "typed"),
        ("ROUTER receives", "plain"),
        ("ROUTER receives", "undecodable"),
        ("ROUTER sends", "typed"),
        ("ROUTER sends", "plain"),
    }


@pytest.mark.parametrize("vector", at("DEALER sends", body=["plain"]))
def test_a_client_sends_these_plain_frames(vector: dict[str, Any]) -> None:
    frames, stack = frames_of(vector), [bytes.fromhex(frame) for frame in vector["stack"]]
    call = Call(None, frames[len(stack)], 7.5, 1, buffers=frames[len(stack) + 1 :])
    call.bare = 2 - len(stack)  # ID, EMPTY, NONE
    call.id = frames[0]
    assert compose.frames(call, 0.0, 64) == frames


def test_the_worked_example_of_the_page_is_a_vector() -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "wire.md").read_text(encoding="utf-8")
    example = page[page.index("## A worked example") :]
    shown = []
    for block in re.findall(r"```text\n(.*?)```", example, re.DOTALL):
        lines = [re.match(r"\s*((?:[0-9A-F]{2}(?:\s|$))*)", line) for line in block.splitlines()]
        shown.append("".join(line[1] for line in lines if line).replace(" ", "").lower())
    frames = {(vector["name"], vector["at"]): vector["frames"] for vector in MESSAGES}
    wanted = [
        "".join(frames["a request", "DEALER sends"]),
        "".join(frames["a reply", "DEALER receives"]),
        "".join(frames["an error", "DEALER receives"][2:]),
        "".join(frames["two requests in one", "DEALER sends"]),
    ]
    assert shown == wanted
