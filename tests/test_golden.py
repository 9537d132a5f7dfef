"""Golden inputs: what an artifact answered where it was made, asked again where it is used."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import tiny
from understudy import Classifier, cli
from understudy.artifact import Artifact
from understudy.calibration import calibrate
from understudy.errors import ArtifactError
from understudy.golden import check_golden

SHIPPED = [
    "teacher-fp32",
    *(f"students/{name}/{variant}" for name in ("half", "cnn") for variant in ("fp32", "fp16", "int8")),
]


@pytest.fixture
def home(finished_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished_run / "students/cnn/int8", tmp_path / "cnn")


def golden(home: Path) -> dict[str, Any]:
    found = Artifact.load(home).golden
    assert found is not None
    return found


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli.understudy, [*map(str, arguments)], standalone_mode=False)


def refusal(home: Path) -> str:
    with pytest.raises(ArtifactError) as error:
        check_golden(Classifier.load(home))
    assert "\n" not in str(error.value)
    return str(error.value).replace(str(home), "HOME")


@pytest.mark.parametrize("model", SHIPPED)
def test_every_stage_that_changes_scores_writes_them(finished_run: Path, model: str) -> None:
    """Exported, most of them quantized, then calibrated."""
    classifier = Classifier.load(finished_run / model)
    assert check_golden(classifier) == 9
    kept = golden(finished_run / model)
    found = classifier.predict_proba(kept["texts"])
    assert np.abs(found - kept["probabilities"]).max() <= 1e-6
    assert kept["tolerance"] == (0.15 if "int8" in model else 0.01)


def test_the_texts_are_ours_and_one_is_cut(finished_run: Path) -> None:
    texts = golden(finished_run / "students/half/int8")["texts"]
    assert {"", texts[-1]} < set(texts)
    classifier = Classifier.load(finished_run / "students/half/int8")
    longest = classifier.artifact.text
    assert longest is not None and len(texts[-1].split()) > longest.max_length
    known = {text for text, _ in tiny.rows(700, seed=1)}
    assert known.isdisjoint(texts)
    assert texts == golden(finished_run / "students/half/fp32")["texts"]


def test_what_torch_runs_has_none(finished_run: Path) -> None:
    for name in ("data", "teacher", "students/half/torch"):
        assert Artifact.load(finished_run / name).golden is None
        assert "golden" not in (finished_run / name / "artifact.json").read_text()


def test_a_new_temperature_needs_new_ones(home: Path, finished_run: Path) -> None:
    artifact = Artifact.load(home)
    artifact.rewrite(decision={"temperature": artifact.temperature * 5})
    assert "golden text" in refusal(home)
    Artifact.load(home).rewrite(measurements={})  # else it is taken for done
    calibrate(home, finished_run / "data")
    assert check_golden(Classifier.load(home)) == 9


def test_another_answer_is_refused_in_one_line(home: Path) -> None:
    kept = golden(home)
    for change, passes in ((0.1499, True), (0.1501, False), (-0.1501, False), (float("nan"), False)):
        expected = [list(row) for row in kept["probabilities"]]
        expected[3][1] += change
        artifact = Artifact.load(home).rewrite(golden=kept | {"probabilities": expected})
        classifier = Classifier.load(home)
        if passes:
            assert check_golden(classifier) == 9
            continue
        found = classifier.predict_proba([kept["texts"][3]])[0, 1]
        assert refusal(home) == (
            f"HOME: golden text 4 of 9 gets good {found:.4f} here, expected {expected[3][1]:.4f} ± 0.15: "
            "copy the whole directory again, or make the file on this machine"
        )
        assert artifact.digest == classifier.artifact.digest


def test_where_the_file_was_made_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = golden(home)
    Artifact.load(home).rewrite(golden=kept | {"probabilities": [[0.5, 0.5]] * 8 + [[2, -1]]})
    monkeypatch.setattr("understudy.golden.note_on_arithmetic", lambda artifact: "calibrated elsewhere")
    assert "(calibrated elsewhere): copy the whole" in refusal(home)


def test_another_model_is_noticed(finished_run: Path, tmp_path: Path) -> None:
    """Whole, and with a manifest that fits, but not what was measured."""
    for variant in ("fp32", "int8"):
        home = shutil.copytree(finished_run / f"students/half/{variant}", tmp_path / variant)
        other = finished_run / f"students/fresh/{variant}"
        shutil.copytree(other, home, dirs_exist_ok=True)
        Artifact.load(home).rewrite(golden=golden(finished_run / f"students/half/{variant}"))
        assert "golden text" in refusal(home)


@pytest.mark.parametrize(
    "change",
    [
        {"texts": None}, {"texts": ["one"]}, {"probabilities": [[1.0]] * 9}, {"probabilities": "x"},
        {"probabilities": [["a", "b"]] * 9}, {"tolerance": "much"}, {"tolerance": None},
    ],
)  # fmt: skip
def test_what_no_stage_wrote_is_refused(home: Path, change: dict[str, Any]) -> None:
    Artifact.load(home).rewrite(golden=golden(home) | change)
    assert refusal(home) == "HOME: its golden inputs are not what a stage writes; they were changed by hand"


def test_an_older_artifact_has_none_until_it_is_calibrated_again(home: Path, finished_run: Path) -> None:
    Artifact.load(home).rewrite(golden=None)
    assert check_golden(Classifier.load(home)) == 0
    assert "golden inputs    none: an older version wrote it; `calibrate` adds them" in call("inspect", home).output
    calibrate(home, finished_run / "data")
    assert check_golden(Classifier.load(home)) == 9


def test_inspect_asks(home: Path) -> None:
    assert "golden inputs    9, answered as expected" in call("inspect", home).output
    assert "golden" not in call("inspect", home.parent).output
    Artifact.load(home).rewrite(golden=golden(home) | {"probabilities": [[0.0, 1.0]] * 9})
    for options in ([], ["--json"]):
        result = call("inspect", home, *options)
        assert isinstance(result.exception, ArtifactError)
        assert "golden text" in str(result.exception)
        assert ("golden inputs    not answered as expected" if not options else '"golden": {') in result.output


def test_a_cascade_is_checked_by_its_members(finished_run: Path, tmp_path: Path) -> None:
    from understudy.cascade_settings import CascadeConfig
    from understudy.cascading import cascade

    members = [shutil.copytree(finished_run / name, tmp_path / "run" / name) for name in (SHIPPED[-1], SHIPPED[0])]
    out = tmp_path / "duo" / "cascade"
    cascade(members, finished_run / "data", out, CascadeConfig(level=0.4))
    classifier = Classifier.load(out)
    assert classifier.artifact.golden is None
    assert check_golden(classifier) == 18
    assert "golden inputs    18, answered as expected" in call("inspect", out).output
    large = Artifact.load(members[1])
    large.rewrite(golden=golden(members[1]) | {"probabilities": [[0.5, 0.5]] * 8 + [[3, -2]]})
    shutil.rmtree(out)
    cascade(members, finished_run / "data", out, CascadeConfig(level=0.4))
    assert "members/teacher-fp32: golden text" in refusal(out)
