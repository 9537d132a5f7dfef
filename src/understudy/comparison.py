"""benchmark A B … --data FILE: any artifacts or torch classifiers on any labelled file, paired.

understudy benchmark runs/x/students/small/int8 runs/y/students/small/int8 --data labelled.csv
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import speed
from .answers import Answers
from .artifact import MANIFEST, Artifact
from .benchmarking import compare
from .classifier import decision_of
from .config import BenchmarkConfig
from .data.reading import read_labeled
from .data.task import Split, Task
from .decision import Decision
from .entries import Entry
from .errors import InputError
from .kinds import SEPARATOR
from .label_mapping import label_permutation
from .machine import available_cores, describe, versions
from .progress import Progress, Silent
from .upgrading import check_changes, upgrade, write_changes


def compare_on_file(
    models: Sequence[str],
    data: Path,
    config: BenchmarkConfig,
    *,
    text: str = "text",
    label: str = "label",
    separator: str = SEPARATOR,
    max_length: int = 512,
    label_map: Mapping[str, str] | None = None,
    margin: float | None = None,
    changes: Path | None = None,
    seed: int = 13,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Quality and speed of each model on the file, and the paired difference of each two.

    A model is an artifact directory, or the directory or hub name of a torch classifier, whose texts are cut at
    `max_length` tokens. Artifacts must have the labels of the first one, in its order; a torch classifier's are
    brought into that order by name, after `label_map` has translated them. In a multi-label task `separator` parts the
    labels in a cell of the file, and with an empty `label` each label has a column; a torch classifier's thresholds
    are 1/2. Each pair has an `upgrade`, whether the second may take the place of the first, by a `margin` that is a
    share of 1; of two models `changes` is the CSV file for the texts that they answer differently.
    """
    progress = progress or Silent()
    speed.check_device(config.provider)
    _check_names(models)
    if changes is not None:
        check_changes(data, changes)
    names = _distinct_names(models)
    artifacts = {model: Artifact.load(Path(model), "model") for model in models if (Path(model) / MANIFEST).exists()}
    task = _common_task(artifacts)
    if not task.multi and (separator != SEPARATOR or not label):
        raise InputError(
            "--label-separator, and a column for each label (--label ''), are for multi-label artifacts: "
            f"those given decide between {', '.join(task.labels)}"
        )
    split = read_labeled(data, task, text, label, "file", (), separator=separator).split
    runners = {model: _runner(model, artifacts.get(model), max_length, config.provider, task.kind) for model in models}
    answers: dict[str, Answers] = {}
    with progress.track("measure quality", len(models)) as advance:
        for model in models:
            answers[names[model]] = _answer(
                artifacts.get(model), runners[model], split, task, label_map or {}, config.provider
            )
            advance(1)
    random = np.random.default_rng(0)
    texts = [split.texts[row] for row in random.permutation(len(split))[: config.speed_texts]]
    threads = sorted({1, available_cores()})
    with progress.track("measure speed", len(threads) * len(speed.BATCHES)) as advance:
        speeds = speed.measure(list(runners.values()), texts, threads, config.repeats, advance)
    rows = []
    for model, found in zip(models, speeds, strict=True):
        answer, artifact = answers[names[model]], artifacts.get(model)
        estimates = answer.scores(split.labels, config.bootstrap, seed)
        rows.append(
            {
                "name": names[model], "bytes": _bytes(artifact) if artifact else None,
                "metrics": {"file": {name: estimate.to_dict() for name, estimate in estimates.items()}},
                **found.facts(),
                **(Entry.of(artifact.path).of_cascade(split.texts, config.provider) if artifact else {}),
            }
        )  # fmt: skip
    pairs = [
        compare(first, second, answers, split, task, config.bootstrap, seed)
        for first, second in combinations(answers, 2)
    ]
    for pair in pairs:
        pair["upgrade"] = upgrade(pair, answers, split, task, margin, config.bootstrap, seed)
    if changes is not None:
        write_changes(changes, task, split, *answers.values())
    return {
        "task": task.name, "kind": task.kind, "task_metric": task.metric, "labels": list(task.labels), "n": len(split),
        "machine": describe(), "versions": versions(), "models": rows, "comparisons": pairs,
    }  # fmt: skip


def time_on_sentences(
    models: Sequence[str],
    sentences: Path,
    runs: int,
    *,
    max_length: int = 512,
    provider: str = "cpu",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Time each model on the lines of a text file, one sentence at a time, in `runs` passes; needs no labels.

    The models are those of `compare_on_file`. Milliseconds are over all sentences of all passes; texts per second
    are the median of the passes. Lines with nothing in them are left out.
    """
    speed.check_device(provider)
    _check_names(models)
    names = _distinct_names(models)
    artifacts = {model: Artifact.load(Path(model), "model") for model in models if (Path(model) / MANIFEST).exists()}
    texts = _lines(sentences)
    kind = next((artifact.task.kind for artifact in artifacts.values() if artifact.task), "single")
    runners = [
        replace(_runner(model, artifacts.get(model), max_length, provider, kind), batches=(1,)) for model in models
    ]
    with (progress or Silent()).track("measure speed", len(speed.BATCHES)) as advance:
        speeds = speed.measure(runners, texts, [1], runs, advance)
    rows = [{"name": names[model], **found.facts()} for model, found in zip(models, speeds, strict=True)]
    return {"n": len(texts), "runs": runs, "machine": describe(), "versions": versions(), "models": rows}


def _lines(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: is not UTF-8 text: {error.reason} at byte {error.start}") from None
    texts = [line for line in lines if line.strip()]
    if not texts:
        raise InputError(f"{file}: holds no sentence; expected one a line")
    return texts


def _check_names(models: Sequence[str]) -> None:
    """A path that is not there is not a hub name, which has one slash at most and no leading dot."""
    for model in models:
        if not Path(model).exists() and (model.count("/") > 1 or model.startswith((".", "/", "~"))):
            raise InputError(f"{model}: no such artifact directory, and not the name of a hub model")


def _common_task(artifacts: dict[str, Artifact]) -> Task:
    first: tuple[str, Task] | None = None
    for model, artifact in artifacts.items():
        assert artifact.task is not None
        if first is None:
            first = (model, artifact.task)
        elif artifact.task.kind != first[1].kind:
            raise InputError(f"{model} is of a task of kind {artifact.task.kind}, {first[0]} of kind {first[1].kind}")
        elif artifact.task.labels != first[1].labels:
            raise InputError(
                f"{model} has the labels {', '.join(artifact.task.labels)}, expected those of {first[0]}: "
                f"{', '.join(first[1].labels)}, in this order"
            )
    if first is None:
        raise InputError(
            "benchmark needs at least one understudy artifact, which says what the labels are: none of the "
            "models given is a directory with an artifact.json"
        )
    return first[1]


def _runner(model: str, artifact: Artifact | None, max_length: int, provider: str, kind: str) -> speed.Runner:
    if artifact is not None and _ships(artifact):
        return speed.artifact_runner(artifact, provider)
    if artifact is None or artifact.details.get("architecture") == "transformer":
        length = artifact.text.max_length if artifact and artifact.text else max_length
        return speed.pipeline_runner(model, length, kind, provider)
    return speed.torch_runner(Path(model), provider)


def _ships(artifact: Artifact) -> bool:
    """Whether it is a form of a model for use, not what a training wrote."""
    return str(artifact.details.get("variant", "torch")) != "torch"


def _bytes(artifact: Artifact) -> int:
    """All that it takes; the epochs that a training kept are no part of the model."""
    return artifact.bytes_of(*(name for name in artifact.files if _ships(artifact) or "/" not in name))


def _answer(
    artifact: Artifact | None,
    runner: speed.Runner,
    split: Split,
    task: Task,
    label_map: Mapping[str, str],
    provider: str,
) -> Answers:
    if artifact is not None and _ships(artifact):
        artifact.verify()
        return Answers(speed.logits_of(artifact, split.texts, provider), decision_of(artifact))
    return Answers(_torch_logits(runner, split, task, {} if artifact else label_map), Decision(task.kind))


def _torch_logits(runner: speed.Runner, split: Split, task: Task, label_map: Mapping[str, str]) -> NDArray[np.float32]:
    """Logits (n, labels) in the order of the task's labels."""
    with speed.workers([runner], available_cores()) as (worker,):
        order = label_permutation(worker.ask({"do": "labels"})["labels"], task.labels, label_map)
        return worker.logits(split.texts)[:, order]


def _distinct_names(models: Sequence[str]) -> dict[str, str]:
    """Short names of the models: the last parts of their paths, as many as tell them apart."""
    if len(set(models)) != len(models):
        raise InputError("benchmark was given the same model twice")
    for count in range(2, 12):
        names = {model: "/".join(Path(model).parts[-count:]) for model in models}
        if len(set(names.values())) == len(models):
            return names
    return {model: model for model in models}
