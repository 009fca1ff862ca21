"""The pipeline's frames against the vectors of tests/vectors/jobs.json, both ways, and what a reader refuses."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgpack
import pytest

from zpatterns.errors import DecodeError
from zpatterns.wire import jobs as j, message as w

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "jobs.json").read_text(encoding="utf-8"))
MAKERS: dict[str, Any] = {
    "READY": (j.Ready, j.ready),
    "LEAVE": (j.Leave, lambda: j.LEAVE_HEADER),
    "HEARTBEAT": (j.Heartbeat, j.heartbeat),
    "WHO": (j.Who, lambda: j.WHO_HEADER),
    "STOP": (j.Stop, lambda: j.STOP_HEADER),
    "JOBS": (j.Jobs, j.jobs),
    "RESULTS": (j.Results, j.results),
    "FAILED": (j.Failed, j.failed),
    "RETURN": (j.Return, None),
    "ITEM": (j.Item, j.item),
    "ITEMS": (j.Items, j.items),
}


def named(vectors: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(vector, id=vector["name"]) for vector in vectors]


def fields_of(vector: dict[str, Any]) -> dict[str, Any]:
    fields = dict(vector["fields"])
    if "incarnation" in fields:
        fields["incarnation"] = bytes.fromhex(fields["incarnation"])
    return fields


@pytest.mark.parametrize("vector", named(VECTORS["messages"]))
def test_a_message_both_ways(vector: dict[str, Any]) -> None:
    frames = [bytes.fromhex(frame) for frame in vector["frames"]]
    kind, maker = MAKERS[vector["kind"]]
    fields = fields_of(vector)
    command = j.parse(frames[0])
    assert type(command) is kind
    assert asdict(command) == fields
    if maker is not None:
        assert maker(*fields.values()) == frames[0]
    content = vector.get("content")
    if kind in (j.Jobs, j.Results):
        ids, payload, buffers = j.opened(command, frames[1:])
        assert ids == [job_id for job_id, _ in content]
        assert j.encode_array(ids) == frames[1]
        rests = [[bytes.fromhex(frame) for frame in rest] for _, rest in content]
        if command.count == 1:
            assert [[payload, *buffers]] == rests
        else:
            payloads = j.split(command.codec, command.count, payload)
            assert [[each] for each in payloads] == rests
            assert j.encode_items(command.codec, payloads) == frames[2]
    elif kind is j.Return:
        assert j.decode_ids(command.count, frames[1]) == content
        assert j.returned(command.started, content) == tuple(frames)
    elif kind is j.Items:
        payloads = [bytes.fromhex(payload) for payload in content]
        assert j.encode_items(command.codec, payloads) == frames[1]
        if command.codec == 1:
            assert msgpack.unpackb(frames[1]) == [msgpack.unpackb(payload) for payload in payloads]
        else:
            assert j.decode_array(command.count, frames[1]) == payloads
    elif kind is j.Failed:
        assert list(w.decode_error(frames[1])) == content
    elif kind is not j.Item:
        assert frames[1:] == [b""]


@pytest.mark.parametrize("vector", named(VECTORS["invalid"]))
def test_a_reader_refuses(vector: dict[str, Any]) -> None:
    frames = [bytes.fromhex(frame) for frame in vector["frames"]]
    with pytest.raises(DecodeError):
        command = j.parse(frames[0])
        if type(command) in (j.Jobs, j.Results):
            _, payload, _ = j.opened(command, frames[1:])  # type: ignore[arg-type]
            j.split(command.codec, command.count, payload)  # type: ignore[union-attr]
        elif type(command) is j.Return:
            j.decode_ids(command.count, frames[1])
        elif type(command) is j.Items:
            j.decode_array(command.count, frames[1])


def test_every_kind_has_a_vector() -> None:
    assert {vector["kind"] for vector in VECTORS["messages"]} == set(MAKERS)
    assert VECTORS["protocol"] == w.VERSION


def test_headers_of_views_and_long_ones() -> None:
    assert j.parse(memoryview(j.heartbeat(3))) == j.Heartbeat(3)
    long = j.ready(b"12345678", {"s" * 300: 1})
    assert j.parse(long) == j.Ready(b"12345678", {"s" * 300: 1})
    assert long not in j._parsed


def test_what_a_peer_sends_is_not_kept_without_end() -> None:
    for number in range(j._CACHED_HEADERS + 10):
        j.parse(j._header(j.FAILED, number, 1))
    assert len(j._parsed) <= j._CACHED_HEADERS


def test_too_long_payloads_are_refused() -> None:
    with pytest.raises(DecodeError):
        j.decode_array(1, b"\x91" + b"\0" * j.PAYLOAD_MAX)
    with pytest.raises(DecodeError):
        j.opened(j.Results(1, 2), [b"\x92\1\2", b"\x92" + b"\0" * j.PAYLOAD_MAX])
    with pytest.raises(DecodeError):
        j.decode_ids(1, b"\x91" + b"\0" * j.PAYLOAD_MAX)


@pytest.mark.parametrize(
    ("sizes", "counts"),
    [
        ([1, 2, 3], [3]),
        ([8192] * 10, [8, 2]),
        ([1] * 600, [256, 256, 88]),
        ([1] * 256, [256]),
        ([8192] * 16, [8, 8]),
    ],
)
def test_chunks(sizes: list[int], counts: list[int]) -> None:
    ids, payloads = list(range(len(sizes))), [b"x" * size for size in sizes]
    chunks = list(j.chunks(ids, payloads))
    assert [len(some) for some, _ in chunks] == counts
    assert [job_id for some, _ in chunks for job_id in some] == ids
    assert [payload for _, some in chunks for payload in some] == payloads
