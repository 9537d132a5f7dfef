"""benchmark: shipped files + the test split → quality, speed, size, memory, with intervals and paired tests.

The only stage that opens the test split. Logits are stored by example id; whatever shows test results reads those.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import speed
from .answers import Answers, noted
from .artifact import Artifact, Plan, finished, writing
from .calibration_metrics import calibration_study
from .classifier import DEFER_BELOW, decision_of, note_on_arithmetic
from .config import BenchmarkConfig
from .controls import Control, bag_of_words, majority
from .data.storing import read_split
from .data.task import Split, Task
from .entries import Entry as Entry
from .entries import Lead
from .errors import InputError
from .machine import available_cores, describe, versions
from .metrics import agreement, mcnemar, paired_difference, retention
from .progress import Progress, Silent
from .recording import RESULTS as RESULTS
from .recording import write_predictions, write_results
from .tokenization import TOKENIZER_FILES
from .traits import traits, write_traits


def benchmark(
    entries: Sequence[Entry],
    data: Path,
    out: Path,
    config: BenchmarkConfig,
    *,
    teacher: Path | None,
    labels: Path | None = None,
    notes: Mapping[str, Any],
    seed: int = 13,
    progress: Progress | None = None,
) -> Artifact:
    """Measure `entries` and the controls on the test split.

    `teacher` is the torch artifact that the pipeline runs, or the directory of one that is not a model: it is asked
    for the test texts, and its answers are calibrated as its soft labels in `labels` are. `notes` (the recipe,
    training histories) go into results.json as they are. Raises InputError for two models of one name and variant.
    """
    progress = progress or Silent()
    speed.check_device(config.provider)
    source = Artifact.load(data, "data")
    lead = Lead.of(teacher, labels)
    _refuse_doubles(entries)
    inputs = {entry.key: f"{entry.artifact.digest}:{_decided(entry.artifact)}" for entry in entries}
    inputs |= {"data": source.digest, "recipe": hashlib.sha256(json.dumps(notes).encode()).hexdigest()}
    inputs |= {"teacher": lead.digest} if lead else {}
    plan = Plan("benchmark", config.model_dump(), inputs, seed)
    done = finished(out, plan, progress)
    if done is not None:
        return done
    source.verify()
    assert source.task is not None
    with writing(out, plan, "benchmark") as draft:
        draft.task = source.task
        train, val, test = (read_split(data / f"{name}.parquet", name) for name in ("train", "val", "test"))
        controls = [majority(train, source.task), bag_of_words(train, val, source.task, *_aim(entries))]
        said, answers, rows = list[str](), dict[str, Answers](), list[dict[str, Any]]()
        if lead:
            said, found = lead.ask(test, progress)
            if found is not None:
                decision = lead.decision(val, *_aim(entries))
                answers[lead.key], rows = Answers(found, decision), [lead.row(decision)]
        answers |= _answers(entries, controls, test, config.provider, progress)
        known = _validation_logits(entries, val, config.provider, progress) | (lead.validation(val) if lead else {})
        rows += [_describe(e, out.parent) | e.of_cascade(test.texts, config.provider) for e in entries]
        rows += [_describe_control(control) for control in controls]
        _add_quality(rows, answers, test, source.task, config, seed)
        _add_calibration(rows, answers, known, test, val, config, seed)
        pipeline = _add_speed(rows, entries, None if lead else teacher, data, test, config, progress)
        results = {
            "task": source.task.name, "kind": source.task.kind, "task_metric": source.task.metric,
            "labels": list(source.task.labels), "seed": seed, "bootstrap": config.bootstrap, "machine": describe(),
            "versions": versions(), "data": source.measurements,
            "models": [pipeline, *rows] if pipeline else rows,
            "comparisons": _comparisons(entries, answers, test, source.task, config, seed), **notes,
            "remarks": [*notes.get("remarks", []), *said],
        }  # fmt: skip
        logits = {name: answer.logits for name, answer in answers.items()}
        write_results(draft.path, results, {"test": (test, logits), "val": (val, known)})
        write_traits(draft.path, traits(test, {entry.key: entry.artifact for entry in entries}))
        if config.predictions:
            write_predictions(draft.path, source.task, test, answers)
    return Artifact.load(out)


def _decided(artifact: Artifact) -> str:
    """What decides an artifact's answers beside its files."""
    limits = artifact.decision.get("thresholds") or artifact.decision.get(DEFER_BELOW)
    return f"{artifact.temperature}" + (f":{limits}" if limits else "")


def _aim(entries: Sequence[Entry]) -> tuple[Any, ...]:
    """What the thresholds of a multi-label run are for: the control's are fitted for the same."""
    for entry in entries:
        goal = entry.artifact.measurements.get("calibration", {}).get("goal")
        if goal:
            return goal["threshold_for"], goal["threshold_target"]
    return ()


def _refuse_doubles(entries: Sequence[Entry]) -> None:
    for index, entry in enumerate(entries):
        if entry.key in (other.key for other in entries[:index]):
            raise InputError(f"{entry.path}: a second {entry.key}; results are kept by name and variant")


def _answers(
    entries: Sequence[Entry], controls: Sequence[Control], test: Split, provider: str, progress: Progress
) -> dict[str, Answers]:
    answers = {}
    with progress.track("measure quality on test", len(entries) + len(controls)) as advance:
        for entry in entries:
            entry.artifact.verify()
            found = speed.logits_of(entry.artifact, test.texts, provider)
            answers[entry.key] = Answers(found, decision_of(entry.artifact))
            advance(1)
        for control in controls:
            answers[f"{control.name}/{_control_variant(control)}"] = Answers(
                control.answer(test.texts), control.decision
            )
            advance(1)
    return answers


def _validation_logits(
    entries: Sequence[Entry], val: Split, provider: str, progress: Progress
) -> dict[str, NDArray[np.float32]]:
    """What each artifact answers where its temperature was fitted."""
    logits = {}
    with progress.track("measure confidence on validation", len(entries)) as advance:
        for entry in entries:
            logits[entry.key] = speed.logits_of(entry.artifact, val.texts, provider)
            advance(1)
    return logits


def _describe(entry: Entry, root: Path) -> dict[str, Any]:
    """What is known of a file; its path is given from `root`, so that reports name no directory of this machine."""
    artifact = entry.artifact
    calibration = artifact.measurements.get("calibration")
    return {
        "name": entry.name, "role": entry.role, "variant": entry.variant, "params": artifact.details["params"],
        "bytes": artifact.bytes_of(*artifact.files), **noted(decision_of(artifact)),
        "calibration": calibration and {key: calibration[key] for key in ("before", "after")},
        "warnings": [
            *artifact.warnings, *(calibration or {}).get("warnings", []), *filter(None, [note_on_arithmetic(artifact)])
        ],
        "rung": artifact.details.get("rung"),
        "path": Path(os.path.relpath(entry.path, root)).as_posix(),
    }  # fmt: skip


def _describe_control(control: Control) -> dict[str, Any]:
    return {
        "name": control.name, "role": "control", "variant": _control_variant(control), "params": control.parameters,
        "bytes": None, **noted(control.decision), "calibration": None, "warnings": [], "path": None, "rung": None,
        **({} if control.always is None else {"always": control.always}),
    }  # fmt: skip


def _control_variant(control: Control) -> str:
    return "none" if control.name == "majority" else "sklearn"


def _add_quality(
    rows: Sequence[dict[str, Any]],
    answers: Mapping[str, Answers],
    test: Split,
    task: Task,
    config: BenchmarkConfig,
    seed: int,
) -> None:
    """Metrics, per-class report and confusion of every row; retention and agreement where there is a teacher."""
    reference = next((f"{row['name']}/{row['variant']}" for row in rows if row["role"] == "teacher"), None)
    teacher = answers[reference] if reference else None
    teacher_bytes = next((row["bytes"] for row in rows if row["role"] == "teacher"), None)
    for row in rows:
        answer = answers[f"{row['name']}/{row['variant']}"]
        estimates = answer.scores(test.labels, config.bootstrap, seed)
        row["metrics"] = {"test": {name: estimate.to_dict() for name, estimate in estimates.items()}}
        row |= answer.by_label(test.labels, task.labels)
        row["compression_ratio"] = teacher_bytes / row["bytes"] if teacher_bytes and row["bytes"] else None
        row["retention"] = row["agreement"] = None
        if teacher is not None:
            kept = retention(test.labels, answer.labels, teacher.labels, task.metric, config.bootstrap, seed)
            row["retention"] = kept.to_dict()
            row["agreement"] = agreement(answer.labels, teacher.labels).to_dict()


def _add_calibration(
    rows: Sequence[dict[str, Any]],
    answers: Mapping[str, Answers],
    known: Mapping[str, NDArray[np.float32]],
    test: Split,
    val: Split,
    config: BenchmarkConfig,
    seed: int,
) -> None:
    """The calibration study of every artifact; a control has no temperature, and none."""
    for row in rows:
        key = f"{row['name']}/{row['variant']}"
        if key in known:
            splits = {"val": (known[key], val.labels), "test": (answers[key].logits, test.labels)}
            row["calibration_study"] = calibration_study(splits, row["temperature"], config.bootstrap, seed)


def _add_speed(
    rows: Sequence[dict[str, Any]],
    entries: Sequence[Entry],
    teacher: Path | None,
    data: Path,
    test: Split,
    config: BenchmarkConfig,
    progress: Progress,
) -> dict[str, Any] | None:
    """Time everything in one interleaved measurement; returns the row of the teacher in a transformers pipeline."""
    texts = [test.texts[row] for row in np.random.default_rng(0).permutation(len(test))[: config.speed_texts]]
    threads = sorted({1, available_cores()})
    runners = {e.key: speed.artifact_runner(e.artifact, config.provider) for e in entries if e.timed}
    runners["tfidf-lr/sklearn"] = speed.tfidf_runner(data)
    model = Artifact.load(teacher, "model") if teacher and config.pipeline else None
    kind = model.task.kind if model and model.task else "single"
    if model and model.text:
        runners["teacher/torch"] = speed.pipeline_runner(str(model.path), model.text.max_length, kind, config.provider)
    with progress.track("measure speed", len(threads) * len(speed.BATCHES)) as advance:
        speeds = speed.measure(list(runners.values()), texts, threads, config.repeats, advance)
    found = dict(zip(runners, speeds, strict=True))
    baselines = {"pipeline": found.get("teacher/torch"), "onnx_fp32": found.get("teacher/fp32")}
    for row in rows:
        _note_speed(row, found.get(f"{row['name']}/{row['variant']}"), baselines)
    if model is None:
        return None
    pipeline = {
        "name": "teacher", "role": "teacher", "variant": "torch", "params": model.details["params"],
        "bytes": model.bytes_of("model.safetensors", "config.json", *TOKENIZER_FILES), "temperature": 1.0,
        "calibration": None, "warnings": [], "path": model.path.name, "rung": None, "metrics": {}, "per_class": [],
        "confusion": [], "compression_ratio": None, "retention": None, "agreement": None,
    }  # fmt: skip
    _note_speed(pipeline, found["teacher/torch"], baselines)
    return pipeline


def _note_speed(row: dict[str, Any], found: speed.Speed | None, baselines: Mapping[str, speed.Speed | None]) -> None:
    row["speed"] = found.rows if found else []
    row["peak_rss"], row["nodes"] = (found.peak_rss, found.nodes) if found else (None, None)
    row["load_ms"] = round(found.load_ms, 1) if found and found.load_ms else None
    row["speedup_vs"] = {
        name: found.ratio(baseline) if found and baseline else None for name, baseline in baselines.items()
    }
    row |= {"gpu": found.gpu} if found and found.gpu else {}


def _comparisons(
    entries: Sequence[Entry],
    answers: Mapping[str, Answers],
    test: Split,
    task: Task,
    config: BenchmarkConfig,
    seed: int,
) -> list[dict[str, Any]]:
    """Each student against the teacher, its FP32 source, its twin, the bag of words and others of its shape, paired.

    The teacher is its first file, against which its others are held, too.
    """
    teachers = [key for key in answers if key.startswith("teacher/")]
    pairs = [(other, teachers[0]) for other in teachers[1:]]
    students = [entry for entry in entries if entry.role == "student"]
    shapes = [(entry.variant, entry.artifact.details["kind"], entry.artifact.details["params"]) for entry in students]
    for index, entry in enumerate(students):
        name = entry.key
        pairs += [(name, teacher) for teacher in teachers[:1]]
        pairs.append((name, f"{entry.name}-no-teacher/fp32"))
        if entry.variant != "fp32":
            pairs.append((name, f"{entry.name}/fp32"))
        pairs.append((name, "tfidf-lr/sklearn"))
        alike = (other for other in range(index + 1, len(students)) if shapes[other] == shapes[index])
        pairs += [(name, students[other].key) for other in alike]  # they differ by how they learnt
    return [
        compare(first, second, answers, test, task, config.bootstrap, seed)
        for first, second in pairs
        if first in answers and second in answers
    ]


def compare(
    first: str, second: str, answers: Mapping[str, Answers], test: Split, task: Task, resamples: int, seed: int
) -> dict[str, Any]:
    """Paired difference of the task metric (first − second) and the exact McNemar test."""
    one, two = answers[first].labels, answers[second].labels
    difference = paired_difference(test.labels, two, one, task.metric, resamples, seed)
    test_result = mcnemar(test.labels, one, two)
    return {
        "first": first, "second": second, "difference": difference.to_dict(),
        "mcnemar": {
            "only_first": test_result.only_first, "only_second": test_result.only_second, "p": test_result.p
        },
    }  # fmt: skip
