"""label: teacher + data → the teacher's logits for every text, once; with folds, out-of-fold logits for train.

understudy label runs/x/teacher --data runs/x/data --out runs/x/labels
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..artifact import Artifact, Draft, Plan, finished, writing
from ..config import LabelConfig
from ..data.storing import TEST_FILE
from ..data.task import Split
from ..decision import Decision, fit_temperature
from ..errors import ArtifactError
from ..label_mapping import LabelMapping, read_mapping, write_mapping
from ..progress import Progress, Silent
from ..soft_labels import OWN, Sheet, confidence, open_splits, write_shard
from ..soft_labels import read_labels as read_labels
from ..tokenization import TextEncoder
from . import folds, layers, networks
from .batches import LayerTargets
from .layers import Observed
from .loop import choose_device, infer
from .shards import layer_columns, layer_sizes


def label(teacher: Path, data: Path, out: Path, config: LabelConfig, *, progress: Progress | None = None) -> Artifact:
    """Write the teacher's logits in Parquet shards, aligned by example id, and its calibration temperature.

    The key is the digests of the teacher (weights, tokenizer, max_length, normalisation) and of the data; with folds,
    also how the teacher was trained. An interrupted run goes on with the missing shards. What students are to learn of
    its layers is written for the texts that they learn on: of every layer the first token's hidden state, of length 1,
    and its attention, both in half precision.
    """
    progress = progress or Silent()
    model, source = Artifact.load(teacher, "model"), Artifact.load(data, "data")
    inputs = {"teacher": model.digest, "data": source.digest}
    if config.folds:
        folds.check_repeatable(model, source)
        inputs["training of the teacher"] = model.key
    plan = Plan("label", config.decisive, inputs)
    done = finished(out, plan, progress)
    if done is not None:
        return done
    for needed in (model, source):
        needed.verify(without=(TEST_FILE,))
    assert model.task is not None and source.task is not None
    if model.task.kind != source.task.kind:
        raise ArtifactError(f"{teacher} is of a task of kind {model.task.kind}, {data} of kind {source.task.kind}")
    if model.task.labels != source.task.labels:
        raise ArtifactError(
            f"{teacher} decides between {', '.join(model.task.labels)}, the labels of {data} are "
            f"{', '.join(source.task.labels)}: train a teacher on this data first"
        )
    splits, mapping = open_splits(data), read_mapping(teacher)
    with writing(out, plan, "labels") as draft:
        draft.task, draft.text = source.task, model.text
        if mapping is not None:
            write_mapping(mapping, draft.path)
        sheets = [Sheet(split.name, split) for split in splits]
        taken_up = 0
        if config.folds:
            taken_up = _label_folds(draft, model, splits, config, progress)
            sheets = sheets[1:]
        taken_up += _label(draft, model, sheets, config, progress, "label with the teacher")
        val = next(split for split in splits if split.name == "val")
        logits = read_labels(draft.path, "val", val.ids)
        draft.decision = {"temperature": fit_temperature(logits, val.labels)}
        draft.measurements = {
            "teacher_calls": sum(map(len, splits)),
            "of_an_interrupted_run": taken_up,
            "confidence": confidence(draft.path, splits, Decision(source.task.kind)),
        }
        draft.measurements |= {f"{column}_bytes": size for column, size in layer_sizes(draft.path).items() if size}
        if mapping is not None:
            draft.measurements["label_mapping"] = _mapped(draft.path, splits, mapping)
    return Artifact.load(out)


def _label_folds(
    draft: Draft, teacher: Artifact, splits: Sequence[Split], config: LabelConfig, progress: Progress
) -> int:
    """Label each fold of train by a teacher that never saw it; returns the number of texts that were there already.

    Such a teacher is an artifact in the scratch directory until its fold is labelled: one is kept at a time.
    """
    train, val = splits[:2]
    more = [text for split in splits[2:] for text in split.texts] if teacher.config.get("mlm_epochs") else []
    taken_up = 0
    for fold in folds.cut_folds(train, config.folds, teacher.seed):
        sheet = Sheet(f"train-fold{fold.number}", fold.texts)
        if all(shard.exists() for shard, _ in sheet.shards(draft.path, config.shard_size)):
            taken_up += len(sheet.texts)
            continue
        home = draft.work / f"fold{fold.number}"
        model = folds.train_fold(teacher, fold, val, more, home, progress)
        taken_up += _label(draft, model, [sheet], config, progress, f"label fold {fold.number}/{fold.count}")
        shutil.rmtree(home)
    return taken_up


def _label(
    draft: Draft, model: Artifact, sheets: Sequence[Sheet], config: LabelConfig, progress: Progress, description: str
) -> int:
    """Write the missing shards; returns the number of texts in those that were there already."""
    assert model.text is not None
    network = networks.load(model)
    layered = config.hidden_states or config.attention
    if layered:
        shape = layers.opened(network.module, attention=False).model.config
        draft.details |= {"layers": shape.num_hidden_layers, "width": shape.hidden_size}
    device = choose_device(config.device)
    network.module.to(device)
    encoder = TextEncoder(network.tokenizer, model.text)
    taken_up, mapping = 0, read_mapping(model.path)
    answers = networks.in_own_labels(network)
    with progress.track(description, sum(len(sheet.texts) for sheet in sheets)) as advance:
        for sheet in sheets:
            for shard, part in sheet.shards(draft.path, config.shard_size):
                if shard.exists():  # written by the run that was interrupted
                    advance(len(part))
                    taken_up += len(part)
                    continue
                tokens = encoder.encode(part.texts)
                if layered and sheet.texts.name != "val":  # no student learns from val
                    seen = layers.observe(answers, tokens, network.pad_id, device, config, advance)
                else:
                    logits = infer(answers, tokens, network.pad_id, device, config.batch_size, advance)
                    seen = Observed(logits, LayerTargets())
                aside, more = draft.work / shard.name, layer_columns(seen.layers)
                if mapping is None:
                    write_shard(shard, aside, part.ids, seen.logits, more=more)
                else:
                    mapped = mapping.apply(seen.logits).astype(np.float32)
                    write_shard(shard, aside, part.ids, mapped, seen.logits, more)
    return taken_up


def _mapped(directory: Path, splits: Sequence[Split], mapping: LabelMapping) -> dict[str, Any]:
    """The mapping, and by split the mean probability and the texts that it takes from the teacher's answers."""
    found: dict[str, Any] = {
        "dropped_mass": {}, "best_means_nothing": {}, "abstained": {}, "texts": {},
    }  # fmt: skip
    for split in (split for split in splits if len(split)):
        own = read_labels(directory, split.name, split.ids, OWN)
        found["dropped_mass"][split.name] = float(mapping.dropped_mass(own).mean())
        found["best_means_nothing"][split.name] = int(mapping.best_means_nothing(own).sum())
        found["abstained"][split.name] = int(mapping.abstains(own).sum())
        found["texts"][split.name] = len(split)
    return mapping.to_dict() | found
