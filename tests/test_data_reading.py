"""Files and hub data sets → rows and splits."""

from __future__ import annotations

import csv
import json
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import understudy.data.hub
from understudy.data import HubSplit, Reading, Task, iter_rows, load_hub, read_labeled, read_unlabeled
from understudy.errors import DataError, InputError, MissingExtraError

TASK = Task("mood", ("bad", "good"))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ON_DISK = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows(path: Path, columns: list[str] | None = None, chunk: int = 2) -> list[dict[str, object]]:
    return [row for part in iter_rows(path, columns, chunk) for row in part.rows]


def failure(path: Path, columns: list[str] | None = None) -> str:
    with pytest.raises(DataError) as error:
        rows(path, columns)
    message = str(error.value)
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def labeled(path: Path, task: Task = TASK, **more: Any) -> Reading:
    return read_labeled(path, task, "text", "label", "train", **more)


def refusal(path: Path, task: Task = TASK) -> str:
    with pytest.raises(DataError) as error:
        labeled(path, task)
    return str(error.value).removeprefix(f"{path}: ")


# Rows


@ON_DISK
@given(
    table=st.lists(st.tuples(TEXTS, TEXTS), max_size=6), kind=st.sampled_from(["csv", "tsv"]), chunk=st.integers(1, 4)
)
def test_csv_gives_back_what_was_written(tmp_path: Path, table: list, kind: str, chunk: int) -> None:
    path = tmp_path / f"a.{kind}"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="," if kind == "csv" else "\t")
        writer.writerows([("text", "label"), *table])
    assert rows(path, chunk=chunk) == [{"text": text, "label": label} for text, label in table]


@ON_DISK
@given(table=st.lists(st.dictionaries(TEXTS, st.one_of(st.none(), st.integers(), TEXTS)), min_size=1, max_size=6))
def test_jsonl_gives_back_what_was_written(tmp_path: Path, table: list) -> None:
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table)
    assert rows(write(tmp_path / "a.jsonl", content)) == table


def test_parquet_gives_back_what_was_written(tmp_path: Path) -> None:
    texts = pa.array(["x", None, "y"]).dictionary_encode()
    pq.write_table(pa.table({"text": texts, "label": [1, 0, None]}), tmp_path / "a.parquet")
    assert rows(tmp_path / "a.parquet", ["text"]) == [{"text": "x"}, {"text": None}, {"text": "y"}]
    assert rows(tmp_path / "a.parquet")[2] == {"text": "y", "label": None}


def test_chunks_know_their_rows_and_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,n\r\n"two\r\nlines",1\r\n\r\nb,2\r\nc,3\r\n')
    first, second = iter_rows(path, chunk=2)
    assert (first.start, first.lines, second.start, second.lines) == (0, [2, 5], 2, [6])
    assert first.rows[0] == {"text": "two\r\nlines", "n": "1"}
    assert second.place(0) == "line 6"
    pq.write_table(pa.table({"text": ["a", "b", "c"]}), tmp_path / "a.parquet")
    assert [part.place(0) for part in iter_rows(tmp_path / "a.parquet", chunk=2)] == ["row 0", "row 2"]


def test_bom_nul_and_huge_fields_are_read(tmp_path: Path) -> None:
    huge = "x" * 200_000
    path = write(tmp_path / "a.csv", f"\ufefftext,label\na\0b,good\n{huge},bad\n")
    assert rows(path) == [{"text": "a\0b", "label": "good"}, {"text": huge, "label": "bad"}]
    assert rows(write(tmp_path / "a.jsonl", '\ufeff{"text": "a"}\n\n  \n{"text": "b"}')) == [
        {"text": "a"},
        {"text": "b"},
    ]


def test_a_header_alone_is_a_file_of_no_rows(tmp_path: Path) -> None:
    assert rows(write(tmp_path / "a.csv", "text,label\n")) == []


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, kind: str) -> None:
    line = f"{'word ' * 40},x\n" if kind == "csv" else json.dumps({"text": "word " * 40, "label": "x"}) + "\n"
    path = write(tmp_path / f"a.{kind}", ("text,label\n" if kind == "csv" else "") + line * 20_000)
    tracemalloc.start()
    assert sum(len(part.rows) for part in iter_rows(path, chunk=100)) == 20_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 4_000_000
    assert peak < 1_000_000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "x", "unknown kind of file '.txt'; expected .csv, .tsv, .jsonl, .ndjson, .parquet"),
        ("a.csv", "", "the file is empty"),
        ("a.jsonl", "", "the file is empty"),
        ("a.csv", "\ufeff", "line 1: no header; expected the names of the columns"),
        ("a.csv", "\na,b\n", "line 1: no header; expected the names of the columns"),
        ("a.csv", "text,a,text\n", "column 'text' occurs more than once; give every column its own name"),
        ("a.csv", "Text,label\nx,good\n", "no column 'text'; it has 'Text', 'label'; did you mean 'Text'?"),
        ("a.csv", "label\ngood\n", "no column 'text'; it has 'label'"),
        ("a.csv", "x;label\n", "no column 'text'; it has 'x;label'; separate the columns of a .csv file by commas, "
            "of a .tsv file by tabs"),
        ("a.csv", 'text,label\n"a\nb",good\nc\n', "line 4: 1 cells, but the header has 2"),
        ("a.csv", "text,label\na,b,c\n", "line 2: 3 cells, but the header has 2"),
        ("a.csv", 'text,label\na,good\n"b,good\nc,bad\n', "line 3: not a CSV row: unexpected end of data"),
        ("a.tsv", 'text\tlabel\n"a"b\tgood\n', "line 2: not a TSV row: '\t' expected after '\"'"),
        ("a.csv", b"text,label\na,good\nb\xe9,bad\n", "line 3: not UTF-8 (byte 0xe9 at position 2); save the file as "
            "UTF-8"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\xe9"}\n', "line 2: not UTF-8 (byte 0xe9 at position 11); save the "
            "file as UTF-8"),
        ("a.jsonl", '{"text": "a"}\n\n{"text": "b', "line 3: not valid JSON; expected one object per line"),
        ("a.jsonl", "[" * 100_000, "line 1: not valid JSON; expected one object per line"),
        ("a.jsonl", '{"text": "a"}\n["b"]\n', "line 2: list instead of an object of columns"),
        ("a.jsonl", '{"text": "a"}\n{"texts": "b"}\n', "line 2: no column 'text'; it has 'texts'; "
            "did you mean 'texts'?"),
        ("a.jsonl", "{}\n", "line 1: no column 'text'; it has none"),
        ("a.parquet", "PAR1 torn", "not a whole Parquet file: Parquet magic bytes not found in footer. Either the "
            "file is corrupted or this is not a parquet file."),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said_in_one_line(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    assert failure(write(tmp_path / name, content), ["text"]) == message


def test_what_is_no_file_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "d.csv").mkdir()
    kinds = ".csv, .tsv, .jsonl, .ndjson, .parquet"
    assert failure(tmp_path / "no.csv") == "no such file"
    assert failure(tmp_path / "d.csv") == f"is a directory; expected a file ({kinds})"


def test_what_is_wrong_with_a_parquet_file_is_said_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table([["a"], ["b"]], names=["text", "text"]), path)
    assert failure(path) == "column 'text' occurs more than once; give every column its own name"
    pq.write_table(pa.table({"tekst": ["a" * 5000] * 50}), path)
    assert failure(path, ["text"]) == "no column 'text'; it has 'tekst'; did you mean 'tekst'?"
    path.write_bytes(path.read_bytes()[:100])
    assert failure(path).startswith("not a whole Parquet file: ")
    binary = pa.array([b"ok", b"\xff"], pa.binary())
    pq.write_table(pa.table({"text": pa.Array.from_buffers(pa.string(), 2, binary.buffers())}), path)
    assert failure(path) == "row 1: not UTF-8; write its texts as UTF-8"


def test_a_missing_package_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError) as error:
        rows(write(tmp_path / "a.parquet", "x"))
    assert str(error.value) == "reading Parquet needs an extra: pip install 'understudy[parquet]'"
    with pytest.raises(MissingExtraError) as error:
        HubSplit("a/b", (tmp_path / "a.parquet",)).class_names("label")
    assert str(error.value) == "reading a hub data set needs an extra: pip install 'understudy[parquet]'"


# Splits


def test_ids_are_rows_of_the_file_and_empty_texts_are_counted(tmp_path: Path) -> None:
    content = 'text,label\na,good\n"  ",good\n,\n<br />,bad\nd <br />,bad\n'
    reading = labeled(write(tmp_path / "a.csv", content), normalization=["html"])
    assert reading.split.ids == ["train:0", "train:4"]
    assert reading.split.texts == ["a", "d"]
    assert reading.split.labels.tolist() == [1, 0]
    assert reading.split.labels.dtype == np.int64
    assert (reading.empty, reading.groups) == (3, None)


def test_null_texts_of_parquet_are_counted(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", None], "label": ["good", "bad"]}), tmp_path / "a.parquet")
    assert labeled(tmp_path / "a.parquet").empty == 1


@pytest.mark.parametrize(
    ("labels", "values", "expected"),
    [
        (("bad", "good"), ["good", " bad "], [1, 0]),
        (("bad", "good"), [1, 0], [1, 0]),
        (("bad", "good"), ["1", "0.0", "+1"], [1, 0, 1]),
        (("bad", "good"), [1.0, 0.0], [1, 0]),
        (("false", "true"), [True, False], [1, 0]),
        (("0", "1"), [0, "1", 1.0], [0, 1, 1]),
        (("1", "2", "3"), ["2", 3], [1, 2]),  # names: never the third and the fourth label
    ],
)
def test_labels_are_names_or_indices(tmp_path: Path, labels: tuple, values: list, expected: list) -> None:
    lines = "".join(json.dumps({"text": "t", "label": value}) + "\n" for value in values)
    reading = labeled(write(tmp_path / "a.jsonl", lines), Task("t", labels))
    assert reading.split.labels.tolist() == expected


@pytest.mark.parametrize(
    ("labels", "values", "message"),
    [
        (("bad", "good"), ["good", "meh", "hm"], "line 2: label 'meh' is not declared; expected bad, good, or 0 to 1"),
        (("bad", "good"), [0, 1, 2], "line 3: label 2 is not declared; expected bad, good, or 0 to 1"),
        (("bad", "good"), [0, -2], "line 2: label -2 is not declared; expected bad, good, or 0 to 1"),
        (("bad", "good"), [0, 0.5], "line 2: label 0.5 is not declared; expected bad, good, or 0 to 1"),
        (("bad", "good"), ["good", 0], "line 2: label 0 is not declared; expected bad, good, or 0 to 1"),
        (("bad", "good"), [True], "line 1: label True is not declared; expected bad, good, or 0 to 1"),
        (("1", "2", "3"), [0, 1, 2], "line 1: label 0 is not declared; expected 1, 2, 3"),
        (("bad", "good"), ["good", None], "line 2: the label is empty; texts without labels go into 'unlabeled'"),
        (("bad", "good"), [0, float("nan")], "line 2: the label is empty; texts without labels go into 'unlabeled'"),
        (("bad", "good"), ["good", " "], "line 2: the label is empty; texts without labels go into 'unlabeled'"),
    ],
)
def test_an_undeclared_label_names_its_row(tmp_path: Path, labels: tuple, values: list, message: str) -> None:
    lines = "".join(json.dumps({"text": "t", "label": value}) + "\n" for value in values)
    assert refusal(write(tmp_path / "a.jsonl", lines), Task("t", labels)) == message


def test_an_undeclared_label_of_a_parquet_file_names_its_row(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", None, "c"], "label": ["good", "bad", "meh"]}), tmp_path / "a.parquet")
    message = "row 2: label 'meh' is not declared; expected bad, good, or 0 to 1"
    assert refusal(tmp_path / "a.parquet") == message


def test_texts_must_be_texts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "a", "label": 0}\n{"text": 5, "label": 0}\n')
    assert refusal(path) == "line 2: column 'text' holds int 5, not a text"
    assert refusal(write(path, '{"text": " ", "label": 0}')) == "no row has a text in column 'text'"


def test_groups_are_read_and_rows_without_one_stand_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label,who\na,good,ann\nb,bad,\nc,bad,ann\nd,bad,\n")
    groups = labeled(path, group="who").groups
    assert groups is not None
    assert groups[0] == groups[2] == "ann"
    assert len(set(groups)) == 3


def test_unlabeled_texts_need_no_label_column(tmp_path: Path) -> None:
    reading = read_unlabeled(write(tmp_path / "a.csv", "n,text\n1,a\n2,\n3,c\n"), "text", "unlabeled0")
    assert reading.split.ids == ["unlabeled0:0", "unlabeled0:2"]
    assert reading.split.labels.tolist() == [-1, -1]
    assert reading.empty == 1


# Hub


def fake_hub(
    monkeypatch: pytest.MonkeyPatch, home: Path, columns: dict[str, list], names: list[str] | None = None
) -> list[tuple]:
    """A data set of one split, `train`, in two files as `datasets` writes them."""
    calls: list[tuple] = []
    features = {"text": {}, "label": {"names": names} if names else {}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    files = []
    for number, rows in enumerate((slice(0, 1), slice(1, None))):
        table = pa.table({name: values[rows] for name, values in columns.items()}).replace_schema_metadata(metadata)
        files.append(home / f"train-{number:05d}-of-00002.parquet")
        pq.write_table(table, files[-1])

    def data_split(name: str, config: str, split: str) -> list[Path]:
        calls.append((name, config, split))
        if split != "train":
            raise InputError(f"data set {name!r} has no split {split}; it has train")
        return files

    monkeypatch.setattr(understudy.data.hub, "data_split", data_split)
    return calls


def hub_labels(task: Task = TASK) -> list[int]:
    return read_labeled(load_hub("a/b", "", "train"), task, "text", "label", "train").split.labels.tolist()


def test_a_hub_split_reads_as_a_file_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = fake_hub(monkeypatch, tmp_path, {"text": ["a", "", "c"], "label": [1, 0, 0]})
    reading = read_labeled(load_hub("a/b", "en", "train"), TASK, "text", "label", "train")
    assert calls == [("a/b", "en", "train")]
    assert reading.split.ids == ["train:0", "train:2"]
    assert reading.split.labels.tolist() == [1, 0]
    assert reading.empty == 1


def test_class_names_of_the_hub_decide_over_their_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = fake_hub(monkeypatch, tmp_path, {"text": ["a", "b"], "label": [0, 1]}, ["good", "bad"])
    assert hub_labels() == [1, 0]
    assert calls == [("a/b", "", "train")]
    fake_hub(monkeypatch, tmp_path, {"text": ["a", "b"], "label": [0, 1]}, ["neg", "pos"])
    assert hub_labels() == [0, 1]


def test_class_names_of_the_hub_in_another_order_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_hub(monkeypatch, tmp_path, {"text": ["a", "b"], "label": [0, 1]}, ["good", "awful"])
    with pytest.raises(DataError) as error:
        hub_labels()
    assert str(error.value) == (
        "a/b, split train: class 0 is 'good' there, but label 1 of the task; declare its labels: good, awful"
    )


def test_what_is_wrong_with_a_hub_data_set_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_hub(monkeypatch, tmp_path, {"text": ["a"], "label": [0]})
    with pytest.raises(DataError) as error:
        load_hub("a/b", "en", "valid")
    assert str(error.value) == "data set 'a/b' has no split valid; it has train"
    with pytest.raises(DataError) as error:
        read_unlabeled(load_hub("a/b", "", "train"), "sentence", "unlabeled0")
    assert str(error.value) == "a/b, split train: no column 'sentence'; it has 'text', 'label'"
