"""Threads that tell each other when they are ready: ``python thread_relay.py``. A pair between each two, typed both ways.

Each end says what goes out and what comes in. An end that is closed ends the other's loop; nobody waits for ever.
"""

import threading

from pydantic import BaseModel

from zpatterns import Pair


class Ready(BaseModel):
    step: int


def step3(to_step2: Pair[Ready, Ready]) -> None:
    with to_step2:
        print("step 3 is ready", flush=True)
        to_step2.send(Ready(step=3))


def step2(from_step3: Pair[Ready, Ready], to_step1: Pair[Ready, Ready]) -> None:
    with from_step3, to_step1:
        for ready in from_step3:
            print("step 2 heard of it", flush=True)
            to_step1.send(ready)


one, two = Pair.inproc(Ready)
two_too, three = Pair.inproc(Ready)
threads = [threading.Thread(target=step2, args=(two_too, two)), threading.Thread(target=step3, args=(three,))]
for thread in threads:
    thread.start()
with one:
    print("step 1: the test is successful" if one.receive() == Ready(step=3) else "what?", flush=True)
for thread in threads:
    thread.join()
