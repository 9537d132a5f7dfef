"""understudy inspect"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..artifact import Artifact, TextConfig


@click.command("inspect")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="print the manifest as JSON")
def command(artifact: Path, as_json: bool) -> None:
    """Say what ARTIFACT is, after checking the SHA-256 of every file in it, and whether it answers as it should here.

    That is asked of its golden inputs: texts with the probabilities that it gave them where it was made.
    """
    from ..artifact import MANIFEST, Artifact
    from ..errors import ArtifactError

    found, problem = Artifact.load(artifact, verify=True), None
    try:
        golden = _golden(found)
    except ArtifactError as error:
        golden, problem = "not answered as expected", error
    if as_json:
        click.echo((artifact / MANIFEST).read_text(encoding="utf-8"))
    else:
        _tell(found, golden)
    if problem is not None:
        raise problem


def _tell(found: Artifact, golden: str | None) -> None:
    """The lines that a person reads."""
    from .. import hashing
    from ..certificates import described
    from ..classifier import DEFER_BELOW, note_on_arithmetic

    calibration = found.measurements.get("calibration", {})
    total = sum(int(entry["bytes"]) for entry in found.files.values())
    hashed = hashing.SETTINGS_FILE in found.files
    lines = {
        "kind": f"{found.kind}, written by {found.stage}",
        "task": found.task and f"{found.task.name} ({found.task.metric}): {', '.join(found.task.labels)}",
        "labels": "any number per text" if found.task and found.task.multi else None,
        "text": found.text and _text(found.text, "words" if hashed else "tokens"),
        **{name: value for name, value in found.details.items() if value is not None},
        "temperature": f"{found.temperature:.3f}" if "temperature" in found.decision else None,
        "thresholds": _thresholds(found),
        "answers": f"from a confidence of {found.decision[DEFER_BELOW]:.4f} on, else the next member"
        if DEFER_BELOW in found.decision
        else None,
        "certified": described(found.measurements["certificate"]) if "certificate" in found.measurements else None,
        "files": f"{len(found.files)}, {total / 1e6:.1f} MB, all as the manifest says",
        "golden inputs": golden,
        "hashing": ("in C" if hashing.fast() else "in NumPy, no C library was built") if hashed else None,
        "seed": found.seed,
        "versions": ", ".join(f"{name} {version}" for name, version in found.versions.items()),
        "warnings": "; ".join(
            filter(None, [*found.warnings, *calibration.get("warnings", []), note_on_arithmetic(found)])
        ),
    }
    for name, value in lines.items():
        if value not in (None, ""):
            click.echo(f"{name:<16} {value if isinstance(value, str) else json.dumps(value)}")


def _golden(artifact: Artifact) -> str | None:
    """What became of the golden inputs; None where the runtime opens no such artifact; raises ArtifactError."""
    from ..classifier import MODEL_FILE, members_of, open_classifier
    from ..golden import check_golden

    if MODEL_FILE not in artifact.files and not members_of(artifact):
        return None
    count = check_golden(open_classifier(artifact, threads=1))
    return f"{count}, answered as expected" if count else "none: an older version wrote it; `calibrate` adds them"


def _thresholds(artifact: Artifact) -> str | None:
    """From which probability on each label applies; None where a text has one label, or nothing is calibrated."""
    if artifact.task is None or "thresholds" not in artifact.decision:
        return None
    pairs = zip(artifact.task.labels, artifact.decision["thresholds"], strict=True)
    return ", ".join(f"{label} {threshold:.3f}" for label, threshold in pairs)


def _text(text: TextConfig, unit: str) -> str:
    ends = " of its beginning and its end" if text.truncation == "head_tail" else ""
    return f"{', '.join(text.normalize) or 'as it is'}; at most {text.max_length} {unit}{ends}"
