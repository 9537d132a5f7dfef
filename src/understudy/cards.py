"""The README.md beside every file of a run that a person may use, and in a cascade: what was measured, for the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .artifact import Artifact
from .files import write_atomically
from .recording import read_results
from .reporting import cascade_card, model_card
from .tokenization import TOKENIZER_FILES


def write_cards(out: Path) -> None:
    """A README.md in every artifact that a person may use; not part of its manifest, since nothing loads it."""
    results = read_results(out / "benchmark")
    measured = [model for model in results["models"] if model["path"] and model["role"] != "control"]
    trained = {model["name"]: _as_torch(model, out) for model in measured if model["role"] == "student"}
    results["models"] += trained.values()
    for model in [*measured, *trained.values()]:
        _write(model_card(results, model), out / model["path"])


def write_cascade_card(cascade: Artifact) -> None:
    """The README.md of a cascade, likewise."""
    _write(cascade_card(cascade), cascade.path)


def _write(card: str, home: Path) -> None:
    file = home / "README.md"
    if not file.exists() or file.read_bytes() != card.encode():
        write_atomically(file, card.encode())


def _as_torch(model: dict[str, Any], out: Path) -> dict[str, Any]:
    """The row of the trained student that a measured file was made of; it was not measured itself."""
    path = Path(model["path"]).with_name("torch")
    unknown = dict.fromkeys(("calibration", "retention", "agreement"))
    size = Artifact.load(out / path).bytes_of("model.safetensors", "config.json", *TOKENIZER_FILES)
    return {**model, **unknown, "variant": "torch", "path": str(path), "bytes": size, "metrics": {}, "speed": []}
