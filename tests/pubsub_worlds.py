"""Publishers and subscribers of both worlds behind one blocking face, closed when the test is over."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel

import zpatterns
import zpatterns.asyncio
from zpatterns import Topic

from .worlds import LIMIT, Awaiting, Blocking


class Reading(BaseModel):
    celsius: float


class Note(BaseModel):
    text: str


TEMP = Topic("lab.{room}.temp", Reading)
A1, B2 = TEMP.at(room="a1"), TEMP.at(room="b2")
NOTE = Topic("note", Note)


class Face:
    """Calls of the asyncio world run on its loop; of the blocking world, here."""

    def __init__(self, world: Blocking | Awaiting, real: Any) -> None:
        self.real = real
        self._world = world

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.real, name)
        if isinstance(self._world, Blocking) or not callable(value):
            return value
        return lambda *arguments, **options: self._do(value, arguments, options)

    def _do(self, function: Any, arguments: Any, options: Any) -> Any:
        async def call() -> Any:
            result = function(*arguments, **options)
            return await result if inspect.isawaitable(result) else result

        result = asyncio.run_coroutine_threadsafe(call(), self._world.loop).result(LIMIT)
        return Face(self._world, result) if isinstance(result, zpatterns.asyncio.Messages) else result

    def __iter__(self) -> Iterator[Any]:
        if isinstance(self._world, Blocking):
            return iter(self.real)
        return self._iterate(self.__getattr__("__aiter__")())

    def _iterate(self, messages: Any) -> Iterator[Any]:
        while True:
            try:
                yield self._world.do(messages.real.__anext__())
            except StopAsyncIteration:
                return


@contextmanager
def opened(world: Blocking | Awaiting, kind: str, *arguments: Any, **options: Any) -> Iterator[Any]:
    if isinstance(world, Blocking):
        with getattr(zpatterns, kind)(*arguments, **options) as made:
            yield Face(world, made)
        return
    face = Face(world, getattr(zpatterns.asyncio, kind)(*arguments, **options))
    world.do(face.real.__aenter__())
    try:
        yield face
    finally:
        world.do(face.real.close())


def publisher(world: Blocking | Awaiting, *arguments: Any, **options: Any) -> Any:
    return opened(world, "Publisher", *arguments, **options)


def subscriber(world: Blocking | Awaiting, *arguments: Any, **options: Any) -> Any:
    return opened(world, "Subscriber", *arguments, **options)
