"""choose: which file of a finished benchmark to ship, by its validation answers and its measured speed.

Reads benchmark/{results.json, val/labels.npz, val/logits/*.npz}. The test figures are looked up afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .answers import Answers, decision_from, model_key, shipped
from .budget_settings import Limits
from .data.task import Labels
from .errors import ArtifactError
from .fitting import Candidate, Drawn, best, candidate, misses, nearest
from .metrics import paired_difference
from .recording import RESULTS, read_logits, read_results, split_home


@dataclass(frozen=True)
class Choice:
    """What `choose` found; of `choice` and `path` None if nothing fits."""

    metric: str
    texts: int  # of validation
    limits: Limits
    candidates: list[Candidate]  # the best on validation first
    choice: Candidate | None
    path: Path | None
    alike: list[tuple[Candidate, dict[str, Any]]]  # fitting, smaller or faster, with the paired difference to `choice`
    nearest: list[Candidate]
    test: dict[str, Any]  # the choice's figures there, and those of the bag of words
    remarks: list[str]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "metric": self.metric, "split": "val", "n": self.texts,
            "limits": self.limits.given, "percentile": self.limits.percentile,
            "candidates": [candidate.to_dict(self.limits) for candidate in self.candidates],
            "choice": self.choice and self.choice.key, "path": self.path and str(self.path),
            "not_told_apart": [{"key": other.key, "difference": gap} for other, gap in self.alike],
            "nearest": [candidate.key for candidate in self.nearest], "test": self.test, "remarks": self.remarks,
        }  # fmt: skip


def choose(directory: Path, limits: Limits | None = None) -> Choice:
    """Choose among the files of the teacher and its students that a run or `benchmark` measured; never a control.

    The best on validation of those that fit the limits. Raises ArtifactError for a directory that does not hold what
    the limits ask about.
    """
    limits = limits or Limits()
    home = directory / "benchmark" if (directory / "benchmark" / RESULTS).exists() else directory
    results = read_results(home)
    files = {model_key(row): row for row in results["models"] if _is_file(row)}
    answers, truth = _validation(home, results)
    remarks = [f"{key} was left out: its answers on validation are not stored" for key in files if key not in answers]
    remarks += _about_labels(results)
    teacher = _teacher(answers)
    if limits.min_retention and teacher is None:
        raise ArtifactError(f"{home} holds no teacher's answers on validation, which min_retention is a share of")
    measured = _Measured(results, truth, teacher)
    known = {key: row for key, row in files.items() if key in answers}
    candidates = [measured.candidate(key, row, answers[key]) for key, row in known.items()]
    candidates.sort(key=lambda one: (-one.quality.value, one.bytes or 0))
    if not candidates:
        raise ArtifactError(f"{home} holds no file of a student or teacher whose answers on validation are stored")
    if {"max_latency_ms", "min_throughput"} & limits.given.keys():
        remarks += [f"{one.key} was not timed: it keeps no limit of speed" for one in candidates if one.rate is None]
    chosen = best(candidates, limits)
    return Choice(
        metric=results["task_metric"], texts=len(truth), limits=limits, candidates=candidates, choice=chosen,
        path=home.parent / shipped(files[chosen.key])[1]["path"] if chosen else None,
        alike=measured.alike(chosen, candidates, limits, answers) if chosen else [],
        nearest=[] if chosen else nearest(candidates, limits),
        test=_on_test(home, results, files[chosen.key]) if chosen else {}, remarks=remarks,
    )  # fmt: skip


@dataclass(frozen=True)
class _Measured:
    """What candidates are measured with: the results, the labels of validation, the teacher's answers there."""

    results: Mapping[str, Any]
    truth: Labels
    teacher: Answers | None

    def candidate(self, key: str, row: Mapping[str, Any], answer: Answers) -> Candidate:
        """A row of the results and its answers on validation, as a budget sees them."""
        return candidate(key, answer, self.teacher, self.truth, row["bytes"], row["speed"], self._drawn)

    def alike(
        self, chosen: Candidate, candidates: Sequence[Candidate], limits: Limits, answers: Mapping[str, Answers]
    ) -> list[tuple[Candidate, dict[str, Any]]]:
        """Fitting candidates, smaller or faster, whose paired difference to the chosen one may be 0."""
        found = []
        for other in candidates:
            if other is chosen or misses(other, limits) or not _cheaper(other, chosen):
                continue
            gap = paired_difference(self.truth, answers[chosen.key].labels, answers[other.key].labels, *self._drawn)
            if gap.low <= 0 <= gap.high:
                found.append((other, gap.to_dict()))
        return found

    @property
    def _drawn(self) -> Drawn:
        return self.results["task_metric"], self.results.get("bootstrap", 2000), self.results["seed"]


def _cheaper(one: Candidate, other: Candidate) -> bool:
    smaller = one.bytes is not None and other.bytes is not None and one.bytes < other.bytes
    times = one.latency.get("p50"), other.latency.get("p50")
    return smaller or (times[0] is not None and times[1] is not None and times[0] < times[1])


def _is_file(row: Mapping[str, Any]) -> bool:
    """Whether a row is of a file to ship: no control, no answers without a model, no pipeline."""
    return row["role"] != "control" and row.get("path") is not None and row["variant"] != "torch"


def _validation(home: Path, results: Mapping[str, Any]) -> tuple[dict[str, Answers], NDArray[np.int64]]:
    """What models and teachers answer on validation, by key, and its labels."""
    of_val = split_home(home, "val")
    if not of_val.exists():
        raise ArtifactError(
            f"{home} holds no answers on validation, by which to choose: an older version wrote it; "
            "delete it and run again"
        )
    return _read_answers(of_val, results)


def _read_answers(home: Path, results: Mapping[str, Any]) -> tuple[dict[str, Answers], NDArray[np.int64]]:
    """What the files that ship answer on a split, by their models' keys, and its labels."""
    ships = {model_key(row): shipped(row) for row in results["models"]}
    truth, logits = read_logits(home, [key for key, _ in ships.values()])
    kind = results.get("kind", "single")
    known = {
        model: Answers(logits[key], decision_from(file, kind)) for model, (key, file) in ships.items() if key in logits
    }
    return known, truth


def _teacher(answers: Mapping[str, Answers]) -> Answers | None:
    """The teacher's answers on validation: its ONNX FP32 file's, else those of the kind that it is."""
    keys = [key for key in answers if key.startswith("teacher/")]
    return answers["teacher/fp32"] if "teacher/fp32" in keys else answers[keys[0]] if keys else None


def _about_labels(results: Mapping[str, Any]) -> list[str]:
    if "val" not in (results.get("data") or {}).get("labels_of_the_teacher", {}):
        return []
    return ["the labels of validation are the teacher's own: what is kept there is agreement with it"]


def _on_test(home: Path, results: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """The chosen file's figures on the test split, and those of the bag of words."""
    metric = results["task_metric"]
    bag = next((other for other in results["models"] if other["variant"] == "sklearn"), None)
    score, kept = row["metrics"]["test"].get(metric), row.get("retention")
    if "seeds" in row:  # the row's own figures are the first seed's
        answers, truth = _read_answers(home, results)
        chosen = _Measured(results, truth, _teacher(answers)).candidate(model_key(row), row, answers[model_key(row)])
        score, kept = chosen.quality.to_dict(), chosen.retention and chosen.retention.to_dict()
    return {"score": score, "retention": kept, "bag_of_words": bag["metrics"]["test"].get(metric) if bag else None}
