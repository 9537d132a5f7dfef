"""X1 to X25: what goes wrong in published distillation projects, and that it cannot go wrong here.

The numbers are those of the catalogue in `docs/seeds.md`. Most stand on one finished run of the whole pipeline; the
details are tested beside the modules that they concern.
"""

from __future__ import annotations

import ast
import base64
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from test_docs import PAGES, commands, complaint
from training_kit import TRAIN, equal, prepare_few, train
from understudy import Classifier
from understudy.artifact import Artifact, TextConfig
from understudy.config import (
    BiLSTMStudent,
    DataConfig,
    DistillConfig,
    LabelConfig,
    LabelPolicy,
    OptimizationConfig,
    Recipe,
    TaskConfig,
    TeacherConfig,
    TextCNNStudent,
    TransformerStudent,
    load_recipe,
)
from understudy.data.storing import read_split, write_split
from understudy.data.task import UNLABELED
from understudy.decision import softmax
from understudy.errors import ArtifactError, DataError
from understudy.files import sha256_of_file
from understudy.label_mapping import map_labels
from understudy.metrics import confusion, per_class
from understudy.pipeline import plan
from understudy.preparation import prepare
from understudy.progress import Silent
from understudy.reporting.calibration_plots import reliability_diagrams
from understudy.reporting.stage import _evidence
from understudy.reporting.view import prepared
from understudy.soft_terms import SOFT_TERMS
from understudy.speed import BATCHES, Runner, Speed, _time_batch
from understudy.teachers import EnsembleTeacher, TableTeacher
from understudy.training import distill, label, labeling
from understudy.training import train as train_teacher
from understudy.training.finetuning import class_weights
from understudy.training.loop import collate, epoch_batches, infer, validate
from understudy.training.losses import Batch, distillation
from understudy.training.pool import Pool

ROOT = Path(__file__).parent.parent
DOCUMENTS = [*PAGES, *(ROOT / "benchmarks").glob("README.md")]
SOURCES = sorted((ROOT / "src" / "understudy").rglob("*.py"))
TASK = TaskConfig(name="tiny", labels=list(tiny.LABELS))


@pytest.fixture(scope="module")
def results(finished_run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((finished_run / "report" / "results.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def models(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{model['name']}/{model['variant']}": model for model in results["models"]}


def sorted_csv(path: Path, rows: int = 200) -> Path:
    """A file sorted by label, as IMDb is on the hub."""
    return tiny.write_csv(path, sorted(tiny.rows(rows, seed=4), key=lambda pair: pair[1]))


def test_x1_subsets_of_a_sorted_file_have_every_class(tmp_path: Path, models: dict[str, Any]) -> None:
    sorted_csv(tmp_path / "train.csv")
    made = prepare(TASK, DataConfig(train="train.csv", limit=40), tmp_path / "data", tmp_path, seed=1)
    splits = made.measurements["splits"]
    assert splits["train"]["classes"] == {"bad": 20, "good": 20}
    assert all(
        set(splits[name]["classes"]) == {"bad", "good"} and "majority" in splits[name] for name in ("val", "test")
    )
    assert "majority/none" in models  # beside every accuracy
    tiny.write_csv(tmp_path / "one.csv", [pair for pair in tiny.rows(80, seed=4) if pair[1] == "bad"])
    with pytest.raises(DataError, match=r"all .* the label 'bad'"):
        prepare(TASK, DataConfig(train="one.csv"), tmp_path / "refused", tmp_path, seed=1)


def test_x2_splits_are_disjoint_and_every_number_says_which(finished_run: Path, models: dict[str, Any]) -> None:
    splits = {name: read_split(finished_run / "data" / f"{name}.parquet", name) for name in ("train", "val", "test")}
    texts = [text for split in splits.values() for text in split.texts]
    assert len(texts) == len(set(texts))
    for model in models.values():
        for split, metrics in model["metrics"].items():
            for estimate in metrics.values():
                low, high = estimate["ci95"]
                assert low <= estimate["value"] <= high or estimate["value"] == pytest.approx(low)
                assert estimate["n"] == len(splits[split])


def test_x3_the_best_epoch_is_what_is_left(tmp_path: Path) -> None:
    """Eight epochs at a rate that overshoots: what stays is what a training up to the best epoch leaves."""
    settings = {"schedule": "constant", "warmup": 0.0, "learning_rate": 0.05, "dropout": 0.0}
    weights, run = train(tmp_path / "long", epochs=8, **settings)
    scores = [record["val_nll"] for record in run.history]
    assert run.best_epoch == 1 + int(np.argmin(scores)) < 8
    shorter, _ = train(tmp_path / "short", epochs=run.best_epoch, **settings)
    assert equal(weights, shorter)


def test_x3_the_file_that_ships_is_the_one_that_is_tested(finished_run: Path) -> None:
    test = read_split(finished_run / "data" / "test.parquet", "test")
    for name in ("half", "cnn"):
        stored = np.load(finished_run / "benchmark" / "logits" / f"{name}-int8.npz")["logits"]
        assert np.array_equal(Classifier.load(finished_run / "students" / name / "int8").logits(test.texts), stored)


def test_x4_there_is_one_weight_and_its_name_says_of_what() -> None:
    random = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 6, 3, generator=random)
    gold = torch.tensor([0, 1, 2, 0, 1, 2])
    loss = {
        (weight, swapped): distillation(DistillConfig(soft_weight=weight))(
            student, Batch(gold, gold, gold.flip(0) if swapped else gold, teacher)
        )[0]
        for weight in (0.0, 0.7, 1.0)
        for swapped in (False, True)
    }
    assert loss[1.0, False] == loss[1.0, True]  # the gold labels play no part
    torch.testing.assert_close(loss[0.7, False], 0.7 * loss[1.0, False] + 0.3 * loss[0.0, False])
    names = {name for section in (DistillConfig, OptimizationConfig, Recipe) for name in section.model_fields}
    assert not any("alpha" in name for name in names)
    assert all(term.formula and term.source for term in SOFT_TERMS.values())


def test_x5_the_teacher_reads_with_its_own_tokenizer(finished_run: Path) -> None:
    """`fresh` and `cnn` have vocabularies of their own; what they learned from is what the teacher answers to texts."""
    train_split = read_split(finished_run / "data" / "train.parquet", "train")
    stored = labeling.read_labels(finished_run / "labels", "train", train_split.ids)
    answers = Classifier.load(finished_run / "teacher-fp32").logits(train_split.texts)
    np.testing.assert_allclose(stored, answers, atol=1e-3)
    vocabularies = {
        name: (finished_run / name / "tokenizer.json").read_bytes()
        for name in ("teacher", "students/fresh/torch", "students/cnn/torch")
    }
    assert len(set(vocabularies.values())) == 3


def test_x6_the_teacher_is_asked_once(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Artifact.load(finished_run / "labels").config

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the teacher was asked again")

    monkeypatch.setattr(labeling, "infer", refuse)
    again = label(
        finished_run / "teacher", finished_run / "data", finished_run / "labels",
        LabelConfig(shard_size=recipe["shard_size"]),
    )  # fmt: skip
    assert again.measurements["teacher_calls"] == sum(
        len(read_split(file, file.stem)) for file in (finished_run / "data").glob("*.parquet") if file.stem != "test"
    )
    student = TextCNNStudent(width=8, filters=4, epochs=2, learning_rate=1e-2, min_count=1, device="cpu")
    distill(
        finished_run / "teacher", finished_run / "labels", finished_run / "data", tmp_path / "student", student
    )  # fmt: skip


def other_weights(teacher: Path, data: Path) -> None:
    weights = load_file(teacher / "model.safetensors")
    name = min(weights)
    save_file(weights | {name: weights[name] + 1}, teacher / "model.safetensors", {"format": "pt"})


def other_tokenizer(teacher: Path, data: Path) -> None:
    words = json.loads((teacher / "tokenizer.json").read_text(encoding="utf-8"))
    words["model"]["max_input_chars_per_word"] = 50
    (teacher / "tokenizer.json").write_text(json.dumps(words), encoding="utf-8")


def other_max_length(teacher: Path, data: Path) -> None:
    Artifact.load(teacher).rewrite(text=TextConfig(("html", "nfc"), 12))


def other_data(teacher: Path, data: Path) -> None:
    rows = read_split(data / "train.parquet", "train")
    write_split(rows.take(range(len(rows) - 1)), data / "train.parquet")


@pytest.mark.parametrize("change", [other_weights, other_tokenizer, other_max_length, other_data])
def test_x6_another_teacher_tokenizer_length_or_data_is_labelled_anew(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path, Path], None]
) -> None:
    """Each part of the key by itself; the manifests are what a stage would have written."""
    teacher, data, labels = (
        Path(shutil.copytree(finished_run / name, tmp_path / name)) for name in ("teacher", "data", "labels")
    )
    config = LabelConfig(shard_size=Artifact.load(labels).config["shard_size"])
    before = label(teacher, data, labels, config)
    manifests = {home: Artifact.load(home) for home in (teacher, data)}
    change(teacher, data)
    for home, made in manifests.items():
        files = {
            name: {"bytes": (home / name).stat().st_size, "sha256": sha256_of_file(home / name)} for name in made.files
        }
        manifest = json.loads((home / "artifact.json").read_text(encoding="utf-8"))
        (home / "artifact.json").write_text(json.dumps(manifest | {"files": files}), encoding="utf-8")
    asked = 0

    def counted(*given: Any) -> Any:
        nonlocal asked
        asked += len(given[1])
        return infer(*given)

    monkeypatch.setattr(labeling, "infer", counted)
    after = label(teacher, data, labels, config)
    assert asked == after.measurements["teacher_calls"] > 600 and after.key != before.key


def test_x7_batches_are_padded_to_their_longest_only(finished_run: Path) -> None:
    random = np.random.default_rng(0)
    tokens = [np.ones(length, dtype=np.int64) for length in random.geometric(0.03, 4000).clip(2, 128)]
    padded = sum(len(rows) * max(len(tokens[row]) for row in rows) for rows in epoch_batches(tokens, 32, 0, 0))
    assert padded / sum(map(len, tokens)) < 1.05  # to 128 it would be four times as many
    batch = collate(TRAIN, np.array([0, 1]), 0, torch.device("cpu"))
    assert batch.ids.shape[1] == max(len(TRAIN.tokens[row]) for row in (0, 1))
    for model in (finished_run / "teacher", finished_run / "students" / "cnn" / "int8"):
        text = Artifact.load(model).text
        assert text is not None and text.max_length == 16


def test_x8_timing_warms_up_takes_turns_and_tells_its_conditions(
    models: dict[str, Any], results: dict[str, Any], tmp_path: Path
) -> None:
    asked: list[tuple[int, str]] = []

    class Worker:
        def __init__(self, number: int) -> None:
            self.number = number

        def ask(self, question: dict[str, Any]) -> dict[str, Any]:
            asked.append((self.number, Path(question["texts"]).stem))
            return {"milliseconds": [1.0, 3.0]}

    for name in ("texts", "warm"):
        (tmp_path / f"{name}.json").write_text('["a", "b"]', encoding="utf-8")
    speeds = [Speed(), Speed()]
    files = (tmp_path / "texts.json", tmp_path / "warm.json")
    workers: Any = [Worker(0), Worker(1)]
    _time_batch([Runner("", ()), Runner("", ())], workers, speeds, 1, BATCHES[0], 2, files)
    assert asked == [(0, "warm"), (1, "warm"), (0, "texts"), (1, "texts"), (0, "texts"), (1, "texts")]
    for model in ("teacher/torch", "teacher/fp32", "cnn/int8"):
        for row in models[model]["speed"]:
            assert {"threads", "batch", "mean", "std", "p50", "p95", "p99", "texts_per_second"} <= set(row)
    assert {"cpu", "cores", "instruction_set"} <= set(results["machine"])


def test_x9_parameters_bytes_and_speed_are_separate_figures(models: dict[str, Any], finished_run: Path) -> None:
    fp32, int8 = models["half/fp32"], models["half/int8"]
    assert fp32["params"] == int8["params"]
    assert fp32["bytes"] > int8["bytes"] > (finished_run / "students" / "half" / "int8" / "model.onnx").stat().st_size
    assert fp32["speedup_vs"].keys() == {"pipeline", "onnx_fp32"}
    ratios = {models["teacher/fp32"]["params"] / fp32["params"], models["teacher/fp32"]["bytes"] / fp32["bytes"]}
    assert fp32["speedup_vs"]["onnx_fp32"] not in ratios
    assert fp32["compression_ratio"] in ratios


def test_x10_every_compressed_file_is_measured_beside_its_source(
    models: dict[str, Any], results: dict[str, Any]
) -> None:
    pairs = {(pair["first"], pair["second"]) for pair in results["comparisons"]}
    for student in ("half", "fresh", "cnn"):
        for variant in ("fp16", "int8"):
            model = models[f"{student}/{variant}"]
            assert model["metrics"]["test"]["accuracy"]["n"] > 0 and model["agreement"]["n"] > 0
            assert (f"{student}/{variant}", f"{student}/fp32") in pairs


def test_x11_memory_is_measured_in_a_process_of_its_own(models: dict[str, Any]) -> None:
    """The order of measurement does not show: what comes after the large model is as small as what came before."""
    peaks = {name: model["peak_rss"] for name, model in models.items() if model["peak_rss"]}
    assert max(peaks, key=peaks.__getitem__) == "teacher/torch"
    small = [peak for name, peak in peaks.items() if name != "teacher/torch"]
    assert max(small) < 2 * min(small) and max(small) < peaks["teacher/torch"] / 2


def test_x12_an_artifact_needs_nothing_else(finished_run: Path, tmp_path: Path) -> None:
    """Copied away and opened by a process that can import neither torch nor transformers nor reach a network."""
    home = shutil.copytree(finished_run / "students" / "half" / "int8", tmp_path / "moved")
    code = (
        "import sys, socket\n"
        "sys.modules |= dict.fromkeys(('torch', 'transformers', 'huggingface_hub'))\n"
        "socket.socket.connect = None\n"
        "from understudy import Classifier\n"
        f"print(Classifier.load({str(home)!r}).predict(['a lovely film'])[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    here = Classifier.load(finished_run / "students" / "half" / "int8").predict(["a lovely film"])[0]
    assert done.stdout.strip() == str(here), done.stderr


def test_x13_nothing_is_pickled_and_no_foreign_code_is_run(finished_run: Path) -> None:
    kinds = {path.suffix for path in finished_run.rglob("*") if path.is_file() and path.name != ".lock"}
    assert not kinds & {".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib", ".ckpt"}
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                assert isinstance(node.value, ast.Constant) and node.value.value is False, source
            if isinstance(node, ast.Import | ast.ImportFrom):
                named = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
                assert not {"pickle", "joblib", "dill", "cloudpickle"} & set(named), source
            if isinstance(node, ast.Attribute) and node.attr == "load" and isinstance(node.value, ast.Name):
                assert node.value.id not in ("torch", "pickle"), source


def test_x14_the_vocabulary_is_that_of_train(finished_run: Path, tmp_path: Path) -> None:
    """Every text of validation has the word quokka, every unlabelled one the word wombat; train has neither."""
    data = prepare_few(tmp_path)  # nobody can read its test split
    label(finished_run / "teacher", data, tmp_path / "labels", LabelConfig())
    quick: dict[str, Any] = {"epochs": 1, "device": "cpu", "precision": "fp32"}
    students = (
        TextCNNStudent(name="cnn", width=8, filters=4, min_count=1, **quick),
        BiLSTMStudent(name="lstm", width=8, units=4, min_count=1, **quick),
        TransformerStudent(name="fresh", layers=1, width=8, heads=1, vocabulary=400, **quick),
    )
    for student in students:
        out = tmp_path / student.name
        distill(finished_run / "teacher", tmp_path / "labels", data, out, student)
        vocabulary = json.loads((out / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
        assert "lovely" in vocabulary and not {"quokka", "wombat"} & set(vocabulary), student.name


@pytest.mark.parametrize("text", ["", "a", "superb", "zzz", "lovely " * 500])
def test_x15_a_word_network_gives_logits_and_minds_no_padding(finished_run: Path, text: str) -> None:
    classifier = Classifier.load(finished_run / "students" / "cnn" / "int8")
    alone = classifier.logits([text])
    assert np.array_equal(classifier.logits(["this film is lovely", text, "poor " * 15])[1:2], alone)
    probabilities = classifier.predict_proba([text])
    assert np.array_equal(probabilities, softmax(alone, classifier.artifact.temperature))
    assert probabilities.sum() == pytest.approx(1.0)


THREE = ("negative", "neutral", "positive")


def test_x16_soft_labels_keep_the_whole_distribution_and_neutral_needs_a_policy(finished_run: Path) -> None:
    for shard in (finished_run / "labels").glob("*.parquet"):
        assert all(len(row) == 2 and np.isfinite(row).all() for row in pq.read_table(shard)["logits"].to_pylist())
    with pytest.raises(ArtifactError, match="neutral"):
        map_labels(THREE, ["negative", "positive"], {}, "exact")
    probabilities = {"drop_and_renormalise": [0.25, 0.75], "abstain": [0.25, 0.75], "merge": [0.1, 0.9]}
    for policy, expected in probabilities.items():
        meant = {"neutral": "positive" if policy == "merge" else ""}
        mapping = map_labels(THREE, ["negative", "positive"], meant, cast("LabelPolicy", policy))
        assert softmax(mapping.apply(np.log([[0.1, 0.6, 0.3]])))[0] == pytest.approx(expected)
        assert mapping.abstains(np.log([[0.1, 0.6, 0.3]])).tolist() == [policy == "abstain"]


def test_x17_one_seed_drives_everything(finished_run: Path, tmp_path: Path) -> None:
    def made(seed: int, name: str) -> bytes:
        home = tmp_path / name
        tiny.write_csv(home.with_suffix(".csv"), tiny.rows(80, seed=2))
        prepare(TASK, DataConfig(train=f"{name}.csv"), home / "data", tmp_path, seed=seed)
        config = TextCNNStudent(width=8, filters=4, epochs=1, min_count=1, device="cpu", precision="fp32")
        teacher, labels, data = (finished_run / part for part in ("teacher", "labels", "data"))
        distill(teacher, labels, data, home / "student", config, seed=seed)
        return b"".join(
            path.read_bytes() for part in ("data", "student") for path in sorted((home / part).glob("*.[ps]a*"))
        )

    assert made(3, "one") == made(3, "two") != made(4, "three")


def expanded(word: str) -> list[str]:
    """The words that a shell makes of one with braces."""
    before, brace, rest = word.partition("{")
    inner, _, after = rest.partition("}")
    return [whole for part in inner.split(",") for whole in expanded(f"{before}{part}{after}")] if brace else [word]


OF_THE_READER = {"tickets.toml"}  # that the README tells how to write


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_x18_documented_commands_are_taken_and_their_paths_lead_from_one_to_the_next(page: Path) -> None:
    """From the root of the repository, as the pages have it; `test_docs` runs the README's, one after the other.

    What a command reads is committed, or made by a command above it: a file of a run must be one that its recipe makes.
    """
    made: list[Path] = [Path("runs/demo")] if page == ROOT / "README.md" else []  # `make demo`
    runs = {Path("runs/demo"): Path("recipes/demo.toml")}
    for words in commands(page):
        assert complaint(words) == "", words
        written = [one for word in words for one in expanded(word)]
        for before, word in zip(["", *written], written, strict=False):
            place = Path(word)
            if before in ("--out", "--output"):
                made.append(place)
                runs |= {place: Path(words[1])} if words[0] == "run" else {}
            elif word.startswith("recipes/") or place.suffix == ".toml":
                assert (ROOT / place).exists() or word in OF_THE_READER, word
            elif word.startswith("runs/"):
                run = next((run for run in runs if run in (place, *place.parents)), None)
                assert any(known in (place, *place.parents) for known in made), word
                if run and (ROOT / runs[run]).exists() and place != run:
                    recipe = load_recipe(ROOT / runs[run])
                    if isinstance(recipe.teacher, EnsembleTeacher):  # the same steps; its members are not here
                        answers = TableTeacher(path="recipes/reviews-probabilities.csv")
                        recipe = recipe.model_copy(update={"teacher": answers})
                    steps = plan(recipe, ROOT / run, ROOT, Silent())
                    assert place.relative_to(run).as_posix() in {step.out for step in steps}, word


def test_x19_a_teacher_that_knows_the_texts_is_noticed_and_can_be_avoided(
    encoder: Path, finished_run: Path, tmp_path: Path
) -> None:
    """Every text of train is a word of its own with a label by chance: whoever knows it has seen that very text."""
    coin = random.Random(3)
    known_by_heart = [(word, coin.choice(tiny.LABELS)) for word in tiny.words()]
    tiny.write_csv(tmp_path / "train.csv", known_by_heart)
    for name in ("val", "test"):  # so that the best epoch is one that knows them
        tiny.write_csv(tmp_path / f"{name}.csv", [(f"{word} {word} {name}", label) for word, label in known_by_heart])
    files = DataConfig(train="train.csv", val="val.csv", test="test.csv")
    prepare(TASK, files, tmp_path / "data", tmp_path, seed=1)
    config = TeacherConfig(
        model=str(encoder), epochs=15, batch_size=6, learning_rate=5e-3, max_length=16, dropout=0.0, device="cpu",
        precision="fp32",
    )  # fmt: skip
    train_teacher(tmp_path / "data", tmp_path / "teacher", config, seed=5)
    texts = read_split(tmp_path / "data" / "train.parquet", "train")
    known, sure = {}, {}
    for folds in (0, 2):
        made = label(tmp_path / "teacher", tmp_path / "data", tmp_path / str(folds), LabelConfig(folds=folds))
        answers = labeling.read_labels(made.path, "train", texts.ids)
        known[folds] = float((answers.argmax(axis=1) == texts.labels).mean())
        sure[folds] = made.measurements["confidence"]
        assert sure[folds]["train"] == pytest.approx(float(softmax(answers).max(axis=1).mean()))
    assert known[0] > 0.9 and known[2] < 0.75  # by chance 0.5
    assert sure[0]["train"] > sure[2]["train"]


def test_x19_the_report_sets_the_teachers_confidence_on_train_beside_that_on_validation(
    finished_run: Path, results: dict[str, Any]
) -> None:
    found = Artifact.load(finished_run / "labels").measurements["confidence"]
    assert found.keys() >= {"train", "val"} and results["teacher_confidence"] == found
    report = (finished_run / "report" / "report.md").read_text(encoding="utf-8")
    table = report.partition("### Confidence of the soft labels")[2].partition("Mean probability")[0]
    for split, mean in found.items():
        assert f"| {split} | {100 * mean:.1f} |" in table


def test_x20_a_twin_without_the_teacher_is_built_in(finished_run: Path, models: dict[str, Any]) -> None:
    student = Artifact.load(finished_run / "students" / "half" / "torch").measurements
    twin = Artifact.load(finished_run / "controls" / "half-no-teacher" / "torch").measurements
    assert twin["steps"] == student["steps"]
    assert models["half-no-teacher/fp32"]["role"] == "control" and "tfidf-lr/sklearn" in models


def test_x21_a_class_without_a_row_breaks_no_figure() -> None:
    truth, answers = np.array([0, 0, 2]), np.array([0, 2, 2])
    rows = per_class(confusion(truth, answers, 4))
    assert [row["support"] for row in rows] == [2, 0, 1, 0]
    assert all(np.isfinite(list(row.values())).all() for row in rows)
    assert np.isfinite(list(validate(np.zeros((3, 4), dtype=np.float32), truth).values())).all()
    labels = np.array([0] * 999 + [1, UNLABELED])
    split: Any = type("Rows", (), {"labels": labels})()
    weights = class_weights(OptimizationConfig(class_weights="balanced"), split, 3)
    assert weights is not None and weights.max() == 10 and torch.isfinite(weights).all()


def test_x22_a_dead_worker_is_noticed_and_its_trial_recorded() -> None:
    with Pool({}, workers=1, most=1, device="cpu") as pool:
        (worker,) = pool.idle()
        worker.start(7, {})
        assert worker._process is not None
        os.kill(worker._process.pid, signal.SIGKILL)
        begun = time.monotonic()
        ((number, message),) = pool.messages()
        assert number == 7 and message["state"] == "failed" and "signal 9" in message["error"]
        assert time.monotonic() - begun < 10
        assert pool.idle() == [worker]


def test_x23_calibration_is_measured_for_teacher_and_students(models: dict[str, Any], finished_run: Path) -> None:
    """Maximum probability, entropy, ECE, reliability and the temperature, from the logits that were stored."""
    labels = {"test": np.load(finished_run / "benchmark" / "labels.npz")["labels"]}
    labels["val"] = np.load(finished_run / "benchmark" / "val" / "labels.npz")["labels"]
    files = [f"{name}/{variant}" for name in ("half", "fresh", "cnn") for variant in ("fp32", "fp16", "int8")]
    for name in ("teacher/fp32", *files):
        model = models[name]
        assert model["temperature"] == Artifact.load(finished_run / model["path"]).temperature
        for split, truth in labels.items():
            home = finished_run / "benchmark" / ("val" if split == "val" else "")
            logits = np.load(home / "logits" / f"{name.replace('/', '-')}.npz")["logits"]
            study = model["calibration_study"][split]
            for when, temperature in (("before", 1.0), ("after", model["temperature"])):
                shares, measures = softmax(logits, temperature), study[when]["measures"]
                assert measures["confidence"]["value"] == pytest.approx(shares.max(axis=1).mean())
                assert measures["entropy"]["value"] == pytest.approx(-(shares * np.log(shares)).sum(axis=1).mean())
                assert {"ece", "brier", "nll"} <= set(measures)
                bins = np.array(study[when]["reliability"])  # mean confidence, share that is right, rows
                right = shares.argmax(axis=1) == truth
                assert (bins[:, 0] @ bins[:, 2], bins[:, 1] @ bins[:, 2]) == pytest.approx(
                    (shares.max(axis=1).sum(), right.sum())
                )
        fitted = model["calibration_study"]["val"]
        assert fitted["after"]["measures"]["nll"]["value"] <= fitted["before"]["measures"]["nll"]["value"] + 1e-9


def test_x23_the_reliability_diagram_shows_the_teacher_and_each_student(
    finished_run: Path, results: dict[str, Any]
) -> None:
    filled = prepared(results)
    figure = reliability_diagrams(_evidence(finished_run / "benchmark", filled))
    assert figure is not None
    drawn = {axes.get_title().split("\n")[0]: axes for axes in figure.axes}
    shown = ("teacher/fp32", "half/int8", "fresh/int8", "cnn/int8")
    assert set(drawn) == {f"{key}, {split}" for key in shown for split in ("validation", "test")}
    for model in (model for model in filled["models"] if model["key"] in shown):
        for split, name in (("val", "validation"), ("test", "test")):
            _, *lines = drawn[f"{model['key']}, {name}"].get_lines()  # the first is the diagonal
            for line, when in zip(lines, ("before", "after"), strict=True):
                bins = np.array(model["calibration_study"][split][when]["reliability"])
                np.testing.assert_allclose(line.get_xydata(), bins[:, :2])
    picture = (finished_run / "report" / "calibration-reliability.png").read_bytes()
    assert base64.b64encode(picture).decode() in (finished_run / "report" / "report.html").read_text(encoding="utf-8")


def test_x24_texts_that_recur_are_dropped_and_counted(tmp_path: Path) -> None:
    rows = tiny.rows(60, seed=9)
    recurring = [(text.upper() + " !", label) for text, label in rows[:3]]
    tiny.write_csv(tmp_path / "train.csv", [*rows, rows[5], *recurring])
    tiny.write_csv(tmp_path / "test.csv", rows[:3] + tiny.rows(70, seed=10)[:20])
    made = prepare(TASK, DataConfig(train="train.csv", test="test.csv"), tmp_path / "data", tmp_path, seed=1)
    dropped = made.measurements["dropped"]["train"]
    assert (dropped["duplicate"], dropped["held_out"], dropped["held_out_normalized"]) == (1, 3, 3)


def test_x25_the_pages_tables_are_those_of_the_result_files() -> None:
    if not (ROOT / "benchmarks").exists():
        pytest.skip("benchmarks/ does not come with the sdist")
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import tables  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    assert {page.name for page in tables.PAGES} == {page.name for page in PAGES if "<!-- table" in page.read_text()}
    for page in tables.PAGES:
        text = page.read_text(encoding="utf-8")
        assert tables.updated(text) == text, page
        assert tables.updated(text.replace("92.9", "92.8")) == text != text.replace("92.9", "92.8")
