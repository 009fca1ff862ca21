"""The same with types: ``python typed_hello.py server [ENDPOINT]``, and ``python typed_hello.py client [ENDPOINT]``.

What is not a Hello never reaches the handler; what is not a World never reaches the caller.
"""

import sys

from pydantic import BaseModel

from zpatterns import Method, ReplyServer, RequestClient


class Hello(BaseModel):
    number: int
    name: str = "stranger"


class World(BaseModel):
    number: int
    text: str


HELLO = Method("hello.say", Hello, World)


def serve(endpoint: str) -> None:
    server = ReplyServer(endpoint, name="hello")

    @server.reply(HELLO)
    def say(hello: Hello) -> World:
        print(f"Hello {hello.number}", flush=True)
        return World(number=hello.number, text=f"World, {hello.name}")

    print(f"serving at {server.endpoint}", flush=True)
    server.run()


def ask(endpoint: str) -> None:
    with RequestClient(endpoint) as client:
        for number in range(10):
            world = client.request(HELLO, Hello(number=number, name="you"))
            print(f"Hello {number} -> {world.text} {world.number}", flush=True)


if __name__ == "__main__":
    role, *rest = sys.argv[1:] or ["client"]
    {"server": serve, "client": ask}[role](rest[0] if rest else "tcp://127.0.0.1:5557")
