"""Every command of 7/MDP, 18/MDP, 8/MMI and majortomo, by the byte vectors, both ways; and whatever else may come."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from zpatterns.errors import DecodeError
from zpatterns.wire import majordomo as mdp

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "majordomo.json").read_text(encoding="utf-8"))
READERS: dict[str, Any] = {
    "request": mdp.read_request,
    "reply": mdp.read_reply,
    "worker": mdp.read_worker,
    "job": mdp.read_job,
}
frame = st.sampled_from(
    [b"", b"echo", b"\0\1\2\3\4", *mdp.HEADERS, *(bytes([number]) for number in range(8)), b"\x01\x01", b"s" * 256]
)


def frames_of(vector: dict[str, Any]) -> list[bytes]:
    return [bytes.fromhex(each) for each in vector["frames"]]


def command_of(vector: dict[str, Any]) -> Any:
    fields: dict[str, Any] = {}
    for name, value in vector["fields"].items():
        if name == "dialect":
            fields[name] = mdp.Dialect[value]
        elif isinstance(value, list):
            fields[name] = [bytes.fromhex(each) for each in value]
        else:
            fields[name] = bytes.fromhex(value) if isinstance(value, str) else value
    return getattr(mdp, vector["command"])(**fields)


@pytest.mark.parametrize("vector", VECTORS["valid"], ids=lambda vector: vector["name"])
@pytest.mark.parametrize("kind", [bytes, memoryview])
def test_a_command_is_read_and_written(vector: dict[str, Any], kind: Any) -> None:
    frames, command = frames_of(vector), command_of(vector)
    read = READERS[vector["reader"]]([kind(each) for each in frames])
    if hasattr(read, "body"):
        assert list(map(bytes, read.body)) == command.body
        assert type(read)(**{**slots(read), "body": command.body}) == command
    else:
        assert read == command
    assert list(mdp.write(command)) == frames
    assert mdp.recognise(frames) is command.dialect


def slots(command: Any) -> dict[str, Any]:
    return {name: getattr(command, name) for name in command.__slots__}


@pytest.mark.parametrize("vector", VECTORS["invalid"], ids=lambda vector: f"{vector['reader']}: {vector['reason']}")
def test_what_is_no_command_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        READERS[vector["reader"]](frames_of(vector))


def test_every_command_of_every_dialect_has_a_vector() -> None:
    seen = {(vector["command"], vector["fields"]["dialect"]) for vector in VECTORS["valid"]}
    commands = ["Request", "Reply", "Ready", "Job", "Result", "Heartbeat", "Disconnect"]
    assert seen == {(command, dialect.name) for command in commands for dialect in mdp.Dialect}


@pytest.mark.parametrize("vector", VECTORS["valid"], ids=lambda vector: vector["name"])
def test_prefixes_and_permutations_are_read_or_refused(vector: dict[str, Any]) -> None:
    frames = frames_of(vector)
    stories = [frames[:cut] for cut in range(len(frames))] + [list(each) for each in permutations(frames[:6])]
    for story in stories:
        for read in READERS.values():
            try:
                command = read(story)
            except DecodeError:
                continue
            assert read(list(mdp.write(command))) == command


@given(st.lists(frame, max_size=8), st.sampled_from([*READERS]))
def test_whatever_comes_is_read_or_refused(frames: list[bytes], reader: str) -> None:
    try:
        command = READERS[reader](frames)
    except DecodeError:
        return
    assert READERS[reader](list(mdp.write(command))) == command
