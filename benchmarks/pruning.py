"""What pruning does to file, latency and validation accuracy: structured, and unstructured beside it.

python benchmarks/pruning.py runs/emotion cut3 runs/pruned benchmarks/results/pruning.json [RECOVERY_TEXTS]

Starts from a trained student of a run. Structured pruning is that of `prune_heads` and `prune_units`, with its
recovery (on the first RECOVERY_TEXTS of train, or all); unstructured sets the smallest half of each matrix to zero,
which keeps its shape. Every student is exported, judged on validation, and timed in one interleaved measurement. The
test split stays closed.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from understudy import speed
from understudy.artifact import Artifact, Plan, writing
from understudy.classifier import MODEL_FILE, Classifier
from understudy.config import CutStudent, ExportConfig
from understudy.data.storing import read_split
from understudy.machine import describe, versions
from understudy.metrics import evaluate, paired_difference
from understudy.progress import Silent
from understudy.tokenization import TOKENIZER_FILES
from understudy.training import export, networks, pruning
from understudy.training.distillation import open_sources
from understudy.training.finetuning import Lesson, learn
from understudy.training.losses import distillation
from understudy.training.targets import teacher_targets

STUDENTS: dict[str, dict[str, Any]] = {
    "as trained": {},
    "unstructured, half of the weights": {"zeroed": 0.5},
    "half of the units": {"prune_units": 0.5},
    "half of the heads and of the units": {"prune_heads": 0.5, "prune_units": 0.5},
}
RECOVERY, TEXTS, REPEATS, SEED = 2, 100, 15, 13


def main() -> None:
    """Entry point."""
    run, name, home, out = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
    limit = int(sys.argv[5]) if len(sys.argv) > 5 else None
    trained = Artifact.load(run / "students" / name / "torch", "model")
    files = {}
    for number, (student, settings) in enumerate(STUDENTS.items()):
        files[student] = home / str(number) / "fp32"
        _make(trained, run, home / str(number) / "torch", settings, limit)
        export(home / str(number) / "torch", run / "data", files[student], ExportConfig())
    rows = _measured(files, run / "data")
    texts = limit or len(read_split(run / "data" / "train.parquet", "train"))
    found = {
        "task": run.name, "student": name, "split": "val", "seed": SEED,
        "recovery": {"epochs": RECOVERY, "texts": texts},
        "timing": f"one text, one thread, {TEXTS} validation texts, {REPEATS} interleaved passes",
        "machine": describe(), "versions": versions(), "rows": rows,
    }  # fmt: skip
    out.write_text(json.dumps(found, indent=1, ensure_ascii=False), encoding="utf-8")
    for row in rows:
        accuracy, low, high = 100 * row["accuracy"]["value"], *np.percentile(row["latency_ratios"], (10, 90))
        print(
            f"{row['student']:<36}{row['bytes'] / 1e6:6.2f} MB  {accuracy:.2f} %  {row['latency_ratio']:.2f} × as long"
            f" ({low:.2f} to {high:.2f} in most passes)"
        )


def _make(trained: Artifact, run: Path, out: Path, settings: dict[str, Any], limit: int | None) -> None:
    """The trained student, pruned as the settings say."""
    plan = Plan("distill", trained.config | settings | {"recovery_texts": limit}, trained.inputs, SEED)
    if (out / "artifact.json").exists() and Artifact.load(out).key == plan.key:
        return
    network = networks.load(trained)
    with writing(out, plan, "model") as draft:
        draft.task, draft.text, draft.details = trained.task, trained.text, dict(trained.details)
        if "zeroed" in settings:
            _zero(network.module, settings["zeroed"])
        elif settings:
            config = CutStudent(**trained.config | settings | {"recovery_epochs": RECOVERY})
            lesson = _lesson(run, config, limit)
            assert draft.text is not None
            removal = pruning.plan_removal(network.module.model, config)
            pruning.prune(
                network.module, removal, lesson.examples(network, draft.text), lesson.objective, config,
                pad_id=network.pad_id, seed=SEED,
            )  # fmt: skip
            recovery = config.model_copy(update={"epochs": RECOVERY})
            learn(
                draft, network, draft.text, lesson, recovery, seed=SEED, progress=Silent(), description="recover",
            )  # fmt: skip
        networks.save(network, draft.path)


def _zero(module: Any, share: float) -> None:
    """Set the smallest weights of every matrix of the layers to zero."""
    with torch.no_grad():
        for layer in module.model.base_model.encoder.modules():
            if isinstance(layer, torch.nn.Linear):
                size = layer.weight.abs()
                layer.weight[size < size.flatten().kthvalue(round(share * size.numel())).values] = 0


def _lesson(run: Path, config: CutStudent, limit: int | None) -> Lesson:
    artifacts = [Artifact.load(run / name) for name in ("teacher", "labels", "data")]
    sources = open_sources(*artifacts)
    targets = teacher_targets(sources.labels, [sources.train], correct=config.correct_teacher)[:limit]
    return Lesson(sources.train.take(np.arange(len(targets))), sources.val, distillation(config), targets)


def _measured(files: dict[str, Path], data: Path) -> list[dict[str, Any]]:
    val = read_split(data / "val.parquet", "val")
    order = np.random.default_rng(SEED).permutation(len(val))[:TEXTS]
    runners = [replace(speed.classifier_runner(path), batches=(1,)) for path in files.values()]
    speeds = speed.measure(runners, [val.texts[row] for row in order], [1], REPEATS)
    answers = [Classifier.load(path).predict_proba(val.texts) for path in files.values()]
    before = answers[0].argmax(axis=1)
    rows = []
    for (student, path), found, answer in zip(files.items(), speeds, answers, strict=True):
        artifact, ratios = Artifact.load(path), speeds[0].best[1] / found.best[1]  # of each pass
        change = paired_difference(val.labels, before, answer.argmax(axis=1), "accuracy", 2000, 0)
        rows.append(
            {
                "student": student, "params": artifact.details["params"],
                "bytes": artifact.bytes_of(MODEL_FILE, *TOKENIZER_FILES),
                "accuracy": evaluate(answer, val.labels, 2000, 0)["accuracy"].to_dict(),
                "difference": change.to_dict(), "p50": found.rows[0]["p50"],
                "latency_ratio": float(np.median(ratios)), "latency_ratios": [float(ratio) for ratio in ratios],
            }
        )  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
