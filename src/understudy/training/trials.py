"""One trial of a search: a student trained with the settings of the trial, and judged on validation or on folds."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artifact import Artifact, Draft, TextConfig
from ..config import STUDENT_KINDS, PretrainedStudent, StudentConfig, parse
from ..data.splitting import stratified_folds
from ..data.storing import read_split
from ..data.task import Split
from ..progress import Silent
from ..soft_labels import TEACHERS
from ..soft_terms import inherited
from ..tokenization import TextEncoder
from . import networks
from .distillation import Sources, distill, open_sources, teach
from .loop import choose_device, infer
from .networks import Network
from .validation import validate

Report = Callable[[int, Mapping[str, float], int], None]  # step, scores, epochs trained so far


class StoppedError(Exception):
    """The study has no more use for this trial."""


@dataclass(frozen=True)
class Bench:
    """What every trial of a study shares; `out` gets the weights and the logits of each, `base` has models."""

    teacher: str
    labels: str
    data: str
    out: str
    folds: int
    seed: int
    base: str = ""

    def open(self) -> Sources:
        """The verified artifacts and their splits."""
        model, soft = Artifact.load(Path(self.teacher), *TEACHERS), Artifact.load(Path(self.labels), "labels")
        return open_sources(model, soft, Artifact.load(Path(self.data), "data"))


def trial_name(number: int) -> str:
    """The directory of a trial's weights, and the stem of the file of its logits."""
    return f"{number:04d}"


def judged_rows(train: Split, val: Split, folds: int, seed: int) -> Split:
    """The rows that trials are judged on, in the order of their logits."""
    return _fold_order(train, folds, seed)[0] if folds else val


def run_trial(bench: Bench, number: int, student: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Train the student, on each fold or once; writes the logits of the judged rows and returns how it went."""
    settings = inherited(student, student)
    config: Any = parse(STUDENT_KINDS[str(student["kind"])], settings, f"trial {number}")
    if isinstance(config, PretrainedStudent):
        config.seen_from(Path(bench.base))
    home = Path(bench.out) / trial_name(number)
    logits, scores, epochs = (_on_folds if bench.folds else _on_validation)(bench, home, config, report)
    aside = home.with_suffix(".partial.npy")
    np.save(aside, logits)
    aside.replace(home.with_suffix(".npy"))
    return {"scores": scores, "epochs": epochs}


def _on_validation(
    bench: Bench, home: Path, config: StudentConfig, report: Report
) -> tuple[NDArray[np.float32], dict[str, float], int]:
    def after_epoch(record: Mapping[str, float]) -> None:
        epoch = int(record["epoch"])
        report(epoch, {name[4:]: score for name, score in record.items() if name.startswith("val_")}, epoch)

    made = distill(
        Path(bench.teacher), Path(bench.labels), Path(bench.data), home, config, seed=bench.seed,
        after_epoch=after_epoch,
    )  # fmt: skip
    assert made.text is not None
    val = read_split(Path(bench.data) / "val.parquet", "val")
    logits = _answers(networks.load(made), made.text, val, config)
    return logits, validate(logits, val.labels), len(made.measurements["history"])


def _on_folds(
    bench: Bench, home: Path, config: StudentConfig, report: Report
) -> tuple[NDArray[np.float32], dict[str, float], int]:
    sources = bench.open()
    rows, fold = _fold_order(sources.train, bench.folds, bench.seed)
    answers: list[NDArray[np.float32]] = []
    epochs, scores = 0, dict[str, float]()
    for number in range(bench.folds):
        held_out = rows.take(np.flatnonzero(fold == number))
        part = replace(sources, train=rows.take(np.flatnonzero(fold != number)), val=held_out)
        home.mkdir(parents=True, exist_ok=True)
        draft = Draft(home)
        network = teach(draft, part, config, seed=bench.seed, progress=Silent(), after_epoch=lambda record: None)
        shutil.rmtree(home)  # its checkpoints: no model of a fold is kept
        answers.append(_answers(network, part.text(config), held_out, config))
        epochs += len(draft.measurements["history"])
        scores = validate(np.concatenate(answers), rows.labels[: sum(map(len, answers))])
        report(number + 1, scores, epochs)
    return np.concatenate(answers), scores, epochs


def _fold_order(train: Split, folds: int, seed: int) -> tuple[Split, NDArray[np.int64]]:
    """The training rows, fold after fold, and the fold of each."""
    fold = stratified_folds(train.labels, folds, seed)
    order = np.argsort(fold, kind="stable")
    return train.take(order), fold[order]


def _answers(network: Network, text: TextConfig, split: Split, config: StudentConfig) -> NDArray[np.float32]:
    device = choose_device(config.device)
    tokens = TextEncoder(network.tokenizer, text).encode(split.texts)
    return infer(network.module.to(device), tokens, network.pad_id, device)
