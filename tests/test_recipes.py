"""Every recipe from data to report, on tiny models of the architectures that it names."""

from __future__ import annotations

import csv
import json
import random
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

import tiny
from architectures import save_encoder
from understudy.config import Recipe
from understudy.pipeline import run
from understudy.progress import Silent

HOME = Path(__file__).parents[1] / "recipes"
RECIPES = sorted(HOME.glob("*.toml"))
ARCHITECTURES = {
    "bert-base-uncased": "bert", "bundled:minilm-l6": "bert", "distilbert-base-uncased": "distilbert",
    "distilroberta-base": "roberta", "google/electra-small-discriminator": "electra",
    "huawei-noah/TinyBERT_General_4L_312D": "bert", "microsoft/MiniLM-L12-H384-uncased": "bert",
    "microsoft/deberta-v3-large": "deberta-v2", "microsoft/deberta-v3-small": "deberta-v2",
    "prajjwal1/bert-tiny": "bert", "roberta-large": "roberta",
}  # fmt: skip
SMALLER: dict[str, Any] = {
    "epochs": 1, "max_length": 16, "layers": 1, "width": 16, "heads": 2, "vocabulary": 120, "filters": 4,
    "min_count": 1, "device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A tiny directory for each model that a recipe names."""
    home = tmp_path_factory.mktemp("models")
    kinds = {kind: save_encoder(kind, home / kind) for kind in sorted(set(ARCHITECTURES.values()))}
    return {name: str(kinds[kind]) for name, kind in ARCHITECTURES.items()}


def write_data(raw: dict[str, Any], directory: Path) -> None:
    """Files under the names that the recipe's splits have, with texts that say their label."""
    data, labels, rng = raw["data"], raw["task"]["labels"], random.Random(0)
    directory.mkdir()
    if "path" in raw["teacher"]:
        shutil.copyfile(HOME / raw["teacher"]["path"], directory / raw["teacher"]["path"])
    for split, rows in (("train", 240), ("val", 60), ("test", 60)):
        name = data.get(split, "")
        if not name or name.startswith("starter:"):
            continue
        file = directory / (name if "." in name else f"{name}.csv")
        texts = [text for text, _ in tiny.rows(rows, seed=len(split))]
        table = [{data.get("text", "text"): f"{text} {label}", data.get("label", "label"): label}
                 for text, label in zip(texts, rng.choices(labels, k=rows), strict=True)]  # fmt: skip
        if file.suffix == ".parquet":
            import pyarrow as pa
            import pyarrow.parquet as pq

            pq.write_table(pa.Table.from_pylist(table), file)
        else:
            with file.open("w", encoding="utf-8", newline="") as handle:
                writer = csv.DictWriter(handle, list(table[0]))
                writer.writeheader()
                writer.writerows(table)


def smaller(raw: dict[str, Any], models: dict[str, str]) -> Recipe:
    """The recipe with tiny models, short trainings and few timed texts; everything else as it is written."""
    sections = [raw["teacher"], raw["distill"], *raw["students"]]
    for section in sections:
        section.update({key: value for key, value in SMALLER.items() if key in section})
        if "model" in section:
            section["model"] = models[section["model"]]
    model = raw["teacher"].get("kind", "model") == "model"
    raw["teacher"] |= {"max_length": 16, "device": "cpu"} if model else {}
    raw["data"]["limit"] = 120
    raw["quantize"] = {"samples": 16}
    raw["benchmark"] = {"speed_texts": 4, "repeats": 1, "bootstrap": 100} | ({"pipeline": False} if model else {})
    return Recipe.model_validate(raw | {"task": {"name": "tiny"} | raw["task"]})


@pytest.mark.wide
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_runs_from_data_to_report(path: Path, models: dict[str, str], tmp_path: Path) -> None:
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    write_data(raw, tmp_path / "data")
    recipe = smaller(raw, models)
    results = run(recipe, tmp_path / "run", tmp_path / "data", Silent())
    measured = {f"{model['name']}/{model['variant']}" for model in results["models"]}
    assert {f"{student.name}/{v}" for student in recipe.students for v in recipe.variants} <= measured
    assert {
        f"teacher/{raw['teacher'].get('kind', 'fp32')}",
        "majority/none",
        "tfidf-lr/sklearn",
        f"{recipe.students[0].name}-no-teacher/fp32",
    } <= measured
    assert results["task_metric"] == recipe.task.metric
    report = json.loads((tmp_path / "run/report/results.json").read_text(encoding="utf-8"))
    assert report["labels"] == recipe.task.labels


def test_every_model_of_a_recipe_has_an_architecture() -> None:
    for path in RECIPES:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        named = {section["model"] for section in (raw["teacher"], *raw["students"]) if "model" in section}
        assert named <= set(ARCHITECTURES), path
