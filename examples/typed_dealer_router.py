"""DEALER and ROUTER with types, in one program: ``python typed_dealer_router.py``.

Ten requests leave before the first reply is read, and each reply finds its request, in whatever order they come.
"""

from pydantic import BaseModel

from zpatterns import Method, ReplyServer, RequestClient, RequestContext


class Message(BaseModel):
    text: str


class Answer(BaseModel):
    greeting: str
    came: Message
    sender: str


GREET = Method("router.greet", Message, Answer, idempotent=True)
server = ReplyServer("tcp://127.0.0.1:*", name="router")


@server.reply(GREET)
def greet(message: Message, ctx: RequestContext) -> Answer:
    return Answer(greeting="Hello", came=message, sender=ctx.headers["sender"])


with server, RequestClient(server.endpoint) as client:
    futures = [client.submit(GREET, Message(text=f"message {n}"), headers={"sender": "me"}) for n in range(10)]
    for future in reversed(futures):
        answer = future.result()
        print(answer.greeting, answer.came.text, "from", answer.sender, flush=True)
