"""Attention heads and feed-forward units, found in a transformer and taken out of it: its matrices become smaller."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification

from ..errors import InputError, RecipeError
from .surgery import layers_prefix

KEPT_HEADS = "kept_heads"  # in config.json: heads of each layer, where that is fewer than their size says

# Where a layer keeps its heads: the module that counts them, what makes them, what reads them.
_HEADS = (
    ("attention.self", ("query", "key", "value"), "attention.output.dense"),  # BERT, RoBERTa, ELECTRA and the like
    ("attention", ("q_lin", "k_lin", "v_lin"), "attention.out_lin"),  # DistilBERT
    ("attention.self", ("query_proj", "key_proj", "value_proj"), "attention.output.dense"),  # DeBERTa v2 and v3
)
_POSITIONS = ("pos_key_proj", "pos_query_proj")  # of DeBERTa, where they are not the makers above
_UNITS = (("intermediate.dense", "output.dense"), ("ffn.lin1", "ffn.lin2"))
_COUNTS = ("num_attention_heads", "n_heads")
_WIDTHS = ("intermediate_size", "hidden_dim")  # what configs call the number of units
_ROUNDING, _TOLERANCE = 1e-5, 0.01  # of a logit; of what the absence does to it


@dataclass(frozen=True)
class Group:
    """The heads or the units of one layer: `size` rows of each maker and `size` columns of the reader belong to one."""

    what: str  # heads | units | filters
    makers: tuple[nn.Linear, ...]
    reader: nn.Linear
    size: int
    counter: Any = None  # the module that knows how many heads there are

    @property
    def count(self) -> int:
        """How many there are."""
        return self.reader.in_features // self.size


Kept = Sequence[Sequence[int]]  # for each group: which of its heads or units stay


def groups(model: Any, what: str) -> list[Group]:
    """The heads or the units of every layer; raises RecipeError for an architecture that keeps them elsewhere."""
    total = int(model.config.num_hidden_layers)
    layers = model.get_submodule(layers_prefix(model, total))
    found = [_heads(layer) if what == "heads" else _units(layer) for layer in layers]
    known = [group for group in found if group is not None]
    if len(known) < len(found) or len({group.count for group in known}) > 1:
        raise _refusal(model, what)
    return known


def remove(model: Any, parts: Sequence[Group], kept: Kept) -> None:
    """Take out all but the kept ones, in place; the answers become those with the others set to zero.

    Raises RecipeError where they do not: what a layer shares with another cannot be taken out of one alone.
    """
    what, whole = parts[0].what, _answers(model)
    with _silenced(parts, kept):
        expected = _answers(model)
    tolerance = _ROUNDING + _TOLERANCE * float((expected - whole).abs().max())
    for group, stay in zip(parts, kept, strict=True):
        _narrow(group, stay)
    _note(model.config, parts[0])
    try:
        equal = float((_answers(model) - expected).abs().max()) <= tolerance
    except RuntimeError:  # shapes that do not meet
        equal = False
    if not equal:
        raise _refusal(model, what)


def rehearse(model: Any, what: str, kept: int) -> None:
    """Raise RecipeError if so many heads or units of each layer cannot be all that stays."""
    trial = copy.deepcopy(model)
    parts = groups(trial, what)
    remove(trial, parts, [range(kept)] * len(parts))


def refuse_narrow(name: str, config: Any) -> None:
    """Raise InputError for a model without some of its heads: `from_pretrained` would draw its attention at random."""
    if getattr(config, KEPT_HEADS, None) is not None:
        raise InputError(f"model {name!r} has lost heads to prune_heads and cannot be trained on; give another")


def open_classifier(directory: Path) -> Any:
    """A saved classifier in FP32, also one whose heads were taken out, which `from_pretrained` alone cannot open."""
    config = AutoConfig.from_pretrained(directory)
    heads = getattr(config, KEPT_HEADS, None)
    if heads is None:
        return AutoModelForSequenceClassification.from_pretrained(directory, dtype=torch.float32)
    model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    for group in groups(model, "heads"):
        _narrow(group, range(heads))
    model.load_state_dict(load_file(directory / "model.safetensors"))
    return model


def _heads(layer: nn.Module) -> Group | None:
    for path, names, reader in _HEADS:
        attention: Any = _submodule(layer, path)
        count = next((getattr(attention, name) for name in _COUNTS if hasattr(attention, name)), 0)
        linears, positions = ([_linear(attention, name) for name in listed] for listed in (names, _POSITIONS))
        target = _linear(layer, reader)
        if count and target is not None and all(linears):
            makers = tuple(linear for linear in linears + positions if linear is not None)
            return Group("heads", makers, target, target.in_features // int(count), attention)
    return None


def _units(layer: nn.Module) -> Group | None:
    for maker, reader in _UNITS:
        first, second = _linear(layer, maker), _linear(layer, reader)
        if first is not None and second is not None and first.out_features == second.in_features:
            return Group("units", (first,), second, 1)
    return None


def _submodule(module: nn.Module | None, path: str) -> nn.Module | None:
    for name in path.split("."):
        module = getattr(module, name, None)
    return module if isinstance(module, nn.Module) else None


def _linear(module: nn.Module | None, path: str) -> nn.Linear | None:
    found = _submodule(module, path)
    return found if isinstance(found, nn.Linear) else None


def _narrow(group: Group, stay: Sequence[int]) -> None:
    rows = (torch.tensor(list(stay))[:, None] * group.size + torch.arange(group.size)).flatten()
    for maker in group.makers:
        _select(maker, rows, 0)
    _select(group.reader, rows, 1)
    for name in _COUNTS:
        if hasattr(group.counter, name):
            setattr(group.counter, name, len(stay))


def _select(linear: nn.Linear, rows: Tensor, dimension: int) -> None:
    rows = rows.to(linear.weight.device)
    linear.weight = nn.Parameter(linear.weight.detach().index_select(dimension, rows))
    if dimension == 0 and linear.bias is not None:
        linear.bias = nn.Parameter(linear.bias.detach()[rows])
    linear.out_features, linear.in_features = linear.weight.shape


def _note(config: Any, group: Group) -> None:
    if group.what == "heads":
        setattr(config, KEPT_HEADS, group.count)
    else:
        setattr(config, next(name for name in _WIDTHS if hasattr(config, name)), group.count)


@contextmanager
def _silenced(parts: Sequence[Group], kept: Kept) -> Iterator[None]:
    """What the readers are given of the others is zero."""
    handles = []
    for group, stay in zip(parts, kept, strict=True):
        mask = torch.zeros(group.count, device=group.reader.weight.device)
        mask[list(stay)] = 1
        mask = mask.repeat_interleave(group.size)
        handles.append(group.reader.register_forward_pre_hook(lambda _, given, mask=mask: (given[0] * mask,)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _answers(model: Any) -> Tensor:
    """Logits of a few token ids, without dropout."""
    model.eval()
    device = next(model.parameters()).device
    ids = torch.arange(16, device=device).remainder(int(model.config.vocab_size)).view(2, 8)
    with torch.no_grad():
        logits: Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    return logits


def _refusal(model: Any, what: str) -> RecipeError:
    return RecipeError(f"{what} cannot be pruned from {type(model).__name__}: set prune_{what} = 0")
