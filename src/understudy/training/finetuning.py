"""train: prepared data → teacher directory (or, without a teacher, a control).

understudy train RECIPE --data runs/x/data --out runs/x/teacher
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..artifact import Artifact, Draft, Plan, TextConfig, finished, writing
from ..config import OptimizationConfig, TeacherConfig
from ..data.storing import TEST_FILE, read_split, read_unlabeled
from ..data.task import Split
from ..errors import RecipeError
from ..kinds import check_metric
from ..label_mapping import map_labels, write_mapping
from ..progress import Progress, Silent
from ..tokenization import TextEncoder
from . import masked_lm, networks, origins
from .loop import AfterEpoch, Examples, fit
from .losses import Objective, balanced_class_weights, supervised
from .networks import Network
from .transfer import Transfer


def train(
    data: Path, out: Path, config: TeacherConfig, *, seed: int = 13, progress: Progress | None = None
) -> Artifact:
    """Fine-tune a pretrained encoder on the training split, or take a ready classifier as it is."""
    progress = progress or Silent()
    source = Artifact.load(data, "data")
    plan = Plan("train", config.model_dump(), {"data": source.digest, **origins.digests(config.source)}, seed)
    done = finished(out, plan, progress)
    if done is not None:
        return done
    source.verify(without=(TEST_FILE,))
    assert source.task is not None and source.text is not None
    text = TextConfig(source.text.normalize, config.max_length, config.truncation)
    with writing(out, plan, "model") as draft:
        draft.task = source.task
        if config.train:
            texts, val = (read_split(data / f"{name}.parquet", name) for name in ("train", "val"))
            unlabeled = read_unlabeled(data) if config.mlm_epochs else None
            more = unlabeled.texts if unlabeled else ()
            network = fine_tune(draft, config, text, texts, val, more, seed=seed, progress=progress)
        else:
            network, names = networks.load_classifier(config.source, source.task.kind)
            mapping = map_labels(names, source.task.labels, config.label_map, config.label_policy)
            networks.check_length(network, text.max_length)
            networks.set_labels(network, mapping)
            if config.label_policy != "exact":
                write_mapping(mapping, draft.path)
            describe(draft, network, text)
            draft.details |= {"label_policy": config.label_policy}
        draft.details |= origins.commit(config.source)
        if config.source != config.model:
            draft.details |= {"origin": os.path.relpath(config.source, out)}
        networks.save(network, draft.path, source.task.kind)
    return Artifact.load(out)


def fine_tune(
    draft: Draft,
    config: TeacherConfig,
    text: TextConfig,
    texts: Split,
    val: Split,
    more: Sequence[str],
    *,
    seed: int,
    progress: Progress,
    description: str = "train teacher",
) -> Network:
    """A pretrained encoder trained on labelled texts, and in the draft what came of it.

    On request it first fills in masked tokens of these texts and of `more`, which have no labels.
    """
    assert draft.task is not None
    network = networks.load_pretrained(
        config.source, draft.task.labels, config.dropout, seed, attention_dropout=config.attention_dropout
    )
    if config.mlm_epochs:
        networks.check_length(network, text.max_length)
        masked_lm.adapt(
            draft, network, text, config, ([*texts.texts, *more], val.texts), seed=seed, progress=progress
        )  # fmt: skip
    if config.freeze_encoder:
        networks.freeze_encoder(network.module)
    weights = class_weights(config, texts, len(draft.task.labels))
    lesson = Lesson(texts, val, supervised(weights, config.label_smoothing))
    learn(draft, network, text, lesson, config, seed=seed, progress=progress, description=description)
    return network


@dataclass(frozen=True)
class Lesson:
    """What a network is to learn: texts, the teacher's logits and layers on them, and where it is validated."""

    texts: Split
    val: Split
    objective: Objective
    teacher: NDArray[np.float32] | None = None
    transfer: Transfer | None = None

    def examples(self, network: Network, text: TextConfig) -> Examples:
        """The texts as the network reads them, with their targets."""
        tokens = TextEncoder(network.tokenizer, text).encode(self.texts.texts)
        return Examples(tokens, self.texts.labels, self.teacher, self.transfer.targets if self.transfer else None)

    def checks(self, network: Network, text: TextConfig) -> Examples:
        """The validation texts as the network reads them."""
        return Examples(TextEncoder(network.tokenizer, text).encode(self.val.texts), self.val.labels)


def learn(
    draft: Draft,
    network: Network,
    text: TextConfig,
    lesson: Lesson,
    config: OptimizationConfig,
    *,
    seed: int,
    progress: Progress,
    description: str,
    after_epoch: AfterEpoch = lambda record: None,
    phase: str = "",
    pupil: nn.Module | None = None,
) -> None:
    """Run the one loop on a network and note in the draft what came of it.

    A later `phase` of a training has checkpoints of its own, and its epochs follow those that the draft knows. A
    `pupil` is what the loop trains: the network's module inside another, which computes more or otherwise.
    """
    assert draft.task is not None
    try:
        check_metric(draft.task.kind, "stop_metric", config.stop_metric, ("nll",))
    except ValueError as error:
        raise RecipeError(str(error)) from None
    networks.check_length(network, text.max_length)
    earlier: dict[str, Any] = draft.measurements if phase else {"history": [], "seconds": 0.0, "steps": 0}
    before = len(earlier["history"])

    def counted(record: Mapping[str, float]) -> dict[str, float]:
        return {**record, "epoch": record["epoch"] + before}

    def keep(epoch: int) -> None:
        if config.keep_epochs:
            keep_epoch(draft, network, text, before + epoch, seed)

    examples, checks = lesson.examples(network, text), lesson.checks(network, text)
    work = draft.work / phase
    work.mkdir(exist_ok=True)
    pupil = lesson.transfer.pupil if lesson.transfer else pupil
    result = fit(
        pupil or network.module, examples, checks, lesson.objective, config,
        seed=seed, pad_id=network.pad_id, work=work, progress=progress, description=description,
        after_epoch=lambda record: after_epoch(counted(record)), keep=keep,
    )  # fmt: skip
    network.module.cpu()
    describe(draft, network, text)
    draft.measurements |= {
        "history": [*earlier["history"], *map(counted, result.history)],
        "best_epoch": before + result.best_epoch,
        "seconds": earlier["seconds"] + result.seconds,
        "steps": earlier["steps"] + len(result.history) * math.ceil(len(lesson.texts) / config.batch_size),
    }


def keep_epoch(draft: Draft, network: Network, text: TextConfig, epoch: int, seed: int) -> None:
    """Write the weights of an epoch as an artifact of its own, epochs/N: each stage takes it as it takes the model."""
    home, plan = draft.path / "epochs" / str(epoch), Plan("epoch", {"number": epoch}, {}, seed)
    if finished(home, plan, Silent()) is None:
        with writing(home, plan, "model") as part:
            part.task = draft.task
            describe(part, network, text)
            networks.save(network, part.path, part.task.kind if part.task else "single")


def describe(draft: Draft, network: Network, text: TextConfig) -> None:
    """Note what the network is."""
    draft.text = text
    draft.warnings += network.warnings
    draft.details = {
        "variant": "torch",
        "architecture": network.architecture,
        "params": network.parameters,
        "pad_id": network.pad_id,
    }


def class_weights(config: OptimizationConfig, split: Split, classes: int) -> torch.Tensor | None:
    """The weights of the hard term that the config asks for."""
    if config.class_weights == "none":
        return None
    return balanced_class_weights(torch.from_numpy(split.labels), classes)
