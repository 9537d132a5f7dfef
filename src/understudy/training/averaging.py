"""The running average of a network's weights, often better than the last step's (Polyak and Juditsky 1992)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """a ← d · a + (1 − d) · w after every step, with d = min(decay, (1 + step) / (10 + step)).

    So that it does not keep the weights of the beginning, when few steps have been made. With decay 0 it is nothing,
    and costs nothing.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = [weight for weight in model.parameters() if weight.requires_grad] if decay else []
        self.means = [weight.detach().clone() for weight in self.weights]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after the step of this number, from 1."""
        if self.means:
            share = 1 - min(self.decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(self.means, [weight.detach() for weight in self.weights], share)

    @contextmanager
    @torch.no_grad()
    def in_place(self) -> Iterator[None]:
        """The model with the averaged weights, for as long as this lasts."""
        own = [weight.detach().clone() for weight in self.weights]
        self._put(self.means)
        yield
        self._put(own)

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        return {str(number): mean for number, mean in enumerate(self.means)}

    @torch.no_grad()
    def restore(self, state: dict[str, Tensor]) -> None:
        """Put back what `state` gave."""
        for number, mean in enumerate(self.means):
            mean.copy_(state[str(number)])

    def _put(self, values: list[Tensor]) -> None:
        for weight, value in zip(self.weights, values, strict=True):
            weight.copy_(value)
