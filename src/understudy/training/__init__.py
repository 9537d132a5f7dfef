"""The stages that train: the only folder that imports torch and transformers."""

from importlib.util import find_spec

from ..errors import MissingExtraError

if any(find_spec(package) is None for package in ("torch", "transformers", "safetensors")):
    raise MissingExtraError("Training, labelling and exporting", "train")

from .distillation import distill
from .exporting import export
from .finetuning import train
from .labeling import label
from .tuning import tune

__all__ = ["distill", "export", "label", "train", "tune"]
