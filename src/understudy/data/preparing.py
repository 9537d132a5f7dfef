"""From the data section of a recipe to checked, disjoint splits, with a count of everything left out."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DataError
from .checking import check_classes, check_cuttable, describe, held_out_warnings
from .containment import containment_cut, related_rows
from .duplicates import first_occurrences, key, not_in
from .locating import locate
from .near_duplicates import near_duplicate_groups, near_rows
from .reading import Reading, Source, read_labeled, read_unlabeled
from .splitting import Rows, stratified_cut, stratified_subset
from .task import Split, Task

if TYPE_CHECKING:
    from ..config import DataConfig

CONTAINMENT, NEAR = "containment", "near_duplicates"
_RELATED = {CONTAINMENT: ("contained", related_rows), NEAR: ("near", near_rows)}  # what recurs though no text does

_REASONS = {
    "empty": "rows without a text",
    "duplicate": "repeated texts",
    "conflicting": "repeated texts with another label than the first",
    "held_out": "texts that recur in val or test",
    "held_out_normalized": "texts that recur in val or test but for case and punctuation",
    "contained": "texts that occur inside a text of val or test, or have one inside",
    "near": "texts whose words are nearly those of a text of val or test",
    "grouped": "texts of groups that val or test has",
    "in_train": "texts that are in train",
}


@dataclass(frozen=True)
class Prepared:
    """The splits, disjoint in their texts as far as it is ours to make them so.

    `counts` is JSON: `splits` (rows, mean words, rows per class and the majority baseline of each split) and
    `dropped` (rows left out by split and reason).
    """

    train: Split
    val: Split
    test: Split
    unlabeled: Split
    counts: dict[str, Any]
    warnings: list[str]


@dataclass
class _Tally:
    """What was left out of which split, and why."""

    dropped: dict[str, dict[str, int]] = field(default_factory=dict)

    def drop(self, split: str, reason: str, count: int) -> None:
        if count:
            reasons = self.dropped.setdefault(split, {})
            reasons[reason] = reasons.get(reason, 0) + count

    def warnings(self) -> list[str]:
        """One line per split and reason; `limit` was asked for, and is none."""
        return [
            f"{split}: {count} {_REASONS[reason]} dropped"
            for split, reasons in self.dropped.items()
            for reason, count in reasons.items()
            if reason in _REASONS
        ]


def prepare(task: Task, config: DataConfig, seed: int, base: Path | None = None) -> Prepared:
    """Read, normalise and check the splits, cut those that are missing, drop what repeats, then apply `limit`.

    Given validation and test rows are never dropped, except those without a text and by `test_limit`: their numbers
    stay comparable.
    """
    tally = _Tally()
    sources = _sources(config, base)
    missing = [name for name in ("val", "test") if name not in sources]
    column = config.group_by if config.group_by not in _RELATED else ""
    label = {"train": config.label if config.train_labels else None}
    readings = {
        name: read_labeled(
            source,
            task,
            config.text,
            label.get(name, config.label),
            name,
            config.normalize,
            column,
            config.label_separator,
        )
        for name, source in sources.items()
    }
    for name, reading in readings.items():
        tally.drop(name, "empty", reading.empty)
        check_classes(reading.split, task)
    train, groups = _distinct_train(readings.pop("train"), tally)
    held = {name: reading.split for name, reading in readings.items()}
    train, groups = _without(train, groups, held.values(), config.group_by, tally)
    if groups:
        train, groups = _apart(train, groups, [reading.groups or [] for reading in readings.values()], tally)
    if missing:
        train, cuts = _cut(train, groups, task, config, seed, missing, tally)
        held |= cuts
        # Only groups of the user's own can leave equal texts on two sides.
        train, _ = _without(train, None, cuts.values(), "", tally) if column else (train, None)
    train = _limited(train, task, "limit", config.limit, seed, tally)
    unlabeled = _unlabeled(task, config, base, train, held.values(), tally)
    test = _limited(held["test"], task, "test_limit", config.test_limit, seed, tally)
    splits = {"train": train, "val": held["val"], "test": test}
    for split in splits.values():
        check_classes(split, task)
    described = {name: describe(split, task) for name, split in splits.items()}
    counts = {"splits": described | {"unlabeled": describe(unlabeled, None)}, "dropped": tally.dropped}
    warnings = tally.warnings() + held_out_warnings(held["val"], test, task)
    return Prepared(train, held["val"], test, unlabeled, counts, warnings)


def _sources(config: DataConfig, base: Path | None) -> dict[str, Source]:
    named = {"train": config.train, "val": config.val, "test": config.test}
    named = {split: name for split, name in named.items() if name}
    sources = {split: locate(name, config.hub, config.hub_config, base) for split, name in named.items()}
    seen: dict[str, str] = {}
    for split, source in sources.items():
        place = str(source.resolve() if isinstance(source, Path) else source)
        if place in seen:
            raise DataError(f"{source}: is both {seen[place]} and {split}; a text must not be in two splits")
        seen[place] = split
    return sources


def _distinct_train(reading: Reading, tally: _Tally) -> tuple[Split, list[Hashable] | None]:
    unique = first_occurrences(reading.split)
    tally.drop("train", "duplicate", unique.same)
    tally.drop("train", "conflicting", unique.conflicting)
    return _take(reading.split, reading.groups, unique.rows)


def _take(split: Split, groups: list[Hashable] | None, rows: Rows) -> tuple[Split, list[Hashable] | None]:
    return split.take(rows), None if groups is None else [groups[row] for row in rows]


def _without(
    split: Split, groups: list[Hashable] | None, held_out: Iterable[Split], group_by: str, tally: _Tally
) -> tuple[Split, list[Hashable] | None]:
    """Drop the texts that the held-out splits have too, and those related to them in the way of `group_by`."""
    texts = [text for other in held_out for text in other.texts]
    fresh = not_in(split.texts, texts)
    tally.drop(split.name, "held_out", fresh.exact)
    tally.drop(split.name, "held_out_normalized", fresh.normalized)
    split, groups = _take(split, groups, fresh.rows)
    if group_by in _RELATED:
        reason, related_to = _RELATED[group_by]
        related = related_to(split.texts, texts)
        tally.drop(split.name, reason, len(related))
        split, groups = _take(split, groups, np.setdiff1d(np.arange(len(split)), related))
    return split, groups


def _apart(
    train: Split, groups: list[Hashable], held_out: Iterable[list[Hashable]], tally: _Tally
) -> tuple[Split, list[Hashable]]:
    """Drop the rows of groups that the held-out splits have too."""
    theirs = {group for groups in held_out for group in groups}
    rows = [row for row, group in enumerate(groups) if group not in theirs]
    tally.drop(train.name, "grouped", len(train) - len(rows))
    return train.take(rows), [groups[row] for row in rows]


def _cut(
    train: Split,
    groups: list[Hashable] | None,
    task: Task,
    config: DataConfig,
    seed: int,
    missing: Sequence[str],
    tally: _Tally,
) -> tuple[Split, dict[str, Split]]:
    """Cut off all that is missing at once, then part val and test: so that their texts are kept apart, too."""
    check_cuttable(train, task, missing)
    # Texts that differ in case and punctuation only are one group, or they would be dropped from train afterwards.
    together: Sequence[Hashable] = groups or [key(text) for text in train.texts]
    if config.group_by == NEAR:
        together = near_duplicate_groups(train.texts)
    shares = {"val": config.val_size, "test": config.test_size}
    share = sum(shares[name] for name in missing)
    if config.group_by == CONTAINMENT:
        kept, held, dropped = containment_cut(train.texts, train.labels, share, seed, len(missing))
        tally.drop("train", "contained", len(dropped))
    else:
        kept, held = stratified_cut(train.labels, share, seed, together, len(missing))
    parts = {missing[0]: held}
    if len(missing) == 2:
        rest, val = stratified_cut(train.labels[held], shares["val"] / share, seed, [together[row] for row in held])
        parts = {"val": held[val], "test": held[rest]}
    for name, rows in {"train": kept, **parts}.items():
        if not len(rows):
            raise DataError(f"train: the cut leaves no row for {name}; give more rows, or smaller groups in group_by")
    return train.take(kept), {name: _renamed(train.take(rows), name) for name, rows in parts.items()}


def _renamed(split: Split, name: str) -> Split:
    return Split(name, split.ids, split.texts, split.labels)


def _limited(split: Split, task: Task, setting: str, limit: int, seed: int, tally: _Tally) -> Split:
    if not limit:
        return split
    if limit < len(task.labels):
        raise DataError(f"{setting} = {limit} is fewer {split.name} rows than the task has labels ({len(task.labels)})")
    rows = stratified_subset(split.labels, limit, seed)
    tally.drop(split.name, "limit", len(split) - len(rows))
    return split.take(rows)


def _unlabeled(
    task: Task, config: DataConfig, base: Path | None, train: Split, held_out: Iterable[Split], tally: _Tally
) -> Split:
    """All transfer texts as one split, each once and none that another split has."""
    ids: list[str] = []
    texts: list[str] = []
    for number, name in enumerate(config.unlabeled):
        source = locate(name, config.hub, config.hub_config, base)
        reading = read_unlabeled(source, config.text, f"unlabeled{number}", config.normalize)
        tally.drop("unlabeled", "empty", reading.empty)
        ids += reading.split.ids
        texts += reading.split.texts
    split = Split("unlabeled", ids, texts, task.unlabeled(len(texts)))
    unique = first_occurrences(split)
    tally.drop("unlabeled", "duplicate", unique.same)
    split, _ = _without(split.take(unique.rows), None, held_out, config.group_by, tally)
    known = set(train.texts)
    rows = np.array([row for row, text in enumerate(split.texts) if text not in known], dtype=np.int64)
    tally.drop("unlabeled", "in_train", len(split) - len(rows))
    return split.take(rows)
