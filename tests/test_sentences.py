"""benchmark --sentences: how long models take on a user's own sentences; no labels, no quality."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy import cli, comparison
from understudy.speed import Runner, Speed

LINES = ["a lovely film", "", "   ", "\u2028 what a boring \u2028 book", "the meal was not great and so on"]
SENTENCES = [LINES[0], *LINES[3:]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.txt"
    path.write_bytes("\r\n".join(LINES).encode("utf-8-sig"))
    return path


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        cli.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def test_models_are_timed_on_the_lines_of_a_file(
    finished_run: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = [finished_run / "students/cnn" / variant for variant in ("fp32", "int8")]
    code, out, _ = call(capsys, "benchmark", *models, "--sentences", file, "--runs", 4, "--json")
    found = json.loads(out)
    assert (code, found["n"], found["runs"]) == (0, 3, 4)
    assert [model["name"] for model in found["models"]] == ["cnn/fp32", "cnn/int8"]
    for model in found["models"]:
        (row,) = model["speed"]
        assert (row["threads"], row["batch"]) == (1, 1)
        assert 0 < row["p50"] <= row["p95"] <= row["p99"]
        assert row["std"] > 0
        assert row["p50"] / 3 < row["mean"] < 3 * row["p99"]
        assert model["load_ms"] > 0 < model["peak_rss"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    seen: dict[str, Any] = {}

    def measure(runners: list[Runner], texts: list[str], threads: list[int], repeats: int, advance: Any) -> list[Speed]:
        seen.update(texts=texts, repeats=repeats, threads=threads, batches=[runner.batches for runner in runners])
        row = {"threads": 1, "batch": 1, "mean": 2.0, "std": 0.5, "p50": 1.9, "p95": 2.9, "p99": 3.1}
        return [Speed([row | {"texts_per_second": 1500.0}], {1: np.ones(1)}) for _ in runners]

    monkeypatch.setattr(comparison.speed, "measure", measure)
    return seen


def test_the_table_says_what_was_measured(
    finished_run: Path, file: Path, asked: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(capsys, "benchmark", finished_run / "students/cnn/int8", "--sentences", file)
    assert (code, "Traceback" in err) == (0, False)
    assert out.splitlines() == [
        "model                                mean      std      p50      p95      p99   texts/s",
        "cnn/int8                            2.000    0.500    1.900    2.900    3.100     1,500",
        "ms per sentence, one at a time, one thread; 3 sentences, 10 runs, the models in turns, after a warm-up",
    ]
    assert asked == {"texts": SENTENCES, "repeats": 10, "threads": [1], "batches": [(1,)]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give either --data, a labelled file, or --sentences, a file with one sentence a line"),
        (("--sentences", "{file}", "--data", "x.csv"), "give either --data, a labelled file, or --sentences, a file"),
        (("--sentences", "{file}", "--repeats", "2"), "--repeats is for --data; --sentences takes --runs,"),
        (("--sentences", "{file}", "--map", "a=b"), "--map is for --data; --sentences takes --runs,"),
        (("--data", "x.csv", "--runs", "2"), "--runs is for --sentences; with --data it is --repeats"),
        (("--sentences", "none.txt"), "none.txt: cannot be read: No such file or directory"),
        (("--sentences", "{empty}"), "holds no sentence; expected one a line"),
        (("--sentences", "{bytes}"), "is not UTF-8 text: invalid start byte at byte 3"),
    ],
)
def test_what_cannot_be_timed_is_one_line(
    finished_run: Path,
    file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "bytes.txt").write_bytes(b"abc\xff")
    places = {"file": file, "empty": tmp_path / "empty.txt", "bytes": tmp_path / "bytes.txt"}
    given = [argument.format(**places) for argument in arguments]
    code, out, err = call(capsys, "benchmark", finished_run / "students/cnn/int8", *given)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
