"""cascade: artifacts from cheap to large → one artifact that asks the large one only where the others are unsure.

understudy cascade runs/x/students/cnn/int8 runs/x/teacher-fp32 --data runs/x/data --out runs/x/students/duo/cascade

The threshold is the cheapest one that a certificate holds for (see `certificates`). The risk that it bounds, over the
texts that the rows were drawn from, is one of

    agreement    P(the cascade's label is not the large model's)
    risk         P(the cascade's label is wrong) − P(the large model's label is wrong)
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .artifact import MANIFEST, Artifact, Plan, TextConfig, finished, short_name, writing
from .cascade_settings import CascadeConfig
from .certificates import Outcome, Seen, fixed_sequence, rows_needed, thinned
from .classifier import CASCADE, DEFER_BELOW, MODEL_FILE, decision_of, note_on_data
from .data.duplicates import not_in
from .data.reading import read_unlabeled
from .data.storing import TEST_FILE, read_split
from .data.task import Split, Task
from .entries import Entry
from .errors import ArtifactError, InputError, UncertifiedError
from .estimates import wilson
from .files import sha256_of_file
from .progress import Progress, Silent
from .speed import logits_of

MEMBERS = "members"


def cascade(
    models: Sequence[Path],
    data: Path,
    out: Path,
    config: CascadeConfig | None = None,
    *,
    texts: Path | None = None,
    column: str = "text",
    progress: Progress | None = None,
) -> Artifact:
    """Fit the threshold of a cascade of `models`, cheap to large, and write it with copies of them.

    On validation, or on the unlabelled `texts` of a file (agreement alone) without those that the students may have
    learnt. Raises UncertifiedError, and writes nothing, where no threshold that spares the large model a text can be
    certified.
    """
    progress, config = progress or Silent(), config or CascadeConfig()
    if texts is not None and config.target != "agreement":
        raise InputError("--texts have no gold labels to tell errors by: they are for --target agreement")
    source = Artifact.load(data, "data")
    assert source.task is not None
    entries = _members(models, source.task, data)
    inputs = {entry.key: f"{entry.artifact.digest}:{entry.artifact.temperature}" for entry in entries}
    inputs |= {"data": source.digest} | ({"texts": sha256_of_file(texts)} if texts else {})
    plan = Plan("cascade", config.model_dump() | {"members": [entry.key for entry in entries]}, inputs)
    done = finished(out, plan, progress)
    if done is not None:
        return done
    source.verify(without=(TEST_FILE,))
    for entry in entries:
        entry.artifact.verify()
    val = read_split(data / "val.parquet", "val")
    if config.target == "risk" and not val.labeled:
        raise InputError(f"{data} has no labels of validation to tell errors by; choose --target agreement")
    rows, about = (val, {"of": "val"}) if texts is None else _unseen(texts, column, data, entries[0].artifact)
    with writing(out, plan, "model") as draft:
        with progress.track(f"certify {short_name(out)}", len(entries)) as advance:
            known = _logits(entries, rows, advance)
        outcome = fixed_sequence(_seen(entries, known, rows, config), config.target, config.level, config.confidence)
        if outcome.certified is None:
            raise UncertifiedError(_why(outcome, entries, len(rows), config))
        threshold = outcome.certified.threshold
        draft.task, draft.text = source.task, _text(entries)
        draft.details = {
            "variant": CASCADE, "kind": CASCADE, "members": [_home(entry) for entry in entries],
            "params": sum(entry.artifact.details["params"] for entry in entries),
        }  # fmt: skip
        draft.decision = {DEFER_BELOW: threshold}
        draft.measurements = {
            "certificate": {
                **config.model_dump(), "rows": about, "n": len(rows), "p": outcome.certified.p,
                "seen_risk": outcome.certified.risk, "tested": [asdict(one) for one in thinned(outcome.tested)],
            },
            "validation": _on_validation(entries, val, known if texts is None else None, threshold),
        }  # fmt: skip
        draft.warnings = _warnings(entries, source)
        for entry in entries:
            _copy(entry.artifact, draft.path / _home(entry))
    return Artifact.load(out)


def _members(models: Sequence[Path], task: Task, data: Path) -> list[Entry]:
    """The members, checked: ONNX models of the task, each with its own name, all but the large one calibrated."""
    if len(models) < 2:
        raise InputError("a cascade needs at least two artifacts, the cheapest first and the large one last")
    if task.multi:
        raise InputError(
            f"{data} is of a task with several labels per text; a cascade needs one, whose confidence decides"
        )
    entries = [Entry.of(path) for path in models]
    for index, entry in enumerate(entries):
        artifact, path = entry.artifact, entry.path
        if artifact.task is None or artifact.text is None or MODEL_FILE not in artifact.files:
            inside = "a cascade itself: give its members" if artifact.details.get("members") else f"no {MODEL_FILE}"
            raise ArtifactError(f"{path}: expected an ONNX artifact as a member, got {inside}")
        if artifact.task.labels != task.labels:
            raise ArtifactError(
                f"{path} has the labels {', '.join(artifact.task.labels)}, expected those of {data}: "
                f"{', '.join(task.labels)}, in this order"
            )
        if "temperature" not in artifact.decision and index < len(entries) - 1:
            raise ArtifactError(
                f"{path} is not calibrated, and its confidence decides: run `understudy calibrate {path} --data {data}`"
            )
        if _home(entry) in map(_home, entries[:index]):
            raise InputError(f"{path}: a second {entry.key}; members are told apart by name and variant")
    if len({_normalization(entry) for entry in entries}) > 1:
        raise ArtifactError("the members normalise texts in different ways: they must come from the same data")
    return entries


def _warnings(entries: Sequence[Entry], data: Artifact) -> list[str]:
    """What was said of each member, and of one that may know texts which these data hold out."""
    notes = {entry.key: note_on_data(entry.artifact, data) for entry in entries}
    return [
        *(f"{entry.key}: {warning}" for entry in entries for warning in entry.artifact.warnings),
        *(f"{key}: {note}, which would flatter the certificate" for key, note in notes.items() if note),
    ]


def _normalization(entry: Entry) -> tuple[str, ...]:
    return entry.artifact.text.normalize if entry.artifact.text else ()


def _text(entries: Sequence[Entry]) -> TextConfig:
    """How texts are normalised, as by every member; the most tokens that one of them reads."""
    longest = max(entry.artifact.text.max_length for entry in entries if entry.artifact.text)
    return TextConfig(_normalization(entries[0]), longest)


def _home(entry: Entry) -> str:
    """The directory of a member inside the cascade's."""
    return f"{MEMBERS}/{entry.key.replace('/', '-')}"


def _unseen(file: Path, column: str, data: Path, member: Artifact) -> tuple[Split, dict[str, Any]]:
    """The texts of a file that are not among those that were trained or chosen on, and what became of the others."""
    read = read_unlabeled(file, column, "texts", member.text.normalize if member.text else ())
    known = [text for path in sorted(data.glob("*.parquet")) if path.name != TEST_FILE
             for text in read_split(path, path.stem).texts]  # fmt: skip
    kept = not_in(read.split.texts, known)
    if not len(kept.rows):
        raise InputError(f"{file}: all {len(read.split):,} texts are among those of {data}; give others")
    left_out = {"seen": kept.exact + kept.normalized, "empty": read.empty}
    return read.split.take(kept.rows), {"of": "texts", "sha256": sha256_of_file(file), "left_out": left_out}


def _logits(entries: Sequence[Entry], rows: Split, advance: Any = lambda units: None) -> list[NDArray[np.float32]]:
    found = []
    for entry in entries:
        found.append(logits_of(entry.artifact, rows.texts))
        advance(1)
    return found


def _seen(entries: Sequence[Entry], known: Sequence[NDArray[np.float32]], rows: Split, config: CascadeConfig) -> Seen:
    chosen = np.stack([logits.argmax(axis=1) for logits in known])
    losses = chosen != chosen[-1]
    if config.target == "risk":
        wrong = (chosen != rows.labels).astype(np.int64)
        return Seen(_confidences(entries, known), wrong - wrong[-1])
    return Seen(_confidences(entries, known), losses.astype(np.int64))


def _confidences(entries: Sequence[Entry], known: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Calibrated confidence of all members but the large one, (members − 1, n), as `Cascade` finds it."""
    pairs = list(zip(entries, known, strict=True))[:-1]
    return np.stack([decision_of(entry.artifact).probabilities(logits).max(axis=1) for entry, logits in pairs])


def _on_validation(
    entries: Sequence[Entry], val: Split, known: Sequence[NDArray[np.float32]] | None, threshold: float
) -> dict[str, Any]:
    """What the cascade does on validation: who answers how much, and how often it is right beside the large model."""
    logits = known if known is not None else _logits(entries, val)
    chosen, n = np.stack([row.argmax(axis=1) for row in logits]), len(val)
    by = Seen(_confidences(entries, logits), chosen).answering(threshold)
    taken = chosen[by, np.arange(n)]
    right = {"accuracy": taken == val.labels, "accuracy_of_the_large": chosen[-1] == val.labels} if val.labeled else {}
    shares = {**right, "agreement": taken == chosen[-1]}
    return {
        "answered": {entry.key: float((by == place).mean()) for place, entry in enumerate(entries)},
        **{name: wilson(int(rows.sum()), n).to_dict() for name, rows in shares.items()},
    }


def _why(outcome: Outcome, entries: Sequence[Entry], n: int, config: CascadeConfig) -> str:
    """What was in the way of a certificate, and what would help."""
    needed, percent = rows_needed(config.target, config.level, config.confidence), f"{100 * config.level:g}"
    promise = f"{config.target} at level {config.level:g} with confidence {config.confidence:g}"
    if n < needed:
        return f"{n:,} texts cannot certify {promise}, whatever the models answer: at least {needed:,} are needed"
    stopped = outcome.stopped_at
    if stopped is None:
        return f"no member is sure enough of a single one of {n:,} texts to answer it in the place of the large one"
    return (
        f"{promise} cannot be certified on {n:,} texts: already where {entries[-1].key} is spared only the surest "
        f"{100 * (1 - stopped.deferred):.1f} % of them (confidence from {stopped.threshold:.5f} on), the risk seen is "
        f"{100 * stopped.risk:.2f} %, too near to {percent} %; raise --level, give more texts, or a better small model"
    )


def _copy(artifact: Artifact, target: Path) -> None:
    """The files of an artifact that its manifest lists, and the manifest."""
    for name in (*artifact.files, MANIFEST):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(artifact.path / name, target / name)
