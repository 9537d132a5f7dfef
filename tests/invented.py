"""An invented benchmark: six labels or any others, models of chosen strength, everything that results.json holds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy import metrics
from understudy.calibration_metrics import calibration_study
from understudy.decision import softmax

EMOTIONS = ("sadness", "joy", "love", "anger", "fear", "surprise")
EVIL = ("sadness", "joy", "love", "anger", "<img src=x onerror=1>", "a|b $x$ `c` *d*")
STUDENTS = ("cut3", "small", "textcnn")
# role, strength of the right logit, parameters, bytes, ms for one text, texts/s
MODELS: dict[str, tuple[str, float, float, float, float, float]] = {
    "teacher/fp32": ("teacher", 6.4, 22.7e6, 91.3e6, 4.6, 239),
    "cut3/fp32": ("student", 6.3, 10.6e6, 42.6e6, 2.1, 520),
    "cut3/fp16": ("student", 6.3, 10.6e6, 21.4e6, 2.2, 505),
    "cut3/int8": ("student", 6.25, 10.6e6, 10.9e6, 1.1, 1010),
    "small/fp32": ("student", 5.6, 1.5e6, 6.1e6, 0.31, 4100),
    "small/fp16": ("student", 5.6, 1.5e6, 3.2e6, 0.33, 3900),
    "small/int8": ("student", 5.55, 1.5e6, 1.8e6, 0.24, 5200),
    "textcnn/fp32": ("student", 4.9, 1.3e6, 5.3e6, 0.12, 9100),
    "textcnn/fp16": ("student", 4.9, 1.3e6, 2.8e6, 0.13, 8800),
    "textcnn/int8": ("student", 4.85, 1.3e6, 1.6e6, 0.10, 11200),
    "cut3-no-teacher/fp32": ("control", 6.1, 10.6e6, 42.6e6, 2.1, 520),
    "small-no-teacher/fp32": ("control", 5.0, 1.5e6, 6.1e6, 0.31, 4100),
    "tfidf-lr/sklearn": ("control", 5.1, 0.1e6, 0, 0.05, 36800),
    "majority/none": ("control", 0, 6, 0, 0, 0),
}
Score = dict[str, Any]


def simulate(directory: Path, labels: Sequence[str] = EMOTIONS, rows: int = 400, seed: int = 1) -> Path:
    """A benchmark directory in which the figures of results.json are those of the logits."""
    logits, truth = simulate_split(directory, labels, rows, seed)
    val = simulate_split(directory / "val", labels, rows // 2, seed + 1)
    results = simulate_results(labels, truth, logits)
    for model in results["models"]:
        key = f"{model['name']}/{model['variant']}"
        if model["calibration"]:
            splits = {"val": (val[0][key], val[1]), "test": (logits[key], truth)}
            model["calibration_study"] = calibration_study(splits, model["temperature"], 100)
    (directory / "results.json").write_text(json.dumps(results))
    return directory


def simulate_split(
    directory: Path, labels: Sequence[str], rows: int, seed: int
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.int64]]:
    """Logits by key and labels of a split, and their files."""
    generator = np.random.default_rng(seed)
    shares = np.arange(len(labels), 0, -1) / np.arange(len(labels) + 1).sum()
    truth = generator.choice(len(labels), rows, p=shares)
    noise = generator.normal(0, 2, (rows, len(labels)))
    ids = np.array([f"test-{row}" for row in range(rows)])
    (directory / "logits").mkdir(parents=True)
    np.savez(directory / "labels.npz", ids=ids, labels=truth)
    logits = {}
    for key, (role, strength, *_) in MODELS.items():
        own = noise + generator.normal(0, 0.5, noise.shape) if role != "teacher" else noise
        values = own + strength * np.eye(len(labels))[truth] if strength else np.tile(np.log(shares), (rows, 1))
        logits[key] = values.astype(np.float32)
        order = generator.permutation(rows)  # files need not share the order of labels.npz
        np.savez(directory / "logits" / f"{key.replace('/', '-')}.npz", ids=ids[order], logits=logits[key][order])
    return logits, truth


def simulate_results(
    labels: Sequence[str], truth: NDArray[np.int64], logits: dict[str, NDArray[np.float32]]
) -> dict[str, Any]:
    models = [describe(key, labels, truth, logits) for key in MODELS]
    pipeline = models[0] | {"variant": "torch", "metrics": {}, "per_class": [], "confusion": [], "path": "teacher"}
    pipeline |= {"speed": [timing(1, 1, 9.8), timing(1, 32, 296)], "calibration": None, "retention": None}
    pipeline |= {"agreement": None, "speedup_vs": {"pipeline": 1.0, "onnx_fp32": 108 / 239}}
    pairs = [(f"{name}/int8", "teacher/fp32") for name in STUDENTS] + [(f"{n}/int8", f"{n}/fp32") for n in STUDENTS]
    pairs += [(f"{name}/int8", "tfidf-lr/sklearn") for name in STUDENTS]
    pairs += [(f"{name}/fp32", f"{name}-no-teacher/fp32") for name in STUDENTS[:2]]
    counts = {label: 100 * (9 - i % 9) for i, label in enumerate(labels)}
    split = {"rows": sum(counts.values()), "classes": counts, "majority": {"label": labels[0], "share": 0.3}}
    splits = dict.fromkeys(("train", "val", "test"), split)
    return {
        "task": "emotion", "task_metric": "accuracy", "labels": list(labels), "seed": 13,
        "machine": {"cpu": "Example CPU 2.0 GHz", "cores": 8, "instruction_set": ["avx2"], "memory_bytes": 16e9},
        "versions": {"python": "3.11.2", "understudy": "0.1.0"},
        "recipe": {
            "seed": 13, "task": {"name": "emotion", "labels": list(labels)},
            "teacher": {"model": "bundled:minilm-l6", "train": True, "label_map": {"LABEL 0": labels[0]}},
            "students": [
                {"name": name, "kind": "cut", "temperature": 2.0, "soft_weight": 0.8, "epochs": 5} for name in STUDENTS
            ],
            "quantize": {"method": "static"},
        },
        "data": {"splits": splits | {"unlabeled": {"rows": 9}}, "dropped": {"train": {"duplicate": 31}}},
        "training": [history(n, "no" in n) for n in ("teacher", *STUDENTS, "cut3-no-teacher", "small-no-teacher")],
        "models": [pipeline, *models],
        "comparisons": [compare(first, second, truth, logits) for first, second in pairs],
    }  # fmt: skip


def describe(
    key: str, labels: Sequence[str], truth: NDArray[np.int64], logits: dict[str, NDArray[np.float32]]
) -> Score:
    role, _, params, size, p50, rate = MODELS[key]
    name, variant = key.split("/")
    answers, teacher = logits[key].argmax(axis=1), logits["teacher/fp32"].argmax(axis=1)
    table = metrics.confusion(truth, answers, len(labels))
    temperature = 0.7 if variant != "none" else 1.0
    scores = metrics.evaluate(softmax(logits[key], temperature), truth, resamples=100)
    timed = [timing(1, 1, p50), timing(1, 32, 32e3 / rate), timing(8, 32, 5e3 / rate)] if rate else []
    neural = variant in ("fp32", "fp16", "int8")
    return {
        "name": name, "role": role, "variant": variant, "params": int(params), "bytes": int(size) or None,
        "compression_ratio": None, "temperature": temperature,
        "warnings": ["measured on a CPU without VNNI"] if key == "textcnn/int8" else [],
        "path": f"students/{key}" if role == "student" else None,
        "calibration": {
            "before": {"ece": 0.0412, "brier": 0.1203, "nll": 0.2611},
            "after": {"ece": 0.0107, "brier": 0.1102, "nll": 0.2275},
        } if neural else None,
        "metrics": {"test": {metric: estimate.to_dict() for metric, estimate in scores.items()}},
        "per_class": [{"label": label, **row} for label, row in zip(labels, metrics.per_class(table), strict=True)],
        "confusion": table.tolist(),
        "retention": metrics.retention(truth, answers, teacher, "accuracy", 100).to_dict(),
        "agreement": metrics.agreement(answers, teacher).to_dict(),
        "speed": timed, "peak_rss": 210e6 if neural else None, "load_ms": 184.2 if neural else None,
        "speedup_vs": {"pipeline": rate / 108 if rate else None, "onnx_fp32": rate / 239 if rate else None},
    }  # fmt: skip


def timing(threads: int, batch: int, milliseconds: float) -> Score:
    times = {"mean": 1.06, "std": 0.1, "p50": 1.0, "p95": 1.4, "p99": 1.9}
    rows = {name: milliseconds * factor for name, factor in times.items()}
    return {"threads": threads, "batch": batch, **rows, "texts_per_second": 1e3 * batch / milliseconds}


def history(name: str, hard_only: bool) -> Score:
    epochs = []
    for epoch in range(1, 6):
        parts = {"hard_loss": 0.9 / epoch} | ({} if hard_only or name == "teacher" else {"soft_loss": 2.1 / epoch})
        score = (0.93 if name == "teacher" else 0.92 if name == "cut3" else 0.88) - 0.2 / epoch**2
        val = {"val_nll": 0.5 / epoch + 0.02 * epoch, "val_accuracy": score, "val_macro_f1": score - 0.03}
        val |= {"val_macro_recall": score - 0.02, "learning_rate": 2e-4 * (6 - epoch) / 5}
        epochs.append({"epoch": epoch, "loss": sum(parts.values()), **parts, **val})
    return {"name": name, "history": epochs, "best_epoch": 4, "seconds": 81.5}


def compare(first: str, second: str, truth: NDArray[np.int64], logits: dict[str, NDArray[np.float32]]) -> Score:
    one, two = logits[first].argmax(axis=1), logits[second].argmax(axis=1)
    difference = metrics.paired_difference(truth, two, one, "accuracy", resamples=100)
    return {
        "first": first, "second": second, "difference": difference.to_dict(),
        "mcnemar": vars(metrics.mcnemar(truth, one, two)),
    }  # fmt: skip
