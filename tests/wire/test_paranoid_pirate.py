"""Every command of 6/PPP and of the simple pirate, by the byte vectors, both ways; and whatever else may come."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from zpatterns.errors import DecodeError
from zpatterns.wire import paranoid_pirate as ppp

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "pirates.json").read_text(encoding="utf-8"))


def frames_of(vector: dict[str, Any]) -> list[bytes]:
    return [bytes.fromhex(each) for each in vector["frames"]]


def command_of(vector: dict[str, Any]) -> Any:
    fields: dict[str, Any] = {}
    for name, value in vector["fields"].items():
        if name == "kind":
            fields[name] = ppp.Kind[value]
        else:
            fields[name] = [bytes.fromhex(each) for each in value] if isinstance(value, list) else bytes.fromhex(value)
    return getattr(ppp, vector["command"])(**fields)


@pytest.mark.parametrize("vector", VECTORS["valid"], ids=lambda vector: vector["name"])
def test_a_command_is_read_and_written(vector: dict[str, Any]) -> None:
    frames, command = frames_of(vector), command_of(vector)
    assert ppp.read(frames) == command
    assert list(ppp.write(command)) == frames
    assert type(ppp.read([memoryview(each) for each in frames])) is type(command)


@pytest.mark.parametrize("vector", VECTORS["invalid"], ids=lambda vector: vector["reason"])
def test_what_is_no_command_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        ppp.read(frames_of(vector))


@pytest.mark.parametrize("vector", VECTORS["valid"], ids=lambda vector: vector["name"])
def test_prefixes_and_permutations_are_read_or_refused(vector: dict[str, Any]) -> None:
    frames = frames_of(vector)
    for story in [frames[:cut] for cut in range(len(frames))] + [list(each) for each in permutations(frames)]:
        try:
            command = ppp.read(story)
        except DecodeError:
            continue
        assert list(ppp.write(command)) == story
