"""What a benchmark writes: results.json, test logits by example id, and its measurements as CSV files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .data.task import Split
from .decision import softmax
from .files import write_csv

RESULTS = "results.json"


@dataclass(frozen=True)
class Answers:
    """A model's calibrated answers on the test split."""

    logits: NDArray[np.float32]
    temperature: float

    @property
    def labels(self) -> NDArray[np.int64]:
        """The chosen label of each text."""
        chosen: NDArray[np.int64] = self.logits.argmax(axis=1)
        return chosen

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """(n, labels)"""
        return softmax(self.logits, self.temperature)


def write_results(directory: Path, results: Mapping[str, Any], answers: Mapping[str, Answers], test: Split) -> None:
    """results.json, the logits by example id, and plain CSV files of the measurements."""
    (directory / "logits").mkdir(exist_ok=True)
    for name, answer in answers.items():
        file = directory / "logits" / f"{name.replace('/', '-')}.npz"
        np.savez_compressed(file, ids=np.array(test.ids), logits=answer.logits)
    np.savez_compressed(directory / "labels.npz", ids=np.array(test.ids), labels=test.labels)
    (directory / RESULTS).write_text(json.dumps(results, indent=1, ensure_ascii=False), encoding="utf-8")
    write_csv(directory / "quality.csv", _quality_rows(results["models"]))
    write_csv(directory / "speed.csv", _speed_rows(results["models"]))


def _quality_rows(models: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "model": model["name"], "variant": model["variant"], "split": split, "metric": metric,
            "value": estimate["value"], "low": estimate["ci95"][0], "high": estimate["ci95"][1], "n": estimate["n"],
        }
        for model in models
        for split, metrics in model["metrics"].items()
        for metric, estimate in metrics.items()
    ]  # fmt: skip


def _speed_rows(models: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{"model": model["name"], "variant": model["variant"], **row} for model in models for row in model["speed"]]
