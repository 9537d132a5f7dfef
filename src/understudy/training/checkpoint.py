"""Checkpoints of a training in progress: safetensors and JSON, written aside and renamed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.optim import Optimizer

from ..files import write_atomically
from .averaging import Average

Tensors = dict[str, Tensor]

_SECONDS = 2.0  # between two checkpoints, at least


class Checkpoints:
    """Saves as often as costs little: writing takes at most a fiftieth of the time."""

    def __init__(
        self, path: Path, model: nn.Module, optimizer: Optimizer, average: Average, device: torch.device
    ) -> None:
        self.path, self.model, self.optimizer, self.average, self.device = path, model, optimizer, average, device
        self.pause = _SECONDS
        self.last = time.perf_counter()

    def due(self) -> bool:
        """Whether enough time has passed since the last one."""
        return time.perf_counter() - self.last > self.pause

    def save(self, state: dict[str, Any], best: Tensors) -> None:
        """Write the training as it stands: its state, its best weights and all that the next step depends on."""
        begun = time.perf_counter()
        groups = {
            "model": self.model.state_dict(),
            "best": best,
            "optimizer": optimizer_tensors(self.model, self.optimizer),
            "average": self.average.state(),
            "random": random_state(self.device),
        }
        tensors = {f"{group}/{name}": value for group, named in groups.items() for name, value in named.items()}
        save_checkpoint(self.path, state, tensors)
        self.last = time.perf_counter()
        self.pause = max(_SECONDS, 50 * (self.last - begun))


def save_checkpoint(path: Path, state: dict[str, Any], tensors: Tensors) -> None:
    """Write one file: the tensors, with the JSON state in its header's metadata."""
    flat = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    write_atomically(path, save(flat, metadata={"state": json.dumps(state)}))


def load_checkpoint(path: Path) -> tuple[dict[str, Any], Tensors] | None:
    """State and tensors of the newest checkpoint; None if there is none."""
    if not path.exists():
        return None
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return json.loads(header["__metadata__"]["state"]), load(content)


def optimizer_tensors(model: nn.Module, optimizer: Optimizer) -> Tensors:
    """The optimiser's state by parameter name."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"{key}:{names[parameter]}": torch.as_tensor(value)
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }


def restore_optimizer(model: nn.Module, optimizer: Optimizer, tensors: Tensors) -> None:
    """Put back what `optimizer_tensors` took."""
    parameters = dict(model.named_parameters())
    for name, tensor in tensors.items():
        key, parameter = name.split(":", 1)
        target = parameters[parameter]
        on_device = tensor if key == "step" and target.device.type == "cpu" else tensor.to(target.device)
        optimizer.state[target][key] = on_device


def random_state(device: torch.device) -> Tensors:
    """The generators that dropout draws from."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    if device.type == "mps":
        state["mps"] = torch.mps.get_rng_state()
    return state


def restore_random_state(device: torch.device, state: Tensors) -> None:
    """Put back what `random_state` took."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
    if device.type == "mps" and "mps" in state:
        torch.mps.set_rng_state(state["mps"])
