"""The README.md beside every file of a run that a person may use, from what the benchmark measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .artifact import Artifact
from .files import write_atomically
from .recording import read_results
from .reporting import model_card
from .tokenization import TOKENIZER_FILES


def write_cards(out: Path) -> None:
    """A README.md in every artifact that a person may use; not part of its manifest, since nothing loads it."""
    results = read_results(out / "benchmark")
    measured = [model for model in results["models"] if model["path"] and model["role"] != "control"]
    trained = {model["name"]: _as_torch(model, out) for model in measured if model["role"] == "student"}
    results["models"] += trained.values()
    for model in [*measured, *trained.values()]:
        card, file = model_card(results, model).encode(), out / model["path"] / "README.md"
        if not file.exists() or file.read_bytes() != card:
            write_atomically(file, card)


def _as_torch(model: dict[str, Any], out: Path) -> dict[str, Any]:
    """The row of the trained student that a measured file was made of; it was not measured itself."""
    path = Path(model["path"]).with_name("torch")
    unknown = dict.fromkeys(("calibration", "retention", "agreement"))
    size = Artifact.load(out / path).bytes_of("model.safetensors", "config.json", *TOKENIZER_FILES)
    return {**model, **unknown, "variant": "torch", "path": str(path), "bytes": size, "metrics": {}, "speed": []}
