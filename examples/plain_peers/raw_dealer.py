"""A bare DEALER, pyzmq alone: ``python raw_dealer.py [ENDPOINT]`` sends ten messages first and reads ten answers then."""

import sys

import zmq

endpoint = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5556"

with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
    socket.connect(endpoint)
    for number in range(10):
        socket.send_multipart([b"message %d" % number])
    for _ in range(10):
        print(socket.recv_multipart(), flush=True)
