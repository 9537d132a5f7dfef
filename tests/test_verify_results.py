"""The committed figures follow from the committed logits, and an edited figure is found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts import BENCHMARKS, script
from understudy import metrics
from understudy.answers import Answers
from understudy.calibration_metrics import calibration_study

verify_results = script("verify_results")

COMMITTED = BENCHMARKS / "results" / "emotion" / "seed-13"
MODELS = ("teacher/fp32", "cut3/fp32")


@pytest.fixture(scope="module", autouse=True)
def bootstraps_are_drawn_once() -> Iterator[None]:
    """The edits below leave the logits alone, so that each model's bootstrap would come out the same again."""
    drawn: dict[object, Any] = {}
    evaluate = metrics.evaluate

    def remembered(probabilities: np.ndarray, labels: np.ndarray, resamples: int, seed: int) -> Any:
        key = (probabilities.tobytes(), labels.tobytes(), resamples, seed)
        if key not in drawn:
            drawn[key] = evaluate(probabilities, labels, resamples, seed)
        return drawn[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "evaluate", remembered)
        yield


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A copy of the committed run with two of its models."""
    copy = shutil.copytree(COMMITTED, tmp_path / "results" / "emotion" / "seed-13") / "results.json"
    results = _read(copy)
    results["models"] = [row for row in results["models"] if f"{row['name']}/{row['variant']}" in MODELS]
    results["comparisons"] = [row for row in results["comparisons"] if row["first"] in MODELS]
    _write(copy, results)
    return copy


def _read(file: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return results


def _write(file: Path, results: dict[str, Any]) -> None:
    file.write_text(json.dumps(results), encoding="utf-8")


def _edit(file: Path, name: str, path: str, add: float) -> None:
    """Add to one figure of a model or comparison, by the path that complaints give."""
    results = _read(file)
    rows = {f"{row['name']}/{row['variant']}": row for row in results["models"]}
    rows |= {f"{row['first']} against {row['second']}": row for row in results["comparisons"]}
    inner: Any = rows[name]
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
    for part in parents:
        inner = inner[part]
    inner[last] += add
    _write(file, results)


def _change_logits(file: Path, name: str, **arrays: Any) -> None:
    stored = file.parent / "logits" / f"{name}.npz"
    np.savez_compressed(stored, **{**np.load(stored), **arrays})


def test_committed_figures_follow_from_the_logits() -> None:
    count, wrong = verify_results.check(COMMITTED / "results.json")
    # 13 models: 7 metrics, 6 classes, 36 cells, retention and agreement; 11 ratios; 27 comparisons.
    assert (count, wrong) == (13 * (7 * 4 + 6 * 4 + 36 + 2 * 4) + 11 + 27 * 7, [])


@pytest.mark.parametrize(
    ("name", "path", "add"),
    [
        ("cut3/fp32", "metrics.test.accuracy.value", 0.0005),
        ("cut3/fp32", "metrics.test.weighted_f1.value", 1e-8),
        ("cut3/fp32", "metrics.test.ece.ci95.0", 1e-8),
        ("teacher/fp32", "metrics.test.accuracy.ci95.1", 1e-8),
        ("cut3/fp32", "metrics.test.nll.n", 1),
        ("cut3/fp32", "retention.value", 1e-8),
        ("cut3/fp32", "retention.ci95.0", 1e-8),
        ("cut3/fp32", "agreement.ci95.1", 1e-8),
        ("cut3/fp32", "per_class.2.f1", 1e-8),
        ("cut3/fp32", "confusion.1.2", 1),
        ("cut3/fp32", "compression_ratio", 1e-8),
        ("cut3/fp32 against teacher/fp32", "difference.value", 1e-8),
        ("cut3/fp32 against teacher/fp32", "difference.ci95.0", 1e-8),
        ("cut3/fp32 against teacher/fp32", "mcnemar.only_first", 1),
        ("cut3/fp32 against teacher/fp32", "mcnemar.p", 1e-8),
        ("cut3/fp32 against tfidf-lr/sklearn", "mcnemar.p", 1e-17),  # itself about 1e-16
    ],
)
def test_an_edited_figure_is_the_only_complaint(file: Path, name: str, path: str, add: float) -> None:
    _edit(file, name, path, add)
    _, (complaint,) = verify_results.check(file)
    assert complaint.startswith(f"{file}: {name} {path}: ")


def test_a_score_on_validation_follows_from_the_logits_there(file: Path) -> None:
    """The test split, for once, stands for validation."""
    shutil.copytree(file.parent, file.parent / "val", ignore=lambda _, names: {*names} - {"labels.npz", "logits"})
    shutil.copytree(file.parent / "logits", file.parent / "val/logits", dirs_exist_ok=True)
    results = _read(file)
    for row in results["models"]:
        row["validation"] = row["metrics"]["test"]["accuracy"]
    _write(file, results)
    assert verify_results.check(file)[1] == []
    _edit(file, "cut3/fp32", "validation.ci95.0", 1e-8)
    _, (complaint,) = verify_results.check(file)
    assert complaint.startswith(f"{file}: cut3/fp32 validation.ci95.0: ")


def test_a_missing_and_an_invented_figure_are_found(file: Path) -> None:
    results = _read(file)
    metrics = results["models"][1]["metrics"]["test"]
    del metrics["brier"]["n"]
    metrics["f2"] = {"value": 1.0}
    results["models"][1]["agreement"]["value"] = None
    _write(file, results)
    _, wrong = verify_results.check(file)
    assert [line.removeprefix(f"{file}: cut3/fp32 ") for line in wrong] == [
        "agreement.value: None, logits: 0.972",
        "metrics.test.brier.n: missing, logits: 2000",
        "metrics.test.f2.value: 1.0, logits: nothing",
    ]


def test_a_mistake_in_metrics_cannot_hide(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Answers.by_label

    def transposed(self: Answers, truth: np.ndarray, names: list[str]) -> dict[str, Any]:
        found = right(self, truth, names)
        return found | {"confusion": np.transpose(found["confusion"]).tolist()}

    monkeypatch.setattr(Answers, "by_label", transposed)
    _, wrong = verify_results.check(file)
    assert any("cut3/fp32 confusion.0.1: understudy.metrics finds" in line for line in wrong)


def test_rows_must_match_by_id(file: Path) -> None:
    labels = np.load(file.parent / "labels.npz")
    ids = labels["ids"].copy()
    ids[[0, 1]] = ids[[1, 0]]
    _change_logits(file, "textcnn-int8", ids=ids)
    _change_logits(file, "small-fp16", ids=ids[:-1])
    (file.parent / "logits" / "tfidf-lr-sklearn.npz").unlink()
    assert verify_results.check(file) == (
        0,
        [
            f"{file}: logits/small-fp16.npz: ids differ from those of the labels",
            f"{file}: logits/textcnn-int8.npz: ids differ from those of the labels",
            f"{file}: logits/tfidf-lr-sklearn.npz: missing",
        ],
    )


def test_ids_must_be_unique(file: Path) -> None:
    labels = np.load(file.parent / "labels.npz")
    ids = labels["ids"].copy()
    ids[0] = ids[1]
    np.savez_compressed(file.parent / "labels.npz", ids=ids, labels=labels["labels"])
    for stored in (file.parent / "logits").glob("*.npz"):
        _change_logits(file, stored.stem, ids=ids)
    assert verify_results.check(file) == (0, [f"{file}: labels.npz: ids are not unique"])


@pytest.mark.parametrize(
    "path",
    [
        "calibration_study.val.before.measures.entropy.value",
        "calibration_study.test.after.coverage.1.coverage.ci95.0",
        "calibration_study.test.after.coverage.0.threshold",
        "calibration_study.val.after.reliability.3.1",
        "calibration_study.held.2.error.value",
    ],
)
def test_a_calibration_study_is_recomputed_where_there_is_one(file: Path, path: str) -> None:
    """The committed run is from before there were any; `val` is what a benchmark stores since."""
    results = _read(file)
    val = shutil.copytree(file.parent / "logits", file.parent / "val" / "logits").parent
    shutil.copyfile(file.parent / "labels.npz", val / "labels.npz")
    results["recipe"]["benchmark"]["bootstrap"] = 50
    labels = np.load(val / "labels.npz")["labels"]
    for row in results["models"]:
        logits = np.load(val / "logits" / f"{row['name']}-{row['variant']}.npz")["logits"]
        splits = {"val": (logits, labels), "test": (logits, labels)}
        row["calibration_study"] = calibration_study(splits, row["temperature"], 50, results["seed"])
    _write(file, results)
    assert not [line for line in verify_results.check(file)[1] if " calibration_study." in line]
    _edit(file, "cut3/fp32", path, 1e-8)
    (complaint,) = [line for line in verify_results.check(file)[1] if " calibration_study." in line]
    assert complaint.startswith(f"{file}: cut3/fp32 {path}: ")
    (val / "logits" / "cut3-fp32.npz").unlink()
    assert verify_results.check(file) == (0, [f"{file}: val/logits/cut3-fp32.npz: missing"])


def test_a_table_of_any_page_that_was_edited_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pages = [Path(shutil.copy(page, tmp_path)) for page in verify_results.tables.PAGES]
    assert [page.name for page in pages] == ["README.md", "seeds.md", "students.md"]
    monkeypatch.setattr(verify_results.tables, "PAGES", pages)
    monkeypatch.setattr(verify_results, "RESULTS", tmp_path)  # no figures, the pages alone
    with pytest.raises(SystemExit) as stop:
        verify_results.main()
    assert stop.value.code == 0, capsys.readouterr().err
    for page in pages:
        page.write_text(page.read_text(encoding="utf-8").replace("92.9", "92.8"), encoding="utf-8")
    with pytest.raises(SystemExit) as stop:
        verify_results.main()
    said = capsys.readouterr().err.splitlines()
    assert stop.value.code == 1 and [line.partition(":")[0] for line in said] == [page.name for page in pages]


def test_a_student_whose_int8_was_refused_has_its_fp32_file_in_the_headlines(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copied run has no INT8 file of cut3."""
    monkeypatch.setattr(verify_results.tables, "RESULTS", file.parents[2])
    (row,) = [row for row in _read(file)["models"] if (row["name"], row["variant"]) == ("cut3", "fp32")]
    value = f"{100 * row['metrics']['test']['accuracy']['value']:.2f}"
    said = verify_results.tables._sentence("emotion", "cut3")
    assert said.startswith(f"emotion, cut3 FP32: accuracy {value} [") and "42.6 of 91.6 MB" in said


@pytest.mark.parametrize("add", [0, 0.01])
def test_exit_code_tells_whether_all_is_right(
    add: float, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "README.md").write_text("no tables", encoding="utf-8")
    monkeypatch.setattr(verify_results.tables, "PAGES", [tmp_path / "README.md"])
    monkeypatch.setattr(verify_results, "RESULTS", tmp_path / "results")
    _edit(file, "cut3/fp32", "metrics.test.macro_f1.value", add)
    with pytest.raises(SystemExit) as stop:
        verify_results.main()
    wrong = int(add > 0)
    out, err = capsys.readouterr()
    assert stop.value.code == wrong
    assert out.endswith(f"figures recomputed from logits, {wrong} wrong\n")
    assert len(err.splitlines()) == wrong
