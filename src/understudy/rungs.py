"""The students that are proposed for a [budget] where a recipe has none: raw tables, as a recipe would have them.

Sizes and settings are those that LOG.md has figures of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WORDS = {"dropout": 0.3, "epochs": 10, "learning_rate": 1e-3}
_RUNGS: tuple[dict[str, Any], ...] = (
    {"name": "linear", "kind": "hashed", "width": 0, "epochs": 3, "batch_size": 128, "learning_rate": 1e-1},
    {"name": "hashed-small", "kind": "hashed", "width": 16, "vocabulary": 40_000, "epochs": 10, "learning_rate": 1e-2},
    {"name": "hashed", "kind": "hashed", "epochs": 10, "learning_rate": 1e-2},
    {"name": "textcnn-small", "kind": "textcnn", "width": 64, "filters": 32, "vocabulary": 8000, **_WORDS},
    {"name": "gated-cnn", "kind": "gated-cnn", "width": 64, "channels": 64, "pooling": "max_mean", **_WORDS},
    {"name": "bigru", "kind": "bigru", "width": 64, "units": 64, "pooling": "max_mean", **_WORDS},
    {"name": "textcnn", "kind": "textcnn", "width": 128, "filters": 64, **_WORDS},
    {"name": "bilstm", "kind": "bilstm", "width": 128, **_WORDS},
    {"name": "small", "kind": "transformer", "layers": 2, "width": 128, "heads": 2, "epochs": 10,
     "learning_rate": 1e-3},
)  # fmt: skip
_OF_A_MODEL: dict[str, dict[str, Any]] = {  # what is taken of a teacher that is one
    "textcnn": {"teacher_embeddings": True},
    "bilstm": {"teacher_embeddings": True},
    "gated-cnn": {"tokens": "teacher", "teacher_embeddings": True},
    "bigru": {"tokens": "teacher", "teacher_embeddings": True},
}
_CUTS = tuple({"name": f"cut{layers}", "kind": "cut", "layers": layers} for layers in (2, 3, 4, 6))
_OWN = {"name", "kind", "learning_rate"}  # one rate for all of them would suit none


def proposed(raw: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A table for each rung; a key that [distill] has goes over that of a rung, but for the learning rate.

    Of a teacher that is a model its word embeddings are taken, too, and cuts of it. Which of these it has layers for is
    known once its config has been read.
    """
    teacher, shared = raw.get("teacher", {}), raw.get("distill", {})
    rungs = [dict(rung) for rung in _RUNGS]
    if isinstance(teacher, Mapping) and teacher.get("kind", "model") == "model":
        rungs = [rung | _OF_A_MODEL.get(rung["kind"], {}) for rung in rungs] + [dict(cut) for cut in _CUTS]
    taken = set(shared) - _OWN if isinstance(shared, Mapping) else set()
    return [{key: value for key, value in rung.items() if key not in taken} for rung in rungs]
