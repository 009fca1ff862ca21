"""A worker: ``python indexer.py JOBS PROGRESS`` parses files until it is told to stop, and publishes each that is done.

The demo imports this page too: the stage below is what it gives its jobs to.
"""

from __future__ import annotations

import ast
import os
import sys
import warnings

from contracts import DONE, Definition, File, FileDone, Indexed
from library import read
from processes import end_with_parent

from zpatterns import Pipeline, Publisher

pipeline = Pipeline("tcp://127.0.0.1:*")
publisher: Publisher


@pipeline.stage(concurrency=2)
def index_files(batch: list[File]) -> list[Indexed]:
    return [index_file(file) for file in batch]


def index_file(file: File) -> Indexed:
    indexed = Indexed(file=file, definitions=definitions(read(file)))
    done = FileDone(module=file.module, definitions=len(indexed.definitions))
    publisher.publish(DONE.at(worker=str(os.getpid())), done)
    return indexed


def definitions(text: str) -> list[Definition]:
    return [
        Definition(
            name=node.name,
            kind="class" if isinstance(node, ast.ClassDef) else "function",
            line=node.lineno,
            end=node.end_lineno or node.lineno,
        )
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    ]


if __name__ == "__main__":
    end_with_parent()
    warnings.simplefilter("ignore")  # what a parser thinks of other people's code
    with Publisher(sys.argv[2], bind=False) as publisher:
        pipeline.run_worker(sys.argv[1])
