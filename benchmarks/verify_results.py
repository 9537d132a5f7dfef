"""Recompute every quality figure of the runs in benchmarks/results from their test logits, and check the pages' tables.

    python benchmarks/verify_results.py          (also `make verify-results`)

That is each value, interval and n of the models, of their calibration studies (where a file has some) and of their
comparisons: bootstraps are seeded, so that they come out the same. Exits 1 and says which figure differs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tables
from numpy.typing import NDArray

from understudy.answers import Answers, decision_from, model_key, seed_key, shipped
from understudy.calibration_metrics import calibration_study
from understudy.conclusions import by_seed, chosen_seed, conclude, seed_metrics
from understudy.decision import Decision
from understudy.metrics import agreement, mcnemar, paired_difference, retention, task_score

RESULTS = Path(__file__).parent / "results"
Figures = dict[str, Any]  # by path, as in metrics.test.accuracy.ci95.0
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Run:
    """A result file, and the labels and logits that its figures must follow from."""

    results: dict[str, Any]
    labels: NDArray[np.int64]
    logits: dict[str, NDArray[np.float32]]  # by name-variant, as the files are called
    val: tuple[NDArray[np.int64], dict[str, NDArray[np.float32]]] | None  # labels and logits, where they were stored

    @property
    def models(self) -> list[dict[str, Any]]:
        """The rows whose quality was measured; the pipeline's was not."""
        return [row for row in self.results["models"] if row["metrics"]]

    @property
    def teacher(self) -> dict[str, Any] | None:
        """The row that others are held against."""
        return next((row for row in self.models if row["role"] == "teacher"), None)

    @cached_property
    def quality(self) -> dict[str, dict[str, Any]]:
        """What the logits say of each model, in the shape of its row."""
        return {model_key(row): _quality(self, row) for row in self.models}

    @property
    def resampling(self) -> tuple[int, int]:
        """Number of resamples and seed of every bootstrap."""
        resamples = self.results.get("bootstrap")  # files of before it was stored have it in their recipe
        return resamples or self.results["recipe"]["benchmark"]["bootstrap"], self.results["seed"]

    def predictions(self, model: str) -> NDArray[np.int64]:
        """The chosen label of each text; `model` as name/variant."""
        return self.answers(model).labels

    def answers(self, model: str) -> Answers:
        """The logits of a model, and how its row says that they are decided."""
        return Answers(self.logits[_stem(model)], self._decision(model))

    @cached_property
    def everything(self) -> dict[str, Answers]:
        """The answers of all models and seeds on the test split."""
        return {key: self.answers(key) for row in self.models for key in _files(row, self.results["seed"]).values()}

    @cached_property
    def on_val(self) -> dict[str, Answers]:
        """The same on the validation split, where those logits were stored."""
        known = self.val[1] if self.val else {}
        return {key: Answers(known[_stem(key)], self._decision(key)) for key in self.everything if _stem(key) in known}

    def _decision(self, model: str) -> Decision:
        name, _, number = model.partition("/seed-")
        row = next((row for row in self.models if model_key(row) == name), {"temperature": 1.0})
        return decision_from(row["seeds"]["files"][number] if number else row, self.results.get("kind", "single"))


def main() -> None:
    """Entry point."""
    complaints: list[str] = []
    checked = 0
    for file in sorted(RESULTS.glob("*/seed-*/results.json")):
        count, wrong = check(file)
        checked += count
        complaints += wrong
    for page in tables.PAGES:
        text = page.read_text(encoding="utf-8")
        if tables.updated(text) != text:
            complaints.append(f"{page.name}: its tables are not those of the result files; run benchmarks/tables.py")
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    print(f"{checked} figures recomputed from logits, {len(complaints)} wrong")
    sys.exit(bool(complaints))


def check(file: Path) -> tuple[int, list[str]]:
    """Number of figures of one result file, and a line for each that the logits do not bear out."""
    results = json.loads(file.read_text(encoding="utf-8"))
    unmatched = _unmatched(file.parent, results)
    if unmatched:  # every figure would be wrong
        return 0, [f"{file}: {line}" for line in unmatched]
    run = _read(file.parent, results)
    checked, wrong = 0, []
    for name, stored, found in [*_models(run), *_seeds(run), *_comparisons(run), *_conclusions(run)]:
        checked += sum(isinstance(figure, int | float) for figure in found.values())  # neither label names nor null
        wrong += [f"{file}: {name} {line}" for line in _differences(stored, found)]
    wrong += [f"{file}: {line}" for line in _miscounts(run)]
    return checked, wrong


def _unmatched(home: Path, results: dict[str, Any]) -> list[str]:
    """What keeps labels and logits from being matched row by row."""
    rows = [row for row in results["models"] if row["metrics"]]
    needed = {_stem(key) for row in rows for key in _files(row, results["seed"]).values()}
    needed |= {_stem(comparison[side]) for comparison in results["comparisons"] for side in ("first", "second")}
    lines = _unmatched_split(home, needed)
    studied = {_stem(model_key(row)) for row in results["models"] if "val" in row.get("calibration_study", {})}
    return lines + ([f"val/{line}" for line in _unmatched_split(home / "val", studied)] if studied else [])


def _unmatched_split(home: Path, needed: set[str]) -> list[str]:
    if not (home / "labels.npz").exists():
        return ["labels.npz: missing"]
    ids = np.load(home / "labels.npz")["ids"]
    stored = {file.stem: np.load(file)["ids"] for file in sorted((home / "logits").glob("*.npz"))}
    lines = [] if len(np.unique(ids)) == len(ids) else ["labels.npz: ids are not unique"]
    lines += [
        f"logits/{name}.npz: ids differ from those of the labels"
        for name, others in stored.items()
        if not np.array_equal(others, ids)
    ]
    return lines + [f"logits/{name}.npz: missing" for name in sorted(needed - stored.keys())]


def _read(home: Path, results: dict[str, Any]) -> Run:
    val = _read_split(home / "val") if (home / "val" / "labels.npz").exists() else None
    labels, logits = _read_split(home)
    return Run(results, labels, logits, val)


def _read_split(home: Path) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float32]]]:
    logits = {file.stem: np.load(file)["logits"] for file in sorted((home / "logits").glob("*.npz"))}
    return np.load(home / "labels.npz")["labels"], logits


def _models(run: Run) -> Iterator[tuple[str, Figures, Figures]]:
    """Each model with the figures of the file and those that we find."""
    for row in run.models:
        found = (
            run.quality[model_key(row)] | _beside_teacher(run, row) | _confidence(run, row) | _on_validation(run, row)
        )
        stored = {name: row.get(name) for name in found}
        # The plain count has the last word: the file was made with the same metrics, and would share their mistake.
        yield model_key(row), _flat(stored), _flat(found) | _counted(run, row)


def _quality(run: Run, row: dict[str, Any]) -> dict[str, Any]:
    """What the logits say of one model, in the shape of its row."""
    answers = run.answers(model_key(row))
    estimates = answers.scores(run.labels, *run.resampling)
    return {
        "metrics": {"test": {name: estimate.to_dict() for name, estimate in estimates.items()}},
        **answers.by_label(run.labels, run.results["labels"]),
    }


def _confidence(run: Run, row: dict[str, Any]) -> dict[str, Any]:
    """The calibration study of one model, if its row has one: results of before it was measured do not."""
    if "calibration_study" not in row:
        return {}
    stem = _stem(model_key(row))
    splits = {"test": (run.logits[stem], run.labels)}
    if run.val is not None and stem in run.val[1]:
        splits["val"] = (run.val[1][stem], run.val[0])
    return {"calibration_study": calibration_study(splits, row["temperature"], *run.resampling)}


def _on_validation(run: Run, row: dict[str, Any]) -> dict[str, Any]:
    """What the file of a row that ships scores on validation, if the row says it: results of before do not."""
    if "validation" not in row:
        return {}
    answers = run.on_val.get(shipped(row)[0])
    if run.val is None or answers is None:
        return {"validation": None}
    found = task_score(run.val[0], answers.labels, run.results["task_metric"], *run.resampling)
    return {"validation": found.to_dict()}


def _beside_teacher(run: Run, row: dict[str, Any]) -> dict[str, Any]:
    """How much of the teacher is left, in the shape of the model's row."""
    if run.teacher is None:
        return {"compression_ratio": None, "retention": None, "agreement": None}
    student, teacher = run.predictions(model_key(row)), run.predictions(model_key(run.teacher))
    kept = retention(run.labels, student, teacher, run.results["task_metric"], *run.resampling)
    return {
        "compression_ratio": run.teacher["bytes"] / row["bytes"] if run.teacher["bytes"] and row["bytes"] else None,
        "retention": kept.to_dict(),
        "agreement": agreement(student, teacher).to_dict(),
    }


def _comparisons(run: Run) -> Iterator[tuple[str, Figures, Figures]]:
    """Each comparison with the figures of the file and those that we find."""
    for row in run.results["comparisons"]:
        first, second = run.predictions(row["first"]), run.predictions(row["second"])
        difference = paired_difference(run.labels, second, first, run.results["task_metric"], *run.resampling)
        test = mcnemar(run.labels, first, second)
        found = {
            "difference": difference.to_dict(),
            "mcnemar": {"only_first": test.only_first, "only_second": test.only_second, "p": test.p},
        }
        stored = {name: row.get(name) for name in found}
        yield f"{row['first']} against {row['second']}", _flat(stored), _flat(found)


def _seeds(run: Run) -> Iterator[tuple[str, Figures, Figures]]:
    """Each model of several seeds with what they score together, and which of them was chosen on validation."""
    resamples, first = run.resampling
    for row in (row for row in run.models if "seeds" in row):
        found = {"metrics": seed_metrics(by_seed(model_key(row), run.everything, first), run.labels, resamples, first)}
        if run.val is not None and model_key(row) in run.on_val:
            runs = by_seed(model_key(row), run.on_val, first)
            found["ships"], found["validation"] = chosen_seed(runs, run.val[0], run.results["task_metric"])
        yield f"{model_key(row)} over seeds", _flat({name: row["seeds"][name] for name in found}), _flat(found)


def _conclusions(run: Run) -> Iterator[tuple[str, Figures, Figures]]:
    """What the comparisons show over seeds, by the margin and in families: results of before that have none."""
    stored = run.results["comparisons"]
    if not any("holm" in row for row in stored):
        return
    margin = (run.results.get("recipe", {}).get("benchmark") or {}).get("margin", 0.0)
    found = [{name: row[name] for name in ("first", "second", "difference", "mcnemar")} for row in stored]
    resamples, first = run.resampling
    conclude(found, run.models, run.everything, run.labels, run.results["task_metric"], resamples, first, margin)
    for row, other in zip(stored, found, strict=True):
        yield f"{row['first']} against {row['second']}", _flat(row), _flat(other)


def _counted(run: Run, row: dict[str, Any]) -> Figures:
    """Accuracy and confusion of one model without understudy.metrics."""
    predictions = run.predictions(model_key(row))
    if predictions.ndim == 2:
        cells = [[[((run.labels == t) & (predictions == p))[:, k].sum() for p in (0, 1)] for t in (0, 1)]
                 for k in range(predictions.shape[1])]  # fmt: skip
        return _flat_counts("subset_accuracy", float((predictions == run.labels).all(axis=1).mean()), np.array(cells))
    table = np.zeros((len(run.results["labels"]),) * 2, dtype=np.int64)
    np.add.at(table, (run.labels, predictions), 1)
    return _flat_counts("accuracy", float((predictions == run.labels).mean()), table)


def _miscounts(run: Run) -> list[str]:
    """Where understudy.metrics and the plain count part: then its other figures are not to be trusted either."""
    lines = []
    for row in run.models:
        quality = run.quality[model_key(row)]
        name = "accuracy" if "accuracy" in quality["metrics"]["test"] else "subset_accuracy"
        ours = _flat_counts(name, quality["metrics"]["test"][name]["value"], np.array(quality["confusion"]))
        lines += [
            f"{model_key(row)} {path}: understudy.metrics finds {ours[path]}, a plain count {figure}"
            for path, figure in _counted(run, row).items()
            if _differs(path, ours[path], figure)
        ]
    return lines


def _flat_counts(name: str, right: float, table: NDArray[np.int64]) -> Figures:
    return _flat({"metrics": {"test": {name: {"value": right}}}, "confusion": table.tolist()})


def _differences(stored: Figures, found: Figures) -> list[str]:
    """A line for each figure that differs, or that only one side has."""
    paths = found.keys() | stored.keys()
    return [
        f"{path}: {stored.get(path, 'missing')}, logits: {found.get(path, 'nothing')}"
        for path in sorted(paths)
        if path not in stored or path not in found or _differs(path, stored[path], found[path])
    ]


def _differs(path: str, stored: Any, found: Any) -> bool:
    if not isinstance(stored, int | float) or not isinstance(found, int | float):
        return bool(stored != found)
    # A p-value may be 1e-17, far below the tolerance: its digits count, not its distance.
    tolerance = _TOLERANCE * found if path.endswith(".p") else _TOLERANCE
    return not abs(stored - found) <= tolerance  # so that NaN differs


def _flat(figures: Any, path: str = "") -> Figures:
    """The leaves of nested dictionaries and lists, by path."""
    if not isinstance(figures, dict | list):
        return {path: figures}
    flat: Figures = {}
    for key, inner in figures.items() if isinstance(figures, dict) else enumerate(figures):
        flat |= _flat(inner, f"{path}.{key}" if path else str(key))
    return flat


def _files(row: dict[str, Any], first: int) -> dict[int, str]:
    """The key of each seed's answers of a row, its own first."""
    further = [int(number) for number in row.get("seeds", {}).get("files", {}) if int(number) != first]
    return {first: model_key(row), **{number: seed_key(model_key(row), number) for number in further}}


def _stem(model: str) -> str:
    """What the file of a model's logits is called."""
    return model.replace("/", "-")


if __name__ == "__main__":
    main()
