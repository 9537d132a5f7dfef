"""Where models ran, and what those on a GPU took of it; nothing to tell where all ran on the CPU by its provider."""

from __future__ import annotations

from ..machine import PROVIDERS
from .formats import Cell, digits, megabytes, whole
from .tables import Table
from .view import Model, Results

_SHORT = {full: name for name, full in PROVIDERS.items()}


def nodes(model: Model) -> dict[str, int]:
    """How many nodes of an ONNX graph each provider ran, by the short names of the providers."""
    return {_SHORT.get(name, name): count for name, count in (model.get("nodes") or {}).items() if count}


def elsewhere(model: Model) -> bool:
    """Whether something else than the CPU's own provider ran it, or a part of it."""
    return "gpu" in model or bool(set(nodes(model)) - {"cpu"})


def place(results: Results, model: Model) -> str:
    """The processor that a model was timed on, and by which providers where that was not the CPU's alone."""
    device = str(model.get("gpu") or results["machine"].get("cpu", ""))
    shares = [f"{count} of its nodes by {name}" for name, count in nodes(model).items()]
    return f"{device} ({', '.join(shares)})" if elsewhere(model) and shares else device


def device_table(results: Results) -> Table:
    """The processor that each timed model ran on, and how many nodes of its graph went to which provider."""
    timed = [model for model in results["models"] if model["speed"]]
    if not any(map(elsewhere, timed)):
        timed = []
    names = list(dict.fromkeys(name for model in timed for name in nodes(model)))
    rows = [
        [Cell(_name(model)), Cell(model.get("gpu") or "CPU"), *(Cell(whole(nodes(model).get(name))) for name in names)]
        for model in timed
    ]
    note = (
        "Nodes of an ONNX graph, by the provider that ran them; a model without any is run by PyTorch or scikit-learn. "
        "Between two devices no speed-up is given."
    )
    columns = [Cell("Model"), Cell("Device"), *(Cell(name, "nodes") for name in names)]
    return Table("Where they ran", note, columns, rows, text_columns=2)


def gpu_table(results: Results) -> Table:
    """Memory, power and energy of what ran on a GPU, with one thread."""
    rows = []
    for model in results["models"]:
        for row in (row for row in model["speed"] if "gpu" in model and row["threads"] == 1):
            reserved = megabytes(row["gpu_reserved"]).text
            memory = Cell(megabytes(row["gpu_memory"]).text, f"PyTorch {reserved}" if row["gpu_reserved"] else "")
            energy = Cell(digits(row["gpu_joules_per_1000"]))
            rows.append([Cell(_name(model)), Cell(whole(row["batch"])), memory, Cell(digits(row["gpu_watts"])), energy])
    note = (
        "One thread. Memory: the most that the model's own process held of the GPU up to this batch size, CUDA's share "
        "included, as the driver tells it, and of that what PyTorch reserved. Power: mean of the whole board, idle "
        "power included, over three seconds of such batches; energy: of 1,000 texts. On GPUs from Ampere on, "
        "onnxruntime multiplies FP32 in TF32, PyTorch does not."
    )
    units = {"Memory": "peak, MB", "Power": "W", "Energy": "J per 1,000 texts"}
    columns = [Cell(name, units.get(name, "")) for name in ("Model", "Batch", "Memory", "Power", "Energy")]
    return Table("On the GPU", note, columns, rows)


def _name(model: Model) -> str:
    return str(model.get("key", model["name"]))
