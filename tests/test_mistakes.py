"""What the report says went wrong: disagreements, slices where a student loses, likely label errors."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from invented import EMOTIONS, simulate
from understudy.answers import Answers
from understudy.data.task import Labels, Split, Task
from understudy.decision import Decision
from understudy.errors import ArtifactError
from understudy.recording import write_predictions
from understudy.reporting import plots
from understudy.reporting.disagreements import counts, disagreement_table, disagreements
from understudy.reporting.examples import MOST, Examples, read_examples, shortened
from understudy.reporting.label_errors import disputed, label_errors
from understudy.reporting.slices import FEWEST, slices
from understudy.reporting.stage import write_report
from understudy.reporting.view import Evidence
from understudy.traits import write_traits

EVIL = "<script>alert(1)</script> | *text*"


def evidence_of(gold: Labels, answers: dict[str, NDArray[np.float64]], names: Sequence[str]) -> Evidence:
    """Of models whose calibrated probabilities these are."""
    several = gold.ndim == 2
    logits = {key: (np.log(p / (1 - p)) if several else np.log(p)).astype(np.float32) for key, p in answers.items()}
    models = [{"key": key, "temperature": 1.0} for key in answers]
    kind = "multi" if several else "single"
    return Evidence(models, [], names, "accuracy", gold, logits, list(answers), None, kind)  # type: ignore[arg-type]


def sure(chosen: Labels, probability: float | NDArray[np.float64] = 0.9, classes: int = 3) -> NDArray[np.float64]:
    """Probabilities of a model that gives its choice so much, and the others the rest in equal parts."""
    stated = np.broadcast_to(probability, chosen.shape)[:, None]
    return np.where(np.eye(classes)[chosen] == 1, stated, (1 - stated) / (classes - 1))


def test_the_surest_of_both_come_first() -> None:
    gold = np.array([0, 1, 2, 0])
    ours = sure(np.array([1, 1, 0, 1]), np.array([0.99, 0.9, 0.8, 0.7]))
    theirs = sure(np.array([0, 1, 2, 2]), np.array([0.6, 0.9, 0.95, 0.9]))
    evidence = evidence_of(gold, {"student/int8": ours, "teacher/fp32": theirs}, "abc")
    student, teacher = evidence.models
    found = disagreements(evidence, student, teacher)
    assert [one.row for one in found] == [2, 3, 0]
    assert found[0].student == ("a", pytest.approx(0.8)) and found[0].teacher == ("c", pytest.approx(0.95))
    assert counts(evidence, student, teacher) == {"different": 3, "teacher": 2, "student": 0, "neither": 1}
    table = disagreement_table(evidence, Examples(["i", "j", "k", "l"]), student, teacher)
    assert [cell.text for cell in table.rows[0]] == ["k", "c", "a", "c"] and "3 of 3." in table.note


def test_of_several_labels_each_is_a_question_and_its_threshold_counts() -> None:
    gold = np.array([[1, 0], [0, 1]])
    ours, theirs = np.array([[0.9, 0.1], [0.4, 0.9]]), np.array([[0.2, 0.1], [0.1, 0.8]])
    evidence = evidence_of(gold, {"student/int8": ours, "teacher/fp32": theirs}, ("arts", "praise"))
    student, teacher = evidence.models
    assert [(one.row, one.question.about) for one in disagreements(evidence, student, teacher)] == [(0, "arts")]
    student["thresholds"] = [0.3, 0.5]
    found = disagreements(evidence, student, teacher)
    assert [(one.row, one.student[0], one.teacher[0]) for one in found] == [(0, "yes", "no"), (1, "yes", "no")]
    assert found[1].student[1] == pytest.approx(0.4)
    table = disagreement_table(evidence, Examples(["i", "j"]), student, teacher)
    assert [cell.text for cell in table.rows[1]] == ["j", "arts", "no", "yes", "no"]


def losing(rows: int, where: NDArray[np.bool_], lost: int) -> tuple[Evidence, Any, Any]:
    """A student as its teacher, who is always right, but that it is wrong of the first `lost` texts there."""
    gold = np.random.default_rng(0).integers(0, 3, rows)
    wrong = np.flatnonzero(where)[:lost]
    ours = gold.copy()
    ours[wrong] = (gold[wrong] + 1) % 3
    evidence = evidence_of(gold, {"student/int8": sure(ours), "teacher/fp32": sure(gold)}, "abc")
    return evidence, *evidence.models


def test_the_slice_that_loses_is_found_and_stands_first() -> None:
    words = np.arange(1, 401)
    unknown = np.where(words <= 50, 0.3, np.where(words <= 100, 0.05, 0.0))
    evidence, student, teacher = losing(400, words <= 50, 40)
    examples = Examples([str(word) for word in words], words=words, unknown={"student-int8": unknown})
    found = slices(evidence, examples, student, teacher)
    assert {one.about for one in found} == {
        "gold: a", "gold: b", "gold: c", "1 to 100 words", "101 to 200 words", "201 to 300 words", "301 to 400 words",
        "no unknown token", "up to 10 % of the tokens unknown", "over 10 % of the tokens unknown",
    }  # fmt: skip
    worst = found[0]
    assert (worst.about, worst.n, worst.student, worst.teacher) == ("over 10 % of the tokens unknown", 50, 0.2, 1.0)
    assert worst.difference["value"] == -0.8 and worst.certain
    assert not next(one for one in found if one.about == "no unknown token").certain
    assert not any(one.about.endswith("unknown") for one in slices(evidence, Examples([]), student, teacher))


def test_intervals_admit_how_many_slices_were_looked_at() -> None:
    words = np.arange(1, 401)
    evidence, student, teacher = losing(400, words <= 100, 10)
    few = {one.about: one for one in slices(evidence, Examples([]), student, teacher)}
    more = {one.about: one for one in slices(evidence, Examples([], words=words), student, teacher)}
    assert len(more) == len(few) + 4
    for about, one in few.items():
        wider = more[about].difference["ci95"]
        assert wider[0] < one.difference["ci95"][0] and wider[1] > one.difference["ci95"][1]


def test_of_slices_without_a_loss_few_show_one() -> None:
    """Both models are right equally often everywhere: in at most 5 % of such tests any of the slices looks worse."""
    generator, wrongly, tests = np.random.default_rng(4), 0, 300
    for _ in range(tests):
        gold, words = generator.integers(0, 3, 400), generator.integers(1, 100, 400)
        ours, theirs = (np.where(generator.random(400) < 0.1, (gold + 1) % 3, gold) for _ in range(2))
        evidence = evidence_of(gold, {"student/int8": sure(ours), "teacher/fp32": sure(theirs)}, "abc")
        wrongly += any(one.certain for one in slices(evidence, Examples([], words=words), *evidence.models))
    assert wrongly / tests < 0.05


def test_texts_of_one_length_stay_together_and_small_slices_are_left_out() -> None:
    words = np.repeat([3, 4, 9], [300, 90, 10])
    evidence, student, teacher = losing(400, words > 0, 0)
    rare = {"student-int8": np.where(np.arange(400) < FEWEST - 1, 0.5, 0.0)}
    found = slices(evidence, Examples([], words=words, unknown=rare), student, teacher)
    assert "no unknown token" in {one.about for one in found}
    lengths = {one.about: one.n for one in found if "words" in one.about}
    assert lengths == {"3 words": 300, "4 to 9 words": 100}
    assert min(one.n for one in found) >= FEWEST
    same = slices(evidence, Examples([], words=np.full(400, 7)), student, teacher)
    assert not any("words" in one.about for one in same)


def test_a_label_is_disputed_by_the_thresholds_of_confident_learning() -> None:
    gold = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    stated = np.array([0.9, 0.9, 0.9, 0.1, 0.8, 0.8, 0.8, 0.33])  # of the gold answer
    probabilities = np.where(np.eye(2)[gold] == 1, stated[:, None], 1 - stated[:, None])
    # The thresholds are 0.7 and 0.68: the fourth text is 0.9 sure of 1; the last, 0.67 of 0, does not reach 0's.
    assert disputed(probabilities, gold).tolist() == [-1, -1, -1, 1, -1, -1, -1, -1]
    near = np.array([[0.45, 0.55, 0.0], [0.9, 0.1, 0.0], [0.4, 0.5, 0.1], [0.1, 0.5, 0.4]])
    # The thresholds are 0.68 and 0.5: the first text reaches that of 1, but 0.45 is not far below its own.
    assert disputed(near, np.array([0, 0, 1, 1])).tolist() == [-1, -1, -1, -1]
    near[0] = [0.2, 0.55, 0.25]
    assert disputed(near, np.array([0, 0, 1, 1])).tolist() == [1, -1, -1, -1]
    unsure = sure(np.array([0, 0, 1, 1, 2, 2]), 0.4)
    assert (disputed(unsure, np.array([0, 0, 1, 1, 2, 2])) == -1).all()


@pytest.mark.parametrize("classes", [2, 3])
def test_wrong_labels_are_found_where_models_agree(classes: int) -> None:
    generator = np.random.default_rng(5)
    truth = generator.integers(0, classes, 500)
    gold = truth.copy()
    gold[:20] = (truth[:20] + 1) % classes  # these labels are wrong
    answers = {}
    for key in ("teacher/fp32", "student/int8", "tfidf-lr/sklearn"):
        slips = generator.random(500) < 0.05
        answers[key] = sure(np.where(slips, (truth + 1) % classes, truth), generator.uniform(0.85, 0.99, 500), classes)
    evidence = evidence_of(gold, answers, "abc"[:classes])
    teacher, *others = evidence.models
    found = label_errors(evidence, teacher, others)
    rows = [one.row for one in found]
    assert len(set(rows) & set(range(20))) >= 12  # their models slip, and half of those confident are above the mean
    assert len(set(rows) - set(range(20))) <= 2
    assert all(one.instead == truth[one.row] for one in found if one.row < 20)
    assert [one.probability for one in found] == sorted(one.probability for one in found)
    assert label_errors(evidence, teacher, []) == []  # one model alone is no evidence
    answers["student/int8"], answers["tfidf-lr/sklearn"] = sure(gold, 0.9, classes), sure(gold, 0.9, classes)
    stubborn = evidence_of(gold, answers, "abc"[:classes])
    assert label_errors(stubborn, stubborn.models[0], stubborn.models[1:]) == []


def test_a_missing_label_of_several_is_found() -> None:
    truth = np.random.default_rng(6).integers(0, 2, (200, 2))
    gold = truth.copy()
    row = int(np.flatnonzero(truth[:, 0] == 1)[0])
    gold[row, 0] = 0
    distance = np.random.default_rng(7).uniform(0.02, 0.1, truth.shape)
    distance[row] = 0.02
    stated = np.where(truth == 1, 1 - distance, distance)
    evidence = evidence_of(gold, {"teacher/fp32": stated, "student/int8": stated}, ("arts", "praise"))
    (found,) = label_errors(evidence, evidence.models[0], evidence.models[1:])
    assert (found.row, found.question.about, found.instead, found.models) == (row, "arts", 1, 2)


def test_a_long_text_keeps_both_ends_on_one_line() -> None:
    assert shortened("a\n b\t\x1b[31mc\u202e") == "a b \ufffd[31mc\ufffd"
    text = shortened(" ".join(f"word{number}" for number in range(100)))
    assert text.startswith("word0 word1") and text.endswith("word98 word99") and len(text) <= 121
    assert " … " in text and len(shortened("x" * 10_000)) <= 121
    assert shortened("x" * 121) == "x" * 121


@pytest.fixture(scope="module")
def invented(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(tmp_path_factory.mktemp("invented") / "benchmark")


def full(invented: Path, home: Path, texts: bool = True) -> Path:
    """An invented benchmark with traits and, if asked for, the texts."""
    benchmark = shutil.copytree(invented, home / "benchmark")
    with np.load(benchmark / "labels.npz") as file:
        ids, labels = file["ids"].tolist(), file["labels"]
    contents = [f"@user {EVIL}, number {row}" for row in range(len(ids))]
    words = np.arange(len(ids))
    write_traits(benchmark, {"ids": np.array(ids), "words": words, "unknown/cut3-int8": (words % 2).astype(float)})
    if texts:
        answers = Answers(np.zeros((len(ids), 6), dtype=np.float32), Decision())
        split = Split("test", ids, contents, labels)
        write_predictions(benchmark, Task("emotion", EMOTIONS), split, {"teacher/fp32": answers})
    return benchmark


def written(benchmark: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr(plots, "draw", lambda evidence, out: [])
    out.mkdir()
    write_report(benchmark, out)
    return {kind: (out / f"report.{kind}").read_text(encoding="utf-8") for kind in ("html", "md", "txt")}


def test_every_document_has_the_section_and_texts_are_never_markup(
    invented: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = written(full(invented, tmp_path), tmp_path / "report", monkeypatch)
    for text in found.values():
        assert "What went wrong" in text and "test texts" in text.replace("\n  ", " ")
        for title in ("Most confident disagreements of cut3/int8", "Where cut3/int8 loses most against teacher/fp32"):
            assert title in text
        assert "The other students against their teacher" in text and re.search(r"\d words|unknown", text)
        assert "Ids stand for the texts" not in text and "stored no lengths" not in text
    assert "<script>" not in found["html"] and "&lt;script&gt;alert(1)&lt;/script&gt;" in found["html"]
    assert "<script>" not in found["md"] and r"\*text\*" in found["md"]
    assert f"@user {EVIL}, number " in found["txt"]  # without the sign that keeps spreadsheets from running it
    assert found["html"].count("@user") <= 2 * MOST


def test_without_predictions_no_text_is_told(invented: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = written(full(invented, tmp_path, texts=False), tmp_path / "report", monkeypatch)
    for text in found.values():
        assert "Ids stand for the texts" in text and "@user" not in text
        assert "Most confident disagreements" in text and "test-" in text


def test_an_older_benchmark_has_its_report_all_the_same(
    invented: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark = full(invented, tmp_path)
    (benchmark / "traits.npz").unlink()
    old = written(benchmark, tmp_path / "old", monkeypatch)["txt"]
    assert "stored no lengths of texts" in " ".join(old.split()) and "gold: " in old
    assert not re.search(r"\d words|known token", old)
    results = json.loads((benchmark / "results.json").read_text())
    results["models"] = [model for model in results["models"] if model["role"] != "teacher"]
    (benchmark / "results.json").write_text(json.dumps(results))
    alone = written(benchmark, tmp_path / "alone", monkeypatch)
    assert not any("What went wrong" in text for text in alone.values())
    shutil.rmtree(benchmark / "logits")
    bare = written(benchmark, tmp_path / "bare", monkeypatch)
    assert not any("What went wrong" in text for text in bare.values())


def test_traits_and_texts_of_another_test_are_refused(invented: Path, tmp_path: Path) -> None:
    benchmark = full(invented, tmp_path)
    examples = read_examples(benchmark)
    assert examples.texts[7] == f"@user {EVIL}, number 7" and examples.words[7] == 7
    lines = (benchmark / "predictions" / "teacher-fp32.csv").read_text().splitlines(keepends=True)
    (benchmark / "predictions" / "teacher-fp32.csv").write_text("".join(lines[:-1]))
    with pytest.raises(ArtifactError, match=r"has 399 texts, labels\.npz 400; rerun `understudy benchmark`"):
        read_examples(benchmark)
    write_traits(benchmark, {"ids": np.array(["other"]), "words": np.array([1])})
    with pytest.raises(ArtifactError, match=r"and labels\.npz hold other ids; rerun"):
        read_examples(benchmark)
