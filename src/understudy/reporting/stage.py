"""report: what `benchmark` measured, for people. Reads finished artifacts only; no stage reads what it writes.

benchmark/{results.json, labels.npz, logits/*.npz} → report/{report.html, report.md, results.json, *.png}
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artifact import Artifact, Plan, finished, writing
from ..errors import ArtifactError, MissingExtraError
from ..progress import Progress, Silent
from .documents import described, template
from .view import Evidence, Model, prepared, shown

CAPTIONS = {
    "accuracy.png": "All models, with 95 % intervals. The dashed line is the teacher. A constant answer lies far below "
    "the scale: its figures are only written.",
    "tradeoff.png": "Up and left is better; nothing lies above the dashed line. The area of a dot is the size on disk "
    "(hollow: not known).",
    "training.png": "Training loss and its parts (training texts), and below the task metric (validation split).",
    "confusion.png": "The teacher and, of each student, the file that ships (INT8, or its smallest). A row holds the "
    "texts of one true label; a cell says how many got that answer, and its colour what share of the row they are. "
    "Test split.",
    "reliability.png": "How often an answer is right at the confidence that it states: on the dashed line is right. "
    "Equal-mass bins, test split; ECE is that of the calibrated file, less "
    "what chance alone gives so few texts: 0 says that no error is shown, the interval what there may be.",
    "labels.png": "How often each label occurs in the truth, and how often the teacher and each student answer it.",
}


MULTI_CAPTIONS = {
    "confusion.png": "The teacher and, of each student, the file that ships (INT8, or its smallest), by the thresholds "
    "that ship. For each label, numbers too: texts that rightly got it, that should have got it, that got it wrongly. "
    "Test split.",
    "reliability.png": "How often a label applies at the probability that is stated for it, over all texts and labels: "
    "on the dashed line is right. Equal-mass bins, test split; ECE is that of the calibrated file, less what chance "
    "alone gives so few texts: 0 says that no error is shown, the interval what there may be.",
    "labels.png": "On how many texts each label applies in truth, and how many the teacher and each student give it.",
}


def report(benchmark: Path, out: Path, *, progress: Progress | None = None) -> Artifact:
    """Write report.html, report.md, the results and the pictures of a benchmark's directory."""
    plan = Plan("report", {}, {"benchmark": Artifact.load(benchmark, "benchmark").digest})
    done = finished(out, plan, progress or Silent())
    if done is not None:
        return done
    with writing(out, plan, "report") as draft:
        write_report(benchmark, draft.path)
    return Artifact.load(out)


def write_report(benchmark: Path, directory: Path) -> Path:
    """Write the files of the report into `directory`; returns the path of report.html."""
    try:
        from . import plots

        html, markdown = template("report.html.jinja"), template("report.md.jinja")
    except ImportError:
        raise MissingExtraError("the report", "build") from None
    results = prepared(_read_results(benchmark))
    labels, logits = read_logits(benchmark, results["models"])
    evidence = Evidence(
        results["models"], results["training"], results["labels"], results["task_metric"], labels, logits,
        [model["key"] for model in shown(results)], results["kind"],
    )  # fmt: skip
    drawn = plots.draw(evidence, directory)
    shutil.copyfile(benchmark / "results.json", directory / "results.json")
    captions = CAPTIONS | (MULTI_CAPTIONS if evidence.kind == "multi" else {})
    view = {**described(results), "pictures": {name: captions[name] for name in drawn}}
    embedded = {name: base64.b64encode((directory / name).read_bytes()).decode() for name in drawn}
    (directory / "report.md").write_text(markdown.render(view), encoding="utf-8")
    (directory / "report.html").write_text(html.render(view, embedded=embedded), encoding="utf-8")
    return directory / "report.html"


def _read_results(benchmark: Path) -> dict[str, Any]:
    try:
        results: dict[str, Any] = json.loads((benchmark / "results.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{benchmark} has no results.json; `understudy benchmark` writes it") from None
    except ValueError:
        raise ArtifactError(f"{benchmark / 'results.json'} is not valid JSON; rerun `understudy benchmark`") from None
    return results


def read_logits(benchmark: Path, models: Sequence[Model]) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float32]]]:
    """The test split's labels, and the logits of the models that have some, rows in the labels' order."""
    try:
        with np.load(benchmark / "labels.npz") as file:
            ids, labels = file["ids"], file["labels"].astype(np.int64)
    except (OSError, KeyError, ValueError):
        raise ArtifactError(f"{benchmark} lacks a readable labels.npz; rerun `understudy benchmark`") from None
    order, logits = np.argsort(ids), {}
    for model in models:
        path = benchmark / "logits" / f"{model['name']}-{model['variant']}.npz"
        if path.exists():
            with np.load(path) as file:
                theirs = np.argsort(file["ids"])
                if not np.array_equal(file["ids"][theirs], ids[order]):
                    raise ArtifactError(f"{path} and labels.npz hold other ids; rerun `understudy benchmark`")
                logits[model["key"]] = file["logits"][theirs][np.argsort(order)]
    return labels, logits
