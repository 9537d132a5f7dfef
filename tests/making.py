"""A small artifact, made in a moment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from understudy.artifact import Artifact, Draft, Plan, TextConfig, writing
from understudy.data.task import Task
from understudy.run_log import LOG

PLAN = Plan("train", {"epochs": 3, "model": {"layers": [0, 1], "name": "x"}}, {"data": "d1"}, seed=5)
OTHER = replace(PLAN, seed=6)
TASK = Task("mood", ("bad", "good"))


def make(out: Path, plan: Plan = PLAN, content: str = "weights", **fields: Any) -> Artifact:
    with writing(out, plan, "model") as draft:
        (draft.path / "model.bin").write_text(content)
        (draft.path / "deep").mkdir(exist_ok=True)
        (draft.path / "deep" / "vocabulary.txt").write_text("a\nb\n")
        draft.task, draft.text = TASK, TextConfig(("nfc",), 64)
        for name, value in fields.items():
            setattr(draft, name, value)
    return Artifact.load(out)


def of_files(directory: Path) -> Artifact:
    """The files that are there, as an artifact that lists them all."""
    return Draft(directory).as_artifact(PLAN)


def names(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*"))


def moments(run: Path) -> dict[Path, int]:
    """When each file of a run was written; the log grows with every start."""
    return {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file() and path.name != LOG}
