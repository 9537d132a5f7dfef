"""The calibration study in the report and on the command line, of new results and of older ones."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from invented import simulate
from understudy.cli import understudy
from understudy.errors import ArtifactError, InputError
from understudy.reporting import calibration_report, plots
from understudy.reporting.stage import write_report

PICTURES = {"calibration-reliability.png", "risk-coverage.png"}
SHOWN = {"teacher/fp32", "cut3/int8", "small/int8", "textcnn/int8", "cut3-no-teacher/fp32", "small-no-teacher/fp32"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("run")
    simulate(home / "benchmark", rows=120)
    return home


def older(run: Path, home: Path) -> Path:
    """The same, as it was before benchmarks stored validation logits and studies."""
    copy = shutil.copytree(run / "benchmark", home / "older")
    shutil.rmtree(copy / "val")
    results = json.loads((copy / "results.json").read_text(encoding="utf-8"))
    for model in results["models"]:
        model.pop("calibration_study", None)
    results["recipe"]["benchmark"] = {"bootstrap": 100}
    (copy / "results.json").write_text(json.dumps(results), encoding="utf-8")
    return copy


def call(*arguments: object) -> Result:
    return CliRunner().invoke(understudy, ["report", *map(str, arguments)])


def test_the_study_is_printed_with_splits_and_n(run: Path) -> None:
    printed = call("--calibration", run)
    assert printed.exit_code == 0, printed.output
    assert max(map(len, printed.stdout.splitlines())) <= 100
    for part in (*SHOWN, "n = 120", "n = 60", "there, the rows after it flatter", "Thresholds of validation, on test"):
        assert part in " ".join(printed.stdout.split()), part
    assert call(run, "--calibration").stdout == printed.stdout == call("--calibration", run / "benchmark").stdout


def test_as_json_it_is_what_results_hold(run: Path) -> None:
    found = json.loads(call("--calibration", run, "--json").stdout)
    models = json.loads((run / "benchmark" / "results.json").read_text(encoding="utf-8"))["models"]
    stored = {f"{model['name']}/{model['variant']}": model.get("calibration_study") for model in models}
    assert found == {key: stored[key] for key in SHOWN}


def test_pictures_and_a_csv_file_are_written_where_that_is_asked(run: Path, tmp_path: Path) -> None:
    done = call("--calibration", run, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"artifact.json", "calibration.csv", *PICTURES}
    with (tmp_path / "out" / "calibration.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    studies = {model["key"]: model["calibration_study"] for model in calibration_report(run)["models"]
               if "calibration_study" in model}  # fmt: skip
    assert len(rows) == len(studies) * (4 * (6 + 3) + 3 * 2) and {len(row) for row in rows} == {12}

    def figure(measure: str, **wanted: str) -> dict[str, str]:
        (found,) = [row for row in rows if row["measure"] == measure and wanted.items() <= row.items()]
        return found

    where = {"model": "cut3", "variant": "int8", "split": "test", "temperature": "after"}
    study = studies["cut3/int8"]
    expected = study["test"]["after"]["measures"]["entropy"]
    row = figure("entropy", **where)
    assert [float(row[name]) for name in ("value", "low", "high", "n")] == [expected["value"], *expected["ci95"], 120]
    assert float(figure("coverage", **where, risk="0.02")["value"]) == pytest.approx(
        study["test"]["after"]["coverage"][1]["coverage"]["value"]
    )
    held = figure("error at validation's threshold", **where, risk="0.05")
    assert float(held["value"]) == pytest.approx(study["held"][2]["error"]["value"])


def test_the_report_has_its_section(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "draw", lambda evidence, out: [])
    page = write_report(run / "benchmark", tmp_path).read_text(encoding="utf-8")
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    for title in ("Confidence before and after the temperature", "Thresholds of validation, on test"):
        assert f"<h3>{title}</h3>" in page and f"### {title}" in text
    assert page.count("there, the rows after it flatter") == text.count("there, the rows after it flatter") == 1
    assert "<h3>Calibration</h3>" not in page  # the short table of results without a study of validation


def test_older_results_are_studied_on_test_from_their_logits(run: Path, tmp_path: Path) -> None:
    source = older(run, tmp_path)
    results = calibration_report(source)
    new = {model["key"]: model.get("calibration_study") for model in calibration_report(run)["models"]}
    found = {model["key"]: model["calibration_study"] for model in results["models"] if "calibration_study" in model}
    assert set(found) == SHOWN
    for key, study in found.items():
        assert set(study) == {"test"}
        for when in ("before", "after"):
            theirs: Any = new[key]["test"][when]["measures"]
            assert {name: e["value"] for name, e in study["test"][when]["measures"].items()} == {
                name: e["value"] for name, e in theirs.items()
            }
    printed = call("--calibration", source)
    assert "validation n" not in printed.stdout and "Thresholds of validation" not in printed.stdout


def test_the_short_table_of_validation_stays_for_older_results(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "draw", lambda evidence, out: [])
    page = write_report(older(run, tmp_path), tmp_path).read_text(encoding="utf-8")
    assert "<h3>Calibration</h3>" in page and "<h3>Confidence before and after the temperature</h3>" in page


def test_what_cannot_be_studied_is_one_line(run: Path, tmp_path: Path) -> None:
    source = older(run, tmp_path)
    shutil.rmtree(source / "logits")
    with pytest.raises(ArtifactError, match=r"holds no logits to study; rerun `understudy benchmark`$"):
        calibration_report(source)
    with pytest.raises(ArtifactError, match=r"has no results\.json; `understudy benchmark` writes it$"):
        calibration_report(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    full = call("--calibration", run, "--out", tmp_path / "full")
    assert isinstance(full.exception, ArtifactError) and "did not write" in str(full.exception)
    assert (tmp_path / "full" / "mine.txt").exists()
    for arguments, message in [
        (["--json"], "--json is for --calibration"),
        ([], "say with --out where the report goes"),
    ]:
        done = call(run / "benchmark", *arguments)
        assert isinstance(done.exception, InputError) and str(done.exception) == message
