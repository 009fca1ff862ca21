"""One worker in four processes, and one of those killed: ``python worker_processes.py``. It is replaced, and nothing is lost.

Each process imports this file and runs the ``worker`` that it finds at its top, so the pure Python below uses four cores.
Usually the broker is a program of its own, and this one ends with ``worker.run(processes=4)``.
"""

import logging
import os
import signal
import threading

from zpatterns import Broker, Heartbeat, Method, ReplyServer, RequestClient

FIBONACCI = Method("calc.fibonacci", int, int, idempotent=True)
WHO = Method("calc.who", None, int, idempotent=True)
QUICK = Heartbeat(interval=0.2)  # so that a killed process is noticed soon
BACKEND = os.environ.setdefault("CALC_BACKEND", f"ipc:///tmp/calc-{os.getpid()}")  # the processes inherit it

logging.basicConfig(level=logging.ERROR)  # a warning would say which process was replaced
worker = ReplyServer.worker(BACKEND, name="calc", threads=1, heartbeat=QUICK)


@worker.reply(FIBONACCI)
def fibonacci(number: int) -> int:
    return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)


@worker.reply(WHO)
def who() -> int:
    return os.getpid()


if __name__ == "__main__":
    with Broker("tcp://127.0.0.1:*", BACKEND, heartbeat=QUICK) as broker:
        watcher = threading.Thread(target=worker.run, kwargs={"processes": 4})
        watcher.start()
        print("workers:", broker.wait_for_workers("calc", 4, timeout=60.0))
        with RequestClient(broker.frontend, service="calc", timeout=60.0) as client:
            futures = [client.submit(FIBONACCI, 20) for _ in range(200)]
            os.kill(client.request(WHO), signal.SIGKILL)
            print("right:", sum(future.result() == 6765 for future in futures), "of 200")
        print("workers:", broker.wait_for_workers("calc", 4, timeout=60.0))
        worker.stop()
        watcher.join()
        print("all have ended:", not watcher.is_alive())
