"""One request, many replies: ``python streaming.py``.

The server's generator runs no further ahead than the reader takes, and is closed when the reader has had enough.
"""

import threading
from collections.abc import Iterator

from zpatterns import ReplyServer, RequestClient, StreamMethod

PRIMES = StreamMethod("numbers.primes", int, int)
server = ReplyServer("tcp://127.0.0.1:*", name="numbers")
closed = threading.Event()
made = 0


@server.stream(PRIMES)
def primes(start: int) -> Iterator[int]:
    global made
    try:
        while True:  # for ever: the reader decides
            if start > 1 and all(start % divisor for divisor in range(2, int(start**0.5) + 1)):
                made += 1
                yield start
            start += 1
    finally:
        closed.set()


with server, RequestClient(server.endpoint) as client:
    with client.stream(PRIMES, 1_000_000, timeout=5.0) as parts:
        for count, prime in enumerate(parts, 1):
            print(prime, flush=True)
            if count == 10:
                break
    print("the server's generator was closed:", closed.wait(5.0))
    print("it ran at most 64 parts ahead:", made <= 10 + 64)
