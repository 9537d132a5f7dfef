"""A process that holds one model and answers, so that each model's memory, loading and speed are its own.

`benchmark` starts one per model and asks in turn. Questions and answers are JSON lines on standard input and output:

    {"do": "time", "texts": FILE, "batch": 1} → {"milliseconds": [one per call]}
    {"do": "logits", "texts": FILE, "out": FILE.npy} → {}
    {"do": "labels"} → {"labels": [names in the order of the logits]}
    {"do": "memory"} → {"peak_rss": bytes, "nodes": {provider: nodes of the graph}, "gpu": name or null}
    {"do": "gpu", "texts": FILE, "batch": 1} → {"gpu_memory": bytes, …}, see `_gpu_use`; asked on a GPU only

Started as `python -m understudy.worker KIND WHAT THREADS [PROVIDER]`; KIND is classifier or tfidf.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import UnderstudyError
from .gpu import ENERGY_SECONDS, Gpu
from .machine import GPU_PROVIDERS, peak_memory


@dataclass(frozen=True)
class Subject:
    """A loaded model: `predict` is what a user would call and what is timed, `logits` (n, labels) what it knows."""

    predict: Callable[[Sequence[str]], object]
    logits: Callable[[Sequence[str]], NDArray[np.float32]]
    labels: Sequence[str]
    nodes: Mapping[str, int] | None = None  # of an ONNX graph, by the provider that runs them
    settle: Callable[[], None] = lambda: None  # wait until the device has done what it was given
    reserved: Callable[[], int | None] = lambda: None  # most bytes of a GPU that torch has taken


def answer_questions(load: Callable[[], Subject], gpu: Gpu | None = None) -> None:
    """Load the model, answer a first text and say so, then answer until the input ends; `gpu`: what it runs on."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not reach the caller
    try:
        subject = load()
    except UnderstudyError as error:
        sys.exit(str(error))
    subject.predict(["a first text"])
    _reply(replies, {})
    for line in sys.stdin:
        question = json.loads(line)
        _reply(replies, _answer(subject, question, gpu))


def limit_threads(threads: int) -> None:
    """Bind this process to as many cores as it may use threads, before any library starts its own."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[variable] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"


def _answer(subject: Subject, question: dict[str, Any], gpu: Gpu | None = None) -> dict[str, Any]:
    if question["do"] == "memory":
        return {"peak_rss": peak_memory(), "nodes": subject.nodes, "gpu": gpu and gpu.name}
    if question["do"] == "labels":
        return {"labels": list(subject.labels)}
    texts = json.loads(Path(question["texts"]).read_text(encoding="utf-8"))
    if question["do"] == "logits":
        np.save(question["out"], subject.logits(texts))
        return {}
    size = question["batch"]
    calls = [texts[start : start + size] for start in range(0, len(texts), size)]
    if question["do"] == "gpu":
        assert gpu is not None
        return _gpu_use(subject, gpu, calls)
    times = []
    for call in calls:
        subject.settle()
        begun = time.perf_counter()
        subject.predict(call)
        subject.settle()
        times.append(1000 * (time.perf_counter() - begun))
    return {"milliseconds": times}


def _gpu_use(subject: Subject, gpu: Gpu, calls: Sequence[Sequence[str]]) -> dict[str, float | None]:
    """What the calls take of the GPU, passed over for seconds on end.

    `gpu_memory`: bytes that this process holds, by then its most: torch and onnxruntime keep what they took.
    `gpu_reserved`: bytes that torch has taken of it. `gpu_watts`, `gpu_joules_per_1000` texts: of the whole board, its
    idle power included. None: not told.
    """
    subject.settle()
    begun, before, passes = time.perf_counter(), gpu.joules(), 0
    while time.perf_counter() - begun < ENERGY_SECONDS:
        for call in calls:
            subject.predict(call)
        subject.settle()
        passes += 1
    after, seconds = gpu.joules(), time.perf_counter() - begun
    used = None if before is None or after is None else after - before
    return {
        "gpu_memory": gpu.held(),
        "gpu_reserved": subject.reserved(),
        "gpu_watts": None if used is None else round(used / seconds, 2),
        "gpu_joules_per_1000": None if used is None else round(1000 * used / (passes * sum(map(len, calls))), 4),
    }


def _reply(stream: Any, value: dict[str, Any]) -> None:
    stream.write(json.dumps(value) + "\n")
    stream.flush()


def _classifier(path: Path, threads: int, provider: str) -> Subject:
    from .classifier import Classifier

    classifier = Classifier.load(path, threads, provider)
    return Subject(classifier.predict, classifier.logits, classifier.labels, classifier.nodes)


def _tfidf(data: Path) -> Subject:
    from .artifact import Artifact
    from .controls import bag_of_words
    from .data.storing import read_split

    task = Artifact.load(data, "data").task
    assert task is not None
    train, val = (read_split(data / f"{name}.parquet", name) for name in ("train", "val"))
    control = bag_of_words(train, val, task)
    return Subject(control.answer, control.answer, task.labels)


def main() -> None:
    """Entry point of the process."""
    kind, what, threads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    limit_threads(threads)
    gpu = Gpu() if set(sys.argv[4:]) & set(GPU_PROVIDERS) else None
    answer_questions(lambda: _tfidf(what) if kind == "tfidf" else _classifier(what, threads, *sys.argv[4:]), gpu)


if __name__ == "__main__":
    main()
