"""Which files of a repository understudy reads: no weights twice, no pickle, nothing that could run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import InputError

CONFIG, MANIFEST = "config.json", "artifact.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_VOCABULARIES = {
    "tokenizer.json", "vocab.txt", "vocab.json", "spm.model", "spiece.model", "sentencepiece.bpe.model",
    "tokenizer.model",
}  # fmt: skip
_BESIDE = {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt", "bpe.codes"}
_PART_OF_WEIGHTS = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_RUNS = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".h5", ".msgpack", ".py")

# parquet files as `datasets` names them (train-00000-of-00002.parquet), and as the hub's conversion does
# (CONFIG/train/0000.parquet)
_SHARD = re.compile(r"(?P<split>.+?)(-(?P<number>\d{5})-of-(?P<count>\d{5})(-[0-9a-f]+)?)?\.parquet")
_CONVERTED = re.compile(r"\d{4}\.parquet")
DEFAULT = "default"


def model_files(paths: Iterable[str]) -> list[str]:
    """Config, tokenizer and safetensors of a model, or all of an artifact that was pushed; [] without weights.

    In the order to download them: what comes last tells that all is there.
    """
    there = set(paths)
    if MANIFEST in there:
        return _last((path for path in there if not path.startswith(".") and not path.endswith(_RUNS)), MANIFEST)
    whole = {WEIGHTS} & there
    weights = whole or {path for path in there if path == INDEX or _PART_OF_WEIGHTS.fullmatch(path)}
    if CONFIG not in there or not weights or (not whole and INDEX not in there):
        return []
    return _last({CONFIG} | (there & (_VOCABULARIES | _BESIDE)), *sorted(weights))


def is_whole_model(directory: Path) -> bool:
    """Whether a directory has all of a model: config, vocabulary, every part of the weights."""
    chosen = model_files(path.name for path in directory.iterdir())
    if MANIFEST in chosen:
        return True
    if INDEX in chosen:
        try:
            parts = set(json.loads((directory / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError):
            return False
        return parts <= set(chosen) and bool(_VOCABULARIES & set(chosen))
    return bool(chosen) and bool(_VOCABULARIES & set(chosen))


def data_files(paths: Iterable[str]) -> dict[tuple[str, str], list[str]]:
    """The Parquet files of each (configuration, split), in order; a configuration without a name is `default`."""
    found: dict[tuple[str, str], list[str]] = {}
    for path in sorted(paths):
        folder, _, file = path.rpartition("/")
        if _CONVERTED.fullmatch(file):
            config, _, split = folder.rpartition("/")
        elif match := _SHARD.fullmatch(file):
            config, split = folder, match["split"]
        else:
            continue
        config = DEFAULT if config in ("", "data") else config
        found.setdefault((config, split), []).append(path)
    return found


def split_files(source: str, paths: Iterable[str], config: str, split: str) -> list[str]:
    """The files of one split; raises InputError that says what there is instead."""
    found = data_files(paths)
    if config:
        chosen = found.get((config, split), [])
    else:
        having = [name for name, its in found if its == split]
        if len(having) > 1 and DEFAULT not in having:
            raise InputError(f"{source} has several configurations: set hub_config to {', '.join(sorted(having))}")
        chosen = found.get((DEFAULT if DEFAULT in having else having[0], split), []) if having else []
    if not chosen:
        there = ", ".join(its if name == DEFAULT else f"{name}/{its}" for name, its in sorted(found)) or "no Parquet"
        raise InputError(f"{source} has no split {config + '/' if config else ''}{split}; it has {there}")
    return chosen


def is_whole_split(paths: Sequence[str]) -> bool:
    """Whether no file is missing: as many as their names say, or with the first, which is downloaded last."""
    names = [path.rpartition("/")[2] for path in paths]
    if _CONVERTED.fullmatch(names[0]):
        return names == [f"{number:04d}.parquet" for number in range(len(names))]
    counts = {int(match["count"] or 1) for name in names if (match := _SHARD.fullmatch(name))}
    return counts == {len(names)}


def _last(first: Iterable[str], *last: str) -> list[str]:
    return [*sorted(set(first) - set(last)), *last]
