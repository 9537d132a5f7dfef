"""prepare: a recipe's files → checked, cut and de-duplicated splits.

understudy prepare RECIPE --out runs/x/data
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .artifact import Artifact, Plan, TextConfig, finished, writing
from .config import DataConfig, TaskConfig
from .data.locating import locate, names_hub_split
from .data.preparing import prepare as prepare_splits
from .data.storing import write_split
from .data.task import Task
from .errors import DataError, RecipeError
from .files import sha256_of_file
from .progress import Progress, Silent
from .task_settings import check_labels

_NO_LIMIT = 8192  # models set their own max_length; the data has none


def prepare(
    task: TaskConfig,
    config: DataConfig,
    out: Path,
    base: Path | None,
    *,
    seed: int = 13,
    progress: Progress | None = None,
) -> Artifact:
    """Write train, val, test and unlabeled as Parquet, with class counts, what was dropped, and the warnings.

    `base` is the directory that file names are relative to; None for a hub data set.
    """
    progress = progress or Silent()
    try:
        check_labels(task.kind, config.label, config)
    except ValueError as error:
        raise RecipeError(str(error)) from None
    plan = Plan("prepare", {"task": task.model_dump(), "data": config.model_dump()}, digests(config, base), seed)
    done = finished(out, plan, progress)
    if done is not None:
        return done
    nouns = task_of(task)
    with progress.track("prepare data", 1) as advance:
        prepared = prepare_splits(nouns, config, seed, base)
        advance(1)
    with writing(out, plan, "data") as draft:
        draft.task, draft.text = nouns, TextConfig(tuple(config.normalize), _NO_LIMIT)
        for split in (prepared.train, prepared.val, prepared.test, prepared.unlabeled):
            if len(split) or split is not prepared.unlabeled:
                write_split(split, draft.path / f"{split.name}.parquet")
        draft.measurements = prepared.counts
        draft.warnings = prepared.warnings
    return Artifact.load(out)


def summary(prepared: Artifact) -> list[str]:
    """A line per split: rows, rows per class, and what always giving the most frequent label would score."""
    lines = []
    for name, split in prepared.measurements["splits"].items():
        classes = ", ".join(f"{label} {count}" for label, count in split.get("classes", {}).items())
        majority = f"; always {split['majority']['label']}: {split['majority']['share']:.1%}" if classes else ""
        if split["rows"]:
            lines.append(f"{name:<10} {split['rows']:>8} rows  {classes}{majority}")
    lines += origin_lines(prepared.measurements)
    for name, told in prepared.measurements.get("labels_of_the_teacher", {}).items():
        lines.append(f"{name}: {told['labelled']} labels are the teacher's; {told['unanswered']} texts left out")
    return lines


def origin_lines(counts: Mapping[str, Any]) -> list[str]:
    """A line for each file of unlabelled texts, and for the altered copies of train: what was made, what stayed."""
    return [
        f"  {origin:<10} {of['rows']:>6} of {of['made']} {of['what']}, from {of['texts']} texts in {of['name']}"
        for origin, of in counts.get("unlabeled", {}).items()
    ]


def task_of(config: TaskConfig) -> Task:
    """The task that a recipe declares."""
    return Task(config.name, tuple(config.labels), config.metric, config.kind)


def digests(config: DataConfig, base: Path | None) -> dict[str, str]:
    """SHA-256 of the files that a recipe names; a hub split is its name."""
    found = {}
    for name in (config.train, config.val, config.test, *config.unlabeled):
        if not name:
            continue
        if names_hub_split(name, config.hub, base):
            found[name] = f"{config.hub}:{config.hub_config}"
            continue
        source = locate(name, config.hub, config.hub_config, base)
        if not (isinstance(source, Path) and source.is_file()):
            raise DataError(f"{source}: no such file; the recipe's data.train, val, test and unlabeled name the files")
        found[name] = sha256_of_file(source)
    return found
