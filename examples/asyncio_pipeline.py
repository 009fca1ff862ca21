"""A pipeline on an event loop: coroutines side by side, a job that fails in its place, and jobs from an async generator."""

import asyncio
from collections.abc import AsyncIterator

from zpatterns import JobFailed, ReplyError, Status
from zpatterns.asyncio import Pipeline

pipeline = Pipeline("tcp://127.0.0.1:*")


@pipeline.stage(concurrency=20)
async def fetch(number: int) -> str:
    await asyncio.sleep(0.05)
    if number == 3:
        raise ReplyError(Status.NOT_FOUND, "there is no page 3")
    return f"page {number}"


async def numbers() -> AsyncIterator[int]:
    for number in range(6):
        await asyncio.sleep(0.001)
        yield number


async def main() -> None:
    async with pipeline, pipeline.worker():
        async for page in pipeline.map(numbers(), fetch, errors="yield"):
            print(f"job {page.job}: {page.message}" if isinstance(page, JobFailed) else page)


asyncio.run(main())
