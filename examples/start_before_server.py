"""The client starts first: ``python start_before_server.py client``, then, when you like, ``... server``.

Sending does not wait for the server: ``submit`` returns a future at once, and the request leaves when there is somebody to
take it. Who would rather know at once says ``wait_for_ready=False``.
"""

import sys
from time import perf_counter

from zpatterns import Method, PeerUnavailable, ReplyServer, RequestClient

DOUBLE = Method("early.double", int, int)


def serve(endpoint: str) -> None:
    server = ReplyServer(endpoint, name="early")

    @server.reply(DOUBLE)
    def double(value: int) -> int:
        return 2 * value

    print(f"serving at {server.endpoint}", flush=True)
    server.run()


def ask(endpoint: str) -> None:
    with RequestClient(endpoint, timeout=60.0) as client:
        try:
            client.request(DOUBLE, 21, wait_for_ready=False)
        except PeerUnavailable as error:
            print(f"PeerUnavailable: {error}", flush=True)

        started = perf_counter()
        future = client.submit(DOUBLE, 21)
        print(f"submitted in {1000 * (perf_counter() - started):.1f} ms; start the server now", flush=True)
        print(f"the reply is {future.result()}", flush=True)


if __name__ == "__main__":
    role, *rest = sys.argv[1:] or ["client"]
    {"server": serve, "client": ask}[role](rest[0] if rest else "tcp://127.0.0.1:5558")
