"""What a run says of a stage once it is done."""

from __future__ import annotations

from .artifact import Artifact
from .label_mapping import mapping_summary
from .preparation import summary
from .progress import Progress


def tell(made: Artifact | None, progress: Progress) -> None:
    """What a person should know about a finished stage."""
    if made is None:
        return
    for line in summary(made) if made.kind == "data" else []:
        progress.note(f"  {line}")
    if made.kind == "labels":
        means = ", ".join(f"{name} {mean:.3f}" for name, mean in made.measurements["confidence"].items())
        progress.note(f"  mean confidence of the teacher: {means}")
        for sentence in made.measurements.get("answers", {}).get("said", []):
            progress.note(f"  {sentence}")
        for line in mapping_summary(made.measurements.get("label_mapping")):
            progress.note(f"  {line}")
        for column in ("hidden", "attention"):
            if size := made.measurements.get(f"{column}_bytes"):
                progress.note(f"  {column} of the teacher's layers: {size / 1e6:.1f} MB")
    for warning in made.warnings:
        progress.note(f"  warning: {warning}")
