"""Golden inputs: a few texts of ours and the scores that an artifact gave them where its scores were made.

A machine, a library or a copy that answers them differently would answer everybody differently. The texts are the
same for every task and are nobody's data. What is kept are calibrated probabilities, which is what people get, so that
every stage that changes them writes them again. A cascade's are those of its members, which keep their own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .artifact import Artifact
from .classifier import MODEL_FILE, Cascade, Classifier, note_on_arithmetic
from .errors import ArtifactError

_TEXTS = (
    "",
    "ok",
    "I like it, and I would buy it again.",
    "Nobody answers the phone! I want my money back, NOW.",
    "Please send me the file by 10:30, or call.",
    "Das Wetter ist schön, aber der Zug fällt aus.",
    "今日は雨ですが、散歩は楽しかったです。",
    "@you 😂❤️🤷🏽‍♀️ see https://example.org/?a=1 &amp; <b>more</b> #soon",
)
_PHRASE, _END = "it is so, ", "but in the end I was sad"
_LONGEST = 1024  # words: an artifact that reads more takes too long over them for a check at every start

# By how much a probability may differ. Another CPU, GPU or library adds in another order. With weights off by a
# millionth, probabilities in floating point moved by less than 0.00001. In INT8, where that can move an activation by a
# whole step, those of six-layer teachers moved by up to 0.03 on these texts and 0.13 on 150 others, of most students by
# less than 0.001.
_TOLERANCE, _INT8_TOLERANCE = 0.01, 0.15


def golden_of(artifact: Artifact) -> dict[str, Any] | None:
    """What an artifact's manifest should keep, by its own answers; None for a cascade, or where torch must run it."""
    if MODEL_FILE not in artifact.files or artifact.text is None:
        return None
    words = min(artifact.text.max_length, _LONGEST)
    texts = [*_TEXTS, _PHRASE * (words // 3 + 1) + _END]
    tolerance = _INT8_TOLERANCE if str(artifact.details.get("variant")).startswith("int8") else _TOLERANCE
    probabilities = Classifier(artifact, threads=1).predict_proba(texts).round(6).tolist()
    return {"texts": texts, "probabilities": probabilities, "tolerance": tolerance}


def check_golden(classifier: Classifier) -> int:
    """Compare answers with the golden ones, a cascade's by its members; returns how many there are, maybe 0.

    Raises ArtifactError at the first text whose probabilities differ by more than the artifact's tolerance.
    """
    if isinstance(classifier, Cascade):
        return sum(map(check_golden, classifier.members))
    artifact = classifier.artifact
    if artifact.golden is None:
        return 0
    texts, expected, tolerance = _read(artifact.golden, classifier)
    found = classifier.predict_proba(texts)
    wrong = np.argwhere(~(np.abs(found - expected) <= tolerance))
    if len(wrong):
        row, label = wrong[0].tolist()
        note = note_on_arithmetic(artifact)
        raise ArtifactError(
            f"{artifact.path}: golden text {row + 1} of {len(texts)} gets {classifier.labels[label]} "
            f"{found[row, label]:.4f} here, expected {expected[row, label]:.4f} ± {tolerance:g}"
            f"{f' ({note})' if note else ''}: copy the whole directory again, or make the file on this machine"
        )
    return len(texts)


def _read(golden: dict[str, Any], classifier: Classifier) -> tuple[list[str], NDArray[np.float64], float]:
    """Texts, probabilities (n, labels), tolerance; raises ArtifactError for what no stage wrote."""
    try:
        texts, tolerance = [str(text) for text in golden["texts"]], float(golden["tolerance"])
        expected = np.array(golden["probabilities"], dtype=np.float64).reshape(len(texts), len(classifier.labels))
    except (KeyError, TypeError, ValueError):
        raise ArtifactError(
            f"{classifier.artifact.path}: its golden inputs are not what a stage writes; they were changed by hand"
        ) from None
    return texts, expected, tolerance
