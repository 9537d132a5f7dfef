"""calibrate: fit the decisions of an ONNX artifact on validation, after everything that moves its logits.

understudy calibrate runs/x/students/small/int8 --data runs/x/data
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import metrics, multilabel
from .artifact import Artifact, short_name
from .classifier import MODEL_FILE
from .config import CalibrateConfig
from .data.storing import SPLIT_FILES, TEST_FILE, read_split
from .data.task import Labels, Task
from .decision import Decision, fit_temperature
from .errors import RecipeError
from .golden import golden_of
from .progress import Progress, Silent
from .speed import logits_of
from .task_settings import check_single
from .thresholds import Threshold, fit_thresholds


def calibrate(
    model: Path, data: Path, config: CalibrateConfig | None = None, *, progress: Progress | None = None
) -> Artifact:
    """Write the temperature of least validation NLL into the artifact, with ECE, Brier and NLL before and after.

    Of a multi-label task also a threshold for each label, fitted on the calibrated probabilities of validation.
    """
    progress, config = progress or Silent(), config or CalibrateConfig()
    artifact, source = Artifact.load(model, "model"), Artifact.load(data, "data")
    assert source.task is not None
    try:
        check_single(source.task.kind, config, tuple(CalibrateConfig.model_fields))
    except ValueError as error:
        raise RecipeError(str(error)) from None
    goal = {"goal": config.model_dump()} if source.task.multi else {}
    note = {"data": source.digest, "model": artifact.digest}
    made = artifact.measurements.get("calibration", {})
    lacks_golden = artifact.golden is None and MODEL_FILE in artifact.files  # as files of older versions do
    if made.get("of") == note and made.get("goal", {}) == goal.get("goal", {}) and not lacks_golden:
        return artifact
    for needed in (artifact, source):
        needed.verify(without=(TEST_FILE,))
    val = read_split(data / "val.parquet", "val")
    with progress.track(f"calibrate {short_name(model)}", len(val)) as advance:
        logits = logits_of(artifact, val.texts)
        advance(len(val))
    temperature = fit_temperature(logits, val.labels)
    decision: dict[str, Any] = {"temperature": temperature}
    calibration = {
        "of": note,
        "splits": source.digest_of(*SPLIT_FILES),
        "split": "val",
        "n": len(val),
        "before": _quality(logits, val.labels, Decision(source.task.kind)),
        "after": _quality(logits, val.labels, Decision(source.task.kind, temperature)),
    }
    if source.task.multi:
        probabilities = Decision("multi", temperature).probabilities(logits)
        fitted = fit_thresholds(probabilities, val.labels, config.threshold_for, config.threshold_target)
        decision["thresholds"] = [threshold.value for threshold in fitted]
        calibration |= goal | _told(fitted, source.task, config)
    decided = replace(artifact, decision=artifact.decision | decision)
    return decided.rewrite(
        measurements=artifact.measurements | {"calibration": calibration}, golden=golden_of(decided)
    )  # fmt: skip


def _quality(logits: NDArray[np.float32], labels: Labels, decision: Decision) -> dict[str, float]:
    measures = multilabel if decision.kind == "multi" else metrics
    return {
        name: float(getattr(measures, name)(decision.probabilities(logits), labels)) for name in ("ece", "brier", "nll")
    }


def _told(fitted: Sequence[Threshold], task: Task, config: CalibrateConfig) -> dict[str, Any]:
    """What the thresholds do on validation, and a warning for those that miss their aim."""
    named = dict(zip(task.labels, fitted, strict=True))
    warnings = [
        f"no threshold of '{label}' reaches a {config.threshold_for} of {config.threshold_target:g} on validation; the "
        f"nearest, {getattr(threshold, config.threshold_for):.3f}, is taken"
        if config.threshold_for != "f1" and threshold.f1
        else f"no validation text has the label '{label}': its threshold is 1/2"
        for label, threshold in named.items()
        if not threshold.reached
    ]
    return {"thresholds": {label: asdict(threshold) for label, threshold in named.items()}, "warnings": warnings}
