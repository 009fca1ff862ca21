"""A bare REP, pyzmq alone: ``python raw_rep.py [ENDPOINT] [ROUNDS]`` answers World to each Hello, until Ctrl-C."""

import sys
from itertools import count, islice

import zmq

endpoint = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5555"
rounds = int(sys.argv[2]) if len(sys.argv) > 2 else None

with zmq.Context() as context, context.socket(zmq.REP) as socket:
    socket.bind(endpoint)
    print(f"REP at {endpoint}", flush=True)
    for number in islice(count(), rounds):
        request = socket.recv()
        socket.send(b"World %d" % number)
        print(f"{request.decode()} -> World {number}", flush=True)
