"""Many clients of one server: ``python many_clients.py``. Each has its own connection and gets its own replies."""

from contextlib import ExitStack

from zpatterns import Method, ReplyServer, RequestClient

ECHO = Method("many.echo", str, str)
server = ReplyServer("tcp://127.0.0.1:*", name="many")


@server.reply(ECHO)
def echo(text: str) -> str:
    return text


with ExitStack() as stack:
    stack.enter_context(server)
    clients = [stack.enter_context(RequestClient(server.endpoint)) for _ in range(50)]
    futures = [client.submit(ECHO, f"client {number}") for number, client in enumerate(clients)]
    right = sum(future.result() == f"client {number}" for number, future in enumerate(futures))
    print(f"{right} of {len(clients)} clients got their own reply")
