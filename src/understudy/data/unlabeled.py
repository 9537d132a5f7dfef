"""The texts that the teacher alone labels: those of files, whole or as sentences, and altered copies of train."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from .augmentation import augmented
from .dropping import Tally, without
from .duplicates import first_occurrences
from .locating import locate
from .normalization import normalize
from .reading import read_unlabeled
from .splitting import stratified_subset
from .task import Split, Task

if TYPE_CHECKING:
    from ..config import DataConfig

AUGMENTED = "augmented"


class Origin(TypedDict):
    """Where rows come from: the name of a file, or train.

    `texts` were read there; `made` is the number of texts, sentences or altered copies (`what`) that they became, and
    `rows` how many of these stay. The difference, over all origins, is what was dropped but for rows without a text.
    """

    name: str
    what: str
    texts: int
    made: int
    rows: int


def unlabeled_texts(
    task: Task,
    config: DataConfig,
    base: Path | None,
    train: Split,
    held_out: Sequence[Split],
    seed: int,
    tally: Tally,
) -> tuple[Split, dict[str, Origin]]:
    """All of them as one split, each text once and none that another split has, and the origins.

    Ids begin with that of the origin: `unlabeled0:7` is row 7 of the first file, `unlabeled0:7.2` its third sentence,
    `augmented:mask5:train:9` the copy with the number 5, a masked one, of that training text.
    """
    files, origins = _of_files(task, config, base, tally)
    files = _of_length(files, config.unlabeled_min_words, config.unlabeled_max_words, tally)
    files = _fresh(files, train, held_out, config.group_by, tally)
    if config.unlabeled_limit:
        rows = stratified_subset(np.zeros(len(files), dtype=np.int64), config.unlabeled_limit, seed)
        tally.drop("unlabeled", "limit", len(files) - len(rows))
        files = files.take(rows)
    if not config.augment:
        return files, _counted(origins, files)
    copies = _copies(task, config, train, seed)
    origins[AUGMENTED] = {
        "name": "train",
        "what": "altered copies",
        "texts": len(train),
        "made": len(copies),
        "rows": 0,
    }
    copies = _fresh(copies, train, held_out, config.group_by, tally, set(files.texts))
    both = Split(
        "unlabeled", [*files.ids, *copies.ids], [*files.texts, *copies.texts], task.unlabeled(len(files) + len(copies))
    )
    return both, _counted(origins, both)


def _of_files(task: Task, config: DataConfig, base: Path | None, tally: Tally) -> tuple[Split, dict[str, Origin]]:
    ids: list[str] = []
    texts: list[str] = []
    origins: dict[str, Origin] = {}
    for number, name in enumerate(config.unlabeled):
        source = locate(name, config.hub, config.hub_config, base)
        origin = f"unlabeled{number}"
        reading = read_unlabeled(source, config.text, origin, config.normalize, config.unlabeled_sentences)
        tally.drop("unlabeled", "empty", reading.empty)
        what = "sentences" if config.unlabeled_sentences else "texts"
        origins[origin] = {"name": name, "what": what, "texts": reading.read, "made": len(reading.split), "rows": 0}
        ids += reading.split.ids
        texts += reading.split.texts
    return Split("unlabeled", ids, texts, task.unlabeled(len(texts))), origins


def _of_length(split: Split, least: int, most: int, tally: Tally) -> Split:
    if not (least or most):
        return split
    words = np.array([len(text.split()) for text in split.texts], dtype=np.int64)
    short, long = words < least, (words > most) & bool(most)
    tally.drop("unlabeled", "short", int(short.sum()))
    tally.drop("unlabeled", "long", int(long.sum()))
    return split.take(np.flatnonzero(~(short | long)))


def _copies(task: Task, config: DataConfig, train: Split, seed: int) -> Split:
    ids, texts = [], []
    for number, (row, way, text) in enumerate(augmented(train.texts, config.augment, config.augment_ways, seed)):
        ids.append(f"{AUGMENTED}:{way}{number}:{train.ids[row]}")
        texts.append(normalize(text, config.normalize))
    return Split(AUGMENTED, ids, texts, task.unlabeled(len(texts)))


def _fresh(
    split: Split, train: Split, held_out: Sequence[Split], group_by: str, tally: Tally, known: Collection[str] = ()
) -> Split:
    """Each text once, and none that train, `known` or a held-out split has."""
    unique = first_occurrences(split)
    tally.drop(split.name, "duplicate", unique.same)
    split, _ = without(split.take(unique.rows), None, held_out, group_by, tally)
    for reason, others in (("in_train", set(train.texts)), ("duplicate", known)):
        rows = [row for row, text in enumerate(split.texts) if text not in others]
        tally.drop(split.name, reason, len(split) - len(rows))
        split = split.take(rows)
    return split


def _counted(origins: dict[str, Origin], split: Split) -> dict[str, Origin]:
    for example in split.ids:
        origins[example.partition(":")[0]]["rows"] += 1
    return origins
