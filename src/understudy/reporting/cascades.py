"""The model card of a cascade: its members, its threshold, what was certified of it."""

from __future__ import annotations

from typing import Any

from ..artifact import Artifact
from ..certificates import described
from ..classifier import DEFER_BELOW, members_of
from ..entries import Entry
from .documents import hub_metadata, model_template
from .view import FILES


def cascade_card(cascade: Artifact) -> str:
    """The Markdown card of an artifact that `cascade` wrote."""
    certificate = cascade.measurements["certificate"]
    return model_template("cascade_card.md.jinja").render(
        key=Entry.of(cascade.path).key, metadata=hub_metadata(["text-classification", "understudy", "cascade"]),
        task=cascade.task, params=cascade.details["params"], size=cascade.bytes_of(*cascade.files),
        members=_members(cascade), threshold=cascade.decision[DEFER_BELOW],
        certificate=certificate, promise=described(certificate), validation=cascade.measurements["validation"],
        warnings=cascade.warnings,
    )  # fmt: skip


def _members(cascade: Artifact) -> list[dict[str, Any]]:
    """A row for each member, cheap to large."""
    answered = cascade.measurements["validation"]["answered"].items()
    return [
        {
            "name": name, "file": FILES[member.details["variant"]], "params": member.details["params"],
            "size": member.bytes_of(*member.files), "answered": share,
        }
        for member, (name, share) in zip(members_of(cascade), answered, strict=True)
    ]  # fmt: skip
