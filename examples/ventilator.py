"""The classic ventilator, bare: jobs go to competing workers by PUSH and PULL, results to a sink, which then kills the workers.

Run ``python ventilator.py sink``, two or more ``python ventilator.py worker``, and ``python ventilator.py``. Any of them may
be a program in another language: a job, a result and "KILL" are one frame each. A high-water mark of 110 keeps the
ventilator from giving the first worker everything. Jobs that a killed worker has in its queue are lost: see pipeline.py.
"""

import sys
import threading

from zpatterns import Publisher, Pull, Push, Subscriber

JOBS = 100
BASE = int(sys.argv[2]) if len(sys.argv) > 2 else 5557
WORK, RESULTS, CONTROL = (f"tcp://127.0.0.1:{BASE + offset}" for offset in range(3))


def ventilator() -> None:
    with Push.bind(WORK, bytes, high_water_mark=110, timeout=30.0) as push:
        for number in range(JOBS):
            push.send(b"%d" % number)
        print(f"{JOBS} jobs are handed out", flush=True)


def worker() -> None:
    done = 0
    with (
        Pull.connect(WORK, bytes) as pull,
        Push.connect(RESULTS, bytes) as push,
        Subscriber(CONTROL, b"KILL") as control,
    ):

        def listen() -> None:
            for _ in control:
                pull.close()  # which ends the loop below
                return

        control.ready(timeout=30.0)  # or the signal may come before the subscription is there
        threading.Thread(target=listen, daemon=True).start()
        print("ready", flush=True)
        for job in pull:
            push.send(b"%d" % (int(job) ** 2))
            done += 1
    print(f"killed, after {done} jobs", flush=True)


def sink() -> None:
    with Pull.bind(RESULTS, bytes) as pull, Publisher(CONTROL) as control:
        total = sum(int(pull.receive(timeout=30.0)) for _ in range(JOBS))
        print(f"{JOBS} results, their sum is {total}", flush=True)
        control.publish_plain(b"KILL")


if __name__ == "__main__":
    {"worker": worker, "sink": sink}.get(sys.argv[1] if len(sys.argv) > 1 else "", ventilator)()
