"""The forms of a trained model that need torch to run: TorchScript, a torch.export program, FP16 weights.

A TorchScript archive and an exported program are read by `torch.jit.load` and `torch.export.load`: a program comes
with the weights, so open only those whose maker is known. FP16 is a form of storage: here the weights are widened
before use.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export.passes import move_to_device_pass

from ..artifact import Artifact
from ..errors import ArtifactError, WorkError, first_line
from . import networks
from .networks import Network

SCRIPT, PROGRAM = "model.ts", "model.pt2"
CPU = torch.device("cpu")


class Opened(nn.Module):
    """What a file holds, as a function of ids and mask (n, length) to logits (n, labels)."""

    def __init__(self, forward: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self._forward = forward

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits (n, labels)."""
        return self._forward(input_ids, attention_mask)


def write(network: Network, inference: nn.Module, directory: Path, form: str) -> None:
    """Write a trained network in a form, all but the tokenizer; `inference` is its module under an artifact's names."""
    if form == "torch-fp16":
        _write_halves(network, directory)
        return
    example = (torch.ones(2, 8, dtype=torch.int64), torch.ones(2, 8, dtype=torch.int64))
    name = type(getattr(network.module, "model", network.module)).__name__
    with quiet_torch(), torch.no_grad():
        try:
            if form == "torchscript":
                torch.jit.trace(inference, example, check_trace=False).save(str(directory / SCRIPT))
            else:
                free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
                program = torch.export.export(inference, example, dynamic_shapes=(free, free))
                torch.export.save(program, directory / PROGRAM)
        except Exception as error:  # tracers raise what they like
            raise WorkError(f"torch cannot turn {name} into {form}: {first_line(error)}; leave it out") from None


def open_file(directory: Path, device: torch.device = CPU) -> Opened:
    """The module of an exported program, on that device, or of a TorchScript archive, which stays on the CPU.

    Both were traced there; an exported program can be moved, a trace has the device in its code.
    """
    with quiet_torch():
        if (directory / SCRIPT).exists():
            held = torch.jit.load(str(directory / SCRIPT), map_location="cpu")
        else:
            program = torch.export.load(directory / PROGRAM)
            held = (program if device == CPU else move_to_device_pass(program, device)).module()
    return Opened(lambda ids, mask: held(ids, mask))  # not as a child, which could not be put into evaluation mode


def open_form(artifact: Artifact, device: torch.device = CPU) -> nn.Module:
    """The module of an artifact in any of the forms, in evaluation mode on that device; raises ArtifactError."""
    if not {SCRIPT, PROGRAM} & set(artifact.files):
        return networks.load(artifact).module.to(device)
    try:
        return open_file(artifact.path, device)
    except Exception as error:
        raise ArtifactError(f"{artifact.path} holds no model that can be loaded: {first_line(error)}") from None


@contextmanager
def quiet_torch() -> Iterator[None]:
    """Without torch's advice to its developers; it calls TorchScript deprecated, which the documentation says once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _write_halves(network: Network, directory: Path) -> None:
    module: Any = copy.deepcopy(network.module).half()
    broken = [name for name, tensor in module.state_dict().items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise WorkError(f"{broken[0]} has weights beyond what FP16 can hold (65504); leave torch-fp16 out")
    networks.save(Network(module, network.tokenizer, network.pad_id, network.architecture), directory)
