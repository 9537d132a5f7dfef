"""What a student is to match: the teacher's stored logits, calibrated and, on request, corrected; its layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..artifact import Artifact
from ..data.task import UNLABELED, Labels, Split
from ..soft_labels import Logits, read_labels
from .batches import LayerTargets
from .shards import read_attention, read_hidden


def teacher_targets(labels: Artifact, splits: Sequence[Split], *, correct: bool) -> Logits:
    """Logits (n, labels) of the splits' texts one after the other, divided by the calibration temperature."""
    logits = np.concatenate([read_labels(labels.path, split.name, split.ids) for split in splits])
    logits /= labels.temperature
    return corrected(logits, np.concatenate([split.labels for split in splits])) if correct else logits


def layer_targets(
    labels: Artifact, splits: Sequence[Split], layers: Sequence[int], *, hidden: bool, attention: bool
) -> LayerTargets:
    """The teacher's chosen layers for the splits' texts one after the other; a layer may be chosen twice."""
    states, rows = None, None
    if hidden:
        width = labels.details["width"]
        states = np.concatenate([read_hidden(labels.path, part.name, part.ids, layers, width) for part in splits])
    if attention:
        total = labels.details["layers"]
        rows = [row for part in splits for row in read_attention(labels.path, part.name, part.ids, layers, total)]
    return LayerTargets(states, rows)


def corrected(logits: Logits, labels: Labels) -> Logits:
    """Where the teacher chooses another label than the gold one, the logits of these two change places.

    Probability shift (Wen, Lai and Qian 2021, "Preparing lessons"). A one-hot target instead, as some use, throws
    away what the teacher knows of the other labels, and has no logits that a regression could learn. Here the row
    stays as sure as the teacher was. Rows without a gold label, and rows that are right, stay as they are.

    Of several labels each is 0 against z, and where these two change places z changes its sign.
    """
    if labels.ndim == 2:
        mistaken = (labels != UNLABELED) & ((logits > 0) != (labels == 1))
        return np.where(mistaken, -logits, logits)
    first = logits.argmax(axis=1)
    wrong = np.flatnonzero((labels != UNLABELED) & (first != labels))
    result = logits.copy()
    result[wrong, labels[wrong]] = logits[wrong, first[wrong]]
    result[wrong, first[wrong]] = logits[wrong, labels[wrong]]
    return result
