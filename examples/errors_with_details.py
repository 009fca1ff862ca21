"""What can go wrong, and how it arrives: ``python errors_with_details.py``."""

import logging

from pydantic import BaseModel

from zpatterns import Method, ReplyError, ReplyServer, RequestClient, Status

logging.getLogger("zpatterns").addHandler(logging.NullHandler())  # the server's log would show the traceback of (3)


class Division(BaseModel):
    a: float
    b: float


DIVIDE = Method("calc.divide", Division, float)
CRASH = Method("calc.crash", None, None)
server = ReplyServer("tcp://127.0.0.1:*", name="calc", exceptions={KeyError: Status.NOT_FOUND})


@server.reply(DIVIDE)
def divide(request: Division) -> float:
    if request.b == 0:
        raise ReplyError(Status.INVALID_ARGUMENT, "b is 0", details={"field": "b", "given": request.b})
    return request.a / request.b


@server.reply(CRASH)
def crash() -> None:
    raise RuntimeError("password=hunter2")  # stays in the server's log


with server, RequestClient(server.endpoint) as client:
    print("1.", client.request(DIVIDE, Division(a=1, b=2)))
    try:
        client.request(DIVIDE, Division(a=1, b=0))
    except ReplyError as error:
        print("2.", error.status.name, error.message, error.details)
    try:
        client.request(CRASH)
    except ReplyError as error:
        print("3.", error)
    try:
        client.request("calc.divide", {"a": 1, "b": "two"}, reply=float)  # without the contract, and wrong
    except ReplyError as error:
        print("4.", error)
    try:
        client.request("calc.multiply", {"a": 1, "b": 2}, reply=float)
    except ReplyError as error:
        print("5.", error)
