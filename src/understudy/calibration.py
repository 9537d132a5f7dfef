"""calibrate: fit the temperature of an ONNX artifact on validation, after everything that moves its logits.

understudy calibrate runs/x/students/small/int8 --data runs/x/data
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .artifact import Artifact, short_name
from .data.storing import TEST_FILE, read_split
from .data.task import Labels
from .decision import fit_temperature, softmax
from .metrics import brier, ece, nll
from .progress import Progress, Silent
from .speed import logits_of


def calibrate(model: Path, data: Path, *, progress: Progress | None = None) -> Artifact:
    """Write the temperature of least validation NLL into the artifact, with ECE, Brier and NLL before and after."""
    progress = progress or Silent()
    artifact, source = Artifact.load(model, "model"), Artifact.load(data, "data")
    note = {"data": source.digest, "model": artifact.digest}
    if artifact.measurements.get("calibration", {}).get("of") == note:
        return artifact
    for needed in (artifact, source):
        needed.verify(without=TEST_FILE)
    val = read_split(data / "val.parquet", "val")
    with progress.track(f"calibrate {short_name(model)}", len(val)) as advance:
        logits = logits_of(artifact, val.texts)
        advance(len(val))
    temperature = fit_temperature(logits, val.labels)
    calibration = {
        "of": note,
        "split": "val",
        "n": len(val),
        "before": _quality(logits, val.labels, 1.0),
        "after": _quality(logits, val.labels, temperature),
    }
    return artifact.rewrite(
        decision=artifact.decision | {"temperature": temperature},
        measurements=artifact.measurements | {"calibration": calibration},
    )


def _quality(logits: NDArray[np.float32], labels: Labels, temperature: float) -> dict[str, float]:
    probabilities = softmax(logits, temperature)
    measures = {"ece": ece, "brier": brier, "nll": nll}
    return {name: float(measure(probabilities, labels)) for name, measure in measures.items()}
