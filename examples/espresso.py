"""A forwarder with a tap on it: ``python espresso.py``. Plain PUB and SUB on both sides; a callback sees all that passes.

Pausing holds the messages in the queues of the publisher and the forwarder; nothing is lost below the high-water marks.
"""

import zmq

from zpatterns import Proxy

seen: list[list[bytes]] = []

with (
    zmq.Context() as context,
    Proxy.forwarder("tcp://127.0.0.1:*", "tcp://127.0.0.1:*", capture=seen.append) as proxy,
    context.socket(zmq.XPUB) as publisher,
    context.socket(zmq.SUB) as subscriber,
):
    publisher.linger = subscriber.linger = 0
    publisher.connect(proxy.frontend)
    subscriber.connect(proxy.backend)
    subscriber.subscribe(b"A")
    print("subscribed to", publisher.recv()[1:].decode() if publisher.poll(5000) else "nothing", flush=True)

    publisher.send_multipart([b"A", b"before"])
    publisher.send_multipart([b"B", b"nobody wants this"])
    print(b" ".join(subscriber.recv_multipart()).decode(), flush=True)

    proxy.pause()
    publisher.send_multipart([b"A", b"while paused"])
    print("came through a paused forwarder:", bool(subscriber.poll(200)), flush=True)
    proxy.resume()
    print(b" ".join(subscriber.recv_multipart()).decode(), flush=True)

messages = [
    message for message in seen if message[0] != b"\0A"
]  # the end of the subscription, which may have passed, too
print("captured:", *(b" ".join(message).strip(b"\1").decode() for message in messages), sep="\n  ", flush=True)
