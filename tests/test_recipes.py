"""Every recipe from data to report, on tiny models of the architectures that it names."""

from __future__ import annotations

import csv
import json
import random
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from architectures import save_encoder
from understudy.artifact import TextConfig
from understudy.config import Recipe, load_recipe
from understudy.data.storing import read_split
from understudy.pipeline import run
from understudy.preparation import prepare
from understudy.progress import Silent
from understudy.searching import search
from understudy.space import search_space
from understudy.students import variants_of
from understudy.tokenization import TextEncoder
from understudy.training import loop, networks

HOME = Path(__file__).parents[1] / "recipes"
RECIPES = sorted(HOME.glob("*.toml"))
ARCHITECTURES = {
    "bert-base-uncased": "bert", "bundled:minilm-l6": "bert",
    "cardiffnlp/twitter-roberta-base-sentiment-latest": "roberta", "distilbert-base-uncased": "distilbert",
    "distilroberta-base": "roberta", "google/electra-small-discriminator": "electra",
    "huawei-noah/TinyBERT_General_4L_312D": "bert", "members/teacher": "bert",
    "microsoft/MiniLM-L12-H384-uncased": "bert", "microsoft/deberta-v3-large": "deberta-v2",
    "microsoft/deberta-v3-small": "deberta-v2", "prajjwal1/bert-tiny": "bert", "roberta-large": "roberta",
}  # fmt: skip
# what `emotion-deberta` offers beside, and how the config differs; the smallest ELECTRA projects its embeddings,
# the large BERTweet is a RoBERTa with RoBERTa's kind of tokenizer
OFFERED: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"microsoft/deberta-{size}": ("deberta", {}) for size in ("base", "large")},
    **{f"microsoft/deberta-v3-{size}": ("deberta-v2", {}) for size in ("small", "base", "large")},
    "vinai/bertweet-base": ("bertweet", {}),
    "vinai/bertweet-large": ("roberta", {}),
    "google/electra-small-discriminator": ("electra", {}),
    **{f"google/electra-{size}-discriminator": ("electra", {"embedding_size": 32}) for size in ("base", "large")},
}
SEARCHED = ("imdb-roberta-large", "tweeteval-hate", "tweeteval-sentiment")
READY = {"cardiffnlp/twitter-roberta-base-sentiment-latest": ["negative", "neutral", "positive"]}
SMALLER: dict[str, Any] = {
    "epochs": 1, "max_length": 16, "layers": 1, "width": 16, "heads": 2, "vocabulary": 120, "filters": 4,
    "min_count": 1, "device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A tiny directory for each model that a recipe names."""
    home = tmp_path_factory.mktemp("models")
    kinds = {kind: save_encoder(kind, home / kind) for kind in sorted(set(ARCHITECTURES.values()))}
    found = {name: kinds[kind] for name, kind in ARCHITECTURES.items()}
    return {name: str(save_ready(path, READY[name], home) if name in READY else path) for name, path in found.items()}


def save_ready(encoder: Path, labels: list[str], home: Path) -> Path:
    """A ready classifier that nobody trained: of a few texts it gives each label to some."""
    network = networks.load_pretrained(str(encoder), labels, 0.0, seed=0)
    tokens = TextEncoder(network.tokenizer, TextConfig((), 16)).encode([text for text, _ in tiny.rows(60, seed=0)])
    logits = torch.from_numpy(loop.infer(network.module, tokens, network.pad_id, torch.device("cpu")))
    model: Any = network.module.model
    with torch.no_grad():
        model.classifier.out_proj.bias -= logits.mean(dim=0)
    (home / "ready").mkdir()
    networks.save(network, home / "ready")
    return home / "ready"


def write_data(raw: dict[str, Any], directory: Path) -> None:
    """Files under the names that the recipe's splits have, with texts that say their label."""
    data, labels, rng = raw["data"], raw["task"]["labels"], random.Random(0)
    directory.mkdir()
    if "path" in raw["teacher"]:
        shutil.copyfile(HOME / raw["teacher"]["path"], directory / raw["teacher"]["path"])
    named = [(split, data.get(split, ""), rows) for split, rows in (("train", 240), ("val", 60), ("test", 60))]
    named += [("unlabeled", name, 80) for name in data.get("unlabeled", [])]
    for split, name, rows in named:
        if not name or name.startswith("starter:"):
            continue
        file = directory / (name if "." in name else f"{name}.csv")
        file.parent.mkdir(parents=True, exist_ok=True)
        texts = [text for text, _ in tiny.rows(rows, seed=len(f"{split}{name}" if split == "unlabeled" else split))]
        table = [{data.get("text", "text"): f"{text} {label}", data.get("label", "label"): label}
                 for text, label in zip(texts, rng.choices(labels, k=rows), strict=True)]  # fmt: skip
        if split == "unlabeled":
            table = [{data.get("text", "text"): f"{text}. That is all of it!"} for text in texts]
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
    sections = [raw["teacher"], raw.get("distill", {}), *raw.get("students", [])]
    for section in sections:
        section.update({key: value for key, value in SMALLER.items() if key in section})
        if "model" in section:
            section["model"] = models[section["model"]]
    model = raw["teacher"].get("kind", "model") == "model"
    if model:
        raw["teacher"] |= {"max_length": 16} | ({"device": "cpu"} if raw["teacher"].get("train", True) else {})
    raw["data"]["limit"] = 120
    raw["seeds"] = min(2, raw.get("seeds", 1))
    raw["quantize"] = {"samples": 16}
    raw["benchmark"] = {"speed_texts": 4, "repeats": 1, "bootstrap": 100} | ({"pipeline": False} if model else {})
    return Recipe.model_validate(raw | {"task": {"name": "tiny"} | raw["task"]})


def make_members(models: dict[str, str], directory: Path) -> None:
    """What `recipes/imdb-students.toml` makes an ensemble of."""
    raw = tomllib.loads((HOME / "imdb-members.toml").read_text(encoding="utf-8"))
    run(smaller(raw, models), directory / "members", directory, Silent())


@pytest.mark.wide
@pytest.mark.timeout(1800)  # imdb-textcnn: 19 files, and each that torch runs is opened in several processes
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_runs_from_data_to_report(path: Path, models: dict[str, str], tmp_path: Path) -> None:
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    write_data(raw, tmp_path / "data")
    if "members" in raw["teacher"]:
        make_members(models, tmp_path / "data")
    recipe = smaller(raw, models)
    results = run(recipe, tmp_path / "run", tmp_path / "data", Silent())
    measured = {f"{model['name']}/{model['variant']}" for model in results["models"]}
    tried = results["budget"]["tried"] if recipe.budget else [student.name for student in recipe.students]
    students = [student for student in recipe.students if student.name in tried]
    assert {f"{student.name}/{v}" for student in students for v in variants_of(student, recipe)} <= measured
    assert {f"teacher/{variant}" for variant in getattr(recipe.teacher, "variants", [])} <= measured
    twin = set() if recipe.controls == "none" else {f"{students[0].name}-no-teacher/fp32"}
    teacher = f"teacher/{raw['teacher'].get('kind', 'fp32')}"
    assert {teacher, "majority/none", "tfidf-lr/sklearn"} | twin <= measured
    assert results["task_metric"] == recipe.task.metric
    report = json.loads((tmp_path / "run/report/results.json").read_text(encoding="utf-8"))
    assert report["labels"] == recipe.task.labels


def test_the_imperative_recipe_takes_a_users_own_code_mixed_file(tmp_path: Path) -> None:
    """Romanised Bengali and Bengali letters, commas and quotes, labels of the reader's own, each text nearly twice."""
    said = "kalke amar bari theke phone ta niye eso jodi somoy pao please ekhon dokan boi khata চা জল তুমি আমি"
    words = said.split()
    rng, pairs = random.Random(2), list[tuple[str, str]]()
    for number in range(200):
        asks = number % 2
        text = f'{", ".join(rng.sample(words, 2))} "{" ".join(rng.sample(words, 8))}" {"dao" if asks else "chhilo"}'
        pairs += [(text, "request" if asks else "chat"), (f"{text} bhai", "request" if asks else "chat")]
    rng.shuffle(pairs)
    tiny.write_csv(tmp_path / "messages.csv", pairs, ("sentence", "label"))
    recipe = (HOME / "imperative-bert-tiny.toml").read_text(encoding="utf-8")
    recipe = recipe.replace("starter:imperative", "messages.csv").replace(
        '["other", "imperative"]', '["chat", "request"]'
    )
    (tmp_path / "mine.toml").write_text(recipe, encoding="utf-8")
    mine = load_recipe(tmp_path / "mine.toml")
    prepare(mine.task, mine.data, tmp_path / "data", tmp_path, seed=mine.seed)
    splits = {name: read_split(tmp_path / "data" / f"{name}.parquet", name) for name in ("train", "val", "test")}
    assert [len(split) for split in splits.values()] == [280, 60, 60]  # 70, 15 and 15 %
    assert all(abs(split.labels.mean() - 0.5) < 0.03 for split in splits.values())
    assert sorted(text for split in splits.values() for text in split.texts) == sorted(text for text, _ in pairs)
    sides = [{text.removesuffix(" bhai") for text in split.texts} for split in splits.values()]
    assert sum(map(len, sides)) == len(set.union(*sides))  # nobody's near-duplicate is on another side


@pytest.mark.parametrize("name", SEARCHED)
def test_the_published_grid_is_searched(name: str) -> None:
    recipe = load_recipe(HOME / f"{name}.toml")
    space = search_space(recipe.tune, recipe.tuned)
    assert {key: len(dimension.points) for key, dimension in space.items()} == {
        "temperature": 4, "soft_weight": 3, "learning_rate": 3,
    }  # fmt: skip
    assert (recipe.tune.sampler, recipe.tune.trials, recipe.tune.objective) == ("grid", 36, recipe.task.metric)
    assert f"understudy tune recipes/{name}.toml --out " in (HOME / f"{name}.toml").read_text(encoding="utf-8")


@pytest.mark.wide
def test_the_search_of_a_recipe_runs(models: dict[str, str], tmp_path: Path) -> None:
    raw = tomllib.loads((HOME / f"{SEARCHED[0]}.toml").read_text(encoding="utf-8"))
    raw["tune"] |= {"trials": 2, "student": "tinybert"}
    write_data(raw, tmp_path / "data")
    found = search(smaller(raw, models), tmp_path / "run", tmp_path / "data", Silent())
    assert set(found["params"]) == {"temperature", "soft_weight", "learning_rate"}
    assert sum(found["trials"].values()) == 2
    assert (tmp_path / "run/tune/tinybert/hypersearch.csv").exists()


@pytest.mark.parametrize(("name", "what"), [("sst2-students", "sentences"), ("tweet-sentiment-students", "texts")])
def test_a_recipe_with_a_transfer_set_finds_it(name: str, what: str, tmp_path: Path) -> None:
    path = HOME / f"{name}.toml"
    write_data(tomllib.loads(path.read_text(encoding="utf-8")), tmp_path / "data")
    recipe = load_recipe(path)
    made = prepare(recipe.task, recipe.data, tmp_path / "made", tmp_path / "data", seed=recipe.seed).measurements
    assert [origin["what"] for origin in made["unlabeled"].values()] == [what] * len(recipe.data.unlabeled)
    assert all(origin["rows"] >= 60 for origin in made["unlabeled"].values())


def test_no_recipe_learns_on_the_test_texts_of_a_data_set() -> None:
    for path in RECIPES:
        assert not [name for name in load_recipe(path).data.unlabeled if re.search("test|dev|val", name)], path


def test_every_model_of_a_recipe_has_an_architecture() -> None:
    for path in RECIPES:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        named = {section["model"] for section in (raw["teacher"], *raw.get("students", [])) if "model" in section}
        assert named <= set(ARCHITECTURES), path


@pytest.mark.parametrize("name", OFFERED)
def test_every_model_that_the_emotion_recipe_offers_loads_as_teacher_and_student(name: str, tmp_path: Path) -> None:
    recipe = (HOME / "emotion-deberta.toml").read_text(encoding="utf-8")
    offered = re.findall(r"[\w/-]+\{[\w,]+\}[\w-]*", recipe)
    names = {start + size + end for start, sizes, end in (re.split("[{}]", one) for one in offered)
             for size in sizes.split(",")}  # fmt: skip
    assert names == set(OFFERED)
    architecture, changes = OFFERED[name]
    model = str(save_encoder(architecture, tmp_path, **changes))
    raw = tomllib.loads(recipe)
    raw["teacher"]["model"], raw["students"][0]["model"] = model, model
    checked = Recipe.model_validate(raw)
    student: Any = checked.students[0]
    for named in (checked.teacher.model, student.model):
        network = networks.load_pretrained(named, checked.task.labels, 0.1, checked.seed)
        tokens = TextEncoder(network.tokenizer, TextConfig((), 16)).encode(["@ann so happy today 😂", ""])
        assert loop.infer(network.module, tokens, network.pad_id, torch.device("cpu")).shape == (2, 6)
        if architecture in ("roberta", "bertweet"):
            assert network.longest == 38  # of 40 positions: padding has the second, counting starts after it
