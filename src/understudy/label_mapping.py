"""The labels of a foreign classifier → the task's: by which policy, and what that does to its answers (numpy)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .decision import softmax
from .errors import ArtifactError

if TYPE_CHECKING:
    from .config import LabelPolicy

LABEL_MAP_FILE = "label_map.json"  # in the directories of a mapped teacher and of its labels
NOTHING = -1


@dataclass(frozen=True)
class LabelMapping:
    """Which of our labels each of a classifier's labels means: `meant` holds indices into `ours`, or NOTHING."""

    policy: LabelPolicy
    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    meant: tuple[int, ...]

    @property
    def groups(self) -> list[list[int]]:
        """For each of our labels the classifier's columns that mean it."""
        return [[column for column, ours in enumerate(self.meant) if ours == label] for label in range(len(self.ours))]

    @property
    def left_out(self) -> list[int]:
        """The classifier's columns that mean none of our labels."""
        return [column for column, ours in enumerate(self.meant) if ours == NOTHING]

    def apply(self, logits: ArrayLike) -> NDArray[np.float64]:
        """Logits (n, ours) of the classifier's logits (or log-probabilities) (n, theirs).

        The logit of a label is log Σ exp(z) over its columns: in the softmax of the result the probabilities of
        columns that mean one label are added, and those of columns that mean nothing are shared out in proportion.
        """
        scores = np.asarray(logits, dtype=np.float64)
        return np.stack([np.logaddexp.reduce(scores[:, group], axis=1) for group in self.groups], axis=1)

    def dropped_mass(self, logits: ArrayLike) -> NDArray[np.float64]:
        """The probability (n,) that each row gives to labels that mean nothing here."""
        return np.asarray(softmax(logits)[:, self.left_out].sum(axis=1))

    def best_means_nothing(self, logits: ArrayLike) -> NDArray[np.bool_]:
        """Whether (n,) the classifier's best label means nothing here."""
        return np.isin(np.asarray(logits).argmax(axis=1), self.left_out)

    def abstains(self, logits: ArrayLike) -> NDArray[np.bool_]:
        """Whether (n,) a row gets no answer: by the policy `abstain`, where its best label means nothing here."""
        return self.best_means_nothing(logits) & (self.policy == "abstain")

    def to_dict(self) -> dict[str, Any]:
        """As JSON: the policy, and for each of the classifier's labels what it means."""
        names = [None if index == NOTHING else self.ours[index] for index in self.meant]
        return {"policy": self.policy, "labels": list(self.ours), "map": dict(zip(self.theirs, names, strict=True))}


def write_mapping(mapping: LabelMapping, directory: Path) -> None:
    """Keep a mapping beside the weights or the labels that it belongs to."""
    text = json.dumps(mapping.to_dict(), indent=2, ensure_ascii=False)
    (directory / LABEL_MAP_FILE).write_text(text, encoding="utf-8")


def read_mapping(directory: Path) -> LabelMapping | None:
    """The mapping that is kept in a directory; None where the labels are the task's own."""
    file = directory / LABEL_MAP_FILE
    if not file.exists():
        return None
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        ours = tuple(raw["labels"])
        meant = tuple(NOTHING if name is None else ours.index(name) for name in raw["map"].values())
        return LabelMapping(raw["policy"], tuple(raw["map"]), ours, meant)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ArtifactError(f"{file} is damaged; copy the whole directory again or rerun its stage") from None


def label_permutation(theirs: Sequence[str], ours: Sequence[str], mapping: Mapping[str, str]) -> list[int]:
    """For each of our labels the column of a foreign classifier, whose names `mapping` translates into ours.

    A name that is not one of ours may still be one in another case, if only one of ours fits.
    """
    advice = "set label_map to give each of the classifier's labels one of the task's"
    meant = _meanings(theirs, ours, mapping, "exact", advice)
    return [meant.index(index) for index in range(len(ours))]


def map_labels(
    theirs: Sequence[str], ours: Sequence[str], mapping: Mapping[str, str], policy: LabelPolicy
) -> LabelMapping:
    """The mapping by a policy; "" in `mapping` says that a label means nothing. Raises ArtifactError.

    exact: one for one. merge: several may mean one of ours, and each means one. drop_and_renormalise and abstain:
    one for each of ours, and the others mean nothing.
    """
    more = ", or label_policy to drop_and_renormalise, merge or abstain" if len(theirs) > len(ours) else ""
    advice = {
        "exact": f"set label_map to give each of the classifier's labels one of the task's{more}",
        "merge": "with label_policy merge, label_map gives each of the classifier's labels one of the task's",
    }.get(policy, f"with label_policy {policy}, label_map gives each of the task's labels one of the classifier's")
    meant = _meanings(theirs, ours, mapping, policy, advice)
    found = LabelMapping(policy, tuple(theirs), tuple(ours), tuple(meant))
    if policy != "exact" and sorted(meant) == list(range(len(ours))):
        raise ArtifactError(
            f"the classifier's labels are the task's, one for one ({_quoted(theirs)}): label_policy {policy} has "
            "nothing to do; set label_policy to exact"
        )
    return found


def mapping_summary(measured: Mapping[str, Any] | None) -> list[str]:
    """What a person should know of the measured mapping of a teacher's labels: a line per split, after the mapping."""
    if measured is None:
        return []
    lines = [f"label_policy {measured['policy']}: " + mapped_names(measured)]
    for split, mass in measured["dropped_mass"].items() if measured["policy"] != "merge" else ():
        count, texts = measured["best_means_nothing"][split], measured["texts"][split]
        fate = "left out" if measured["policy"] == "abstain" else "answered by the others"
        lines.append(
            f"{split}: {mass:.1%} of the probability dropped; {count} of {texts} texts have such a label as the best, "
            f"{fate}"
        )
    return lines


def mapped_names(mapping: Mapping[str, Any]) -> str:
    """What each of a classifier's labels means, in words."""
    return ", ".join(f"{theirs} → {ours or 'nothing'}" for theirs, ours in mapping["map"].items())


def _meanings(
    theirs: Sequence[str], ours: Sequence[str], mapping: Mapping[str, str], policy: LabelPolicy, advice: str
) -> list[int]:
    """The index of our label that each of theirs means, or NOTHING where the policy allows that."""
    names = [_our_name(mapping.get(name, name), ours) for name in theirs]
    drops, merges = policy in ("drop_and_renormalise", "abstain"), policy == "merge"
    strange = [name for name in mapping.values() if drops and name and _our_name(name, ours) is None]
    problems = {
        "missing": [name for name in ours if name not in names],
        "extra": [name for name, our in zip(theirs, names, strict=True) if our is None and not drops],
        "doubled": [name for name in ours if names.count(name) > 1 and not merges],
        "in label_map but not the classifier's": [name for name in mapping if name not in theirs],
        "in label_map but not the task's": strange,
    }
    if any(problems.values()):
        found = "; ".join(f"{kind}: {_quoted(names)}" for kind, names in problems.items() if names)
        raise ArtifactError(
            f"the classifier's labels do not fit the task's: {found}; got {_quoted(theirs)}, expected {_quoted(ours)};"
            f" {advice}"
        )
    return [NOTHING if name is None else list(ours).index(name) for name in names]


def _our_name(name: str, ours: Sequence[str]) -> str | None:
    if name in ours:
        return name
    alike = [our for our in ours if our.casefold() == name.casefold()]
    return alike[0] if len(alike) == 1 else None


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
