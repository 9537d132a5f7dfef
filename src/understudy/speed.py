"""Speed: one process per model, all alive at once, timed in turns so that a noisy moment hits all of them alike."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import gpu
from .artifact import Artifact
from .classifier import offered, open_classifier
from .errors import WorkError
from .machine import GPU_PROVIDERS, available_cores

BATCHES = (1, 32, 256)
TORCH_VARIANTS = ("torchscript", "exported", "torch-fp16")  # files of a student that torch must run


@dataclass(frozen=True)
class Runner:
    """How to start the worker process of a model: a module, what it holds, and further arguments."""

    module: str
    what: tuple[str, ...]
    options: tuple[str, ...] = ()
    batches: tuple[int, ...] = BATCHES
    loads: bool = True  # from files; a process that fits its model tells nothing of load time and memory
    gpu: bool = False  # it runs on one, whose memory and energy are asked for

    def command(self, threads: int) -> list[str]:
        """The command line for so many threads."""
        return [sys.executable, "-m", self.module, *self.what, str(threads), *self.options]


def check_device(provider: str) -> None:
    """Refuse a provider of a GPU that is not there, before anything is measured."""
    if provider in GPU_PROVIDERS:
        gpu.require(provider)


def check_provider(provider: str) -> None:
    """The same for what ONNX files are to run on, too."""
    check_device(provider)
    offered(provider)


def classifier_runner(path: Path, provider: str = "cpu") -> Runner:
    """An artifact in the runtime."""
    return Runner("understudy.worker", ("classifier", str(path)), (provider,), gpu=provider in GPU_PROVIDERS)


def torch_runner(path: Path, provider: str = "cpu") -> Runner:
    """An artifact of a form that torch runs, on the device of the provider."""
    device = _torch_device(provider)
    return Runner("understudy.training.torch_worker", (str(path),), (device,), gpu=device != "cpu")


def tfidf_runner(data: Path) -> Runner:
    """The bag-of-words control, fitted on the prepared data."""
    return Runner("understudy.worker", ("tfidf", str(data)), loads=False)


def pipeline_runner(what: str, max_length: int, kind: str, provider: str = "cpu") -> Runner:
    """A torch classifier for a task of that kind in a plain transformers pipeline, batch 1 and 32."""
    device = _torch_device(provider)
    options = (str(max_length), kind, device)
    return Runner("understudy.training.pipeline_worker", (what,), options, batches=(1, 32), gpu=device != "cpu")


def _torch_device(provider: str) -> str:
    """Where torch runs what is compared with ONNX files on a provider: OpenVINO's is the CPU, too."""
    return "cuda" if provider in GPU_PROVIDERS else "cpu"


def artifact_runner(artifact: Artifact, provider: str = "cpu") -> Runner:
    """What a student ships as: ONNX in the runtime, or a form that torch runs."""
    variant = artifact.details.get("variant")
    if variant in TORCH_VARIANTS:  # TorchScript is bound to the device that it was traced on
        return torch_runner(artifact.path, "cpu" if variant == "torchscript" else provider)
    return classifier_runner(artifact.path, provider)


def logits_of(artifact: Artifact, texts: Sequence[str], provider: str = "cpu") -> NDArray[np.float32]:
    """Raw logits (n, labels) of an artifact: by `Classifier`, or where torch must run it by its worker."""
    if artifact.details.get("variant") not in TORCH_VARIANTS:
        return open_classifier(artifact, provider=provider).logits(texts)
    with workers([artifact_runner(artifact, provider)], available_cores()) as (worker,):
        return worker.logits(texts)


@dataclass
class Speed:
    """What was measured of one model; `load_ms` is the time from the start of a process to its first answer."""

    rows: list[dict[str, float]] = field(default_factory=list)
    best: dict[int, NDArray[np.float64]] = field(default_factory=dict)  # threads → texts/s of each pass, best batch
    peak_rss: int | None = None
    load_ms: float | None = None
    nodes: dict[str, int] | None = None  # of an ONNX graph, by the provider that ran them
    gpu: str | None = None  # the name of the one that it ran on

    def facts(self) -> dict[str, Any]:
        """What results record of it; a GPU only where there was one."""
        found = {"speed": self.rows, "peak_rss": self.peak_rss, "load_ms": self.load_ms, "nodes": self.nodes}
        return found | ({"gpu": self.gpu} if self.gpu else {})

    def ratio(self, baseline: Speed) -> float | None:
        """How many times its texts per second; None for what ran on another device, which says nothing of models."""
        if self.gpu != baseline.gpu:
            return None
        return float(np.median(self.best[1] / baseline.best[1]))


class Worker:
    """A running worker process."""

    def __init__(self, runner: Runner, threads: int) -> None:
        self.what = " ".join(runner.what)
        begun = time.perf_counter()
        self._process = subprocess.Popen(
            runner.command(threads), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._receive()  # it has answered its first text
        self.load_ms = 1000 * (time.perf_counter() - begun)

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Send a question and wait for the answer; raises WorkError with the process's last words."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._fail()
        return self._receive()

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Raw logits (n, labels), labels in the model's order."""
        with tempfile.TemporaryDirectory() as directory:
            file, out = Path(directory) / "texts.json", Path(directory) / "logits.npy"
            file.write_text(json.dumps(list(texts)), encoding="utf-8")
            self.ask({"do": "logits", "texts": str(file), "out": str(out)})
            logits: NDArray[np.float32] = np.load(out)
            return logits

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._fail()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _fail(self) -> None:
        _, errors = self._process.communicate()
        last = next((line for line in reversed(errors.splitlines()) if line.strip()), "no message")
        raise WorkError(f"the process that held {self.what} ended: {last}")


@contextmanager
def workers(runners: Sequence[Runner], threads: int) -> Iterator[list[Worker]]:
    """Start a process per model; all are ended on leaving."""
    with ExitStack() as stack:
        started = []
        for runner in runners:
            worker = Worker(runner, threads)
            stack.callback(worker.close)
            started.append(worker)
        yield started


def measure(
    runners: Sequence[Runner],
    texts: Sequence[str],
    threads: Sequence[int],
    repeats: int,
    advance: Callable[[int], None] = lambda units: None,
) -> list[Speed]:
    """Time every model on the same texts: per thread count and batch size a warm-up and `repeats` interleaved passes.

    Memory and load time are those of the fresh one-thread process.
    """
    speeds = [Speed() for _ in runners]
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "texts.json"
        file.write_text(json.dumps(list(texts)), encoding="utf-8")
        warm = Path(directory) / "warm.json"
        warm.write_text(json.dumps(list(texts[: max(8, len(texts) // 8)])), encoding="utf-8")
        for count in threads:
            with workers(runners, count) as alive:
                for batch in BATCHES:
                    if 1 < batch > len(texts):  # it would be a smaller batch under another name
                        advance(1)
                        continue
                    _time_batch(runners, alive, speeds, count, batch, repeats, (file, warm))
                    advance(1)
                for speed, runner, worker in zip(speeds, runners, alive, strict=True):
                    if count == threads[0] and runner.loads:
                        found = worker.ask({"do": "memory"})
                        speed.peak_rss, speed.load_ms = int(found["peak_rss"]), worker.load_ms
                        speed.nodes, speed.gpu = found["nodes"], found["gpu"]
    return speeds


def _time_batch(
    runners: Sequence[Runner],
    alive: Sequence[Worker],
    speeds: Sequence[Speed],
    threads: int,
    batch: int,
    repeats: int,
    files: tuple[Path, Path],
) -> None:
    texts, warm = files
    timed = [index for index, runner in enumerate(runners) if batch in runner.batches]
    for index in timed:
        alive[index].ask({"do": "time", "texts": str(warm), "batch": batch})
    passes: dict[int, list[NDArray[np.float64]]] = {index: [] for index in timed}
    for _ in range(repeats):
        for index in timed:
            answer = alive[index].ask({"do": "time", "texts": str(texts), "batch": batch})
            passes[index].append(np.array(answer["milliseconds"]))
    total = len(json.loads(texts.read_text(encoding="utf-8")))
    for index in timed:
        rates = np.array([1000 * total / times.sum() for times in passes[index]])
        _record(speeds[index], threads, batch, np.concatenate(passes[index]), rates)
        if runners[index].gpu:
            speeds[index].rows[-1] |= alive[index].ask({"do": "gpu", "texts": str(texts), "batch": batch})


def _record(speed: Speed, threads: int, batch: int, times: NDArray[np.float64], rates: NDArray[np.float64]) -> None:
    p50, p95, p99 = np.percentile(times, (50, 95, 99))
    measured = {"mean": times.mean(), "std": times.std(), "p50": p50, "p95": p95, "p99": p99}
    measured["texts_per_second"] = np.median(rates)
    speed.rows.append(
        {"threads": threads, "batch": batch, **{name: round(float(value), 4) for name, value in measured.items()}}
    )
    if threads not in speed.best or np.median(rates) > np.median(speed.best[threads]):
        speed.best[threads] = rates
