"""Greetings from a bare PUB: ``python raw_pub.py NAME [ENDPOINT]``; it waits for one subscriber, then says END."""

import sys

import zmq

name, endpoint = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "tcp://127.0.0.1:5560"

with zmq.Context() as context, context.socket(zmq.XPUB) as socket:  # as PUB, and tells who subscribes
    socket.bind(endpoint)
    print(f"PUB at {endpoint}", flush=True)
    socket.recv()
    for number in range(5):
        socket.send(b"sub 2 not for you %d" % number)
        socket.send(b"sub 1 hello %d from %s" % (number, name.encode()))
    socket.send(b"sub 1 END of %s" % name.encode())
