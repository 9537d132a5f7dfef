"""The temperature of what ships."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from understudy import Classifier
from understudy.artifact import Artifact
from understudy.calibration import calibrate
from understudy.data.storing import read_split
from understudy.decision import log_softmax


def test_every_shipped_file_has_its_own_temperature(finished_run: Path) -> None:
    homes = [home for home in (finished_run / "students").glob("*/*") if home.name != "torch"]
    temperatures = [Artifact.load(home).decision["temperature"] for home in homes]
    assert len(temperatures) == 9
    assert len(set(temperatures)) > 3


def test_it_is_the_best_on_validation_and_moves_no_label(finished_run: Path) -> None:
    artifact = Artifact.load(finished_run / "students/cnn/int8")
    val = read_split(finished_run / "data/val.parquet", "val")
    logits = Classifier.load(artifact.path).logits(val.texts)

    def loss(temperature: float) -> float:
        return -float(log_softmax(logits, temperature)[np.arange(len(val)), val.labels].mean())

    best = artifact.temperature
    assert loss(best) <= min(loss(best * 1.05), loss(best / 1.05), loss(1.0))
    noted = artifact.measurements["calibration"]
    assert abs(noted["after"]["nll"] - loss(best)) < 1e-9
    assert abs(noted["before"]["nll"] - loss(1.0)) < 1e-9
    assert noted["split"] == "val"


def test_it_changes_the_manifest_alone_and_only_once(finished_run: Path, tmp_path: Path) -> None:
    home = tmp_path / "students" / "copy"
    shutil.copytree(finished_run / "students/cnn/fp32", home)
    before = Artifact.load(home, verify=True)
    fresh = before.rewrite(decision={}, measurements={})
    assert fresh.temperature == 1.0
    again = calibrate(home, finished_run / "data")
    assert again.temperature == before.temperature
    assert again.digest == before.digest
    stamp = (home / "artifact.json").stat().st_mtime_ns
    calibrate(home, finished_run / "data")
    assert (home / "artifact.json").stat().st_mtime_ns == stamp
