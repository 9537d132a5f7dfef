"""Recompute every quality figure in benchmarks/results from the committed test logits, and check README's tables.

    python benchmarks/verify_results.py          (also `make verify-results`)

Exits 1 and says which figure differs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import tables

from understudy.decision import softmax
from understudy.metrics import METRICS, brier, confusion, ece, nll

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent.parent / "README.md"
_TOLERANCE = 1e-9


def main() -> None:
    """Entry point."""
    complaints: list[str] = []
    checked = 0
    for file in sorted(RESULTS.glob("*/seed-*/results.json")):
        count, wrong = check(file)
        checked += count
        complaints += wrong
    if tables.updated(README.read_text(encoding="utf-8")) != README.read_text(encoding="utf-8"):
        complaints.append("README.md: its tables are not those of the result files; run python benchmarks/tables.py")
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    print(f"{checked} figures recomputed from logits, {len(complaints)} wrong")
    sys.exit(bool(complaints))


def check(file: Path) -> tuple[int, list[str]]:
    """Number of figures of one result file, and a line for each that the logits do not bear out."""
    results = json.loads(file.read_text(encoding="utf-8"))
    truth = np.load(file.parent / "labels.npz")
    predicted: dict[str, np.ndarray] = {}
    count, wrong = 0, []
    for model in results["models"]:
        if not model["metrics"]:
            continue
        stored = np.load(file.parent / "logits" / f"{model['name']}-{model['variant']}.npz")
        if (stored["ids"] != truth["ids"]).any():
            wrong.append(f"{file}: {model['name']}: ids differ from those of the labels")
            continue
        logits, labels = stored["logits"], truth["labels"]
        predicted[f"{model['name']}/{model['variant']}"] = logits.argmax(axis=1)
        probabilities = softmax(logits, model["temperature"])
        table = confusion(labels, logits.argmax(axis=1), logits.shape[1])
        found = {name: float(metric(table)) for name, metric in METRICS.items()}
        found |= {"ece": ece(probabilities, labels), "brier": brier(probabilities, labels)}
        found |= {"nll": nll(probabilities, labels)}
        for name, estimate in model["metrics"]["test"].items():
            count += 1
            if abs(found[name] - estimate["value"]) > _TOLERANCE:
                wrong.append(
                    f"{file}: {model['name']}/{model['variant']} {name}: {estimate['value']}, logits: {found[name]}"
                )
    teacher = predicted.get("teacher/fp32")
    for model in results["models"]:
        name = f"{model['name']}/{model['variant']}"
        if teacher is not None and model["agreement"] is not None:
            count += 1
            agreement = float((predicted[name] == teacher).mean())
            if abs(agreement - model["agreement"]["value"]) > _TOLERANCE:
                wrong.append(f"{file}: {name} agreement: {model['agreement']['value']}, logits: {agreement}")
    return count, wrong


if __name__ == "__main__":
    main()
