"""Predictions of files and texts: rows in, the same rows with labels out."""

from __future__ import annotations

import csv
import datetime
import decimal
import errno
import io
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

import understudy
from understudy import cli
from understudy.artifact import TextConfig
from understudy.choice import Choice, asked_for
from understudy.data.formats import CHUNK
from understudy.data.task import Task
from understudy.decision import Decision
from understudy.errors import DataError, MissingExtraError, RecipeError, UnderstudyError, WorkError
from understudy.predicting import Summary, predict_file
from understudy.progress import Silent

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:  # the runtime alone
    pa = pq = None

AWKWARD = [
    "plain", "two\nlines", "a lone\rreturn", "both\r\nends", 'say "hi", he said', "tab\there", " led by a space",
    "নমস্কার, 世界 🎭", "e\u0301", "nul\0inside", "'quoted'", "=1+1", "NA", "null", "1.50",
]  # fmt: skip

needs_pyarrow = pytest.mark.skipif(pa is None, reason="pyarrow is not installed")


class Fake:
    """Probabilities made from the text alone."""

    labels = ("bad", "good")
    artifact = SimpleNamespace(text=TextConfig(("html",), 64))
    task = Task("mood", labels)

    def choice(self, *asked: Any, **named: Any) -> Choice:
        return asked_for(self.task, Decision(), *asked, **named)

    def __init__(self, failure: BaseException | None = None, after: int = 0) -> None:
        self.failure, self.after, self.seen = failure, after, 0

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        assert texts, "a model has no answer to nothing"
        self.seen += len(texts)
        if self.failure is not None and self.seen > self.after:
            raise self.failure
        good = np.array([zlib.crc32(text.encode("utf-8", "surrogatepass")) / 2**32 for text in texts])
        return np.stack([1 - good, good], axis=1)


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture(autouse=True)
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the files at the moment when they went to the disk; the disk itself is spared."""
    sizes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: sizes.append(os.fstat(descriptor).st_size))
    return sizes


def need_pyarrow(*paths: Path | None) -> None:
    if pa is None and any(path is not None and path.suffix == ".parquet" for path in paths):
        pytest.skip("pyarrow is not installed")


def run(source: Path | None, target: Path | None, fake: Any = None, **options: Any) -> Summary:
    need_pyarrow(source, target)
    return predict_file(fake or Fake(), source, target, **options)


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    columns = list(rows[0])
    need_pyarrow(path)
    if path.suffix == ".parquet":
        pq.write_table(pa.table({name: [row[name] for row in rows] for name in columns}), path, row_group_size=1000)
    elif path.suffix in (".jsonl", ".ndjson"):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",", quoting=csv.QUOTE_ALL)
            lines.writerows([columns, *(row.values() for row in rows)])
    return path


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return list(pq.read_table(path).to_pylist())
    if path.suffix in (".jsonl", ".ndjson"):
        return [json.loads(line) for line in path.read_text().split("\n")[:-1]]
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


def failure(kind: type[UnderstudyError], source: Path | None, target: Path | None, **options: Any) -> str:
    with pytest.raises(kind) as error:
        run(source, target, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write(tmp_path / "in.csv", [{"id": str(n), "text": text} for n, text in enumerate(AWKWARD)])


# Formats


@pytest.mark.parametrize("target", ["out.csv", "out.tsv", "out.jsonl", "out.ndjson", "out.parquet", "OUT.CSV"])
@pytest.mark.parametrize("source", ["in.csv", "in.tsv", "in.jsonl", "in.parquet"])
def test_every_format_becomes_every_format(
    tmp_path: Path, source: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("understudy.data.writing.GROUP_ROWS", CHUNK)
    texts = [f"{text}{turn}" for turn in range(CHUNK // len(AWKWARD) + 2) for text in AWKWARD]  # more than a chunk
    rows = [{"id": f"n{n}", "text": text, "note": text[::-1]} for n, text in enumerate(texts)]
    out = tmp_path / target
    assert run(write(tmp_path / source, rows), out, probabilities=True) == Summary(len(rows), 0)
    found = read(out.rename(out.with_suffix(out.suffix.lower())))
    assert [{name: row[name] for name in ("id", "text", "note")} for row in found] == rows
    assert list(found[0]) == ["id", "text", "note", "label", "confidence", "p_bad", "p_good"]
    expected = Fake().predict_proba(texts)
    assert [row["label"] for row in found] == [Fake.labels[best] for best in expected.argmax(axis=1)]
    scores = np.array([[float(row[name]) for name in ("confidence", "p_bad", "p_good")] for row in found])
    exact = np.column_stack([expected.max(axis=1), expected])
    np.testing.assert_array_equal(scores, exact if out.suffix == ".parquet" else np.round(exact, 6))


def test_scores_have_six_decimals(tmp_path: Path, table: Path) -> None:
    run(table, tmp_path / "out.csv")
    assert all(len(row["confidence"]) == len("0.123456") for row in read(tmp_path / "out.csv"))
    assert list(read(tmp_path / "out.csv")[0]) == ["id", "text", "label", "confidence"]


@needs_pyarrow
def test_parquet_keeps_the_types_of_its_columns(tmp_path: Path) -> None:
    moment = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC)
    kept = pa.table(
        {
            "small": pa.array([1, None, 3], pa.int8()),
            "text": pa.array(["a", "b", "a"]).dictionary_encode(),
            "when": pa.array([moment, None, moment], pa.timestamp("ns", "Europe/Rome")),
            "price": pa.array([decimal.Decimal("1.10"), None, None], pa.decimal128(9, 2)),
            "tags": pa.array([["x"], [], None], pa.list_(pa.large_string())),
            "raw": pa.array([b"\xff", b"", None]),
        }
    ).replace_schema_metadata({"made": "by hand"})
    pq.write_table(kept, tmp_path / "in.parquet")
    run(tmp_path / "in.parquet", tmp_path / "out.parquet")
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.select(kept.column_names).equals(kept)
    assert found.schema.metadata == {b"made": b"by hand"}
    assert [str(found.schema.field(name).type) for name in ("label", "confidence")] == ["string", "double"]


@needs_pyarrow
def test_parquet_values_become_readable_text(tmp_path: Path) -> None:
    row = {"text": "a", "day": datetime.date(2024, 2, 29), "yes": True, "tags": ["é", None], "x": 0.1, "no": None}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "in.parquet")
    run(tmp_path / "in.parquet", tmp_path / "out.csv")
    run(tmp_path / "in.parquet", tmp_path / "out.jsonl")
    first = (tmp_path / "out.csv").read_text().splitlines()[1]
    assert first.startswith('a,2024-02-29,true,"[""é"", null]",0.1,,')
    assert read(tmp_path / "out.jsonl")[0] | row == read(tmp_path / "out.jsonl")[0] | {"day": row["day"]}
    pq.write_table(pa.table({"text": ["a"], "raw": [b"\xff"]}), tmp_path / "in.parquet")
    assert "choose a .parquet output" in failure(DataError, tmp_path / "in.parquet", tmp_path / "bytes.csv")
    pq.write_table(pa.table({"text": ["a"], "t": pa.array([1], pa.timestamp("ns"))}), tmp_path / "in.parquet")
    assert "rows 0 to" in failure(DataError, tmp_path / "in.parquet", tmp_path / "nanoseconds.csv")


def test_jsonl_is_always_valid_json(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "lone \\ud83d", "x": NaN, "y": 1e999, "big": 123456789012345678901}\n')
    run(tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    line = (tmp_path / "out.jsonl").read_text()
    found = json.loads(line, parse_constant=pytest.fail)
    assert (found["text"], found["x"], found["y"]) == ("lone \ud83d", None, None)
    assert found["big"] == 123456789012345678901
    run(tmp_path / "in.jsonl", tmp_path / "out.csv")
    assert read(tmp_path / "out.csv")[0]["text"] == "lone \ufffd"
    (tmp_path / "in.jsonl").write_text('{"text": "lone \\ud83d", "pair": "\\ud83c\\udfad"}\n')
    run(tmp_path / "in.jsonl", tmp_path / "out.parquet")
    assert read(tmp_path / "out.parquet")[0].items() >= {"text": "lone \ufffd", "pair": "🎭"}.items()


@needs_pyarrow
def test_jsonl_rows_may_differ(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"text": "a", "n": 1}] * CHUNK + [{"late": [1], "n": 1.5}, {"text": "b", "z": None}]
    source = write(tmp_path / "in.jsonl", rows)
    assert run(source, tmp_path / "out.jsonl").empty == 1  # a row without the key has no text
    assert list(read(tmp_path / "out.jsonl")[CHUNK]) == ["late", "n", "label", "confidence"]
    run(source, tmp_path / "out.csv")
    assert list(read(tmp_path / "out.csv")[0]) == ["text", "n", "late", "z", "label", "confidence"]
    run(source, tmp_path / "out.parquet")
    schema = pq.read_schema(tmp_path / "out.parquet")
    assert [str(kind) for kind in schema.types] == [
        "string",
        "double",
        "list<element: int64>",
        *["string"] * 2,
        "double",
    ]


def test_parquet_has_one_type_a_column(tmp_path: Path) -> None:
    def refusal(values: Sequence[Any]) -> str:
        fake = Fake()
        source = write(tmp_path / "in.jsonl", [{"text": "a", "n": value} for value in values])
        message = failure(DataError, source, tmp_path / "out.parquet", fake=fake)
        assert fake.seen == 0
        assert message.endswith("choose a .jsonl output")
        return message.removeprefix(f"{source}: ")

    assert refusal([1, "word"]).startswith("line 1 and after: column 'n' does not fit one Parquet type")
    assert refusal([*[1] * CHUNK, "word"]).startswith(f"line {CHUNK + 1} and after: column 'n' holds string, before it")
    assert refusal([2**70]).startswith("line 1 and after: column 'n' does not fit one Parquet type")


@pytest.mark.parametrize("target", ["out.csv", "out.jsonl", "out.parquet"])
def test_a_table_without_rows_keeps_its_columns(tmp_path: Path, target: str) -> None:
    (tmp_path / "in.csv").write_bytes('\ufeff"i""\nd",body\n\n'.encode())
    out = tmp_path / target
    assert run(tmp_path / "in.csv", out, column="body") == Summary(0, 0)
    if out.suffix == ".csv":
        assert next(csv.reader(out.open(newline=""))) == ['i"\nd', "body", "label", "confidence"]
    assert read(out) == []
    assert "no column 'text'" in failure(DataError, tmp_path / "in.csv", tmp_path / "other.csv")


# What is predicted


def test_the_same_text_gives_the_same_bytes_in_any_file(tmp_path: Path) -> None:
    texts = [f"{text} {n % 7}" for n in range(CHUNK + 500) for text in AWKWARD[:1]] + AWKWARD
    lines = {}
    for name, order in {"forth": texts, "back": texts[::-1], "alone": [texts[-1]]}.items():
        run(write(tmp_path / f"{name}.jsonl", [{"text": text} for text in order]), tmp_path / f"{name}-out.jsonl")
        lines[name] = (tmp_path / f"{name}-out.jsonl").read_bytes().split(b"\n")[:-1]
    assert lines["forth"] == lines["back"][::-1]
    assert lines["alone"] == lines["forth"][-1:]


@pytest.mark.parametrize("target", ["out.csv", "out.jsonl", "out.parquet"])
def test_rows_without_text_are_kept_and_counted(tmp_path: Path, target: str) -> None:
    texts = ["a", None, "", " \n\t", "\u200b\u00ad", "\0", "<br><br>", "b"]
    source = write(tmp_path / "in.jsonl", [{"n": n, "text": text} for n, text in enumerate(texts)])
    assert run(source, tmp_path / target, probabilities=True) == Summary(8, 6)
    found = read(tmp_path / target)
    assert [int(row["n"]) for row in found] == list(range(8))
    nothing = "" if target == "out.csv" else None
    assert all(row[name] == nothing for row in found[1:-1] for name in ("label", "confidence", "p_bad", "p_good"))
    assert found[0]["label"] and found[-1]["label"]
    assert run(write(source, [{"text": None}]), tmp_path / "none.csv") == Summary(1, 1)


def test_another_column_and_a_prefix(tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv", [{"body": "a", "label": "gold", "p_bad": "1"}])
    assert "no column 'text'; it has 'body'" in failure(DataError, source, tmp_path / "out.csv")
    assert "no column 'bodi'; it has 'body', 'label', 'p_bad'; did you mean 'body'?" in failure(
        DataError, source, tmp_path / "out.csv", column="bodi"
    )
    clash = failure(DataError, source, tmp_path / "out.csv", column="body")
    assert "has a column 'label'" in clash and "--prefix new_" in clash
    run(source, tmp_path / "out.csv", column="body", prefix="new_", probabilities=True)
    names = ["body", "label", "p_bad", "new_label", "new_confidence", "new_p_bad", "new_p_good"]
    assert list(read(tmp_path / "out.csv")[0]) == names


def test_a_value_that_is_no_text(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [{"text": "a"}] * 2 * CHUNK + [{"text": 5}])
    fake = Fake()
    assert f"line {2 * CHUNK + 1}: column 'text' holds int 5, not a text" in failure(
        DataError, source, tmp_path / "o.csv", fake=fake
    )
    assert fake.seen == 0
    write(tmp_path / "in.parquet", [{"text": 5}])
    assert "row 0: column 'text' holds int 5" in failure(DataError, tmp_path / "in.parquet", tmp_path / "o.parquet")
    assert names_in(tmp_path) == ["in.jsonl", "in.parquet"]


def test_formulas_are_kept_or_defused(tmp_path: Path) -> None:
    cells = ["=1+1", "+A1", "-1+1", "@SUM(A1)", "\tx", "\rx", "a=1", "-1.5", "+2e3", "-"]
    source = write(tmp_path / "in.csv", [{"text": cell} for cell in cells])
    run(source, tmp_path / "plain.csv")
    run(source, tmp_path / "safe.tsv", excel_safe=True)
    assert [row["text"] for row in read(tmp_path / "plain.csv")] == cells
    safe = ["'=1+1", "'+A1", "'-1+1", "'@SUM(A1)", "'\tx", "'\rx", "a=1", "-1.5", "+2e3", "'-"]
    assert [row["text"] for row in read(tmp_path / "safe.tsv")] == safe
    assert "--excel-safe" in failure(RecipeError, source, tmp_path / "out.jsonl", excel_safe=True)


# The output is complete or absent


@pytest.mark.parametrize("target", ["out.csv", "out.parquet"])
def test_the_output_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, table: Path, target: str, synced: list[int]
) -> None:
    run(table, tmp_path / target)
    assert synced == [(tmp_path / target).stat().st_size]
    assert names_in(tmp_path) == ["in.csv", target]


def test_an_output_that_exists_is_kept(tmp_path: Path, table: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("precious")
    assert "--overwrite" in failure(DataError, table, out)
    assert out.read_text() == "precious"
    link = tmp_path / "link.csv"
    link.symlink_to(out)
    run(table, link, overwrite=True)
    assert len(read(out)) == len(AWKWARD)
    assert link.is_symlink()


def test_the_input_is_never_the_output(tmp_path: Path, table: Path) -> None:
    before = table.read_bytes()
    (tmp_path / "symlink.csv").symlink_to(table)
    (tmp_path / "hardlink.csv").hardlink_to(table)
    for name in ("in.csv", "symlink.csv", "hardlink.csv", "../" + tmp_path.name + "/in.csv"):
        assert "is the input itself" in failure(DataError, table, tmp_path / name, overwrite=True)
    assert table.read_bytes() == before


def test_outputs_that_cannot_be(tmp_path: Path, table: Path) -> None:
    assert "make it first" in failure(DataError, table, tmp_path / "no" / "out.csv")
    assert "unknown kind of file '.xlsx'" in failure(DataError, table, tmp_path / "out.xlsx")
    assert "unknown kind of file" in failure(DataError, tmp_path / "in", tmp_path / "out.csv")
    assert "no such file" in failure(DataError, tmp_path / "no.csv", tmp_path / "out.csv")
    (tmp_path / "dir.csv").mkdir()
    assert "is not a file" in failure(DataError, table, tmp_path / "dir.csv", overwrite=True)
    assert "--format" in failure(RecipeError, table, tmp_path / "out.csv", format="csv")


@pytest.mark.parametrize("torn", ["in.csv", "in.jsonl", "in.parquet"])
def test_a_torn_input_is_found_before_the_work(tmp_path: Path, torn: str) -> None:
    source = write(tmp_path / torn, [{"text": f'"{n}"'} for n in range(2 * CHUNK)])
    source.write_bytes(source.read_bytes()[:-5])
    fake = Fake()
    failure(DataError, source, tmp_path / "out.csv", fake=fake)
    assert fake.seen == 0
    assert names_in(tmp_path) == [torn]


@pytest.mark.parametrize("target", ["out.csv", "out.jsonl", "out.parquet"])
@pytest.mark.parametrize("error", [RuntimeError("bug"), KeyboardInterrupt(), WorkError("not a number")])
def test_an_interruption_leaves_nothing(tmp_path: Path, target: str, error: BaseException) -> None:
    source = write(tmp_path / "in.csv", [{"text": str(n)} for n in range(2 * CHUNK)])
    (tmp_path / target).write_text("precious")
    with pytest.raises(type(error)):
        run(source, tmp_path / target, Fake(error, after=CHUNK), overwrite=True)
    assert names_in(tmp_path) == ["in.csv", target]
    assert (tmp_path / target).read_text() == "precious"


@pytest.mark.parametrize("target", ["out.csv", "out.parquet"])
def test_a_full_disk_is_one_line(tmp_path: Path, table: Path, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    message = failure(WorkError, table, tmp_path / target)
    assert message == f"{tmp_path / target}: cannot be written: No space left on device"
    assert names_in(tmp_path) == ["in.csv"]


def test_an_output_that_appears_meanwhile_is_kept(tmp_path: Path, table: Path) -> None:
    class Slow(Fake):
        def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
            assert names_in(tmp_path) == [f".out.csv.{os.getpid()}.partial", "in.csv"]
            (tmp_path / "out.csv").write_text("precious")
            return super().predict_proba(texts)

    assert "exists" in failure(DataError, table, tmp_path / "out.csv", fake=Slow())
    assert (tmp_path / "out.csv").read_text() == "precious"
    assert names_in(tmp_path) == ["in.csv", "out.csv"]


def test_parquet_needs_its_extra(tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match="writing Parquet needs an extra"):
        predict_file(Fake(), table, tmp_path / "out.parquet")  # type: ignore[arg-type]
    assert names_in(tmp_path) == ["in.csv"]
    run(table, tmp_path / "out.csv")


PATHS = [str(Path(__file__).parent), str(Path(understudy.__file__).parents[1])]

MEMORY = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
from test_predicting import Fake
from understudy.machine import peak_memory
from understudy.predicting import predict_file
def peak(rows):
    with open("in.csv", "w") as file:
        file.writelines(["id,text\\n"])
        file.writelines(f"{{n}},row number {{n}}\\n" for n in range(rows))
    assert predict_file(Fake(), Path("in.csv"), Path({target!r}), overwrite=True).rows == rows
    return peak_memory()
print(-peak(9_000) + peak(200_000))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a child may inherit its parent's peak")
@pytest.mark.parametrize("target", ["out.csv", pytest.param("out.parquet", marks=needs_pyarrow)])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, target: str) -> None:
    program = MEMORY.format(paths=PATHS, target=target)
    process = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert 0 <= int(process.stdout) < 30e6  # as Python objects the rows are 80 MB


# The command


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A command whose artifact is the fake; gives the arguments of `load`."""
    loaded: list[Any] = []

    def load(path: Path, threads: int | None = None, provider: str = "cpu") -> Fake:
        loaded.append((path, threads))
        return Fake()

    monkeypatch.setattr("understudy.classifier.Classifier.load", load)
    monkeypatch.setitem(sys.modules, "understudy.display", SimpleNamespace(terminal_progress=Silent))
    return loaded


def call(*arguments: str | Path, input: str | bytes | None = None) -> Result:
    return CliRunner().invoke(cli.understudy, ["predict", "artifact", *map(str, arguments)], input=input)


def test_texts_are_printed_one_a_line(fake: list[Any]) -> None:
    result = call("plain", "two\nlines", "--threads", "3")
    assert result.exit_code == 0
    plain, lines = Fake().predict_proba(["plain", "two\nlines"])
    assert result.stdout == f"bad\t{plain[0]:.6f}\tplain\ngood\t{lines[1]:.6f}\ttwo lines\n"
    assert fake == [(Path("artifact"), 3)]


def test_texts_as_json(fake: list[Any]) -> None:
    result = call("নমস্কার", " ", "--json")
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    bad, good = Fake().predict_proba(["নমস্কার"])[0].round(6)
    assert first == {
        "text": "নমস্কার", "label": Fake.labels[int(good > bad)], "confidence": max(bad, good),
        "probabilities": {"bad": bad, "good": good},
    }  # fmt: skip
    assert "নমস্কার" in result.stdout
    assert second == {"text": " ", "label": None, "confidence": None, "probabilities": None}
    assert result.exit_code == 3
    assert call("").stdout == "\t\t\n"
    assert call("not UTF-8: \udcff").stdout.endswith("\tnot UTF-8: \ufffd\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either TEXTs or --input"),
        (["--output", "out.csv"], "give either TEXTs or --input"),
        (["a", "--input", "in.csv"], "give either TEXTs or --input"),
        (["--input", "in.csv", "--json"], "--json is for TEXTs"),
        (["a", "--output", "out.csv"], "--output goes with --input"),
        (["a", "--excel-safe"], "--excel-safe goes with --input"),
        (["a", "--column", "text"], "--column goes with --input"),
        (["a", "--threads", "0"], "--threads"),
    ],
)
def test_flags_that_contradict_each_other(fake: list[Any], arguments: list[str], message: str) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert fake == []


def test_a_file_by_the_command(fake: list[Any], tmp_path: Path, table: Path) -> None:
    assert call("--input", table, "--output", tmp_path / "out.csv", "--probabilities").exit_code == 0
    assert len(read(tmp_path / "out.csv")) == len(AWKWARD)
    again = call("--input", table, "--output", tmp_path / "out.csv")
    assert isinstance(again.exception, DataError)
    assert again.exception.exit_code == 2
    assert call("--input", table, "--output", tmp_path / "out.csv", "--overwrite").exit_code == 0
    write(table, [{"text": ""}])
    assert call("--input", table, "--output", tmp_path / "new.csv").exit_code == 3
    assert read(tmp_path / "new.csv") == [{"text": "", "label": "", "confidence": ""}]


def test_the_summary_goes_to_the_progress(
    fake: list[Any], tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    totals: list[int] = []

    class Told(Silent):
        def note(self, message: str) -> None:
            notes.append(message)

        @contextmanager
        def track(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
            totals.append(total)
            yield totals.append

    monkeypatch.setitem(sys.modules, "understudy.display", SimpleNamespace(terminal_progress=Told))
    write(table, [{"text": "a"}, {"text": ""}, {"text": "b"}])
    result = call("--input", table)
    assert notes == ["3 rows, 1 of them without text and so without label"]
    assert totals == [3, 3]
    assert len(result.stdout.splitlines()) == 4


def test_standard_input_and_output(fake: list[Any]) -> None:
    good = Fake().predict_proba(["é, x"])[0]
    label, best = Fake.labels[int(good.argmax())], f"{good.max():.6f}"
    result = call("--input", "-", "--output", "-", input='\ufeffid,text\r\n1,"é, x"\r\n')
    assert (result.exit_code, result.stdout) == (0, f'id,text,label,confidence\n1,"é, x",{label},{best}\n')
    result = call("--input", "-", "--format", "jsonl", input='{"text": "é, x", "n": 1}\n')
    assert json.loads(result.stdout) == {"text": "é, x", "n": 1, "label": label, "confidence": float(best)}
    result = call("--input", "-", "--format", "tsv", input="text\né, x\n")
    assert result.stdout == f"text\tlabel\tconfidence\né, x\t{label}\t{best}\n"


@needs_pyarrow
def test_a_stream_between_files(fake: list[Any], tmp_path: Path, table: Path) -> None:
    assert call("--input", "-", "--output", tmp_path / "out.parquet", input=table.read_bytes()).exit_code == 0
    assert [row["text"] for row in read(tmp_path / "out.parquet")] == AWKWARD
    result = call("--input", tmp_path / "out.parquet", "--prefix", "b_", "--format", "tsv")
    found = csv.DictReader(io.StringIO(result.stdout_bytes.decode(), newline=""), delimiter="\t")
    assert [row["text"] for row in found] == AWKWARD


def test_standard_input_that_is_not_good(fake: list[Any], tmp_path: Path) -> None:
    def error(*arguments: str | Path, input: str | bytes) -> str:
        result = call("--input", "-", *arguments, input=input)
        assert isinstance(result.exception, DataError), result
        return str(result.exception)

    out = tmp_path / "out.csv"
    assert error(input="") == "standard input: the file is empty"
    assert error("--output", out, input='text\n"a') == ("standard input: line 2: not a CSV row: unexpected end of data")
    assert "line 2: not UTF-8" in error("--output", out, input=b"text\n\xff\n")
    assert "no column 'text'; it has 'txet'" in error(input="txet\na\n")
    assert "no column 'text'; it has 'txet'" in error(input="txet\n")
    assert "has a column 'label'" in error(input="text,label\n")
    long = '{"text": "a"}\n' * CHUNK
    late = error("--format", "jsonl", "--output", out, input=long + '{"text": "a", "n": 1}\n')
    assert f"line {CHUNK + 1}: column 'n' is not in the first {CHUNK} rows" in late
    assert "column 'label'" in error("--format", "jsonl", input=long + '{"text": "a", "label": 1}\n')
    assert call("--input", "-", "--format", "jsonl", input=long + '{"text": "a", "n": 1}\n').exit_code == 0
    assert names_in(tmp_path) == []
    assert call("--input", "-", input="id,text\n").stdout == "id,text,label,confidence\n"


def test_standard_input_is_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    fake, out = Fake(), io.BytesIO()

    def lines() -> Iterator[bytes]:
        yield b"text\n"
        for n in range(3 * CHUNK):
            yield b"%d\n" % n
        assert fake.seen >= CHUNK
        assert out.getvalue().count(b"\n") > CHUNK

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=lines()))
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=out))
    assert run(None, None, fake) == Summary(3 * CHUNK, 0)


HEAD = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
from test_predicting import Fake
from understudy.classifier import Classifier
Classifier.load = lambda path, threads=None, provider="cpu": Fake()
from understudy.cli import main
main(["predict", "artifact", "--input", {table!r}])
"""


def test_a_closed_pipe_ends_quietly(tmp_path: Path) -> None:
    table = write(tmp_path / "in.csv", [{"text": f"row {n}"} for n in range(20_000)])
    program = HEAD.format(paths=PATHS, table=str(table))
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == b"text,label,confidence\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 0


def test_the_runtime_alone_is_imported() -> None:
    heavy = "{'torch', 'transformers', 'pyarrow', 'pydantic'} & set(sys.modules)"
    program = f"import sys, understudy.commands.predict; assert not {heavy}, {heavy}"
    subprocess.run([sys.executable, "-c", program], check=True)
