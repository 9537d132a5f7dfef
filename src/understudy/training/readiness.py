"""Whether a classifier can be taken as it is: its outputs are the logits of named labels, decided as the task is."""

from __future__ import annotations

from typing import Any

from ..data.task import Kind
from ..errors import InputError

PROBLEMS: dict[Kind, Any] = {"single": "single_label_classification", "multi": "multi_label_classification"}


def check_ready(name: str, config: Any, report: dict[str, Any], kind: Kind) -> None:
    """Refuse a model whose outputs are not the logits of named labels, decided as the task's kind wants it."""
    if report["missing_keys"]:
        raise InputError(
            f"model {name!r} is no ready classifier, it has no {min(report['missing_keys'])}: set train = true"
        )
    if report["mismatched_keys"]:
        tensor, found, expected = min(report["mismatched_keys"])
        raise InputError(
            f"the config.json of model {name!r} does not fit its weights: {tensor} has the shape {list(found)}, "
            f"expected {list(expected)}; correct it (id2label names {config.num_labels} labels) or set train = true"
        )
    outputs = list(range(config.num_labels))
    if sorted(config.id2label) != outputs:
        raise InputError(
            f"model {name!r} names its outputs {sorted(config.id2label)} (id2label in its config.json), expected "
            f"{outputs}; correct it or set train = true"
        )
    if kind == "multi" and config.problem_type != PROBLEMS["multi"]:
        raise InputError(
            f"model {name!r} gives a text one label ({config.problem_type or 'no problem_type'} in its config.json), "
            f"expected any number of labels ({PROBLEMS['multi']}): set train = true, or correct its config.json"
        )
    if kind == "single" and config.problem_type == PROBLEMS["multi"]:
        raise InputError(
            f"model {name!r} gives a text any number of labels ({config.problem_type} in its config.json), expected "
            'one label per text: set train = true, or kind = "multi" in [task]'
        )
    if config.problem_type == "regression":
        raise InputError(
            f"model {name!r} gives a number (regression in its config.json), expected a label: set train = true, or "
            "delete problem_type from its config.json if the number is the logit of a label"
        )
