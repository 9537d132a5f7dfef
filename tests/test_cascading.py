"""Cascades: an artifact like any other, whose small members answer what they are sure of."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

import tiny
from neighbours import TEXTS, check_independence
from understudy import Classifier, cli
from understudy.artifact import Artifact
from understudy.budget_settings import Limits
from understudy.cards import write_cascade_card
from understudy.cascade_settings import CascadeConfig
from understudy.cascading import cascade
from understudy.certificates import described
from understudy.choosing import choose
from understudy.classifier import DEFER_BELOW, Cascade, members_of
from understudy.data.storing import read_split
from understudy.errors import ArtifactError, InputError, UncertifiedError
from understudy.reporting import plots
from understudy.reporting.formats import compact, escape_markdown, megabytes
from understudy.reporting.view import FILES, Evidence

SMALL, MIDDLE, LARGE = "students/cnn/int8", "students/half/int8", "teacher-fp32"
LOOSE = CascadeConfig(level=0.3)  # of 70 validation texts


@pytest.fixture(scope="module")
def made(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cascades") / "trio" / "cascade"
    cascade([finished_run / name for name in (SMALL, MIDDLE, LARGE)], finished_run / "data", out, LOOSE)
    return out


@pytest.fixture
def split(made: Path, tmp_path: Path) -> Path:
    """The cascade with a threshold that parts the texts between all members."""
    home = shutil.copytree(made, tmp_path / "split" / "cascade")
    members = cascade_at(home).members
    first, second = (member.predict_proba(TEXTS).max(axis=1) for member in members[:2])
    parts = [t for t in np.concatenate([first, second]) if ((first < t) & (second >= t)).any()]
    parts = [t for t in parts if (first >= t).any() and ((first < t) & (second < t)).any()]
    Artifact.load(home).rewrite(decision={DEFER_BELOW: float(np.median(parts))})
    assert set(cascade_at(home).answer(TEXTS)[1]) == {0, 1, 2}
    return home


def cascade_at(home: Path) -> Cascade:
    classifier = Classifier.load(home)
    assert isinstance(classifier, Cascade)
    return classifier


def validation_of(artifact: Artifact) -> dict[str, Any]:
    found: dict[str, Any] = artifact.measurements["validation"]
    return found


def evidence_of(*models: dict[str, Any]) -> Evidence:
    return Evidence(models, [], tiny.LABELS, "accuracy", np.zeros(0, dtype=np.int64), {}, [])


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli.understudy, [*map(str, arguments)], catch_exceptions=False, standalone_mode=False)


def test_the_member_that_is_sure_answers_with_its_probabilities(split: Path) -> None:
    classifier = cascade_at(split)
    by, rows = classifier.answer(TEXTS)[1], classifier.predict_proba(TEXTS)
    alone = [member.predict_proba(TEXTS) for member in classifier.members]
    for text, (place, row) in enumerate(zip(by, rows, strict=True)):
        assert all(alone[earlier][text].max() < classifier.defer_below for earlier in range(place))
        assert place == 2 or alone[place][text].max() >= classifier.defer_below
        assert row == pytest.approx(alone[place][text], abs=1e-6)
        assert classifier.predict([TEXTS[text]])[0].label == classifier.labels[alone[place][text].argmax()]


def test_a_prediction_of_a_cascade_does_not_depend_on_its_neighbours(split: Path) -> None:
    check_independence(split)


def test_it_moves_and_every_file_of_its_members_is_checked(made: Path, finished_run: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(made, tmp_path / "elsewhere")
    assert Classifier.load(moved).logits(TEXTS).tobytes() == Classifier.load(made).logits(TEXTS).tobytes()
    members = sorted(path.name for path in (moved / "members").iterdir())
    assert members == ["cnn-int8", "half-int8", "teacher-fp32"]
    assert (moved / "members/cnn-int8/model.onnx").read_bytes() == (finished_run / SMALL / "model.onnx").read_bytes()
    manifest = moved / "members" / "cnn-int8" / "artifact.json"
    manifest.write_text(manifest.read_text().replace('"temperature": ', '"temperature": 1'))
    with pytest.raises(ArtifactError, match=r"cnn-int8/artifact\.json was changed after it was written"):
        Classifier.load(moved)


def test_its_manifest_says_what_was_promised(made: Path) -> None:
    artifact = Artifact.load(made)
    certificate, seen = artifact.measurements["certificate"], artifact.measurements["validation"]
    assert (certificate["target"], certificate["level"], certificate["confidence"]) == ("agreement", 0.3, 0.95)
    assert (certificate["n"], certificate["rows"]) == (70, {"of": "val"})
    assert certificate["seen_risk"] < 0.3 and certificate["p"] <= 0.05
    assert certificate["seen_risk"] == pytest.approx(1 - seen["agreement"]["value"])
    assert list(seen["answered"]) == ["cnn/int8", "half/int8", "teacher/fp32"]
    assert sum(seen["answered"].values()) == pytest.approx(1)
    said = call("inspect", made).output
    assert "certified        another answer than the large model's on at most 30 % of the texts, with 95 %" in said
    assert f"from a confidence of {artifact.decision[DEFER_BELOW]:.4f} on" in said


def test_what_was_seen_is_what_it_does(made: Path, finished_run: Path) -> None:
    val = read_split(finished_run / "data" / "val.parquet", "val")
    classifier, large = cascade_at(made), Classifier.load(finished_run / LARGE)
    logits, by = classifier.answer(val.texts)
    seen = Artifact.load(made).measurements["validation"]
    assert list(seen["answered"].values()) == [float((by == place).mean()) for place in range(3)]
    same = logits.argmax(axis=1) == large.logits(val.texts).argmax(axis=1)
    assert seen["agreement"]["value"] == same.mean()
    assert seen["accuracy"]["value"] == (logits.argmax(axis=1) == val.labels).mean()


def test_the_command_and_every_setting(finished_run: Path, tmp_path: Path) -> None:
    pair = (finished_run / SMALL, finished_run / LARGE, "--data", finished_run / "data")
    found = {}
    for name, flags in {
        "plain": (), "tight": ("--level", "0.1"), "surer": ("--confidence", "0.999"), "risk": ("--target", "risk"),
    }.items():  # fmt: skip
        flags = flags if "--level" in flags else ("--level", "0.15", *flags)
        result = call("cascade", *pair, "--out", tmp_path / name, *flags)
        assert result.stdout.endswith(f"{tmp_path / name}\n")
        artifact = Artifact.load(tmp_path / name)
        found[name] = (artifact.decision[DEFER_BELOW], artifact.measurements["certificate"]["p"])
    assert len(set(found.values())) == 4
    assert found["plain"][0] < found["tight"][0] and found["plain"][0] < found["surer"][0]
    before = (tmp_path / "plain" / "artifact.json").stat().st_mtime_ns
    assert call("cascade", *pair, "--out", tmp_path / "plain", "--level", "0.15").exit_code == 0
    assert (tmp_path / "plain" / "artifact.json").stat().st_mtime_ns == before  # it is there


def test_unlabelled_texts_certify_agreement_but_not_those_of_the_training(finished_run: Path, tmp_path: Path) -> None:
    known = read_split(finished_run / "data" / "train.parquet", "train").texts[:40]
    new = [text for text, _ in tiny.rows(400, seed=99)]
    file = tmp_path / "new.jsonl"
    lines = [json.dumps({"said": text}) + "\n" for text in [*known, known[0].upper(), *new, " "]]
    file.write_text("".join(lines), encoding="utf-8")
    models, out = [finished_run / SMALL, finished_run / LARGE], tmp_path / "out"
    made = cascade(models, finished_run / "data", out, CascadeConfig(level=0.1), texts=file, column="said")
    certificate = made.measurements["certificate"]
    left_out = certificate["rows"]["left_out"]
    assert certificate["rows"]["of"] == "texts"
    assert left_out["empty"] == 1 and left_out["seen"] >= 41
    assert certificate["n"] == len(lines) - left_out["seen"] - left_out["empty"]
    assert made.measurements["validation"]["accuracy"]["n"] == 70
    with pytest.raises(InputError, match="are for --target agreement"):
        cascade(models, finished_run / "data", out, CascadeConfig(target="risk"), texts=file)


def test_what_cannot_be_certified_is_said_and_not_written(finished_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as end:
        cli.main(["cascade", *(str(finished_run / name) for name in (SMALL, LARGE)), "--data",
                  str(finished_run / "data"), "--out", str(out)])  # fmt: skip
    assert end.value.code == 3
    with pytest.raises(UncertifiedError, match=r"70 texts cannot certify agreement .*: at least 299 are needed"):
        cascade([finished_run / SMALL, finished_run / LARGE], finished_run / "data", out)
    worse = finished_run / "students/fresh/int8"
    level = CascadeConfig(level=0.05, confidence=0.95)
    with pytest.raises(UncertifiedError, match=r"is spared only the surest \d+\.\d % of them .* raise --level"):
        cascade([worse, finished_run / LARGE], finished_run / "data", out, level)
    assert list(tmp_path.iterdir()) == []


def test_members_that_do_not_fit(finished_run: Path, made: Path, tmp_path: Path) -> None:
    data, out = finished_run / "data", tmp_path / "out"
    small, large = finished_run / SMALL, finished_run / LARGE
    for models, message in (
        ([large], "at least two artifacts"),
        ([small, small], "a second cnn/int8"),
        ([finished_run / "students/cnn/torch", large], "expected an ONNX artifact as a member, got no model.onnx"),
        ([small, made], "got a cascade itself: give its members"),
    ):
        with pytest.raises((ArtifactError, InputError), match=message):
            cascade(models, data, out, LOOSE)
    other = shutil.copytree(small, tmp_path / "other")
    artifact = Artifact.load(other)
    artifact.rewrite(decision={})
    with pytest.raises(
        ArtifactError, match=f"other is not calibrated, .* `understudy calibrate {other} --data {data}`"
    ):
        cascade([other, large], data, out, LOOSE)
    assert artifact.task is not None and artifact.text is not None
    artifact.rewrite(text=type(artifact.text)(("nfc",), artifact.text.max_length))
    with pytest.raises(ArtifactError, match="normalise texts in different ways"):
        cascade([other, large], data, out, LOOSE)


def test_a_member_that_was_made_on_other_data_is_named(made: Path, finished_run: Path, tmp_path: Path) -> None:
    usual = [warning for warning in Artifact.load(made).warnings if "70 validation rows are too few" in warning]
    assert Artifact.load(made).warnings == usual
    small, large = (shutil.copytree(finished_run / name, tmp_path / name) for name in (SMALL, LARGE))
    artifact = Artifact.load(small)
    artifact.rewrite(measurements={"calibration": {"of": {"data": "another"}}})
    said = call("cascade", small, large, "--data", finished_run / "data", "--out", tmp_path / "out", "--level", 0.3)
    warning = (
        "cnn/int8: made on other data: its training or calibration may have seen these validation or test texts, "
        "which would flatter the certificate"
    )
    assert warning in Artifact.load(tmp_path / "out").warnings
    assert f"warning: {warning}\n" in said.stderr
    splits = Artifact.load(finished_run / "data").digest_of("train.parquet", "val.parquet", "test.parquet")
    artifact.rewrite(measurements={"calibration": {"of": {"data": "another"}, "splits": splits}})
    found = cascade([small, large], finished_run / "data", tmp_path / "more texts", LOOSE).warnings
    assert not [line for line in found if "other data" in line]
    artifact.rewrite()
    uncalibrated = Artifact.load(large)
    uncalibrated.rewrite(decision={}, measurements={}, inputs=uncalibrated.inputs | {"data": "another"})
    found = cascade([small, large], finished_run / "data", tmp_path / "again", LOOSE).warnings
    assert [line.partition(":")[0] for line in found if "other data" in line] == ["teacher/fp32"]


def test_the_picture_of_its_certificate_has_every_threshold_that_was_tested(made: Path, finished_run: Path) -> None:
    artifact, members = Artifact.load(made), cascade_at(made).members
    certificate = artifact.measurements["certificate"]
    tested, texts = certificate["tested"], read_split(finished_run / "data" / "val.parquet", "val").texts
    probabilities = [member.predict_proba(texts) for member in members]
    first, second = (rows.max(axis=1) for rows in probabilities[:2])
    answers = np.stack([rows.argmax(axis=1) for rows in probabilities])
    for point in tested:
        by = np.where(first >= point["threshold"], 0, np.where(second >= point["threshold"], 1, 2))
        assert point["deferred"] == (by == 2).mean()
        assert point["risk"] == (answers[by, np.arange(len(by))] != answers[2]).mean()
    assert 2 < len(tested) <= 100
    assert artifact.decision[DEFER_BELOW] == [point for point in tested if point["p"] <= 0.05][-1]["threshold"]
    row = {"key": "trio/cascade", "cascade": {"certificate": certificate}}
    figure = plots.PICTURES["cascade-risk-coverage.png"](evidence_of(row, row | {"key": "other/cascade"}))
    assert figure is not None and [axes.get_title() for axes in figure.axes] == ["trio/cascade", "other/cascade"]
    drawn = {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].lines}
    assert drawn["thresholds tested"] == [[1 - point["deferred"], point["risk"]] for point in tested]
    (certified,) = drawn["certified"]
    assert certified == [1 - validation_of(artifact)["answered"]["teacher/fp32"], certificate["seen_risk"]]
    assert {y for _, y in drawn["level"]} == {0.3}
    older = {"key": "old/cascade", "cascade": {"certificate": {**certificate, "tested": []}}}
    assert plots.PICTURES["cascade-risk-coverage.png"](evidence_of(older, {"key": "cnn/int8"})) is None
    figure.savefig(io.BytesIO())


def test_its_card_says_members_threshold_and_certificate(made: Path, tmp_path: Path) -> None:
    artifact = Artifact.load(shutil.copytree(made, tmp_path / "trio" / "cascade"))
    write_cascade_card(artifact)
    _, metadata, text = (artifact.path / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert yaml.safe_load(metadata)["tags"] == ["text-classification", "understudy", "cascade"]
    assert text.startswith("\n# trio/cascade\n")
    for member, (name, share) in zip(members_of(artifact), validation_of(artifact)["answered"].items(), strict=True):
        size = sum(path.stat().st_size for path in member.path.iterdir())
        row = next(line for line in text.splitlines() if line.startswith(f"| {name} "))
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[1:] == [FILES[member.details["variant"]], compact(member.details["params"]),
                             megabytes(size).text, f"{100 * share:.1f}"]  # fmt: skip
    certificate = artifact.measurements["certificate"]
    assert f"from a confidence of {artifact.decision[DEFER_BELOW]:.4f} on" in text
    assert f"Certified: {described(certificate)}." in text
    assert f"the risk seen there was {100 * certificate['seen_risk']:.2f} %, p = {certificate['p']:.3g}" in text
    accuracy = validation_of(artifact)["accuracy"]
    assert f"| accuracy | {accuracy['value']:.4f} | {accuracy['ci95'][0]:.4f} to {accuracy['ci95'][1]:.4f} |" in text
    assert artifact.warnings and all(f"- {escape_markdown(warning)}\n" in text for warning in artifact.warnings)
    assert "Validation also chose" in text
    artifact.rewrite(measurements=artifact.measurements | {"certificate": certificate | {"rows": {"of": "texts"}}})
    write_cascade_card(Artifact.load(artifact.path))
    assert "Validation also chose" not in (artifact.path / "README.md").read_text(encoding="utf-8")


def test_the_command_writes_the_card(finished_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "duo" / "cascade"
    pair = (finished_run / SMALL, finished_run / LARGE)
    call("cascade", *pair, "--data", finished_run / "data", "--out", out, "--level", 0.3)
    assert (out / "README.md").read_text(encoding="utf-8").count("# duo/cascade") == 1
    Artifact.load(out, verify=True)


def test_it_abstains_where_the_member_that_answers_is_not_sure(split: Path, tmp_path: Path) -> None:
    classifier = cascade_at(split)
    alone = np.stack([member.predict_proba(TEXTS).max(axis=1) for member in classifier.members])
    confidence = alone[classifier.answer(TEXTS)[1], np.arange(len(TEXTS))]
    limit = float(np.quantile(confidence, 0.5001))
    unsure = (confidence < limit).tolist()
    found = classifier.predict(TEXTS, abstain_below=limit)
    assert any(unsure) and [prediction.label == "abstained" for prediction in found] == unsure
    file = tmp_path / "texts.csv"
    tiny.write_csv(file, [(text, "") for text in TEXTS if text], ("text", "note"))
    said = call("predict", split, "--input", file, "--output", tmp_path / "out.jsonl", "--abstain-below", limit)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["label"] for row in rows] == [one.label for one, text in zip(found, TEXTS, strict=True) if text]
    assert f"{sum(row['label'] == 'abstained' for row in rows)} abstained from" in said.stderr


def test_choose_weighs_it_like_any_other(split: Path, finished_run: Path, tmp_path: Path) -> None:
    quick = ("--speed-texts", 8, "--repeats", 1, "--bootstrap", 100)
    val = read_split(finished_run / "data" / "val.parquet", "val")
    right = (cascade_at(split).predict_proba(val.texts).argmax(axis=1) == val.labels).mean()
    size = sum(path.stat().st_size for path in split.rglob("*") if path.is_file())
    for name, others in {"alone": (), "beside": (finished_run / LARGE,)}.items():
        call("benchmark", split, *others, "--data", finished_run / "data", "--out", tmp_path / name, *quick)
        (seen,) = [one for one in choose(tmp_path / name).candidates if one.key == "split/cascade"]
        assert seen.quality.value == pytest.approx(right) and (seen.bytes, seen.rate is None) == (size, False)
    large = Classifier.load(finished_run / LARGE).predict_proba(val.texts).argmax(axis=1) == val.labels
    assert seen.retention is not None and seen.retention.value == pytest.approx(right / large.mean())
    found = choose(tmp_path / "alone", Limits(max_mb=size / 1e6))
    assert found.path is not None and found.path.resolve() == split.resolve()
    refused = choose(tmp_path / "alone", Limits(max_mb=0.9 * size / 1e6))
    assert refused.choice is None and [one.key for one in refused.nearest] == ["split/cascade"]


def test_predict_and_benchmark_take_it_like_any_other(split: Path, finished_run: Path, tmp_path: Path) -> None:
    answer = json.loads(call("predict", split, "a lovely film", "--json").stdout)
    assert answer["label"] in tiny.LABELS
    file = tiny.write_csv(tmp_path / "new.csv", tiny.rows(60, seed=4))
    quick = ("--speed-texts", 8, "--repeats", 1, "--bootstrap", 100)
    said = call("benchmark", split, finished_run / LARGE, "--data", file, *quick, "--json").stdout
    model = json.loads(said)["models"][0]
    assert model["bytes"] == sum(path.stat().st_size for path in split.rglob("*") if path.is_file())
    by = cascade_at(split).answer([text for text, _ in tiny.rows(60, seed=4)])[1]
    assert [share["value"] for share in model["cascade"]["answered"].values()] == [
        float((by == place).mean()) for place in range(3)
    ]
    assert model["speed"] and model["load_ms"] > 0


@pytest.mark.wide
def test_the_report_says_who_answered(split: Path, finished_run: Path, tmp_path: Path) -> None:
    quick = ("--speed-texts", 8, "--repeats", 1, "--bootstrap", 100)
    models = (split, finished_run / SMALL, finished_run / LARGE)
    call("benchmark", *models, "--data", finished_run / "data", "--out", tmp_path / "benchmark", *quick)
    call("report", tmp_path / "benchmark", "--out", tmp_path / "report")
    results = json.loads((tmp_path / "report" / "results.json").read_text(encoding="utf-8"))
    rows = {f"{model['name']}/{model['variant']}": model for model in results["models"]}
    row = rows["split/cascade"]
    assert row["role"] == "student" and row["calibration_study"]["test"]["after"]["coverage"]
    assert row["bytes"] > rows["teacher/fp32"]["bytes"] + rows["cnn/int8"]["bytes"]
    assert sum(share["value"] for share in row["cascade"]["answered"].values()) == pytest.approx(1)
    assert {"split/cascade", "teacher/fp32"} in [{pair["first"], pair["second"]} for pair in results["comparisons"]]
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "split/cascade: the test texts were answered by cnn-int8" in text
    assert "certified: another answer than the large model's on at most 30" in text
    assert (tmp_path / "report" / "risk-coverage.png").exists()
    assert "](cascade-risk-coverage.png)" in text and "the mark was certified" in text
    changed = Artifact.load(split)
    changed.rewrite(decision={DEFER_BELOW: 0.999})  # another cascade, though its files are the same
    call("benchmark", *models, "--data", finished_run / "data", "--out", tmp_path / "benchmark", *quick)
    again = json.loads((tmp_path / "benchmark" / "results.json").read_text(encoding="utf-8"))
    assert next(m for m in again["models"] if m["variant"] == "cascade")["cascade"][DEFER_BELOW] == 0.999
