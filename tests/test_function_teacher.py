"""A Python function as a teacher: whatever it answers is checked, and its errors are one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from answers_kit import labelled, prepared, probabilities, settings, split_of
from training_kit import Failing, PowerCutError
from understudy.answering import ANSWERS, answer_test
from understudy.artifact import Artifact
from understudy.errors import ArtifactError, DataError, RecipeError, UnderstudyError, WorkError
from understudy.progress import Silent

GOOD = """\
from pathlib import Path

CALLS = Path(__file__).with_name("calls.txt")

def share(text):
    return 0.2 + 0.6 * (len(text) % 2)

def answer(texts):
    with CALLS.open("a") as file:
        file.write("".join(text + "\\n" for text in texts))
    return [[1 - share(text), share(text)] for text in texts]

def named(texts):
    return [{"good": share(text), "bad": 1 - share(text)} for text in texts]

def partial(texts):
    return [{"good": share(text)} for text in texts]
"""
BAD = """\
import sys

def raises(texts):
    raise ValueError("no credit\\nleft")

def leaves(texts):
    sys.exit(3)

def short(texts):
    return [[0.5, 0.5]] * (len(texts) - 1)

def wide(texts):
    return [[0.2, 0.3, 0.5]] * len(texts)

def words(texts):
    return ["good"] * len(texts)

def nan(texts):
    return [[float("nan"), 0.5]] * len(texts)

def negative(texts):
    return [[-0.5, 1.5]] * len(texts)

def half(texts):
    return [[0.25, 0.25]] * len(texts)

def other(texts):
    return [{"good": 0.5, "fair": 0.5}] * len(texts)

def silent(texts):
    return [{}] * len(texts)

number = 3
"""


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("data") / "home")


@pytest.fixture
def data(ready: Path, tmp_path: Path) -> Path:
    (tmp_path / "data").symlink_to(ready)
    (tmp_path / "fine.py").write_text(GOOD, encoding="utf-8")
    (tmp_path / "broken.py").write_text(BAD, encoding="utf-8")
    return tmp_path / "data"


def expected(data: Path, name: str) -> np.ndarray:
    shares = [0.2 + 0.6 * (len(text) % 2) for text in split_of(data, name).texts]
    return np.array([[1 - share, share] for share in shares])


@pytest.mark.parametrize("name", ["answer", "named", "partial"])
def test_a_function_in_a_file(data: Path, name: str) -> None:
    labels = labelled(data, settings("function", function=f"fine.py:{name}"), batch_size=7)
    for split in ("train", "val", "unlabeled"):
        np.testing.assert_allclose(probabilities(labels, data, split), expected(data, split), atol=1e-6)
    assert labels.measurements["teacher_calls"] == 64
    answers = answer_test(Artifact.load(data.parent / "teacher", ANSWERS), split_of(data, "test"), 5, Silent())
    assert answers.logits is not None
    np.testing.assert_allclose(np.exp(answers.logits), expected(data, "test"), atol=1e-6)


def test_a_function_of_a_module(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(data.parent))
    labels = labelled(data, settings("function", function="fine:answer"))
    np.testing.assert_allclose(probabilities(labels, data, "val"), expected(data, "val"), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("raises", WorkError, "broken.py:raises raised ValueError: no credit"),
        ("leaves", WorkError, "broken.py:leaves raised SystemExit: 3"),
        (
            "short",
            DataError,
            r"broken.py:short answers 16 texts with an array of shape \(15, 2\), expected \(16, 2\): a",
        ),
        ("wide", DataError, r"broken.py:wide answers 16 texts with an array of shape \(16, 3\), expected \(16, 2\)"),
        ("words", DataError, "broken.py:words answers with what is no array of numbers: could not convert"),
        ("nan", DataError, "broken.py:nan answers with NaN"),
        (
            "negative",
            DataError,
            "broken.py:negative: its answer to .*: 'bad' has -0.5, and a probability is not negative",
        ),
        ("half", DataError, "broken.py:half: its answer to .*: the 2 probabilities sum to 0.5, expected 1"),
        ("other", DataError, "broken.py:other answers with 'fair'; the labels are bad, good"),
        ("silent", DataError, "broken.py:silent answers a text with no label at all"),
        ("absent", RecipeError, "teacher.function broken.py:absent: broken.py has no function 'absent'"),
        ("number", RecipeError, "teacher.function broken.py:number: broken.py has no function 'number'"),
    ],
)
def test_what_is_wrong_with_a_function_is_said_in_a_line(
    data: Path, name: str, error: type[UnderstudyError], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        labelled(data, settings("function", function=f"broken.py:{name}"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("no.py:f", r"teacher.function no.py:f: FileNotFoundError: .*no.py: no such file"),
        (
            "no_such_module:f",
            "teacher.function no_such_module:f: ModuleNotFoundError: No module named 'no_such_module'",
        ),
        ("worse.py:f", r"teacher.function worse.py:f: ZeroDivisionError: division by zero"),
    ],
)
def test_a_module_that_cannot_be_imported(data: Path, function: str, message: str) -> None:
    (data.parent / "worse.py").write_text("1 / 0\n", encoding="utf-8")
    with pytest.raises(RecipeError, match=message):
        labelled(data, settings("function", function=function))


def test_an_edited_function_is_asked_again(data: Path) -> None:
    config = settings("function", function="fine.py:answer")
    first = labelled(data, config)
    assert labelled(data, config).key == first.key
    (data.parent / "fine.py").write_text(GOOD.replace("0.2 + 0.6", "0.3 + 0.4"), encoding="utf-8")
    with pytest.raises(
        ArtifactError, match=r"fine.py:answer has changed since .*teacher was made; run its stage again"
    ):
        answer_test(Artifact.load(data.parent / "teacher", ANSWERS), split_of(data, "test"), 5, Silent())
    again = labelled(data, config)
    assert probabilities(again, data, "train").max() == pytest.approx(0.7)


def test_an_interrupted_labelling_asks_for_what_is_missing(data: Path) -> None:
    config = settings("function", function="fine.py:answer")
    with pytest.raises(PowerCutError):
        labelled(data, config, Failing(20), shard_size=8, batch_size=8)
    labels = labelled(data, config, shard_size=8, batch_size=8)
    texts = (data.parent / "calls.txt").read_text(encoding="utf-8").splitlines()
    assert 0 < labels.measurements["of_an_interrupted_run"] < 64
    assert len(texts) - len(set(texts)) <= 8  # the shard that was being made
    assert labels.measurements["teacher_calls"] + labels.measurements["of_an_interrupted_run"] == 64
    np.testing.assert_allclose(probabilities(labels, data, "train"), expected(data, "train"), atol=1e-6)


def test_test_texts_are_not_asked_for_if_the_recipe_says_so(data: Path) -> None:
    labelled(data, settings("function", function="fine.py:answer", test=False))
    (data.parent / "calls.txt").unlink()
    answers = answer_test(Artifact.load(data.parent / "teacher", ANSWERS), split_of(data, "test"), 5, Silent())
    assert answers.logits is None
    assert answers.said == ["The teacher was not asked for the test texts (teacher.test = false)"]
    assert not (data.parent / "calls.txt").exists()


def test_no_test_text_is_asked_for_by_label(data: Path) -> None:
    labelled(data, settings("function", function="fine.py:answer"))
    asked = set((data.parent / "calls.txt").read_text(encoding="utf-8").splitlines())
    assert asked == {text for name in ("train", "val", "unlabeled") for text in split_of(data, name).texts}
