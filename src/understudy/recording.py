"""What `benchmark` leaves behind, written and read: results.json, the logits by example id, and plain CSV files.

benchmark/
├── results.json  quality.csv  speed.csv
├── predictions/NAME-VARIANT.csv                   the test texts and what the model answers; on request
├── labels.npz  logits/NAME-VARIANT.npz            the test split
├── traits.npz                                     how long its texts are, what they hold that a vocabulary lacks
└── val/labels.npz  val/logits/NAME-VARIANT.npz    the validation split
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .answers import Answers
from .data.formats import Chunk, Row
from .data.tables import Table
from .data.task import Split, Task
from .data.writing import WRITERS, output
from .errors import ArtifactError
from .files import write_csv

RESULTS = "results.json"
PREDICTIONS = "predictions"  # the only directory of a benchmark that holds texts


def write_results(
    directory: Path,
    results: Mapping[str, Any],
    splits: Mapping[str, tuple[Split, Mapping[str, NDArray[np.float32]]]],
) -> None:
    """Write all of it; `splits`: test and val, each with the logits of its models by key."""
    for name, (split, logits) in splits.items():
        _write_logits(split_home(directory, name), split, logits)
    (directory / RESULTS).write_text(json.dumps(results, indent=1, ensure_ascii=False), encoding="utf-8")
    write_csv(directory / "quality.csv", _quality_rows(results["models"]))
    write_csv(directory / "speed.csv", _speed_rows(results["models"]))


def read_results(benchmark: Path) -> dict[str, Any]:
    """What results.json says; raises ArtifactError."""
    try:
        results: dict[str, Any] = json.loads((benchmark / "results.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{benchmark} has no results.json; `understudy benchmark` writes it") from None
    except ValueError:
        raise ArtifactError(f"{benchmark / 'results.json'} is not valid JSON; rerun `understudy benchmark`") from None
    return results


def read_logits(benchmark: Path, keys: Iterable[str]) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float32]]]:
    """A split's labels, and the logits of those models that have some, rows in the labels' order."""
    try:
        with np.load(benchmark / "labels.npz") as file:
            ids, labels = file["ids"], file["labels"].astype(np.int64)
    except (OSError, KeyError, ValueError):
        raise ArtifactError(f"{benchmark} lacks a readable labels.npz; rerun `understudy benchmark`") from None
    order, logits = np.argsort(ids), {}
    for key in keys:
        path = benchmark / "logits" / f"{key.replace('/', '-')}.npz"
        if path.exists():
            with np.load(path) as file:
                theirs = np.argsort(file["ids"])
                if not np.array_equal(file["ids"][theirs], ids[order]):
                    raise ArtifactError(f"{path} and labels.npz hold other ids; rerun `understudy benchmark`")
                logits[key] = file["logits"][theirs][np.argsort(order)]
    return labels, logits


def write_predictions(directory: Path, task: Task, test: Split, answers: Mapping[str, Answers]) -> None:
    """A CSV file for each model, by key: id, text, gold, label, confidence and p_<label>, the calibrated probabilities.

    Of a multi-label task `labels` stands in the place of label and confidence. A ' stands before cells that a
    spreadsheet would run as a formula.
    """
    named = [*(["labels"] if task.multi else ["label", "confidence"]), *(f"p_{label}" for label in task.labels)]
    gold = task.named(test.labels)
    rows: list[Row] = [
        {"id": name, "text": text, "gold": label} for name, text, label in zip(test.ids, test.texts, gold, strict=True)
    ]
    (directory / PREDICTIONS).mkdir()
    for key, answer in answers.items():
        shares = answer.probabilities
        values = [task.named(answer.labels), *([] if task.multi else [shares.max(axis=1).tolist()])]
        table = Table(key, dict.fromkeys(("id", "text", "gold")), len(test), ())
        with (
            output(directory / PREDICTIONS / f"{key.replace('/', '-')}.csv", overwrite=False) as file,
            WRITERS[".csv"](file, table, named, True, task.multi) as write,
        ):
            write(Chunk(0, rows), None, dict(zip(named, [*values, *shares.T.tolist()], strict=True)))


def split_home(directory: Path, split: str) -> Path:
    """Where the labels and logits of a split are in a benchmark's directory."""
    return directory if split == "test" else directory / split


def _write_logits(home: Path, split: Split, logits: Mapping[str, NDArray[np.float32]]) -> None:
    (home / "logits").mkdir(parents=True, exist_ok=True)
    for name, values in logits.items():
        np.savez_compressed(home / "logits" / f"{name.replace('/', '-')}.npz", ids=np.array(split.ids), logits=values)
    np.savez_compressed(home / "labels.npz", ids=np.array(split.ids), labels=split.labels)


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
    rows = [
        {"model": model["name"], "variant": model["variant"], **row, **_gpu(model)}
        for model in models
        for row in model["speed"]
    ]
    columns = dict.fromkeys(name for row in rows for name in row)  # some only of what ran on a GPU
    return [dict.fromkeys(columns) | row for row in rows]


def _gpu(model: Mapping[str, Any]) -> dict[str, str]:
    return {"gpu": model["gpu"]} if "gpu" in model else {}
