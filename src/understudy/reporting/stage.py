"""report: what `benchmark` measured, for people. Reads finished artifacts only; no stage reads what it writes.

benchmark/{results.json, labels.npz, logits/*.npz, val/*} →
report/{report.html, report.md, report.txt, results.json, calibration.csv, *.png}
"""

from __future__ import annotations

import base64
import shutil
from pathlib import Path
from typing import Any

from ..answers import model_key, shipped
from ..artifact import Artifact, Plan, finished, writing
from ..conclusions import add_validation
from ..errors import ArtifactError, MissingExtraError
from ..files import sha256_of_file, write_csv
from ..progress import Progress, Silent
from ..recording import read_logits, read_results
from .calibration import RESAMPLES, studied, study_rows, with_studies
from .documents import described, template
from .examples import read_examples
from .mistakes import mistakes
from .view import Evidence, Results, prepared, shown

CALIBRATION = "calibration.csv"

CAPTIONS = {
    "accuracy.png": "All models, with 95 % intervals. The dashed line is the teacher. A constant answer lies far below "
    "the scale: its figures are only written.",
    "tradeoff.png": "Up and left is better; nothing lies above the dashed line. The area of a dot is the size on disk "
    "(hollow: not known).",
    "size.png": "The same by size; files whose size is not known are left out.",
    "training.png": "Training loss and its parts (training texts); the task metric and macro F1 (validation split); "
    "the learning rate at the end of each epoch.",
    "confusion.png": "The teacher and, of each student, the file that ships (INT8, or its smallest). A row holds the "
    "texts of one true label; a cell says how many got that answer, and its colour what share of the row they are. "
    "Test split.",
    "calibration-reliability.png": "How often an answer is right at the confidence that it states, before and after "
    "the temperature: on the dashed line is right. Equal-mass bins. ECE, before → after, is less what chance alone "
    "gives so few texts: 0 says that no error is shown. The temperature was fitted on validation, and flatters there.",
    "risk-coverage.png": "The error among the answered texts when only the most confident are answered, after the "
    "temperature: lower is better, and the right end is the error on all. Dotted: 1, 2 and 5 %.",
    "cascade-risk-coverage.png": "What a cascade's certificate rests on: the risk seen on its texts at each threshold "
    "that was tested, the safest (on the left) first. Testing ended at the first that could not be shown to keep below "
    "the level; the mark was certified. Nothing is promised to its right.",
    "teacher_vs_student_accuracy.png": "The teacher, the file that ships of each student, and the controls, on a scale "
    "from 0, with 95 % intervals. Test split.",
    "teacher_vs_student_label_distribution.png": "How often each label occurs in the truth, and how often the teacher "
    "and each student answer it. Test split.",
}


MULTI_CAPTIONS = {
    "confusion.png": "The teacher and, of each student, the file that ships (INT8, or its smallest), by the thresholds "
    "that ship. For each label, numbers too: texts that rightly got it, that should have got it, that got it wrongly. "
    "Test split.",
    "calibration-reliability.png": "How often a label applies at the probability that is stated for it, over all texts "
    "and labels, before and after the temperature: on the dashed line is right. Equal-mass bins. The temperature was "
    "fitted on validation, and flatters there.",
    "risk-coverage.png": "The error among the decisions (does a label apply to a text, at 1/2) when only the most "
    "confident are taken, after the temperature: lower is better, and the right end is the error of all. Dotted: 1, 2 "
    "and 5 %.",
}

OF_BUDGET = (
    " Orange: the limits of the recipe's budget. It was judged by the validation split, and the picture is of the test "
    "split."
)


def report(benchmark: Path, out: Path, *, progress: Progress | None = None) -> Artifact:
    """Write report.html, report.md, report.txt, the results and the pictures of a benchmark's directory."""
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

        html, markdown, text = (template(f"report.{kind}.jinja") for kind in ("html", "md", "txt"))
    except ImportError:
        raise MissingExtraError("the report", "build") from None
    results = prepared(read_results(benchmark))
    evidence = _evidence(benchmark, results)
    drawn = plots.draw(evidence, directory)
    shutil.copyfile(benchmark / "results.json", directory / "results.json")
    write_csv(directory / CALIBRATION, study_rows(results))
    captions = CAPTIONS | (MULTI_CAPTIONS if evidence.kind == "multi" else {})
    if results["budget"]:
        captions = captions | {name: captions[name] + OF_BUDGET for name in ("tradeoff.png", "size.png")}
    view = {**described(results), "pictures": {name: captions[name] for name in drawn}}
    view["mistakes"] = mistakes(results, evidence, read_examples(benchmark))
    embedded = {name: base64.b64encode((directory / name).read_bytes()).decode() for name in drawn}
    (directory / "report.md").write_text(markdown.render(view), encoding="utf-8")
    (directory / "report.txt").write_text(text.render(view), encoding="utf-8")
    (directory / "report.html").write_text(html.render(view, embedded=embedded), encoding="utf-8")
    return directory / "report.html"


def calibration_report(directory: Path, out: Path | None = None) -> Results:
    """The results of a run or a benchmark, each model that is shown with its calibration study.

    With `out`, the study's pictures and calibration.csv are written there.
    """
    benchmark = directory / "benchmark" if (directory / "benchmark" / "results.json").exists() else directory
    results = prepared(read_results(benchmark))
    evidence = _evidence(benchmark, results)
    if not studied(results):
        raise ArtifactError(f"{benchmark} holds no logits to study; rerun `understudy benchmark`")
    if out is not None:
        try:
            from . import plots
        except ImportError:
            raise MissingExtraError("the report", "build") from None
        plan = Plan("report-calibration", {}, {"results": sha256_of_file(benchmark / "results.json")})
        with writing(out, plan, "report") as draft:
            plots.draw(evidence, draft.path, ("calibration-reliability.png", "risk-coverage.png"))
            write_csv(draft.path / CALIBRATION, study_rows(results))
    return results


def _evidence(benchmark: Path, results: dict[str, Any]) -> Evidence:
    """Labels and logits of a benchmark's directory beside its results, which get the figures that they lack."""
    keys = [model_key(row) for row in results["models"]]
    splits = {"test": read_logits(benchmark, keys)}
    if (benchmark / "val" / "labels.npz").exists():
        splits["val"] = read_logits(benchmark / "val", [*keys, *(shipped(row)[0] for row in results["models"])])
        lacking, (truth, logits) = [row for row in results["models"] if not row["validation"]], splits["val"]
        drawn = (results["task_metric"], results.get("bootstrap", RESAMPLES), results["seed"])
        add_validation(lacking, logits, truth, drawn, results["kind"])
    with_studies(results, splits)
    return Evidence(
        results["models"], results["training"], results["labels"], results["task_metric"], *splits["test"],
        [model["key"] for model in shown(results)], splits.get("val"), results["kind"], results["budget"],
    )  # fmt: skip
