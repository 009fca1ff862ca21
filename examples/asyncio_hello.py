"""The same classes with ``await``: ``python asyncio_hello.py``. A server and its client, on one event loop."""

import asyncio
from collections.abc import AsyncIterator

from pydantic import BaseModel

from zpatterns import Method, StreamMethod
from zpatterns.asyncio import ReplyServer, RequestClient


class Hello(BaseModel):
    name: str


ANSWER = Method("hello.answer", Hello, str, idempotent=True)
SPELL = StreamMethod("hello.spell", Hello, str)


async def main() -> None:
    server = ReplyServer("tcp://127.0.0.1:*", name="hello")

    @server.reply(ANSWER)
    async def answer(hello: Hello) -> str:
        await asyncio.sleep(0.2)  # the others are answered meanwhile
        return f"Hello, {hello.name}"

    @server.stream(SPELL)
    async def spell(hello: Hello) -> AsyncIterator[str]:
        for letter in hello.name:
            yield letter

    async with server, RequestClient(server.endpoint) as client:
        loop = asyncio.get_running_loop()
        started = loop.time()
        replies = await asyncio.gather(*(client.request(ANSWER, Hello(name=f"task {n}")) for n in range(64)))
        print(f"{replies[0]} ... {replies[-1]}: 64 replies, side by side: {loop.time() - started < 2.0}")
        async with client.stream(SPELL, Hello(name="zero")) as letters:
            print(" ".join([letter async for letter in letters]))


asyncio.run(main())
