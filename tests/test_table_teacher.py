"""A table of probabilities as a teacher: what it may say, what is refused, and that no row is lost in silence."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from answers_kit import labelled, prepared, probabilities, settings, split_of
from understudy.answering import ANSWERS, answer_test, appoint
from understudy.answering.rows import FLOOR
from understudy.artifact import Artifact
from understudy.errors import DataError
from understudy.progress import Silent

SPLITS = ("train", "val", "test", "unlabeled")


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("data") / "home")


@pytest.fixture
def data(ready: Path, tmp_path: Path) -> Path:
    (tmp_path / "data").symlink_to(ready)
    return tmp_path / "data"


def rows_of(data: Path, splits: Sequence[str] = SPLITS) -> list[dict[str, Any]]:
    """A row for every text, each with a probability of its own."""
    texts = [
        (split.ids[i], split.texts[i]) for split in (split_of(data, name) for name in splits) for i in range(len(split))
    ]
    shares = np.linspace(0.05, 0.95, len(texts))
    return [
        {"id": name, "text": text, "p_good": round(float(p), 4), "p_bad": round(1 - float(p), 4)}
        for (name, text), p in zip(texts, shares, strict=True)
    ]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


def refusal(data: Path, rows: list[dict[str, Any]], **given: Any) -> str:
    write(data.parent / "t.csv", rows)
    with pytest.raises(DataError) as error:
        labelled(data, settings("table", path="t.csv", **given))
    assert "\n" not in str(error.value)
    assert not list(data.parent.glob(".*.partial"))
    return str(error.value).removeprefix(f"{data.parent / 't.csv'}: ")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_every_text_gets_the_row_that_is_its(data: Path, suffix: str) -> None:
    rows = rows_of(data)
    write(data.parent / f"t{suffix}", rows[::-1])  # in another order, its columns too
    labels = labelled(data, settings("table", path=f"t{suffix}"))
    expected = {row["text"]: [row["p_bad"], row["p_good"]] for row in rows}
    for name in ("train", "val", "unlabeled"):
        found = probabilities(labels, data, name)
        np.testing.assert_allclose(found, [expected[text] for text in split_of(data, name).texts], atol=1e-6)
    assert labels.measurements["unanswered"] == {}
    assert not (labels.path / "test-00000.parquet").exists()
    answers = answer_test(Artifact.load(data.parent / "teacher", ANSWERS), split_of(data, "test"), 64, Silent())
    assert answers.logits is not None
    np.testing.assert_allclose(
        np.exp(answers.logits), [expected[text] for text in split_of(data, "test").texts], atol=1e-6
    )


@pytest.mark.parametrize(
    ("scale", "change"), [("log_probability", np.log), ("logit", lambda p: np.log(p) + 3.0)], ids=["logs", "logits"]
)
def test_other_scales_say_the_same(data: Path, scale: str, change: Any) -> None:
    rows = rows_of(data)
    write(data.parent / "p.csv", rows)
    write(data.parent / "z.csv", [row | {n: change(row[n]) for n in ("p_good", "p_bad")} for row in rows])
    first = labelled(data, settings("table", path="p.csv"))
    same = probabilities(first, data, "train")
    found = labelled(data, settings("table", path="z.csv", scale=scale))
    np.testing.assert_allclose(probabilities(found, data, "train"), same, atol=1e-5)


def test_columns_may_be_named_as_the_labels_or_as_the_map_says(data: Path) -> None:
    rows = rows_of(data)
    write(data.parent / "p.csv", rows)
    expected = probabilities(labelled(data, settings("table", path="p.csv")), data, "train")
    for names, given in (
        ({"p_good": "Good", "p_bad": "bad"}, {}),
        ({"p_good": "p_pos", "p_bad": "p_neg"}, {"label_map": {"pos": "good", "neg": "bad"}}),
    ):
        renamed = [{names.get(name, name): value for name, value in row.items()} for row in rows]
        write(data.parent / "p.csv", renamed)
        found = labelled(data, settings("table", path="p.csv", **given))
        np.testing.assert_array_equal(probabilities(found, data, "train"), expected)
    texts = [{"words" if name == "text" else name: value for name, value in row.items()} for row in rows]
    write(data.parent / "p.csv", texts)
    found = labelled(data, settings("table", path="p.csv", text="words"))
    np.testing.assert_array_equal(probabilities(found, data, "train"), expected)


def test_rows_by_id_are_checked_against_the_text(data: Path) -> None:
    rows = rows_of(data)
    write(data.parent / "p.csv", rows)
    by_text = probabilities(labelled(data, settings("table", path="p.csv")), data, "train")
    write(data.parent / "p.csv", [{name: row[name] for name in ("id", "p_bad", "p_good")} for row in rows])
    labels = labelled(data, settings("table", path="p.csv", id="id"))
    np.testing.assert_array_equal(probabilities(labels, data, "train"), by_text)
    shifted = [row | {"id": after["id"]} for row, after in zip(rows, rows[1:] + rows[:1], strict=True)]
    message = refusal(data, shifted, id="id").rpartition("answers.csv: ")[2]
    assert message.startswith("the row of id train:0 has the text ")
    assert message.endswith(": the ids are those of other data")


def test_missing_mass_is_spread_evenly_over_the_labels_that_are_not_given(tmp_path: Path) -> None:
    from understudy.answering.rows import log_probabilities

    nan = float("nan")
    values = np.array([[0.6, nan, nan], [0.5, 0.3, 0.2], [nan, nan, nan], [1.0, nan, 0.0]])
    logits, spread = log_probabilities(values, ["a", "b", "c"], "probability", 0.01, str)
    np.testing.assert_allclose(np.exp(logits[:2]), [[0.6, 0.2, 0.2], [0.5, 0.3, 0.2]], atol=1e-6)
    assert np.isnan(logits[2]).all()
    np.testing.assert_allclose(np.exp(logits[3]), [1, FLOOR, FLOOR], rtol=1e-4)
    np.testing.assert_allclose(spread, [0.4, nan, nan, 0.0])
    logs, _ = log_probabilities(np.log(values[:1]), ["a", "b", "c"], "log_probability", 0.01, str)
    np.testing.assert_allclose(logs, logits[:1], rtol=1e-6)


def test_missing_mass_is_counted_and_told(data: Path) -> None:
    rows = [row | ({"p_bad": ""} if number < 10 else {}) for number, row in enumerate(rows_of(data))]
    write(data.parent / "t.csv", rows)
    facts = labelled(data, settings("table", path="t.csv")).measurements["answers"]
    assert facts["incomplete_rows"] == 10
    assert facts["spread_mass"] == pytest.approx(sum(1 - row["p_good"] for row in rows[:10]))
    assert facts["said"][0].startswith("10 answers lack labels: on average 90 % of")


@pytest.mark.parametrize(
    ("change", "given", "message"),
    [
        ({"p_good": 0.8, "p_bad": 0.3}, {}, "line 4: the probabilities sum to 1.1, which is more than 1"),
        ({"p_good": 1.2, "p_bad": ""}, {}, "line 4: the probabilities sum to 1.2, which is more than 1"),
        ({"p_good": -0.1, "p_bad": ""}, {}, "line 4: 'good' has -0.1, and a probability is not negative; set scale"),
        ({"p_good": 0.2, "p_bad": 0.3}, {}, "line 4: the 2 probabilities sum to 0.5, expected 1 (or empty cells"),
        ({"p_good": "high"}, {}, "line 4: column 'p_good' holds 'high', not a number"),
        ({"p_good": "inf", "p_bad": ""}, {}, "line 4: the probabilities sum to inf, which is more than 1"),
        ({"p_good": "", "p_bad": 1}, {"scale": "logit"}, "line 4: a logit is missing for 'good'"),
        ({"p_good": 1, "p_bad": 1}, {"scale": "log_probability"}, "line 2: the probabilities sum to 3."),
        ({"text": " "}, {}, "line 4: column 'text' is empty"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_is_refused_with_its_line(
    data: Path, change: dict[str, Any], given: dict[str, Any], message: str
) -> None:
    rows = rows_of(data)
    rows[2] |= change
    assert refusal(data, rows, **given).startswith(message)


def test_the_tolerance_is_that_of_the_recipe(data: Path) -> None:
    rows = rows_of(data)
    rows[2] |= {"p_good": 0.8, "p_bad": 0.3}
    write(data.parent / "t.csv", rows)
    labels = labelled(data, settings("table", path="t.csv", tolerance=0.1001))
    np.testing.assert_allclose(probabilities(labels, data, "train")[2], [0.3 / 1.1, 0.8 / 1.1], atol=1e-6)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"p_bad": "p_awful"}, "the table's labels do not fit the task's: missing: 'bad'; extra: 'awful'; got 'good'"),
        ({"p_bad": "b", "p_good": "g"}, "the table's labels do not fit the task's: missing: 'bad', 'good'; got"),
        ({"text": "words"}, "no column 'text'; it has 'id', 'words'"),
    ],
)  # fmt: skip
def test_columns_that_do_not_fit_are_refused(data: Path, names: dict[str, str], message: str) -> None:
    rows = [{names.get(name, name): value for name, value in row.items()} for row in rows_of(data)]
    assert refusal(data, rows).startswith(message)


def test_a_third_label_is_not_taken_for_missing_mass(data: Path) -> None:
    rows = [row | {"p_fair": 0.0} for row in rows_of(data)]
    assert refusal(data, rows).startswith("the table's labels do not fit the task's: extra: 'fair'")


def test_a_text_that_comes_twice_must_have_one_answer(data: Path) -> None:
    rows = rows_of(data)
    write(data.parent / "t.csv", [*rows, rows[3]])
    labelled(data, settings("table", path="t.csv"))
    last = f"line {len(rows) + 2}"
    message = refusal(data, [*rows, rows[3] | {"p_good": 0.5, "p_bad": 0.5}])
    assert message.startswith(f"{last}: {rows[3]['text']!r} again, with another answer than in line 5; keep one")


def test_train_texts_without_a_row_are_left_out_and_counted(data: Path) -> None:
    rows = rows_of(data)[3:]
    write(data.parent / "t.csv", rows)
    labels = labelled(data, settings("table", path="t.csv"))
    assert labels.measurements["unanswered"] == {"train": 3}
    assert labels.warnings == [
        "train: 3 of 40 texts have no answer of the teacher and are left out of the transfer set"
    ]
    message = refusal(data, rows, max_missing=0.05).rpartition("t.csv: ")[2]
    first = split_of(data, "train").texts[0]
    assert message == (
        f"3 of 40 texts of train have no answer, the first {first!r}; at most 5% may be missing (teacher.max_missing)"
    )


def test_validation_texts_without_a_row_are_refused(data: Path) -> None:
    rows = rows_of(data)
    message = refusal(data, rows[:40] + rows[41:]).rpartition("t.csv: ")[2]
    assert message.startswith("1 of 16 texts of val have no answer, the first ")
    assert message.endswith("; students are judged on validation: give a row for every text of it")


def test_a_table_without_all_test_texts_shows_no_teacher(data: Path) -> None:
    for kept, said in ((0, "none"), (5, "5")):
        write(data.parent / "t.csv", rows_of(data, ("train", "val", "unlabeled")) + rows_of(data, ("test",))[:kept])
        appoint(data, data.parent / "teacher", settings("table", path="t.csv"), data.parent)
        answers = answer_test(Artifact.load(data.parent / "teacher", ANSWERS), split_of(data, "test"), 64, Silent())
        assert answers.logits is None
        assert answers.said == [f"The table has answers for {said} of the 12 test texts: no teacher is shown"]


def test_no_test_answer_counts_before_benchmark(data: Path) -> None:
    """The labels are the same whatever the table says of the test texts."""
    rows = rows_of(data)
    write(data.parent / "t.csv", rows)
    first = labelled(data, settings("table", path="t.csv"))
    tests = set(split_of(data, "test").texts)
    flipped = [row | ({"p_good": row["p_bad"], "p_bad": row["p_good"]} if row["text"] in tests else {}) for row in rows]
    write(data.parent / "t.csv", flipped)
    other = labelled(data, settings("table", path="t.csv"))
    assert (other.files, other.decision) == (first.files, first.decision)
    assert other.key != first.key  # it is another table all the same


def test_the_directory_holds_all_that_is_needed(data: Path, tmp_path: Path) -> None:
    write(data.parent / "t.csv", rows_of(data))
    first = labelled(data, settings("table", path="t.csv"))
    (data.parent / "t.csv").unlink()
    (data.parent / "labels" / "train-00000.parquet").unlink()
    from understudy.answering import label
    from understudy.config import LabelConfig

    assert label(data.parent / "teacher", data, data.parent / "labels", LabelConfig()).files == first.files


def test_a_table_that_is_not_there(data: Path) -> None:
    with pytest.raises(DataError, match=r"t\.csv: no such file; the recipe's teacher\.path names it"):
        labelled(data, settings("table", path="t.csv"))
