"""A process that trains one trial of a search after the other. It knows nothing of the study.

Started by `tune` as `python -m understudy.training.trial_worker`. JSON lines; each of its own is answered by one:

    in   {"teacher": DIR, "labels": DIR, "data": DIR, "out": DIR, "folds": 0, "seed": 13}     once
    in   {"number": 3, "student": {…}}                          a trial
    out  {"step": 1, "scores": {"nll": …}, "epochs": 1}         after an epoch; with folds, after a fold
    in   {"stop": false}
    out  {"state": "complete" | "stopped" | "failed", …}        the end of the trial
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import UnderstudyError, first_line
from .trials import Bench, StoppedError, run_trial

Send = Callable[[Mapping[str, Any]], None]


def conduct(bench: Bench, trial: Mapping[str, Any], send: Send, receive: Callable[[], Mapping[str, Any]]) -> None:
    """Run one trial and tell how it goes and ends, whatever happens in it."""

    def report(step: int, scores: Mapping[str, float], epochs: int) -> None:
        send({"step": step, "scores": scores, "epochs": epochs})
        if receive()["stop"]:
            raise StoppedError

    begun = time.perf_counter()
    try:
        end = {"state": "complete", **run_trial(bench, trial["number"], trial["student"], report)}
    except StoppedError:
        end = {"state": "stopped"}
    except Exception as error:
        said = str(error) if isinstance(error, UnderstudyError) else f"{type(error).__name__}: {first_line(error)}"
        end = {"state": "failed", "error": said}
    send(end | {"seconds": time.perf_counter() - begun})


def main() -> None:
    """Entry point of the process: ends with its input."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not reach the study

    def send(message: Mapping[str, Any]) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    bench = Bench(**json.loads(sys.stdin.readline()))
    for line in iter(sys.stdin.readline, ""):
        conduct(bench, json.loads(line), send, lambda: json.loads(sys.stdin.readline()))


if __name__ == "__main__":
    main()
