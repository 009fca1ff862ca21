"""The types of a pipeline: what stages take and give, and what ``map`` yields, for mypy --strict and pyright strict.

A line with an ``ignore`` is an error that both checkers must find: an unneeded ignore is an error itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, assert_type

from pydantic import BaseModel

import zpatterns as zp
import zpatterns.asyncio as zpa
from zpatterns._shell.stages import AsyncStage


class Image(BaseModel):
    data: bytes


class Thumb(BaseModel):
    data: bytes


class Page(BaseModel):
    thumbs: int


pipeline = zp.Pipeline("tcp://127.0.0.1:*")


@pipeline.stage
def shrink(image: Image) -> Thumb:
    return Thumb(data=image.data[:1])


@pipeline.stage(concurrency=4)
def place(thumb: Thumb) -> Page:
    return Page(thumbs=len(thumb.data))


@pipeline.stage(inline=True, timeout=1.0, name="count.pages")
def count(page: Page) -> int:
    return page.thumbs


def blocking(images: list[Image], thumbs: Iterator[Thumb]) -> None:
    assert_type(shrink(images[0]), Thumb)
    assert_type(count(Page(thumbs=1)), int)
    assert_type(pipeline.map(images, shrink), Iterator[Thumb])
    assert_type(pipeline.map(images, shrink, place, window=8, progress=True), Iterator[Page])
    assert_type(pipeline.map(images, shrink, place, count, ordered=False), Iterator[int])
    assert_type(pipeline.map(images, shrink, errors="yield"), Iterator[Thumb | zp.JobFailed])
    assert_type(pipeline.map(images, shrink, place, errors="yield"), Iterator[Page | zp.JobFailed])
    for page in pipeline.map(thumbs, place):
        assert_type(page, Page)
    assert_type(pipeline.dead_letters, list[zp.DeadLetter])
    assert_type(pipeline.wait_for_workers(shrink, count=2, timeout=1.0), int)
    stage: zp.Stage[Image, Thumb] = shrink
    assert_type(stage.name, str)

    pipeline.map(images, place)  # type: ignore[misc]
    pipeline.map(images, shrink, count)  # type: ignore[misc]
    shrink(Page(thumbs=1))  # type: ignore[arg-type]


awaited = zpa.Pipeline("tcp://127.0.0.1:*")


@awaited.stage
async def ashrink(image: Image) -> Thumb:
    return Thumb(data=image.data[:1])


@awaited.stage(concurrency=4)
async def aplace(thumb: Thumb) -> Page:
    return Page(thumbs=len(thumb.data))


@awaited.stage(inline=True)
def acount(page: Page) -> int:
    return page.thumbs


async def awaiting(images: list[Image], later: AsyncIterator[Image]) -> None:
    assert_type(ashrink, AsyncStage[Image, Thumb])
    assert_type(await ashrink(images[0]), Thumb)
    assert_type(acount(Page(thumbs=1)), int)
    assert_type(awaited.map(images, ashrink), AsyncIterator[Thumb])
    assert_type(awaited.map(later, ashrink, aplace), AsyncIterator[Page])
    assert_type(awaited.map(images, ashrink, aplace, acount), AsyncIterator[int])
    assert_type(awaited.map(images, ashrink, errors="yield"), AsyncIterator[Thumb | zp.JobFailed])
    async for page in awaited.map(images, ashrink, aplace):
        assert_type(page, Page)

    awaited.map(images, aplace)  # type: ignore[misc]
    awaited.map(later, ashrink, acount)  # type: ignore[misc]


def failed(error: zp.JobFailed, letter: zp.DeadLetter) -> None:
    assert_type(error.status, zp.Status)
    assert_type(error.stage, str)
    assert_type(letter.details, dict[str, Any])


def flows() -> None:
    push = zp.Push.bind("tcp://127.0.0.1:*", Image, high_water_mark=110, batch=1)
    assert_type(push, zp.Push[Image])
    push.send(Image(data=b""))
    push.send_many([Image(data=b"")])
    push.send(Thumb(data=b""))  # type: ignore[arg-type]
    pull = zp.Pull.connect(push.endpoint, Image)
    assert_type(pull, zp.Pull[Image])
    assert_type(pull.receive(timeout=1.0), Image)
    for image in pull:
        assert_type(image, Image)
    assert_type(zp.Pull.connect(push.endpoint, bytes).receive(), bytes)


async def aflows() -> None:
    push = zpa.Push.bind("tcp://127.0.0.1:*", int | str)
    assert_type(push, zpa.Push[int | str])
    await push.send(1)
    await push.send(b"")  # type: ignore[arg-type]
    async for item in zpa.Pull.connect(push.endpoint, int | str):
        assert_type(item, int | str)
