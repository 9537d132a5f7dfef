"""The files of a student beside ONNX FP32, each an artifact of its own: how a run makes them."""

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


def maker(home: Path, variant: Variant, recipe: Recipe, data: Path, refused: list[str], progress: Progress) -> Maker:
    """The work that makes a variant, the variant that it is made of, and the settings that it heeds.

    A refusal of the gate is noted in `refused`, and nothing is made.
    """
    source, file, seed = home / "fp32", home / variant, recipe.seed

    def quantized() -> Artifact | None:
        assert variant == "int8" or variant == "fp16"
        try:
            return quantize(source, data, file, recipe.quantize, precision=variant, seed=seed, progress=progress)
        except GateRefusedError as refusal:  # the other files are fine: the run goes on without this one
            shutil.rmtree(file, ignore_errors=True)  # one of an older recipe must not be measured
            progress.note(f"  warning: {refusal}")
            refused.append(str(refusal))
            return None

    def exported() -> Artifact:
        from .training import export

        assert variant != "int8" and variant != "fp16"
        return export(home / "torch", data, file, recipe.export, form=variant, seed=seed, progress=progress)

    if variant in ("int8", "fp16"):
        return quantized, "fp32", recipe.quantize
    return exported, "torch", recipe.export
