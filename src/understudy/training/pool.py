"""Worker processes that train trials, each one trial at a time; one that dies is noticed at once and replaced."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import IO, Any

import torch

from ..machine import available_cores

_PAUSE = 60.0  # seconds without a message after which the caller gets a turn
_FAREWELL = 10.0  # seconds that a process may take to end


class Worker:
    """A place for a process, which is started with its first trial and again after it died."""

    def __init__(self, job: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self.trial: int | None = None
        self._job, self._environment = job, environment
        self._process: subprocess.Popen[str] | None = None
        self._errors: IO[bytes] | None = None
        self._begun = 0.0

    @property
    def stream(self) -> IO[str]:
        """Where its messages come from."""
        assert self._process is not None and self._process.stdout is not None
        return self._process.stdout

    def start(self, trial: int, student: Mapping[str, Any]) -> None:
        """Give it a trial."""
        if self._process is None:
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (read and closed when the process has ended)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "understudy.training.trial_worker"], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=self._errors, text=True, env={**os.environ, **self._environment},
            )  # fmt: skip
            self.send(self._job)
        self.trial, self._begun = trial, time.monotonic()
        self.send({"number": trial, "student": student})

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a line; that the process is dead shows when it is read from."""
        assert self._process is not None and self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """The next message; a dead process says that its trial failed."""
        line = self.stream.readline()
        message: dict[str, Any] = json.loads(line) if line.endswith("\n") else self._bury()
        return message

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._bury()

    def _bury(self) -> dict[str, Any]:
        assert self._process is not None and self._errors is not None
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # of what was still to be sent
            self._process.stdin.close()
        self.stream.close()
        try:
            code = self._process.wait(_FAREWELL)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._errors.seek(0)
        words = [line.strip() for line in self._errors.read().decode(errors="replace").splitlines() if line.strip()]
        self._errors.close()
        self._process = None
        end = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        error = f"the worker {end}" + (f": {words[-1]}" if words else "")
        return {"state": "failed", "error": error, "seconds": time.monotonic() - self._begun}


class Pool:
    """Some workers; on leaving all are ended."""

    def __init__(self, job: Mapping[str, Any], workers: int, most: int, device: str) -> None:
        """`workers` 0: one per GPU that the device names, else one; never more than `most`."""
        gpus = visible_gpus(device)
        count = min(workers or max(1, len(gpus)), most)
        self._workers = [Worker(job, environment(number, count, gpus, available_cores())) for number in range(count)]

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.close()

    def idle(self) -> list[Worker]:
        """Those without a trial."""
        return [worker for worker in self._workers if worker.trial is None]

    def busy(self) -> list[Worker]:
        """Those with a trial."""
        return [worker for worker in self._workers if worker.trial is not None]

    def messages(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """What workers say of which trials: waits for the first message, and not for ever."""
        with selectors.DefaultSelector() as selector:
            for worker in self.busy():
                selector.register(worker.stream, selectors.EVENT_READ, worker)
            ready = [key.data for key, _ in selector.select(_PAUSE)]
        for worker in ready:
            number, message = worker.trial, worker.receive()
            if "state" in message:
                worker.trial = None
            yield number, message

    def answer(self, number: int, message: Mapping[str, Any]) -> None:
        """Answer the worker of a trial."""
        next(worker for worker in self.busy() if worker.trial == number).send(message)


def visible_gpus(device: str) -> list[str]:
    """The GPUs that trials can be spread over; none if the student names one device."""
    if device not in ("auto", "cuda"):
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return (named.split(",") if named else list(map(str, range(torch.cuda.device_count()))))[
        : torch.cuda.device_count()
    ]


def environment(number: int, workers: int, gpus: Sequence[str], cores: int) -> dict[str, str]:
    """What a worker's process is to see: a GPU of its own if there are enough, and its share of the cores."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    share = max(1, cores // workers)
    share = min(share, max(1, int(threads))) if threads.isdecimal() else share
    return {"OMP_NUM_THREADS": str(share)} | ({"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else {})
