"""A broker, two workers of one service, and one of them killed: ``python broker.py``. Nothing is lost.

The worker that dies takes requests with it. The method is idempotent, so the broker gives them to the other one; the
client does not notice. A plain Majordomo client (7/MDP), here a REQ of pyzmq, asks the same broker and the same workers.
"""

import multiprocessing
import os

import zmq

from zpatterns import Broker, Heartbeat, Method, NoSuchService, ReplyServer, RequestClient

SQUARE = Method("calc.square", int, int, idempotent=True)
QUICK = Heartbeat(interval=0.2)  # so that a killed worker is noticed soon


def work(backend: str) -> None:
    worker = ReplyServer.worker(backend, name="calc", heartbeat=QUICK)

    @worker.reply(SQUARE)
    def square(number: int) -> int:
        if number == 13 and multiprocessing.current_process().name == "unlucky":
            os._exit(1)
        return number * number

    @worker.plain
    def plain(frames: list[bytes]) -> list[bytes]:
        return [frame.upper() for frame in frames]

    worker.run()


if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    with Broker("tcp://127.0.0.1:*", "tcp://127.0.0.1:*", heartbeat=QUICK) as broker:
        names = ["unlucky", "lucky"]
        workers = [spawn.Process(target=work, args=(broker.backend,), name=name, daemon=True) for name in names]
        for process in workers:
            process.start()
        broker.wait_for_workers("calc", 2, timeout=30.0)
        with RequestClient(broker.frontend, service="calc", timeout=30.0) as client:
            futures = [client.submit(SQUARE, number) for number in range(1000)]
            print("squares:", sum(future.result() for future in futures))
            while workers[0].is_alive():  # 13 went to the lucky one: once more
                client.request(SQUARE, 13)
            print("given out again:", broker.statistics.redelivered > 0, "lost:", broker.statistics.outcome_unknown)
        plain_client: zmq.Socket[bytes]
        with zmq.Context().socket(zmq.REQ) as plain_client:
            plain_client.connect(broker.frontend)
            plain_client.send_multipart([b"MDPC01", b"calc", b"hello"])
            print("plain:", plain_client.recv_multipart())
        with RequestClient(broker.frontend, service="poems", timeout=10.0) as client:
            try:
                client.request(SQUARE, 1)
            except NoSuchService as error:
                print("NoSuchService:", error)
        for process in workers:
            process.terminate()
