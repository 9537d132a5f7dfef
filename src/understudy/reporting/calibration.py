"""The calibration study of the models that a report shows: its tables and its CSV file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ..calibration_metrics import Answered, calibration_study
from ..kinds import TWINS
from .formats import NONE, Cell, digits, percent
from .tables import Table
from .view import Model, Results, shown

_TWINS = tuple(f"-{twin}" for twin in TWINS)
_SPLITS = {"val": "validation", "test": "test"}
_SHARES = ("confidence", "ece")  # given in percent
RESAMPLES = 2000  # where a result file does not say


def with_studies(results: dict[str, Any], splits: Mapping[str, tuple[Any, Mapping[str, Any]]]) -> None:
    """Give every studied model its `calibration_study`, found from the stored logits where the results lack it.

    `splits`: labels and logits by model key, of those splits whose logits were stored.
    """
    resamples = (results["recipe"].get("benchmark") or {}).get("bootstrap", RESAMPLES)
    for model in _candidates(results):
        if model.get("calibration_study"):
            continue
        known: dict[str, Answered] = {
            split: (logits[model["key"]], labels)
            for split, (labels, logits) in splits.items()
            if model["key"] in logits
        }
        if known:
            temperature = model["temperature"] or 1.0
            model["calibration_study"] = calibration_study(known, temperature, resamples, results["seed"])


def studied(results: Results) -> list[Model]:
    """Those with a study: the teacher, the file that ships of each student, and its twins."""
    return [model for model in _candidates(results) if model.get("calibration_study")]


def _candidates(results: Results) -> list[Model]:
    return [*shown(results), *(model for model in results["models"] if model["name"].endswith(_TWINS))]


def study_tables(results: Results) -> list[Table]:
    """How sure the models are, what they can answer at a fixed risk, and whether a threshold of validation holds."""
    return [_confidence_table(results), _coverage_table(results), _held_table(results)]


def _confidence_table(results: Results) -> Table:
    names = {"confidence": "Confidence", "entropy": "Entropy", "ece": "ECE", "brier": "Brier", "nll": "NLL"}
    units = {"confidence": "mean, %", "entropy": "mean, nats", "ece": "%"}
    rows = [
        [*head, *(_measure(name, figures["measures"].get(name)) for name in names)] for head, figures in _lines(results)
    ]
    several = results["kind"] == "multi"
    what = (
        "A decision is whether a label applies to a text, at 1/2 and not at the thresholds that ship. Confidence: the "
        f"probability of what is decided. Entropy: 0 is certainty, {math.log(2):.2f} an even guess."
        if several
        else "Confidence: the probability of the label that is chosen. Entropy: 0 is certainty, "
        f"{math.log(len(results['labels'])):.2f} an even guess among the labels."
    )
    note = (
        f"{what} ECE, Brier and NLL: lower is better. Each with its 95 % interval{', over texts' if several else ''}. "
        "The temperature is fitted on validation: there, the rows after it flatter; those on test are the honest ones. "
        "It changes no answer. All files are in calibration.csv."
    )
    columns = [*_head(), *(Cell(title, units.get(name, "")) for name, title in names.items())]
    return Table("Confidence before and after the temperature", note, columns, rows, text_columns=3)


def _coverage_table(results: Results) -> Table:
    rows, risks = [], list[float]()
    for head, figures in _lines(results):
        risks = [row["risk"] for row in figures["coverage"]]
        everything = figures["measures"]["accuracy"]
        rows.append([*head, percent(_error(everything)), *(_covered(row) for row in figures["coverage"])])
    note = (
        f"The largest share of the {_answered(results)}, most confident first, that can be answered with at most so "
        "many errors among them; below it the 95 % interval and the confidence that is needed. It is found on the "
        "split itself: what a threshold keeps on other texts, the next table says."
    )
    columns = [
        *_head(),
        Cell("Error", "all answered, %"),
        *(Cell(f"≤ {100 * risk:g} %", "answered, %") for risk in risks),
    ]
    return Table("Coverage at a fixed risk, before and after the temperature", note, columns, rows, text_columns=3)


def _held_table(results: Results) -> Table:
    rows = [
        [
            Cell(model["key"]), Cell(f"{100 * row['risk']:g}"),
            Cell(NONE if row["threshold"] is None else f"{100 * row['threshold']:.2f}"),
            percent(row["coverage"], 1), percent(row["error"]),
        ]
        for model in studied(results) for row in model["calibration_study"].get("held", [])
    ]  # fmt: skip
    note = (
        "The smallest confidence that keeps the error on validation at or below the risk, after the temperature, and "
        f"what it does on test: the share of the {_answered(results)} that is answered and the share of that which is "
        "wrong, with 95 % intervals. Where the interval of the error lies above the risk, validation was too small a "
        "promise."
    )
    columns = [
        Cell("Model"), Cell("Risk", "at most, %"), Cell("Threshold", "confidence, %"), Cell("Answered", "test, %"),
        Cell("Error", "of the answered, %"),
    ]  # fmt: skip
    return Table("Thresholds of validation, on test", note, columns, rows)


def study_rows(results: Results) -> list[dict[str, Any]]:
    """calibration.csv: a row for each figure of every model that has a study."""
    rows = []
    for model in results["models"]:
        study = model.get("calibration_study") or {}
        known = {"model": model["name"], "variant": model["variant"], "calibration_temperature": model["temperature"]}
        for split, when, figures in _parts(study):
            place = known | {"split": split, "temperature": when}
            for name, estimate in figures["measures"].items():
                rows.append(place | {"measure": name} | _numbers(estimate) | {"risk": None, "threshold": None})
            for row in figures["coverage"]:
                limits = {"risk": row["risk"], "threshold": row["threshold"]}
                rows.append(place | {"measure": "coverage"} | _numbers(row["coverage"]) | limits)
        for row in study.get("held", []):
            place = known | {"split": "test", "temperature": "after"}
            limits = {"risk": row["risk"], "threshold": row["threshold"]}
            for name in ("coverage", "error"):
                rows.append(place | {"measure": f"{name} at validation's threshold"} | _numbers(row[name]) | limits)
    return rows


def _answered(results: Results) -> str:
    """What is answered or not."""
    return "decisions" if results["kind"] == "multi" else "texts"


def _lines(results: Results) -> Iterator[tuple[list[Cell], dict[str, Any]]]:
    """What begins a row, and the figures that follow it."""
    for model in studied(results):
        for split, when, figures in _parts(model["calibration_study"]):
            temperature = f"T {digits(model['temperature'])}" if when == "after" else "no T"
            n = figures["measures"]["accuracy"]["n"]
            yield [Cell(model["key"]), Cell(_SPLITS[split], f"n = {n:,}"), Cell(when, temperature)], figures


def _parts(study: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for split in _SPLITS:
        for when, figures in study.get(split, {}).items():
            yield split, when, figures


def _head() -> list[Cell]:
    return [Cell("Model"), Cell("Split"), Cell("When")]


def _measure(name: str, estimate: Mapping[str, Any] | None) -> Cell:
    if name in _SHARES:
        return percent(estimate, 1)
    if not estimate or estimate["value"] is None:
        return Cell(NONE)
    low, high = estimate["ci95"]
    return Cell(f"{estimate['value']:.4f}", f"{low:.3f} to {high:.3f}")


def _covered(row: Mapping[str, Any]) -> Cell:
    share = percent(row["coverage"], 1)
    needed = f"; p ≥ {row['threshold']:.4f}" if row["threshold"] is not None else ""
    return Cell(share.text, f"{share.detail}{needed}")


def _error(accuracy: Mapping[str, Any]) -> dict[str, Any]:
    low, high = accuracy["ci95"]
    return {"value": 1 - accuracy["value"], "ci95": [1 - high, 1 - low]}


def _numbers(estimate: Mapping[str, Any]) -> dict[str, Any]:
    return {"value": estimate["value"], "low": estimate["ci95"][0], "high": estimate["ci95"][1], "n": estimate["n"]}
