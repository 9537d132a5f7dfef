"""From the data section of a recipe to checked, disjoint splits, with a count of everything left out."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from .checking import check_classes, check_cuttable, describe, held_out_warnings
from .containment import containment_cut
from .dropping import CONTAINMENT, NEAR, Tally, take, without
from .duplicates import first_occurrences, key
from .locating import locate
from .near_duplicates import near_duplicate_groups
from .reading import Reading, Source, read_labeled
from .splitting import stratified_cut, stratified_subset
from .task import Split, Task
from .unlabeled import unlabeled_texts

if TYPE_CHECKING:
    from ..config import DataConfig


@dataclass(frozen=True)
class Prepared:
    """The splits, disjoint in their texts as far as it is ours to make them so.

    `counts` is JSON: `splits` (rows, mean words, rows per class and the majority baseline of each split), `dropped`
    (rows left out by split and reason) and `unlabeled` (where its rows come from, see `Origin`).
    """

    train: Split
    val: Split
    test: Split
    unlabeled: Split
    counts: dict[str, Any]
    warnings: list[str]


def prepare(task: Task, config: DataConfig, seed: int, base: Path | None = None) -> Prepared:
    """Read, normalise and check the splits, cut those that are missing, drop what repeats, then apply `limit`.

    Given validation and test rows are never dropped, except those without a text and by `test_limit`: their numbers
    stay comparable.
    """
    tally = Tally()
    sources = _sources(config, base)
    missing = [name for name in ("val", "test") if name not in sources]
    column = config.group_by if config.group_by not in (CONTAINMENT, NEAR) else ""
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
    train, groups = without(train, groups, held.values(), config.group_by, tally)
    if groups:
        train, groups = _apart(train, groups, [reading.groups or [] for reading in readings.values()], tally)
    if missing:
        train, cuts = _cut(train, groups, task, config, seed, missing, tally)
        held |= cuts
        # Only groups of the user's own can leave equal texts on two sides.
        train, _ = without(train, None, cuts.values(), "", tally) if column else (train, None)
    train = _limited(train, task, "limit", config.limit, seed, tally)
    unlabeled, origins = unlabeled_texts(task, config, base, train, list(held.values()), seed, tally)
    test = _limited(held["test"], task, "test_limit", config.test_limit, seed, tally)
    splits = {"train": train, "val": held["val"], "test": test}
    for split in splits.values():
        check_classes(split, task)
    described = {name: describe(split, task) for name, split in splits.items()}
    described["unlabeled"] = describe(unlabeled, None)
    counts = {"splits": described, "dropped": tally.dropped, "unlabeled": origins}
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


def _distinct_train(reading: Reading, tally: Tally) -> tuple[Split, list[Hashable] | None]:
    unique = first_occurrences(reading.split)
    tally.drop("train", "duplicate", unique.same)
    tally.drop("train", "conflicting", unique.conflicting)
    return take(reading.split, reading.groups, unique.rows)


def _apart(
    train: Split, groups: list[Hashable], held_out: Iterable[list[Hashable]], tally: Tally
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
    tally: Tally,
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


def _limited(split: Split, task: Task, setting: str, limit: int, seed: int, tally: Tally) -> Split:
    if not limit:
        return split
    if limit < len(task.labels):
        raise DataError(f"{setting} = {limit} is fewer {split.name} rows than the task has labels ({len(task.labels)})")
    rows = stratified_subset(split.labels, limit, seed)
    tally.drop(split.name, "limit", len(split) - len(rows))
    return split.take(rows)
