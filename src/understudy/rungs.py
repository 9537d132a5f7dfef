"""The students that are proposed for a [budget] where a recipe has none: raw tables, as a recipe would have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WORDS = {"dropout": 0.3, "epochs": 10, "learning_rate": 1e-3}
_RUNGS: tuple[dict[str, Any], ...] = (
    {"name": "textcnn-small", "kind": "textcnn", "width": 64, "filters": 32, "vocabulary": 8000, **_WORDS},
    {"name": "textcnn", "kind": "textcnn", "width": 128, "filters": 64, **_WORDS},
    {"name": "small", "kind": "transformer", "layers": 2, "width": 128, "heads": 2, "epochs": 10,
     "learning_rate": 1e-3},
    {"name": "bilstm", "kind": "bilstm", "width": 128, **_WORDS},
)  # fmt: skip
_CUTS = tuple({"name": f"cut{layers}", "kind": "cut", "layers": layers} for layers in (2, 3, 4, 6))
_OF_WORDS = ("textcnn", "bilstm")


def proposed(raw: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A table for each rung; a key that [distill] has goes over that of a rung.

    Of a teacher that is a model its word embeddings are taken, too, and cuts of it. Which of these it has layers for is
    known once its config has been read.
    """
    model = isinstance(raw.get("teacher", {}), Mapping) and raw.get("teacher", {}).get("kind", "model") == "model"
    shared = raw["distill"] if isinstance(raw.get("distill"), Mapping) else {}
    start = {"teacher_embeddings": True} if model else {}
    rungs = [rung | (start if rung["kind"] in _OF_WORDS else {}) for rung in _RUNGS]
    rungs += _CUTS if model else ()
    kept = {"name", "kind"}
    return [{key: value for key, value in rung.items() if key in kept or key not in shared} for rung in rungs]
