"""A student that learns the teacher's layers: what it gives in training, and the stored layers that it is to match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from ..artifact import Artifact, TextConfig
from ..config import DistillConfig
from ..data.task import Split
from ..errors import ArtifactError, RecipeError
from ..tokenization import TextEncoder
from .batches import LayerTargets
from .layers import look, map_layers, opened
from .losses import Answer
from .networks import HubClassifier, Network
from .targets import layer_targets


class Pupil(nn.Module):
    """A student in training: an Answer whose states have the teacher's width. In evaluation it gives logits.

    Where the widths differ, each layer has a linear map of its own, which is learnt with the student and then dropped
    (Jiao et al. 2020).
    """

    def __init__(self, student: HubClassifier, config: DistillConfig, width: int) -> None:
        super().__init__()
        self.student, self.hidden, self.attention = student, bool(config.hidden_weight), bool(config.attention_weight)
        shape = student.model.config
        maps = shape.num_hidden_layers if self.hidden and shape.hidden_size != width else 0
        self.projections = nn.ModuleList(nn.Linear(shape.hidden_size, width, bias=False) for _ in range(maps))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor | Answer:
        """Logits in evaluation, an Answer in training."""
        if not self.training:
            logits: Tensor = self.student(ids, mask)
            return logits
        answer = look(self.student, ids, mask, hidden=self.hidden, attention=self.attention)
        if answer.hidden is None or not len(self.projections):
            return answer
        with torch.autocast(ids.device.type, enabled=False):
            states = answer.hidden.float().unbind(dim=1)
            mapped = [project(state) for project, state in zip(self.projections, states, strict=True)]
        return Answer(answer.logits, torch.stack(mapped, dim=1), answer.attention)


@dataclass(frozen=True)
class Transfer:
    """A student that is to match layers, and what it is to match."""

    pupil: Pupil
    targets: LayerTargets


def prepare_transfer(
    network: Network,
    text: TextConfig,
    teacher: Artifact,
    labels: Artifact,
    texts: Sequence[Split],
    config: DistillConfig,
) -> Transfer:
    """Make a student ready to match the teacher's stored layers on the texts.

    Raises ArtifactError if they are not stored, RecipeError if student and teacher cannot be compared.
    """
    for weight, name in (("hidden_weight", "hidden_states"), ("attention_weight", "attention")):
        if getattr(config, weight) and not labels.config.get(name):
            flag = f"--{name.replace('_', '-')}"
            raise ArtifactError(f"{labels.path} lacks what {weight} needs; run `understudy label {flag}` again")
    student = opened(network.module, attention=bool(config.attention_weight))
    layers = map_layers(config.layer_map, student.model.config.num_hidden_layers, labels.details["layers"])
    if config.attention_weight:
        assert isinstance(network.tokenizer, Tokenizer)  # hashed students have no layers to compare
        _check_tokens(network.tokenizer, text, teacher, texts)
    targets = layer_targets(
        labels, texts, layers, hidden=bool(config.hidden_weight), attention=bool(config.attention_weight)
    )
    return Transfer(Pupil(student, config, labels.details["width"]), targets)


def _check_tokens(tokenizer: Tokenizer, text: TextConfig, teacher: Artifact, texts: Sequence[Split]) -> None:
    """Raise RecipeError unless the student reads the texts in the tokens that the teacher read; ids may differ."""
    assert teacher.text is not None
    theirs = Tokenizer.from_file(str(teacher.path / "tokenizer.json"))
    as_theirs = np.full(tokenizer.get_vocab_size(), -1)
    for token, index in tokenizer.get_vocab().items():
        found = theirs.token_to_id(token)
        as_theirs[index] = -1 if found is None else found
    encoders = TextEncoder(tokenizer, text), TextEncoder(theirs, teacher.text)
    for split in texts:
        for mine, other in zip(*(encoder.encode(split.texts) for encoder in encoders), strict=True):
            if not np.array_equal(as_theirs[mine], other):
                raise RecipeError(
                    "attention_weight compares attention token by token, and this student does not read texts in the "
                    "teacher's tokens: give it the teacher's tokenizer and max_length, or set attention_weight = 0"
                )
