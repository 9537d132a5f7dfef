"""The files of a teacher or student beside ONNX FP32, each an artifact of its own: how a run makes them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from .artifact import Artifact
from .config import ExportConfig, QuantizeConfig, Recipe
from .progress import Progress
from .quantization import GateRefusedError, quantize
from .sections import Variant

Maker = tuple[Callable[[], Artifact | None], str, ExportConfig | QuantizeConfig]


def place(model: str, variant: str) -> str:
    """The directory of a file in that of a run; `torch` is what the training wrote, `model` may be NAME/seeds/N."""
    if model == "teacher":
        return model if variant == "torch" else f"{model}-{variant}"
    return f"students/{model}/{variant}"


def maker(
    out: Path, model: str, variant: Variant, recipe: Recipe, data: Path, refused: list[str], progress: Progress
) -> Maker:
    """The work that makes a variant, the directory in `out` that it is made of, and the settings that it heeds.

    A refusal of the gate is noted in `refused`, and nothing is made.
    """
    onnx, trained, file, seed = place(model, "fp32"), place(model, "torch"), out / place(model, variant), recipe.seed

    def quantized() -> Artifact | None:
        assert variant == "int8" or variant == "int8-dynamic" or variant == "fp16"
        try:
            return quantize(out / onnx, data, file, recipe.quantize, precision=variant, seed=seed, progress=progress)
        except GateRefusedError as refusal:  # the other files are fine: the run goes on without this one
            shutil.rmtree(file, ignore_errors=True)  # one of an older recipe must not be measured
            progress.note(f"  warning: {refusal}")
            refused.append(str(refusal))
            return None

    def exported() -> Artifact:
        from .training import export

        assert variant != "int8" and variant != "int8-dynamic" and variant != "fp16"
        return export(out / trained, data, file, recipe.export, form=variant, seed=seed, progress=progress)

    if variant in ("int8", "int8-dynamic", "fp16"):
        return quantized, onnx, recipe.quantize
    return exported, trained, recipe.export
