"""A tiny multi-label world: sentences to which any of four labels apply, each told by one of its own words."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from pathlib import Path

LABELS = ("arts", "praise", "blame", "things")
WORDS = {  # all of the vocabulary of `tiny`, so that its encoders know them
    "arts": ("film", "song"),
    "praise": ("lovely", "great"),
    "blame": ("awful", "poor"),
    "things": ("phone", "lamp"),
}
_SHARES = {"arts": 0.45, "praise": 0.35, "blame": 0.25, "things": 0.15}
_FILLER = ("the", "a", "this", "was", "is", "very", "quite", "and", "so", "it", "really", "for", "me", "today", "we")

Row = tuple[str, tuple[str, ...]]


def rows(count: int, seed: int) -> list[Row]:
    """Distinct sentences of 4 to 16 words and the labels that apply: none, one or several."""
    rng = random.Random(seed)
    found: dict[str, tuple[str, ...]] = {}
    while len(found) < count:
        labels = tuple(label for label in LABELS if rng.random() < _SHARES[label])
        words = [*rng.choices(_FILLER, k=rng.randint(3, 7)), *(rng.choice(WORDS[label]) for label in labels)]
        rng.shuffle(words)
        found.setdefault(" ".join(words), labels)
    return list(found.items())


def write_csv(path: Path, pairs: Sequence[Row], separator: str = "|") -> Path:
    """A CSV file with the labels of a text in one cell."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *((text, separator.join(labels)) for text, labels in pairs)])
    return path


RECIPE = """\
seed = 5

[task]
name = "tiny"
kind = "multi"
labels = ["arts", "praise", "blame", "things"]

[data]
train = "train.csv"

[teacher]
model = "encoder"
max_length = 24
epochs = 6
batch_size = 16
learning_rate = 5e-3

[distill]
epochs = 6
batch_size = 16
learning_rate = 5e-3

[label]
shard_size = 64

[[students]]
name = "half"
kind = "cut"
layers = 1

[[students]]
name = "cnn"
kind = "textcnn"
width = 16
filters = 16
kernels = [1, 2]
min_count = 1
epochs = 8
learning_rate = 3e-2
soft_weight = 0.3

[[students]]
name = "lstm"
kind = "bilstm"
width = 16
units = 12
min_count = 1
loss = "mse"
correct_teacher = true

[[students]]
name = "fresh"
kind = "transformer"
layers = 1
width = 16
heads = 2
vocabulary = 120
class_weights = "balanced"

[quantize]
samples = 32

[benchmark]
speed_texts = 32
repeats = 1
bootstrap = 200
"""
