"""Within-task pretraining: the encoder first learns the task's texts by filling in masked tokens.

"Further pretraining" of Sun et al. 2019 and the task-adaptive pretraining of Gururangan et al. 2020. The texts need no
labels: those that the students will learn on are among them, the test split is not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from ..artifact import Draft, TextConfig
from ..config import OptimizationConfig, TeacherConfig
from ..data.task import Labels
from ..errors import RecipeError
from ..progress import Progress
from ..tokenization import TextEncoder
from .loop import Examples, choose_device, fit, infer
from .losses import Batch
from .networks import Network

HIDDEN = 0.15  # share of the tokens that are to be told: 8 of 10 are masked, 1 is another token, 1 is left (BERT)
_EVERY = 7  # in validation every seventh token is masked, so that epochs are judged alike
MASKS = ("[MASK]", "<mask>")


class MaskedLM(nn.Module):
    """An encoder with a fresh head over its own embedding table.

    While training: the mean cross-entropy of the hidden tokens. Else, of each text, its sum and their number (n, 2).
    The head is computed for the hidden tokens alone, which are a seventh of the work.
    """

    def __init__(self, encoder: Any, tokenizer: Tokenizer, mask_id: int) -> None:
        super().__init__()
        self.encoder, self.mask_id = encoder, mask_id
        table = encoder.get_input_embeddings()
        self.head = nn.Sequential(
            nn.Linear(encoder.config.hidden_size, table.embedding_dim), nn.GELU(), nn.LayerNorm(table.embedding_dim)
        )
        self.bias = nn.Parameter(torch.zeros(table.num_embeddings))
        special = [number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special]
        self.register_buffer("special", torch.tensor(sorted(special)), persistent=False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """See the class."""
        words = (mask > 0) & ~torch.isin(ids, self.get_buffer("special"))
        if self.training:
            hidden = words & (torch.rand(ids.shape, device=ids.device) < HIDDEN)
            seen = self._disguised(ids, hidden)
        else:
            hidden = words & (torch.arange(ids.shape[1], device=ids.device) % _EVERY == _EVERY // 2)
            seen = torch.where(hidden, self.mask_id, ids)
        states = self.encoder(input_ids=seen, attention_mask=mask).last_hidden_state[hidden]
        logits = nn.functional.linear(self.head(states), self.encoder.get_input_embeddings().weight, self.bias)
        losses = nn.functional.cross_entropy(logits.float(), ids[hidden], reduction="none")
        if self.training:
            return losses.sum() / max(1, len(losses))
        by_text = torch.zeros(ids.shape, device=ids.device).masked_scatter(hidden, losses).sum(dim=1)
        return torch.stack([by_text, hidden.sum(dim=1).float()], dim=1)

    def _disguised(self, ids: Tensor, hidden: Tensor) -> Tensor:
        lot = torch.rand(ids.shape, device=ids.device)
        others = torch.randint_like(ids, len(self.bias))
        seen = torch.where(hidden & (lot < 0.8), self.mask_id, ids)
        return torch.where(hidden & (lot >= 0.9), others, seen)


def adapt(
    draft: Draft,
    network: Network,
    text: TextConfig,
    config: TeacherConfig,
    texts: tuple[Sequence[str], Sequence[str]],
    *,
    seed: int,
    progress: Progress,
) -> None:
    """Train the network's encoder in place on the first texts, validated on the second, and note the epochs.

    Raises RecipeError for a tokenizer without a mask.
    """
    tokenizer = network.tokenizer
    assert isinstance(tokenizer, Tokenizer)
    mask_id = next((found for token in MASKS if (found := tokenizer.token_to_id(token)) is not None), None)
    if mask_id is None:
        raise RecipeError(f"teacher.mlm_epochs: {config.model} has no token for a mask: set mlm_epochs = 0")
    torch.manual_seed(seed)
    model: Any = network.module.model
    module = MaskedLM(model.base_model, tokenizer, mask_id)
    encoder = TextEncoder(tokenizer, text)
    train, val = (Examples(encoder.encode(part), np.zeros(len(part), dtype=np.int64)) for part in texts)
    own = {name: getattr(config, name) for name in OptimizationConfig.model_fields}
    peak = config.mlm_learning_rate or config.learning_rate
    changes = {"epochs": config.mlm_epochs, "learning_rate": peak, "stop_metric": "nll", "keep_epochs": False}
    device = choose_device(config.device)
    before = _judge(infer(module.to(device), val.tokens, network.pad_id, device), val.labels)["nll"]
    work = draft.work / "mlm"
    work.mkdir(exist_ok=True)
    result = fit(
        module, train, val, _objective, OptimizationConfig(**own | changes), seed=seed, pad_id=network.pad_id,
        work=work, progress=progress, description="learn the texts", judge=_judge,
    )  # fmt: skip
    network.module.cpu()
    draft.measurements["mlm"] = {
        "history": result.history, "val_nll_before": before, "texts": len(train.tokens), "seconds": result.seconds
    }  # fmt: skip


def _objective(loss: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    return loss, {}


def _judge(sums: NDArray[np.float32], labels: Labels) -> dict[str, float]:
    """Mean negative log-likelihood of the tokens that validation hides."""
    total, count = sums.astype(np.float64).sum(axis=0)
    return {"nll": float(total / count) if count else math.inf}
