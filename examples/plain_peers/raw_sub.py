"""A bare SUB of any number of publishers: ``python raw_sub.py ENDPOINT...``; it ends when each has said END."""

import sys

import zmq

with zmq.Context() as context, context.socket(zmq.SUB) as socket:
    socket.subscribe(b"sub 1")
    for endpoint in sys.argv[1:]:
        socket.connect(endpoint)
    ended = 0
    while ended < len(sys.argv) - 1:
        text = socket.recv().decode()
        print(text, flush=True)
        ended += "END" in text
