"""One address for old and new: ``python shared_queue.py``. Plain REQ clients and typed ones share typed and plain answers.

The queue is libzmq's own, in C. It knows neither its clients nor its server, and the server knows no queue.
"""

import threading

import zmq

from zpatterns import Method, Proxy, ReplyServer, RequestClient

DOUBLE = Method("queue.double", int, int, idempotent=True)
server = ReplyServer("tcp://127.0.0.1:*", name="queue")


@server.reply(DOUBLE)
def double(value: int) -> int:
    return 2 * value


@server.plain
def shout(frames: list[bytes]) -> list[bytes]:
    return [frame.upper() for frame in frames]


def old_client(endpoint: str, answers: list[bytes]) -> None:
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.linger = 0
        socket.connect(endpoint)
        for word in (b"one", b"two", b"three"):
            socket.send(word)
            answers.append(socket.recv() if socket.poll(5000) else b"(none)")


with server, Proxy.queue("tcp://127.0.0.1:*", server.endpoint, connect_backend=True) as proxy:
    answers: list[bytes] = []
    old = threading.Thread(target=old_client, args=(proxy.frontend, answers))
    old.start()
    with RequestClient(proxy.frontend) as client:
        futures = [client.submit(DOUBLE, n) for n in range(100)]
        right = sum(future.result() == 2 * n for n, future in enumerate(futures))
    old.join()
    print(f"typed: {right} of 100 answers are right", flush=True)
    print(f"plain: {b' '.join(answers).decode()}", flush=True)
    print(f"{proxy.statistics.frontend_sent > 0} that replies went back through the queue", flush=True)
