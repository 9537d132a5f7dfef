"""The table of recipes/probabilities-from-anywhere.toml: what a fine-tuned MiniLM says of the starter reviews.

python benchmarks/table.py DIR

Splits as the recipe cuts them. Validation and test are answered by a teacher trained on train, train out of fold by
five more; the probabilities are not calibrated. DIR keeps the artifacts.
"""

import csv
import sys
from pathlib import Path

import numpy as np

from understudy.artifact import Artifact
from understudy.config import load_recipe
from understudy.data.storing import read_split
from understudy.decision import softmax
from understudy.display import terminal_progress
from understudy.preparation import prepare
from understudy.tokenization import TextEncoder
from understudy.training import label, networks, train
from understudy.training.labeling import read_labels
from understudy.training.loop import choose_device, infer

RECIPES = Path(__file__).parents[1] / "recipes"


def main(home: Path) -> None:
    recipe, progress = load_recipe(RECIPES / "reviews.toml"), terminal_progress()
    data, teacher, labels = home / "data", home / "teacher", home / "labels"
    prepare(recipe.task, recipe.data, data, RECIPES, seed=recipe.seed, progress=progress)
    made = train(data, teacher, recipe.teacher, seed=recipe.seed, progress=progress)
    label(teacher, data, labels, recipe.label.model_copy(update={"folds": 5}), progress=progress)
    rows = []
    for name in ("train", "val", "test"):
        split = read_split(data / f"{name}.parquet", name)
        logits = answers(made, split.texts) if name == "test" else read_labels(labels, name, split.ids)
        rows += zip(split.ids, softmax(logits), strict=True)
    rows.sort(key=lambda row: int(row[0].partition(":")[2]))
    with (RECIPES / "reviews-probabilities.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", *(f"p_{name}" for name in recipe.task.labels)])
        writer.writerows([name, *(f"{p:.4f}" for p in probabilities)] for name, probabilities in rows)


def answers(teacher: Artifact, texts: list[str]) -> np.ndarray:
    network, device = networks.load(teacher), choose_device("auto")
    tokens = TextEncoder(network.tokenizer, teacher.text).encode(texts)
    return infer(network.module.to(device), tokens, network.pad_id, device)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
