"""run.log: what a run told its user, with times; it is added to, and where nobody may work there is none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from understudy.claiming import claimed
from understudy.config import load_recipe
from understudy.errors import DataError, InputError, RecipeError
from understudy.pipeline import run
from understudy.progress import Silent
from understudy.run_log import LOG, logged


class Listener(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def lines(directory: Path) -> list[str]:
    """What the log says, behind the times that every line begins with."""
    found = (directory / LOG).read_text(encoding="utf-8").splitlines()
    parted = [re.fullmatch(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ) (.*)", line) for line in found]
    assert all(parted) and sorted(line[:20] for line in found) == [line[:20] for line in found]
    return [line[2] for line in parted if line]


def test_a_run_logs_what_it_tells(finished_run: Path) -> None:
    said = lines(finished_run)
    assert re.fullmatch(r"understudy \d+\.\d+\.\d+\S*: run of the task tiny", said[0])
    steps = [line for line in said if re.match(r"\[\d+/\d+\] ", line)]
    assert [step.split("] ")[1] for step in steps][:3] == ["data", "teacher", "labels"]
    assert any("mean confidence of the teacher" in line for line in said) and "finished" in said


def test_the_user_is_told_the_same_and_bars_are_only_shown(tmp_path: Path) -> None:
    listener = Listener()
    with logged(tmp_path, "run", listener) as progress:
        with progress.track("train", 3) as advance:
            advance(3)
        progress.note("  warning: two\nlines, and a lone \udc80")
    assert listener.notes == ["  warning: two\nlines, and a lone \udc80"]
    assert lines(tmp_path)[1:] == ["  warning: two lines, and a lone \\udc80", "finished"]


@pytest.fixture
def refused(workshop: Path, tmp_path: Path) -> str:
    """What a run says whose labels the data does not fit."""
    recipe = load_recipe(workshop / "recipe.toml")
    task = recipe.task.model_copy(update={"labels": ["bad", "fair"]})
    with pytest.raises(DataError) as error:
        run(recipe.model_copy(update={"task": task}), tmp_path / "out", workshop, Silent())
    return str(error.value)


def test_how_it_ended_is_logged_and_the_next_start_adds_to_it(refused: str, workshop: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (_, data, failed) = lines(out)
    assert re.fullmatch(r"\[1/\d+\] data", data) and failed == f"failed: {refused}"
    before = (out / LOG).read_bytes()
    with pytest.raises(KeyboardInterrupt), logged(out, "run", Silent()) as progress:
        progress.note("on again")
        raise KeyboardInterrupt
    assert (out / LOG).read_bytes().startswith(before)
    assert lines(out)[-2:] == ["on again", "interrupted"]
    with pytest.raises(KeyError), logged(out, "run", Silent()):
        raise KeyError("x")
    assert lines(out)[-1] == "failed: KeyError: 'x'"


def test_where_it_may_not_work_there_is_no_log(workshop: Path, tmp_path: Path) -> None:
    recipe = load_recipe(workshop / "recipe.toml")
    foreign, taken, unwritable = (tmp_path / name for name in ("foreign", "taken", "unwritable"))
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(RecipeError, match="did not write"):
        run(recipe, foreign, workshop, Silent())
    with claimed(taken, recipe), pytest.raises(InputError, match="another understudy is at work"):
        run(recipe, taken, workshop, Silent())
    assert not (foreign / LOG).exists() and not (taken / LOG).exists()
    with claimed(unwritable, recipe):
        (unwritable / LOG).mkdir()
    with pytest.raises(InputError, match=r"run\.log cannot be written to: Is a directory; choose another --out"):
        run(recipe, unwritable, workshop, Silent())
