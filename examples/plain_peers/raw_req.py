"""A bare REQ, pyzmq alone: ``python raw_req.py [ENDPOINT]`` says Hello ten times, strictly in turn.

If the server dies between a send and its recv, this program waits for ever; see bare_hello_client.py.
"""

import sys

import zmq

endpoint = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5555"

with zmq.Context() as context, context.socket(zmq.REQ) as socket:
    socket.connect(endpoint)
    for number in range(10):
        socket.send(b"Hello %d" % number)
        print(f"Hello {number} -> {socket.recv().decode()}", flush=True)
