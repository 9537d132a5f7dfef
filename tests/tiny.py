"""A tiny real world, built in the process: a corpus that can be learnt, a tokenizer, encoders of every architecture."""

from __future__ import annotations

import csv
import random
from pathlib import Path

LABELS = ("bad", "good")
_TOPICS = ("film", "book", "phone", "meal", "song", "hotel", "game", "shoe", "lamp", "train")
_GOOD = ("lovely", "great", "superb", "charming", "splendid")
_BAD = ("awful", "boring", "broken", "dreadful", "poor")
_FILLER = ("the", "a", "this", "was", "is", "very", "quite", "and", "so", "it", "really", "for", "me", "today", "we")


def sentence(label: str, rng: random.Random) -> str:
    """A sentence of 4 to 18 words whose label one word decides, sometimes behind a negation."""
    good = label == "good"
    negated = rng.random() < 0.2
    word = rng.choice(_GOOD if good != negated else _BAD)
    words = [*rng.choices(_FILLER, k=rng.randint(2, 14)), rng.choice(_TOPICS)]
    rng.shuffle(words)
    return " ".join([*words, "not", word] if negated else [*words, word])


def rows(count: int, seed: int) -> list[tuple[str, str]]:
    """Distinct labelled sentences, balanced, in random order."""
    rng = random.Random(seed)
    found: dict[str, str] = {}
    while len(found) < count:
        label = LABELS[len(found) % 2]
        found.setdefault(sentence(label, rng), label)
    return list(found.items())


def write_csv(path: Path, pairs: list[tuple[str, str]], header: tuple[str, ...] = ("text", "label")) -> Path:
    """A CSV file with a header."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *pairs])
    return path


def words() -> list[str]:
    """Every word of the corpus."""
    return sorted({*_TOPICS, *_GOOD, *_BAD, *_FILLER, "not"})


RECIPE = """\
seed = 5

[task]
name = "tiny"
labels = ["bad", "good"]

[data]
train = "train.csv"

[teacher]
model = "encoder"
max_length = 16
epochs = 5
batch_size = 16
learning_rate = 5e-3

[distill]
epochs = 4
batch_size = 16
learning_rate = 5e-3

[label]
shard_size = 64

[[students]]
name = "half"
kind = "cut"
layers = 1

[[students]]
name = "fresh"
kind = "transformer"
layers = 1
width = 16
heads = 2
vocabulary = 120

[[students]]
name = "cnn"
kind = "textcnn"
width = 16
filters = 8
teacher_embeddings = true
min_count = 1

[quantize]
samples = 32

[benchmark]
speed_texts = 32
repeats = 1
bootstrap = 200
"""
