"""train: prepared data → teacher directory (or, without a teacher, a control).

understudy train RECIPE --data runs/x/data --out runs/x/teacher
"""

from __future__ import annotations

from pathlib import Path

import torch

from ..artifact import Artifact, Draft, Plan, TextConfig, finished, writing
from ..config import OptimizationConfig, TeacherConfig
from ..data.storing import read_split
from ..data.task import Split
from ..decision import label_permutation
from ..progress import Progress, Silent
from ..tokenization import TextEncoder
from . import networks
from .loop import Examples, Fit, fit
from .losses import Objective, balanced_class_weights, supervised
from .networks import Network


def train(
    data: Path, out: Path, config: TeacherConfig, *, seed: int = 13, progress: Progress | None = None
) -> Artifact:
    """Fine-tune a pretrained encoder on the training split, or take a ready classifier as it is."""
    progress = progress or Silent()
    source = Artifact.load(data, "data")
    plan = Plan("train", config.model_dump(), {"data": source.digest}, seed)
    done = finished(out, plan, progress)
    if done is not None:
        return done
    assert source.task is not None and source.text is not None
    text = TextConfig(source.text.normalize, config.max_length)
    with writing(out, plan, "model") as draft:
        draft.task = source.task
        if config.train:
            network = networks.load_pretrained(config.model, source.task.labels, config.dropout, seed)
            if config.freeze_encoder:
                networks.freeze_encoder(network.module)
            train_split, val_split = (read_split(data / f"{name}.parquet", name) for name in ("train", "val"))
            objective = supervised(class_weights(config, train_split, len(source.task.labels)))
            fit_and_describe(
                draft, network, text, (train_split, None), val_split, objective, config, seed, progress, "train teacher"
            )
        else:
            network, names = networks.load_classifier(config.model)
            order = label_permutation(names, source.task.labels, config.label_map)
            networks.check_length(network, text.max_length)
            networks.reorder_outputs(network, order, source.task.labels)
            describe(draft, network, text)
        networks.save(network, draft.path)
    return Artifact.load(out)


def fit_and_describe(
    draft: Draft,
    network: Network,
    text: TextConfig,
    train: tuple[Split, object],
    val: Split,
    objective: Objective,
    config: OptimizationConfig,
    seed: int,
    progress: Progress,
    description: str,
) -> Fit:
    """Run the one loop on a network and note in the draft how it went."""
    networks.check_length(network, text.max_length)
    split, teacher = train
    encoder = TextEncoder(network.tokenizer, text)
    examples = Examples(encoder.encode(split.texts), split.labels, teacher)  # type: ignore[arg-type]
    checks = Examples(encoder.encode(val.texts), val.labels)
    result = fit(
        network.module, examples, checks, objective, config, seed=seed, pad_id=network.pad_id, work=draft.work,
        progress=progress, description=description,
    )  # fmt: skip
    network.module.cpu()
    describe(draft, network, text)
    draft.measurements |= {
        "history": result.history,
        "best_epoch": result.best_epoch,
        "seconds": result.seconds,
        "steps": sum(1 for _ in result.history) * -(-len(split) // config.batch_size),
    }
    return result


def describe(draft: Draft, network: Network, text: TextConfig) -> None:
    """Note what the network is."""
    draft.text = text
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
