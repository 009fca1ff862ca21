"""One client, many threads: ``python many_threads.py``. Their requests overlap on one connection, and none is mixed up."""

import threading
from time import perf_counter

from zpatterns import Method, ReplyServer, RequestClient

SQUARE = Method("many.square", int, int, idempotent=True)
THREADS, CALLS = 16, 500
server = ReplyServer("tcp://127.0.0.1:*", name="many")
right: list[int] = []


@server.reply(SQUARE, inline=True)
def square(value: int) -> int:
    return value * value


def work(client: RequestClient, first: int) -> None:
    right.append(sum(client.request(SQUARE, first + n) == (first + n) ** 2 for n in range(CALLS)))


with server, RequestClient(server.endpoint) as client:
    threads = [threading.Thread(target=work, args=(client, 1000 * n)) for n in range(THREADS)]
    started = perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = THREADS * CALLS / (perf_counter() - started)
    print(f"{sum(right)} of {THREADS * CALLS} answers are right, {rate:.0f} calls a second")
