"""What must work after `pip install understudy` alone; copied out of the source tree and run there."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import understudy
from understudy import Classifier

HOME = Path(__file__).parent
ARTIFACT = HOME / "artifact"


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "understudy", *arguments], capture_output=True, text=True, cwd=HOME)


@pytest.mark.parametrize("package", ["torch", "transformers", "pyarrow", "onnx", "sklearn", "matplotlib"])
def test_nothing_heavy_is_installed(package: str) -> None:
    assert importlib.util.find_spec(package) is None


def test_this_is_the_wheel_and_not_the_source_tree() -> None:
    assert "site-packages" in understudy.__file__


def test_python_in_four_lines() -> None:
    (prediction,) = Classifier.load(ARTIFACT).predict(["a lovely film"])
    assert prediction.label in ("bad", "good")
    assert 0.5 <= prediction.confidence <= 1


def test_predict_texts_and_files() -> None:
    shown = command("predict", str(ARTIFACT), "a lovely film", "an awful meal", "--json")
    assert shown.returncode == 0, shown.stderr
    assert [json.loads(line)["text"] for line in shown.stdout.splitlines()] == ["a lovely film", "an awful meal"]
    (HOME / "in.csv").write_text("id,text\n1,a lovely film\n2,an awful meal\n", encoding="utf-8")
    done = command("predict", str(ARTIFACT), "--input", "in.csv", "--output", "out.jsonl", "--probabilities")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (HOME / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in rows] == ["1", "2"]
    assert set(rows[0]) == {"id", "text", "label", "confidence", "p_bad", "p_good"}


def test_inspect() -> None:
    shown = command("inspect", str(ARTIFACT))
    assert shown.returncode == 0, shown.stderr
    assert "all as the manifest says" in shown.stdout


def test_the_library_of_hashing_was_built_if_it_could_be() -> None:
    from understudy import hashing

    assert hashing.fast() == (shutil.which("cc") is not None)


def test_the_starter_data_ships() -> None:
    assert (Path(understudy.__file__).parent / "starter" / "imperative.csv").is_file()


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("export", "artifact", "--data", "artifact", "--out", "x"), "train"),
        (("quantize", "artifact", "--data", "artifact", "--out", "x"), "build"),
        (("predict", "artifact", "--input", "in.parquet"), "parquet"),
    ],
)
def test_a_missing_extra_names_its_pip_command(arguments: tuple[str, ...], extra: str) -> None:
    (HOME / "in.parquet").write_bytes(b"PAR1")
    shown = command(*arguments)
    assert shown.returncode == 2, shown.stderr
    assert shown.stderr.strip().count("\n") == 0
    assert f"pip install 'understudy[{extra}]'" in shown.stderr
