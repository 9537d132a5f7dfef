"""Several labels per text in files: every form is read, what is wrong is named in one line, cuts keep the shares."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tiny_multi
from understudy.config import DataConfig, TaskConfig
from understudy.data import Split, Task, digest, prepare, read_labeled, read_split, stratified_cut, write_split
from understudy.data.splitting import strata, stratified_folds, stratified_subset
from understudy.errors import DataError, RecipeError
from understudy.preparation import prepare as prepare_stage

TASK = Task("talk", ("ask", "joke", "thank"), "micro_f1", "multi")
EXPECTED = [[1, 0, 0], [0, 1, 1], [0, 0, 0]]


def write(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def read(path: Path, label: str = "label", **options: Any) -> list[list[int]]:
    rows: list[list[int]] = read_labeled(path, TASK, "text", label, "train", **options).split.labels.tolist()
    return rows


def refusal(path: Path, label: str = "label", **options: Any) -> str:
    with pytest.raises(DataError) as error:
        read(path, label, **options)
    return str(error.value).removeprefix(f"{path}: ")


def test_every_form_of_labels_is_read(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.csv", "text,label\nx,ask\ny,thank|joke\nz,\n")) == EXPECTED
    assert read(write(tmp_path / "b.tsv", "text\tlabel\nx\task\ny\tthank, joke\nz\t\n"), separator=",") == EXPECTED
    assert read(write(tmp_path / "c.csv", "text,label\nx,0\ny,2|1\nz,\n")) == EXPECTED
    lines = [{"text": "x", "label": ["ask"]}, {"text": "y", "label": [2, 1]}, {"text": "z", "label": []}]
    named = [{**line, "label": [TASK.labels[i] if isinstance(i, int) else i for i in line["label"]]} for line in lines]
    assert read(write(tmp_path / "d.jsonl", "\n".join(map(json.dumps, named)))) == EXPECTED
    table = pa.table({"text": ["x", "y", "z"], "label": pa.array([[0], [1, 2], []], pa.list_(pa.int64()))})
    pq.write_table(table, tmp_path / "e.parquet")
    assert read(tmp_path / "e.parquet") == EXPECTED
    columns = "thank,text,joke,ask\n0,x,false,1\n1.0,y,true,0\n0,z,0,0\n"
    assert read(write(tmp_path / "f.csv", columns), label="") == EXPECTED


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("ask|jok", "line 3: label 'jok' is not declared; expected ask, joke, thank, or 0 to 2"),
        ("ask||joke", "line 3: label '' is not declared; expected ask, joke, thank, or 0 to 2"),
        ("3", "line 3: label '3' is not declared; expected ask, joke, thank, or 0 to 2"),
        ("ask|1", "line 3: label '1' is not declared; expected ask, joke, thank, or 0 to 2"),
    ],
)
def test_a_label_that_is_unknown_is_named(tmp_path: Path, cell: str, message: str) -> None:
    assert refusal(write(tmp_path / "a.csv", f"text,label\nx,ask\ny,{cell}\n")) == message


def test_cells_that_are_no_labels(tmp_path: Path) -> None:
    said = "line 1: the label is empty; an empty list says that no label applies; texts without labels go into"
    assert refusal(write(tmp_path / "a.jsonl", '{"text": "x", "label": null}')) == f"{said} 'unlabeled'"
    flags = "text,ask,joke,thank\nx,0,1,yes\n"
    assert refusal(write(tmp_path / "a.csv", flags), label="") == "line 2: column 'thank' holds 'yes', expected 0 or 1"
    assert refusal(write(tmp_path / "b.csv", "text,ask,joke\nx,0,1\n"), label="").startswith("no column 'thank'")
    empty = "text,ask,joke,thank\nx,0,,1\n"
    assert refusal(write(tmp_path / "c.csv", empty), label="") == (
        "line 2: the label is empty; texts without labels go into 'unlabeled'"
    )


def sample(rows: int = 200, seed: int = 3) -> Split:
    labels = (np.random.default_rng(seed).random((rows, 3)) < [0.5, 0.3, 0.05]).astype(np.int64)
    return Split("train", [f"train:{row}" for row in range(rows)], [f"text {row}" for row in range(rows)], labels)


def test_a_split_is_stored_and_read_again(tmp_path: Path) -> None:
    split = sample(20)
    for path in (tmp_path / "a.parquet", tmp_path / "b.parquet"):
        write_split(split, path)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    again = read_split(tmp_path / "a.parquet", "train")
    assert np.array_equal(again.labels, split.labels)
    assert digest(again) == digest(split)
    other = split.labels.copy()
    other[4, 2] = 1 - other[4, 2]
    assert digest(replace(split, labels=other)) != digest(split)


def test_cuts_keep_the_share_of_every_label() -> None:
    labels = sample(1000).labels
    kept, cut = stratified_cut(labels, 0.2, seed=1)
    for rows in (kept, cut, stratified_subset(labels, 300, 1), np.flatnonzero(stratified_folds(labels, 4, 1) == 2)):
        assert labels[rows].mean(axis=0) == pytest.approx(labels.mean(axis=0), abs=0.04)
        rare = labels[rows, 2].sum() - labels[:, 2].mean() * len(rows)
        assert abs(rare) <= 1  # chance alone would be off by three or more
    assert strata(np.array([[1, 0, 1], [0, 0, 0], [1, 0, 0]])).tolist() == [2, 3, 0]


def prepared(tmp_path: Path, content: str, **config: Any) -> Any:
    write(tmp_path / "t.csv", content)
    return prepare(TASK, DataConfig(train="t.csv", **config), 1, tmp_path)


def test_labels_that_say_nothing_are_refused(tmp_path: Path) -> None:
    rows = [f"text {row},{'ask' if row % 2 else 'ask|joke'}" for row in range(40)]
    with pytest.raises(DataError, match="train: no row has the label 'thank'; remove it"):
        prepared(tmp_path, "\n".join(["text,label", *rows]))
    rows = [f"{row}{'|thank' if row.startswith('text 1') else ''}" for row in rows]
    with pytest.raises(DataError, match="every row has the label 'ask', which leaves nothing to learn of it"):
        prepared(tmp_path, "\n".join(["text,label", *rows]))


def test_splits_are_counted_by_label(tmp_path: Path) -> None:
    pairs = tiny_multi.rows(300, 4)
    tiny_multi.write_csv(tmp_path / "t.csv", [*pairs, (pairs[0][0], ("arts", "things")), ("", ("arts",))])
    (tmp_path / "more.csv").write_text("text\nnew one\n", encoding="utf-8")
    task = Task("tiny", tiny_multi.LABELS, "micro_f1", "multi")
    made = prepare(task, DataConfig(train="t.csv", unlabeled=["more.csv"]), 1, tmp_path)
    counts = made.counts["splits"]["train"]
    assert counts["rows"] == 240
    assert counts["classes"] == dict(zip(tiny_multi.LABELS, made.train.labels.sum(axis=0).tolist(), strict=True))
    commonest = counts["majority"]
    sets = [tuple(row) for row in made.train.labels.tolist()]
    assert commonest["share"] == max(sets.count(one) for one in set(sets)) / 240
    assert made.unlabeled.labels.tolist() == [[-1] * 4]
    assert made.counts["dropped"]["train"] == {"empty": 1, "conflicting": 1}
    held = {*made.val.texts, *made.test.texts}
    assert not held & set(made.train.texts)


def test_ways_of_giving_labels_that_are_for_another_kind(tmp_path: Path) -> None:
    single = TaskConfig(name="t", labels=["a", "b"])
    multi = TaskConfig(name="t", kind="multi", labels=["a", "b"])
    for task, config, message in (
        (single, DataConfig(train="x", label_separator=","), "label_separator: for a task of kind multi"),
        (single, DataConfig(train="x", label=""), "label names no column"),
        (multi, DataConfig(train="x", label="", label_separator=","), "label_separator is for labels in one column"),
    ):
        with pytest.raises(RecipeError, match=re.escape(message)):
            prepare_stage(task, config, tmp_path / "out", tmp_path)
