"""What the layers of a transformer say of a text's first token: its hidden states, and what it attends to.

The first token ([CLS], <s>) is the one that classification heads read. Everything is read from what a model gives with
`output_hidden_states` and `output_attentions`, so that any architecture of `transformers` that has them will do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..config import LabelConfig
from ..errors import InputError, RecipeError
from ..tokenization import Tokens
from .batches import Half, LayerTargets, longest_first, pad
from .losses import Answer
from .networks import HubClassifier


def map_layers(wanted: str | Sequence[int], student: int, teacher: int) -> list[int]:
    """The teacher's layer (from 0) for each layer of the student; raises RecipeError.

    `uniform`: the student's i-th of S matches the teacher's i · T / S-th, rounded up, so that the last matches the last
    (PKD-skip, Sun et al. 2019). That holds for a cut of the teacher's lowest layers as well: they are where it begins,
    and what the missing layers do is what it has to learn. `last`: the last S of the teacher (PKD-last).
    """
    if wanted == "uniform":
        return [-(-(layer + 1) * teacher // student) - 1 for layer in range(student)]
    if wanted == "last":
        if student > teacher:
            raise RecipeError(f"layer_map last: the student has {student} layers, the teacher {teacher}; use uniform")
        return list(range(teacher - student, teacher))
    chosen = [int(layer) for layer in wanted]
    if len(chosen) != student or max(chosen) >= teacher:
        raise RecipeError(
            f"layer_map = {chosen}: expected one layer of the teacher (0 to {teacher - 1}) for each of the student's "
            f"{student}"
        )
    return chosen


def opened(module: nn.Module, *, attention: bool) -> HubClassifier:
    """The network as one that `look` can read; raises InputError for one without such layers.

    Fused kernels never show the attention: it is computed the plain way from now on, to the same logits but rounding.
    """
    if not isinstance(module, HubClassifier):
        raise InputError("hidden states and attention are those of a transformer, and the teacher is none")
    if attention:
        try:
            module.model.set_attn_implementation("eager")
        except (ValueError, NotImplementedError):
            raise InputError(f"{type(module.model).__name__} shows no attention: set attention_weight = 0") from None
    return module


def look(classifier: HubClassifier, ids: Tensor, mask: Tensor, *, hidden: bool, attention: bool) -> Answer:
    """Logits and, of every layer, the first token's states (n, layers, width) and attention (n, layers, length).

    The states are those after the layer; the attention is the mean over heads, in float32.
    """
    model: Any = classifier.model
    given = model(input_ids=ids, attention_mask=mask, output_hidden_states=hidden, output_attentions=attention)
    states = [state[:, 0] for state in (given.hidden_states or ())[1:]] if hidden else None  # the first: embeddings
    rows = [weights[:, :, 0].float().mean(dim=1) for weights in given.attentions or ()] if attention else None
    for found in (states, rows):
        if found is not None and len(found) != model.config.num_hidden_layers:
            raise InputError(
                f"{type(model).__name__} shows {len(found)} of its {model.config.num_hidden_layers} layers: set "
                "hidden_weight and attention_weight to 0"
            )
    stacked = [None if found is None else torch.stack(found, dim=1) for found in (states, rows)]
    return Answer(given.logits, *stacked)


@dataclass(frozen=True)
class Observed:
    """What a teacher says of texts: logits (n, labels), and what was asked of all its layers."""

    logits: NDArray[np.float32]
    layers: LayerTargets


def observe(
    module: nn.Module,
    tokens: Sequence[Tokens],
    pad_id: int,
    device: torch.device,
    config: LabelConfig,
    advance: Callable[[int], None],
) -> Observed:
    """Ask a teacher for its logits and for what the config wants of its layers; results are in input order."""
    classifier = opened(module, attention=config.attention).eval()
    logits: dict[int, NDArray[np.float32]] = {}
    hidden: dict[int, Half] = {}
    attention: dict[int, Half] = {}
    with torch.inference_mode():
        for rows in longest_first(tokens, config.batch_size):
            ids, mask = (part.to(device) for part in pad([tokens[row] for row in rows], pad_id))
            answer = look(classifier, ids, mask, hidden=config.hidden_states, attention=config.attention)
            logits |= zip(rows, answer.logits.float().cpu().numpy(), strict=True)
            if answer.hidden is not None:
                hidden |= zip(rows, normalize(answer.hidden.float(), dim=-1).half().cpu().numpy(), strict=True)
            if answer.attention is not None:
                weights = answer.attention.half().cpu().numpy()
                attention |= {row: half[:, : len(tokens[row])] for row, half in zip(rows, weights, strict=True)}
            advance(len(rows))
    order = range(len(tokens))
    return Observed(
        np.stack([logits[row] for row in order]),
        LayerTargets(
            np.stack([hidden[row] for row in order]) if hidden else None,
            [attention[row] for row in order] if attention else None,
        ),
    )
