"""From a recipe's data section to disjoint, checked splits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import understudy.data.hub
from understudy.config import DataConfig
from understudy.data import Prepared, Task, prepare
from understudy.data.duplicates import key
from understudy.errors import DataError

TASK = Task("mood", ("bad", "good"))
Rows = list[tuple[str, str]]


def mood(count: int, tag: str = "text") -> Rows:
    return [(f"{tag} number {row}", TASK.labels[row % 2]) for row in range(count)]


def save(path: Path, rows: Rows, **columns: list[str]) -> None:
    """Write a JSONL file of texts and labels and, on request, more columns."""
    extra = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)] or [{}] * len(
        rows
    )
    lines = [json.dumps({"text": text, "label": label} | more) for (text, label), more in zip(rows, extra, strict=True)]
    path.write_text("\n".join(lines), encoding="utf-8")


class Files:
    """Writes splits into a directory and prepares them."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.given: dict[str, str] = {}

    def add(self, name: str, rows: Rows, **columns: list[str]) -> Files:
        save(self.base / f"{name}.jsonl", rows, **columns)
        self.given[name] = f"{name}.jsonl"
        return self

    def prepare(self, seed: int = 0, task: Task = TASK, **settings: Any) -> Prepared:
        return prepare(task, DataConfig(**(self.given | settings)), seed, self.base)

    def refusal(self, task: Task = TASK, **settings: Any) -> str:
        with pytest.raises(DataError) as error:
            self.prepare(task=task, **settings)
        assert "\n" not in str(error.value)
        return str(error.value).replace(f"{self.base}/", "")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path).add("train", mood(200))


@pytest.fixture
def three(files: Files) -> Files:
    return files.add("val", mood(20, "val")).add("test", mood(30, "test"))


def sizes(prepared: Prepared) -> tuple[int, int, int]:
    return len(prepared.train), len(prepared.val), len(prepared.test)


# Splits as files, or made


def test_given_splits_are_taken_as_they_are(three: Files) -> None:
    prepared = three.prepare()
    assert sizes(prepared) == (200, 20, 30)
    assert [split.name for split in (prepared.train, prepared.val, prepared.test)] == ["train", "val", "test"]
    assert list(prepared.val.ids[:2]) == ["val:0", "val:1"]
    assert prepared.warnings == []
    assert len(prepared.unlabeled) == 0


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, (160, 20, 20)),
        ({"val_size": 0.15, "test_size": 0.15}, (140, 30, 30)),
        ({"val_size": 0.05, "test_size": 0.2}, (150, 10, 40)),
    ],
)
def test_missing_splits_are_cut_from_train(files: Files, settings: dict, expected: tuple) -> None:
    prepared = files.prepare(**settings)
    assert sizes(prepared) == expected
    ids = [*prepared.train.ids, *prepared.val.ids, *prepared.test.ids]
    assert sorted(ids) == sorted(f"train:{row}" for row in range(200))
    for split in (prepared.train, prepared.val, prepared.test):
        assert split.labels.mean() == 0.5
    assert (prepared.val.name, prepared.test.name) == ("val", "test")


@pytest.mark.parametrize("missing", ["val", "test"])
def test_one_missing_split_is_cut_from_train(three: Files, missing: str) -> None:
    prepared = three.prepare(**{missing: ""})
    assert sizes(prepared) == {"val": (180, 20, 30), "test": (180, 20, 20)}[missing]


def test_the_seed_decides_the_cut(files: Files) -> None:
    one, again, other = (files.prepare(seed).test.ids for seed in (1, 1, 2))
    assert one == again != other


def test_equal_texts_are_never_cut_apart(files: Files) -> None:
    texts = [text for number in range(100) for text in (f"Film {number}!", f"film {number}", f"film, {number}")]
    prepared = files.add("train", [(text, TASK.labels[row // 3 % 2]) for row, text in enumerate(texts)]).prepare()
    sides = [{key(text) for text in split.texts} for split in (prepared.train, prepared.val, prepared.test)]
    assert sum(len(side) for side in sides) == len(set.union(*sides)) == 100
    assert prepared.counts["dropped"] == {}


# Groups


def test_groups_of_a_column_stay_on_one_side(files: Files) -> None:
    who = [f"author {row // 5}" for row in range(200)]
    prepared = files.add("train", mood(200), who=who).prepare(group_by="who")
    sides = [
        {who[int(name.split(":")[1])] for name in split.ids} for split in (prepared.train, prepared.val, prepared.test)
    ]
    assert sum(len(side) for side in sides) == len(set.union(*sides)) == 40
    assert all(abs(len(split) - 20) <= 5 for split in (prepared.val, prepared.test))


def test_groups_follow_their_rows_when_others_are_dropped(files: Files) -> None:
    rows, who = mood(200), [str(row // 5) for row in range(200)]
    prepared = files.add("train", rows[:1] * 7 + rows, who=["x"] * 7 + who).prepare(group_by="who")
    for split in (prepared.train, prepared.val, prepared.test):
        complete = {name for name in split.ids if name not in {f"train:{row}" for row in range(12)}}
        authors = {who[int(name.split(":")[1]) - 7] for name in complete}
        assert len(complete) == 5 * len(authors)


def test_groups_of_given_splits_are_dropped_from_train(three: Files) -> None:
    three.add("train", mood(200), who=[str(row // 5) for row in range(199)] + [""])
    three.add("val", mood(4, "val"), who=["0", "0", "1", ""]).add("test", mood(4, "test"), who=["1", "39", "x", ""])
    prepared = three.prepare(group_by="who")
    assert prepared.counts["dropped"] == {"train": {"grouped": 14}}
    assert prepared.warnings == ["train: 14 texts of groups that val or test has dropped"]
    assert set(prepared.train.ids) == {f"train:{row}" for row in [*range(10, 195), 199]}


def test_texts_that_recur_in_another_group_are_dropped_from_train(files: Files) -> None:
    rows = [(f"Text {row // 2}" + "!" * (row % 2), TASK.labels[row // 2 % 2]) for row in range(200)]
    prepared = files.add("train", rows, who=[str(row) for row in range(200)]).prepare(group_by="who")
    dropped = prepared.counts["dropped"]["train"]
    assert dropped["held_out_normalized"] > 10
    held = {key(text) for split in (prepared.val, prepared.test) for text in split.texts}
    assert not held & {key(text) for text in prepared.train.texts}


def test_near_duplicates_stay_on_one_side(files: Files) -> None:
    rows = [
        (f"report {row // 2} of our office is due today {'now' * (row % 2)}", TASK.labels[row // 2 % 2])
        for row in range(200)
    ]
    prepared = files.add("train", rows).prepare(group_by="near_duplicates")
    sides = [{text.split()[1] for text in split.texts} for split in (prepared.train, prepared.val, prepared.test)]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 100
    by_chance = files.prepare()
    assert len({text.split()[1] for text in by_chance.train.texts} & {t.split()[1] for t in by_chance.test.texts}) > 5


def test_near_duplicates_of_given_splits_are_dropped(three: Files) -> None:
    three.add("train", [*mood(200), ("a test of a very long number 4 today", "good")])
    three.add("test", [("a test of a very long number 4", "bad"), ("b", "good")])
    prepared = three.prepare(group_by="near_duplicates")
    assert prepared.counts["dropped"] == {"train": {"near": 1}}
    assert prepared.warnings == ["train: 1 texts whose words are nearly those of a text of val or test dropped"]
    assert len(three.prepare().train) == 201


def test_containment_keeps_phrases_out_of_reach(files: Files) -> None:
    sentences = [(f"this film of year {row} is really something to see", TASK.labels[row % 2]) for row in range(60)]
    phrases = [(f"film of year {row}", label) for row, (_, label) in enumerate(sentences)]
    prepared = files.add("train", phrases + sentences).prepare(group_by="containment")
    assert sizes(prepared) == (96, 6, 6)
    assert all(text.startswith("this") for split in (prepared.val, prepared.test) for text in split.texts)
    assert prepared.warnings == ["train: 12 texts that occur inside a text of val or test, or have one inside dropped"]


def test_containment_also_counts_for_given_splits(three: Files) -> None:
    rows = [*mood(200), ("val number 3 of a longer text", "good"), ("one test number 4", "bad")]
    three.add("train", rows).add("test", [("this is one test number 4 , no ?", "bad"), ("b", "good")])
    three.add("val", [("xx val number 3 of", "bad"), ("val number 3 of", "good")])
    prepared = three.prepare(group_by="containment")
    assert prepared.counts["dropped"] == {"train": {"contained": 2}}
    assert len(three.prepare().train) == 202


def test_containment_keeps_held_out_phrases_out_of_the_transfer_set(three: Files) -> None:
    save(three.base / "more.jsonl", [("val number 3 of a longer text", "good"), ("quite another text here", "bad")])
    three.add("val", [("val number 3 of", "bad"), ("b", "good")])
    prepared = three.prepare(group_by="containment", unlabeled=["more.jsonl"])
    assert prepared.unlabeled.texts == ["quite another text here"]
    assert prepared.counts["dropped"]["unlabeled"] == {"contained": 1}


# What is dropped and counted


def test_duplicates_within_train_are_dropped_and_counted(three: Files) -> None:
    rows = [("a b", "good"), ("a  b", "good"), ("a&#32;b", "bad"), ("A b", "good"), *mood(10)]
    prepared = three.add("train", rows).prepare()
    assert list(prepared.train.ids[:2]) == ["train:0", "train:3"]
    assert prepared.counts["dropped"] == {"train": {"duplicate": 1, "conflicting": 1}}
    assert prepared.warnings == [
        "train: 1 repeated texts dropped",
        "train: 1 repeated texts with another label than the first dropped",
    ]


def test_texts_of_val_and_test_are_dropped_from_train_and_unlabeled(three: Files) -> None:
    recurring = [("val number 0", "bad"), ("Test number 1?", "good"), ("VAL number, 5", "good")]
    save(
        three.base / "more.jsonl", [*recurring[:2], ("new", "bad"), ("new", "good"), ("text number 7", "bad"), ("", "")]
    )
    save(three.base / "most.jsonl", [("new", "bad"), ("newer", "bad")])
    prepared = three.add("train", [*mood(200), *recurring]).prepare(unlabeled=["more.jsonl", "most.jsonl"])
    assert len(prepared.train) == 200
    assert list(prepared.unlabeled.ids) == ["unlabeled0:2", "unlabeled1:1"]
    assert prepared.unlabeled.labels.tolist() == [-1, -1]
    assert prepared.counts["dropped"] == {
        "train": {"held_out": 1, "held_out_normalized": 2},
        "unlabeled": {"empty": 1, "duplicate": 2, "held_out": 1, "held_out_normalized": 1, "in_train": 1},
    }
    assert "train: 1 texts that recur in val or test dropped" in prepared.warnings
    assert "train: 2 texts that recur in val or test but for case and punctuation dropped" in prepared.warnings
    assert "unlabeled: 1 texts that are in train dropped" in prepared.warnings


def test_texts_of_a_given_split_do_not_come_back_in_a_cut_one(three: Files) -> None:
    prepared = three.add("train", [*mood(200), *mood(30, "Test")]).prepare(val="", val_size=0.3)
    assert prepared.counts["dropped"] == {"train": {"held_out_normalized": 30}}
    assert not {key(text) for text in prepared.val.texts} & {key(text) for text in prepared.test.texts}


def test_val_and_test_lose_empty_texts_only(three: Files) -> None:
    rows = [*mood(4, "val"), *mood(2, "val"), *mood(2, "test"), (" ", "good")]
    prepared = three.add("val", rows).prepare()
    assert sizes(prepared) == (200, 8, 30)
    assert prepared.warnings == [
        "val: 1 rows without a text dropped",
        "val: 2 repeated texts kept",
        "val: 2 texts that recur in test kept",
    ]


def test_empty_texts_are_counted_and_not_checked_for_a_label(three: Files) -> None:
    prepared = three.add("train", [("<br>", ""), *mood(10)]).prepare()
    assert prepared.counts["dropped"] == {"train": {"empty": 1}}
    assert prepared.warnings == ["train: 1 rows without a text dropped"]


# Limit


def test_limit_is_a_seeded_stratified_subset(three: Files) -> None:
    small, again, large, other = (
        set(three.prepare(seed, limit=limit).train.ids) for seed, limit in ((0, 20), (0, 20), (0, 50), (1, 20))
    )
    assert small == again
    assert small < large
    assert small != other
    prepared = three.prepare(limit=20)
    assert prepared.counts["splits"]["train"]["classes"] == {"bad": 10, "good": 10}
    assert prepared.counts["dropped"] == {"train": {"limit": 180}}
    assert prepared.warnings == []
    assert len(three.prepare(limit=900).train) == 200


def test_test_limit_leaves_train_as_it_is(three: Files) -> None:
    """A train text that the whole test file has stays out of train, whatever is measured."""
    whole, part = three.prepare(), three.prepare(test_limit=10)
    assert len(part.test) == 10 and set(part.test.ids) < set(whole.test.ids)
    assert part.train.ids == whole.train.ids and part.val.ids == whole.val.ids
    assert part.counts["dropped"] == {"test": {"limit": len(whole.test) - 10}}


def test_cuts_come_before_limits(files: Files) -> None:
    assert files.prepare().val.ids == files.prepare(limit=20).val.ids


def test_what_the_limit_left_out_may_serve_as_unlabeled(three: Files) -> None:
    assert len(three.prepare(limit=20, unlabeled=["train.jsonl"]).unlabeled) == 180


# Counts


def test_counts_show_classes_and_the_majority_baseline(three: Files) -> None:
    three.add("test", [*mood(30, "test"), ("so very bad it really is", "bad"), ("worse", "bad")])
    counts = three.prepare().counts
    assert counts["splits"]["test"] == {
        "rows": 32,
        "mean_words": 3.03,
        "classes": {"bad": 17, "good": 15},
        "majority": {"label": "bad", "share": 17 / 32},
    }
    assert counts["splits"]["unlabeled"] == {"rows": 0, "mean_words": 0.0}
    assert json.loads(json.dumps(counts)) == counts


def test_a_label_without_a_row_in_val_or_test_is_a_warning(three: Files) -> None:
    task = Task("mood", ("bad", "good", "odd"))
    three.add("train", [*mood(20), ("strange", "odd")])
    assert three.prepare(task=task).warnings == [
        "val: no row has the label 'odd'",
        "test: no row has the label 'odd'",
    ]


# Refusals


def test_a_label_without_a_row_in_train_is_refused(three: Files) -> None:
    message = "train: no row has the label 'odd'; remove it from the task's labels or add rows"
    assert three.refusal(Task("mood", ("bad", "odd", "good"))) == message


def test_an_undeclared_label_is_refused(three: Files) -> None:
    three.add("test", [*mood(2), ("hm", "meh")])
    assert three.refusal() == "test.jsonl: line 3: label 'meh' is not declared; expected bad, good, or 0 to 1"


@pytest.mark.parametrize("name", ["train", "val", "test"])
def test_a_split_of_one_class_is_refused(three: Files, name: str) -> None:
    three.add(name, [("a", "good"), ("b", "good")])
    assert three.refusal() == f"{name}: all 2 rows have the label 'good'; expected at least two labels"


def test_a_train_that_val_and_test_use_up_is_refused(three: Files) -> None:
    three.add("train", mood(4, "val"))
    assert three.refusal() == "train: no row is left"


@pytest.mark.parametrize(("missing", "least"), [(["val"], 2), (["val", "test"], 3)])
def test_too_few_rows_to_cut_are_refused(three: Files, missing: list, least: int) -> None:
    three.add("train", [*mood(20)[::2], *mood(2 * least - 2)[1::2]])
    names = " and ".join(missing)
    rows = "1 row" if least == 2 else "2 rows"
    message = f"train: the label 'good' has {rows} with a text of its own; cutting off {names} takes at least {least}"
    assert three.refusal(**dict.fromkeys(missing, "")) == message
    three.add("train", [*mood(20)[::2], *mood(2 * least)[1::2]])
    for split in (three.prepare(**dict.fromkeys(missing, ""))).__dict__.values():
        assert not hasattr(split, "labels") or split.name == "unlabeled" or set(split.labels) == {0, 1}


def test_groups_too_large_to_cut_are_refused(files: Files) -> None:
    files.add("train", mood(200), who=["x", "y"] * 100)
    message = "train: the cut leaves no row for val; give more rows, or smaller groups in group_by"
    files.add("train", mood(200), who=["x"] * 200)
    assert files.refusal(group_by="who") == message


def test_a_limit_below_the_number_of_labels_is_refused(three: Files) -> None:
    assert three.refusal(limit=1) == "limit = 1 is fewer train rows than the task has labels (2)"
    assert three.refusal(test_limit=1) == "test_limit = 1 is fewer test rows than the task has labels (2)"
    assert len(three.prepare(limit=2).train) == 2


def test_a_file_that_is_two_splits_is_refused(three: Files) -> None:
    message = "train.jsonl: is both train and test; a text must not be in two splits"
    assert three.refusal(test="train.jsonl") == message


def test_missing_files_and_columns_are_refused(three: Files) -> None:
    assert three.refusal(train="no.csv") == "no.csv: no such file"
    assert three.refusal(label="lable") == (
        "train.jsonl: line 1: no column 'lable'; it has 'text', 'label'; did you mean 'label'?"
    )
    message = "train.jsonl: line 1: no column 'who'; it has 'text', 'label'"
    assert three.refusal(group_by="who", test="") == message


# Hub names


def test_hub_names_lead_to_files_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in mood(40)))
    save(tmp_path / "dev.jsonl", mood(10, "val"))
    (tmp_path / "test.tsv").write_text("text\tlabel\na\tgood\nb\tbad\n")
    save(tmp_path / "extra.jsonl", [("more", "")])
    config = DataConfig(train="train", val="validation", test="test", hub="a/b", unlabeled=["extra.jsonl"])
    prepared = prepare(TASK, config, 0, tmp_path)
    assert sizes(prepared) == (40, 10, 2)
    assert list(prepared.unlabeled.texts) == ["more"]
    (tmp_path / "test.tsv").unlink()
    with pytest.raises(DataError) as error:
        prepare(TASK, config, 0, tmp_path)
    expected = f"{tmp_path}: no file for split 'test'; expected test with .parquet, .jsonl, .csv, .tsv"
    assert str(error.value) == expected


def test_hub_names_lead_to_the_hub_without_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def data_split(name: str, config: str, split: str) -> list[Path]:
        return [tmp_path / f"{name.replace('/', '-')}-{split}.parquet"]

    for split in ("train", "validation"):
        texts, labels = [text for text, _ in mood(40, split)], [label for _, label in mood(40)]
        pq.write_table(pa.table({"text": texts, "label": labels}), tmp_path / f"a-b-{split}.parquet")
    monkeypatch.setattr(understudy.data.hub, "data_split", data_split)
    prepared = prepare(TASK, DataConfig(train="train", test="validation", hub="a/b"), 0)
    assert sizes(prepared) == (36, 4, 40)
    assert list(prepared.test.ids[:1]) == ["test:0"]
