"""Changes to a transformers classifier: layers cut out, outputs split or regrouped, embeddings kept."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from ..errors import InputError, RecipeError

# the names that architectures give to their dropout rates
_DROPOUTS = (
    "hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout", "seq_classif_dropout",
    "classifier_dropout", "classifier_dropout_prob", "cls_dropout", "pooler_dropout", "summary_last_dropout",
    "embedding_dropout", "mlp_dropout",
)  # fmt: skip
_OF_ATTENTION = ("attention_probs_dropout_prob", "attention_dropout")

# lists of a config that may be as long as there are layers and have nothing to do with them
_NOT_BY_LAYER = ("architectures", "pos_att_type", "languages", "eos_token_id", "axial_pos_shape", "axial_pos_embds_dim")


def check_cut(layers: int | Sequence[int], total: int) -> None:
    """Raise RecipeError if a teacher of so many layers has not those asked for."""
    if (layers if isinstance(layers, int) else max(layers) + 1) > total:
        raise RecipeError(f"layers = {layers}, but the teacher has {total} layers (0 to {total - 1}); lower it")


def cut(model: Any, layers: int | Sequence[int], dropout: float) -> Any:
    """A copy of a transformer with its lowest N layers, or the named ones (from 0).

    Where an architecture's first layer lacks a norm that the others have (ModernBERT), the layer that becomes the
    first loses it, and a first layer that moves up gets a new one.
    """
    config = copy.deepcopy(model.config)
    total = int(config.num_hidden_layers)
    check_cut(layers, total)
    chosen = list(range(layers)) if isinstance(layers, int) else list(layers)
    prefix = layers_prefix(model, total)
    config.num_hidden_layers = len(chosen)
    for name, value in vars(config).items():
        if isinstance(value, list | tuple) and len(value) == total and name not in _NOT_BY_LAYER:
            setattr(config, name, type(value)(value[layer] for layer in chosen))
    set_dropout(config, dropout)
    student = type(model)(config)
    renamed = {}
    for name, tensor in model.state_dict().items():
        match = re.match(re.escape(prefix) + r"\.(\d+)\.(.*)", name)
        if match is None:
            renamed[name] = tensor
        elif int(match[1]) in chosen:
            renamed[f"{prefix}.{chosen.index(int(match[1]))}.{match[2]}"] = tensor
    misfit = _misfit(student.state_dict(), renamed)
    if misfit is not None:
        raise RecipeError(
            f"layers {chosen} of {type(model).__name__} cannot be cut: the student's {misfit} does not fit the "
            "teacher's; choose other layers or a student of another kind"
        )
    student.load_state_dict(renamed, strict=False)
    return student


def split_logit(model: Any) -> None:
    """Make a head of one logit z a head of the two logits [0, z], whose softmax is the sigmoid of z."""
    head = _head(model)
    head.out_features = 2
    for name, parameter in list(head.named_parameters()):
        setattr(head, name, nn.Parameter(torch.cat([torch.zeros_like(parameter), parameter.detach()])))
    label = str(model.config.id2label[0])
    name_labels(model.config, [f"not {label}", label])
    model.num_labels = 2


def regroup_outputs(model: Any, groups: Sequence[Sequence[int]], labels: Sequence[str]) -> None:
    """Give a classifier an output per label, in its weights: each the mean of the outputs in its group.

    Groups of one, each output in one of them, are a permutation: the same answers in another order.
    """
    head = _head(model)
    head.out_features = len(groups)
    for name, parameter in list(head.named_parameters()):
        rows = torch.stack([parameter.detach()[list(group)].mean(dim=0) for group in groups])
        setattr(head, name, nn.Parameter(rows))
    name_labels(model.config, labels)
    model.num_labels = len(groups)


def replace_embeddings(model: Any, kept: Sequence[int], pad_id: int) -> None:
    """Keep the embedding rows of the `kept` old token ids, in this order."""
    old = model.get_input_embeddings()
    new = nn.Embedding(len(kept), old.embedding_dim, padding_idx=pad_id if old.padding_idx is not None else None)
    with torch.no_grad():
        new.weight.copy_(old.weight[torch.tensor(list(kept))])
    model.set_input_embeddings(new)
    config = model.config
    config.vocab_size = len(kept)
    position = {old_id: new_id for new_id, old_id in enumerate(kept)}
    for name in ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"):
        if getattr(config, name, None) is not None:
            setattr(config, name, position.get(getattr(config, name)))


def set_dropout(config: PreTrainedConfig, dropout: float, *, of_attention: bool = True) -> None:
    """Set every dropout rate that this architecture has; that of attention weights to 0 unless it is wanted."""
    for name in _DROPOUTS:
        if isinstance(getattr(config, name, None), float | int) or name == "hidden_dropout_prob":
            setattr(config, name, dropout if of_attention or name not in _OF_ATTENTION else 0.0)


def name_labels(config: Any, labels: Sequence[str]) -> None:
    """Name a config's outputs, one of which is right."""
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    config.problem_type = "single_label_classification"


def _head(model: Any) -> nn.Linear:
    """The layer that a classifier's logits come from."""
    count = model.config.num_labels
    heads = [layer for layer in model.modules() if isinstance(layer, nn.Linear) and layer.out_features == count]
    if not heads:
        raise InputError(f"{type(model).__name__} has no linear head with an output per label; set train = true")
    return heads[-1]


def layers_prefix(model: nn.Module, total: int) -> str:
    """The name of the list of layers; raises RecipeError if there is none."""
    for name, layer in model.named_modules():
        if isinstance(layer, nn.ModuleList) and len(layer) == total:
            return str(name)
    raise RecipeError(f"{type(model).__name__} has no list of {total} layers to cut; use a student of another kind")


def _misfit(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> str | None:
    """The first tensor, norms aside, that only one of two networks has, or that differs in shape."""
    lonely = {name for name in ours.keys() ^ theirs.keys() if not re.search(r"norm\.\w+$", name, re.IGNORECASE)}
    unlike = {name for name in ours.keys() & theirs.keys() if ours[name].shape != theirs[name].shape}
    return min(lonely | unlike, default=None)
