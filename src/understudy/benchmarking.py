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
from .answers import Answers, model_key, noted
from .artifact import Artifact, Plan, finished, writing
from .calibration_metrics import calibration_study
from .classifier import DEFER_BELOW, decision_of, note_on_arithmetic
from .conclusions import add_seeds, add_validation, compared, conclude
from .conclusions import compare as compare
from .config import BenchmarkConfig
from .controls import Control, bag_of_words, majority
from .data.storing import read_split
from .data.task import Split, Task
from .entries import Entry as Entry
from .entries import Lead
from .errors import InputError
from .machine import available_cores, describe, versions
from .metrics import agreement, retention
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
        firsts = [entry for entry in entries if entry.seed is None]
        rows += [_describe(e, out.parent) | e.of_cascade(test.texts, config.provider) for e in firsts]
        rows += [_describe_control(control) for control in controls]
        _add_quality(rows, answers, test, source.task, config, seed)
        _add_calibration(rows, answers, known, test, val, config, seed)
        drawn = (source.task.metric, config.bootstrap, seed)
        _add_seeds(rows, entries, answers, known, (val, test), drawn, out.parent)
        add_validation(rows, known, val.labels, drawn, source.task.kind)
        pipeline = _add_speed(rows, firsts, None if lead else teacher, data, test, config, progress)
        comparisons = compared(firsts, answers, test, source.task, config.bootstrap, seed)
        conclude(comparisons, rows, answers, test.labels, source.task.metric, config.bootstrap, seed, config.margin)
        results = {
            "task": source.task.name, "kind": source.task.kind, "task_metric": source.task.metric,
            "labels": list(source.task.labels), "seed": seed, "bootstrap": config.bootstrap, "machine": describe(),
            "versions": versions(), "data": source.measurements,
            "models": [pipeline, *rows] if pipeline else rows,
            "comparisons": comparisons, **notes,
            "remarks": [*notes.get("remarks", []), *said],
        }  # fmt: skip
        logits = {name: answer.logits for name, answer in answers.items()}
        write_results(draft.path, results, {"test": (test, logits), "val": (val, known)})
        write_traits(draft.path, traits(test, {entry.key: entry.artifact for entry in firsts}))
        if config.predictions:
            shown = {key: answer for key, answer in answers.items() if key.count("/") == 1}  # no further seeds
            write_predictions(draft.path, source.task, test, shown)
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
        "path": _from(root, entry.path),
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
    reference = next((model_key(row) for row in rows if row["role"] == "teacher"), None)
    teacher = answers[reference] if reference else None
    teacher_bytes = next((row["bytes"] for row in rows if row["role"] == "teacher"), None)
    for row in rows:
        answer = answers[model_key(row)]
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
        key = model_key(row)
        if key in known:
            splits = {"val": (known[key], val.labels), "test": (answers[key].logits, test.labels)}
            row["calibration_study"] = calibration_study(splits, row["temperature"], config.bootstrap, seed)


def _add_seeds(
    rows: Sequence[dict[str, Any]],
    entries: Sequence[Entry],
    answers: Mapping[str, Answers],
    known: Mapping[str, NDArray[np.float32]],
    splits: tuple[Split, Split],
    scoring: tuple[str, int, int],
    root: Path,
) -> None:
    """What the seeds of a model are worth together; `scoring`: task metric, resamples and first seed."""
    decisions = {entry.key: decision_of(entry.artifact) for entry in entries}
    files = {entry.key: {"path": _from(root, entry.path), **noted(decisions[entry.key])} for entry in entries}
    on_val = {key: Answers(known[key], decision) for key, decision in decisions.items()}
    add_seeds(rows, files, answers, on_val, (splits[0].labels, splits[1].labels), *scoring)


def _from(root: Path, path: Path) -> str:
    return Path(os.path.relpath(path, root)).as_posix()


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
        _note_speed(row, found.get(model_key(row)), baselines)
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
