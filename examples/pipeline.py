"""The same work, typed and reliable: kill a worker (kill -9) and start another, no job is lost and each result comes once.

Run some ``python pipeline.py worker``, in any order with ``python pipeline.py``, which ends them when the work is done.
"""

import sys

from pydantic import BaseModel

from zpatterns import Pipeline


class Job(BaseModel):
    number: int


class Squared(BaseModel):
    number: int
    square: int


class Line(BaseModel):
    text: str


pipeline = Pipeline(sys.argv[2] if len(sys.argv) > 2 else "tcp://127.0.0.1:5557")


@pipeline.stage(concurrency=4)
def square(job: Job) -> Squared:
    return Squared(number=job.number, square=job.number**2)


@pipeline.stage
def write(squared: Squared) -> Line:
    return Line(text=f"{squared.number} * {squared.number} = {squared.square}")


def ventilator() -> None:
    jobs = (Job(number=number) for number in range(1000))  # read as results are taken: at most 64 are under way
    with pipeline:
        last = ""
        for line in pipeline.map(jobs, square, write, window=64, progress=True):
            last = line.text
        counts = pipeline.statistics
        print(f"{counts.done} results, the last is {last}; {len(pipeline.dead_letters)} dead letters", flush=True)
        pipeline.stop_workers()


def worker() -> None:
    pipeline.run_worker()
    print("no more work", flush=True)


if __name__ == "__main__":
    worker() if sys.argv[1:2] == ["worker"] else ventilator()
