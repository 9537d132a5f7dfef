"""distill: teacher + soft labels + data → student directory.

understudy distill RECIPE --student small --run runs/x

L = soft_weight · S(teacher, student) + (1 − soft_weight) · CE(z_student, y), where S is by default
T² · KL(softmax(z_teacher/T) ‖ softmax(z_student/T)); `losses` has the others, and what can be added for the layers
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ..artifact import Artifact, Draft, Plan, TextConfig, finished, writing
from ..config import (
    BiGRUStudent,
    BiLSTMStudent,
    CutStudent,
    GatedCNNStudent,
    HashedStudent,
    OptimizationConfig,
    PretrainedStudent,
    StudentConfig,
    TextCNNStudent,
    TransformerStudent,
)
from ..data.storing import TEST_FILE, read_split, read_unlabeled
from ..data.task import Split, Task
from ..distill_settings import EncoderConfig, Pruning
from ..errors import ArtifactError, RecipeError
from ..hashing import Sizes
from ..progress import Progress, Silent
from ..pseudo_labeling import check_trainable, origin
from ..soft_labels import TEACHERS, answered
from ..soft_terms import LAYER_TERMS, ONE_LABEL, TWO_LABELS
from ..teachers import NO_NETWORK
from ..tokenization import TextEncoder
from . import later_stage, networks, origins, pruning, quantized_stage, vocabulary, word_networks
from .finetuning import Lesson, class_weights, learn
from .hashed import HashedNgrams
from .loop import AfterEpoch
from .losses import distillation, supervised, with_layers
from .networks import HubClassifier, Network
from .targets import teacher_targets
from .transfer import Transfer, prepare_transfer

_NARROW = (
    "attention heads were removed, which no config of transformers can say: from_pretrained refuses this directory, "
    "understudy opens and exports it"
)


@dataclass(frozen=True)
class Sources:
    """What a student is distilled from. The splits may be parts of those in `data`."""

    teacher: Artifact
    labels: Artifact | None
    data: Artifact
    train: Split
    val: Split
    unlabeled: Split | None

    @property
    def task(self) -> Task:
        """The task of the data."""
        assert self.data.task is not None
        return self.data.task

    def text(self, config: StudentConfig) -> TextConfig:
        """How the student reads texts."""
        assert self.data.text is not None and self.teacher.text is not None
        theirs = self.teacher.text
        ends = "head" if isinstance(config, HashedStudent) else config.truncation or theirs.truncation
        return TextConfig(self.data.text.normalize, config.max_length or theirs.max_length, ends)


def distill(
    teacher: Path,
    labels: Path | None,
    data: Path,
    out: Path,
    config: StudentConfig,
    *,
    seed: int = 13,
    use_teacher: bool = True,
    progress: Progress | None = None,
    after_epoch: AfterEpoch = lambda record: None,
) -> Artifact:
    """Train a student on the teacher's soft labels, or its no-teacher twin on gold labels with as many steps.

    Where a student starts from the teacher's weights, its twin starts from those of the pretrained encoder that the
    teacher started from, so that no knowledge of the teacher reaches it. Without `labels` the twin takes as many steps
    as `config` says of train alone. `after_epoch` is that of the loop.
    """
    progress = progress or Silent()
    model = Artifact.load(teacher, *TEACHERS)
    soft, source = Artifact.load(labels, "labels") if labels else None, Artifact.load(data, "data")
    if soft is None and use_teacher:
        raise RecipeError(
            "a student learns from the teacher's labels: name the directory that `understudy label` wrote"
        )
    inputs = {"teacher": model.digest, **({"labels": soft.digest} if soft else {}), "data": source.digest}
    plan = Plan(
        "distill" if use_teacher else "train-without-teacher", config.model_dump(), inputs | _outside(config), seed
    )
    done = finished(out, plan, progress)
    if done is not None:
        return done
    if config.loss == "dkd" and source.task is not None and (source.task.multi or len(source.task.labels) == 2):
        raise RecipeError(ONE_LABEL if source.task.multi else TWO_LABELS)
    inside = any(getattr(config, name, False) for name in ("teacher_embeddings", *LAYER_TERMS))
    inside |= getattr(config, "tokens", "words") == "teacher"
    if model.kind != "model" and (isinstance(config, CutStudent) or inside):
        raise RecipeError(f"student {config.name}: {NO_NETWORK.format(model.config['kind'])}")
    check_trainable(source, config, use_teacher)
    sources = open_sources(model, soft, source, use_teacher=use_teacher)
    with writing(out, plan, "model") as draft:
        network = teach(
            draft, sources, config, seed=seed, use_teacher=use_teacher, progress=progress, after_epoch=after_epoch
        )
        if isinstance(config, PretrainedStudent):
            draft.details |= origins.commit(config.source)
        networks.save(network, draft.path, sources.task.kind)
    return Artifact.load(out)


def open_sources(model: Artifact, soft: Artifact | None, source: Artifact, *, use_teacher: bool = True) -> Sources:
    """Verify the artifacts that a student needs and read their splits, but the test; raises ArtifactError."""
    made_of = {"teacher": model.digest, "data": origin(source)}
    if soft and {name: soft.inputs[name] for name in made_of} != made_of:
        raise ArtifactError(f"{soft.path} was made by another teacher or of other data; run `understudy label` again")
    for needed in (model, soft, source) if soft and use_teacher else (source,):
        needed.verify(without=(TEST_FILE,))
    train, val = (read_split(source.path / f"{name}.parquet", name) for name in ("train", "val"))
    unlabeled = read_unlabeled(source.path) if soft else None
    if soft and use_teacher:
        train, unlabeled = answered(soft.path, train), unlabeled and answered(soft.path, unlabeled)
    return Sources(model, soft, source, train, val, unlabeled)


def teach(
    draft: Draft,
    sources: Sources,
    config: StudentConfig,
    *,
    seed: int,
    use_teacher: bool = True,
    progress: Progress,
    after_epoch: AfterEpoch,
) -> Network:
    """Train the student in memory and note in the draft what came of it."""
    train, unlabeled = sources.train, sources.unlabeled
    texts = _join(train, unlabeled) if use_teacher and unlabeled is not None else train
    text, draft.task = sources.text(config), sources.task
    torch.manual_seed(seed)
    network = _student(
        config, sources.teacher, text, sources.task, (train, texts), use_teacher, seed, draft.warnings
    )  # fmt: skip
    if isinstance(config, EncoderConfig) and config.freeze_encoder:
        networks.freeze_encoder(network.module)
    weights = class_weights(config, train, len(sources.task.labels))
    budget: OptimizationConfig = config
    share = 1.0
    targets: NDArray[np.float32] | None = None
    transfer: Transfer | None = None
    if use_teacher and sources.labels:
        parts = [part for part in (train, unlabeled) if part]
        targets = teacher_targets(sources.labels, parts, correct=config.correct_teacher)
        objective = distillation(config, weights)
        if config.hidden_weight or config.attention_weight:
            transfer = prepare_transfer(network, text, sources.teacher, sources.labels, parts, config)
    else:
        objective = supervised(weights, config.label_smoothing)
        rows = len(train) + (len(unlabeled) if unlabeled else 0)
        rows -= _unanswered(sources.labels) if sources.labels else 0
        epochs = max(1, round(config.epochs * rows / len(train)))
        share = epochs / config.epochs  # more than 1 without the unlabelled texts
        later = round(config.quant_epochs * rows / len(train)) + config.gold_epochs
        budget = config.model_copy(update={"epochs": epochs + later})
    lesson = Lesson(texts, sources.val, with_layers(objective, config) if transfer else objective, targets, transfer)
    removal = _planned_removal(config, network)
    if use_teacher and config.quant_epochs:
        quantized_stage.check_possible(network, config)
    said: dict[str, Any] = {"seed": seed, "progress": progress, "after_epoch": after_epoch}
    said |= {"description": f"distill {config.name}" if use_teacher else f"train {config.name} without the teacher"}
    learn(draft, network, text, lesson, budget, **said)
    if removal and isinstance(config, Pruning):
        examples = lesson.examples(network, text)  # what leaves is decided by the logits, whatever else is learnt
        pruning.prune(network.module, removal, examples, objective, config, pad_id=network.pad_id, seed=seed)
        recovery = config.model_copy(update={"epochs": max(1, round(config.recovery_epochs * share))})
        learn(draft, network, text, lesson, recovery, phase="recovery", **said)
        draft.warnings += [_NARROW] if "heads" in removal else []
    if use_teacher and config.gold_epochs:
        gold = Lesson(train, sources.val, supervised(weights, config.label_smoothing))
        peak = config.gold_learning_rate or config.learning_rate / 10
        brief = config.model_copy(update={"epochs": config.gold_epochs, "learning_rate": peak})
        stage = partial(learn, draft, network, text, gold, brief, phase="gold", **said)
        later_stage.kept_if_better(
            draft, network.module, gold.checks(network, text), stage, name="gold_stage", said="gold labels alone",
            pad_id=network.pad_id, progress=progress,
        )  # fmt: skip
    if use_teacher and config.quant_epochs:
        soft = Lesson(texts, sources.val, objective, targets)
        quantized_stage.learn_quantized(draft, network, text, soft, config, train=train, **said)
    draft.details |= {"kind": config.kind, "soft_labels": use_teacher, **({"pruned": removal} if removal else {})}
    return network


def _unanswered(labels: Artifact) -> int:
    """How many texts of the transfer set the teacher abstains from, or has no answer for."""
    counts = (
        labels.measurements.get("label_mapping", {}).get("abstained", {}),
        labels.measurements.get("unanswered", {}),
    )
    return int(sum(count for found in counts for split, count in found.items() if split != "val"))


def _planned_removal(config: StudentConfig, network: Network) -> dict[str, dict[str, int]]:
    """What is to be pruned, refused before the training if it cannot be; nothing in most students."""
    return pruning.plan_removal(network.module, config) if isinstance(config, Pruning) else {}


def _join(train: Split, unlabeled: Split) -> Split:
    """The transfer set: labelled texts, then unlabelled ones."""
    return Split(
        "transfer",
        [*train.ids, *unlabeled.ids],
        [*train.texts, *unlabeled.texts],
        np.concatenate([train.labels, unlabeled.labels]),
    )


def _student(
    config: StudentConfig,
    teacher: Artifact,
    text: TextConfig,
    task: Task,
    texts: tuple[Split, Split],
    use_teacher: bool,
    seed: int,
    warnings: list[str],
) -> Network:
    """The untrained student of the given shape; vocabularies are learnt on train, trimmed to the transfer set."""
    train, transfer = texts
    match config:
        case CutStudent():
            source = _origin(config, teacher, task, use_teacher, seed, warnings)
            module = networks.cut(source, config.layers, config.dropout)
            network = Network(module, source.tokenizer, source.pad_id, "transformer")
            return _trimmed(network, text, transfer, warnings) if config.trim_vocabulary else network
        case PretrainedStudent():
            network = networks.load_pretrained(config.source, task.labels, config.dropout, seed)
            return _trimmed(network, text, transfer, warnings) if config.trim_vocabulary else network
        case TransformerStudent():
            tokenizer = vocabulary.learn_wordpiece(train.texts, config.vocabulary)
            module = networks.fresh_transformer(
                tokenizer.get_vocab_size(), task.labels, layers=config.layers, width=config.width, heads=config.heads,
                max_length=text.max_length, dropout=config.dropout,
            )  # fmt: skip
            return Network(module, tokenizer, 0, "transformer")
        case TextCNNStudent() | BiLSTMStudent() | BiGRUStudent() | GatedCNNStudent():
            started = _origin(config, teacher, task, use_teacher, seed, warnings) if config.teacher_embeddings else None
            if config.tokens == "words":
                return word_networks.over_words(config, started, train, len(task.labels))
            source = started or networks.load(teacher)
            return word_networks.over_tokens(config, source, text, transfer, len(task.labels), warnings)
        case HashedStudent():
            sizes = Sizes(config.ngrams, tuple(config.subwords))
            known = vocabulary.learn_ngrams(transfer.texts, text, sizes, config.vocabulary, config.min_count)
            labels = len(task.labels)
            outputs = 1 if labels == 2 and not task.multi else labels
            return Network(HashedNgrams(len(known), config.width, labels, outputs, config.dropout), known, 0, "hashed")


def _outside(config: StudentConfig) -> dict[str, str]:
    """What a student is made of beside the teacher and the data."""
    return origins.digests(config.source) if isinstance(config, PretrainedStudent) else {}


def _origin(
    config: StudentConfig, teacher: Artifact, task: Task, use_teacher: bool, seed: int, warnings: list[str]
) -> Network:
    """The teacher, or for a twin the pretrained encoder that the teacher started from."""
    if use_teacher:
        return networks.load(teacher)
    if teacher.stage == "train" and teacher.config["train"]:
        return networks.load_pretrained(origins.of(teacher), task.labels, config.dropout, seed)
    warnings.append("a ready teacher was not trained here: this control starts from its weights, and is no fair twin")
    return networks.load(teacher)


def _trimmed(network: Network, text: TextConfig, transfer: Split, warnings: list[str]) -> Network:
    used = TextEncoder(network.tokenizer, text).encode(transfer.texts)
    assert isinstance(network.tokenizer, Tokenizer)
    trimmed = vocabulary.trim(network.tokenizer, used)
    if trimmed is None:
        warnings.append(vocabulary.UNTRIMMED)
        return network
    tokenizer, kept = trimmed
    assert isinstance(network.module, HubClassifier)
    pad_id = kept.index(network.pad_id)
    networks.replace_embeddings(network.module, kept, pad_id)
    return Network(network.module, tokenizer, pad_id, network.architecture)
