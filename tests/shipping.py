"""A student of the tiny run with the files that it ships as, and what these must have in common."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from understudy import Classifier
from understudy.artifact import Artifact
from understudy.config import ExportConfig, QuantizeConfig, StudentConfig
from understudy.data.storing import read_split
from understudy.quantization import quantize
from understudy.training import distill, export

VARIANTS = ("fp32", "fp16", "int8")


def ship(run: Path, home: Path, config: StudentConfig) -> Path:
    """Distil a student from the run's teacher into `home`/torch, beside it its files by variant; returns `home`."""
    data = run / "data"
    distill(run / "teacher", run / "labels", data, home / "torch", config)
    export(home / "torch", data, home / "fp32", ExportConfig(samples=50))
    quantize(home / "fp32", data, home / "fp16", QuantizeConfig(samples=16), precision="fp16")
    quantize(home / "fp32", data, home / "int8", QuantizeConfig(samples=16))
    return home


def check_variants(student: Path, run: Path, int8: float) -> dict[str, float]:
    """It has learnt, ONNX equals torch, and no logit of a smaller file moves far: in INT8 by less than `int8`.

    Returns the accuracy of each file on validation.
    """
    val = read_split(run / "data/val.parquet", "val")
    found = {variant: Classifier.load(student / variant).logits(val.texts) for variant in VARIANTS}
    accuracy = {variant: float((logits.argmax(axis=1) == val.labels).mean()) for variant, logits in found.items()}
    assert accuracy["fp32"] > 0.8
    assert np.abs(found["fp16"] - found["fp32"]).max() < 0.02
    assert 0 < np.abs(found["int8"] - found["fp32"]).max() < int8
    assert Artifact.load(student / "fp32").measurements["parity"]["max_logit_difference"] < 1e-4
    return accuracy
