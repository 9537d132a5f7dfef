"""What a search found: the best trial, and which others cannot be told apart from it on the rows it was judged on."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..answers import Answers
from ..config import StudentConfig
from ..data.task import Labels, Split
from ..decision import losses
from ..metrics import Estimate, paired_difference
from ..thresholds import fitted_decision
from .trials import trial_name

if TYPE_CHECKING:
    from .study import Study, Trial

_normal = NormalDist()
_NAMED = 8  # numbers of trials in a sentence


def verdict(
    study: Study, judged: Split, trials: Path, student: StudentConfig, warnings: Sequence[str]
) -> dict[str, Any]:
    """What best_params.json says. Differences are positive where the best trial is better."""
    best, objective = study.best(), study.config.objective
    assert best is not None
    others = sorted(_complete(study, best), key=lambda trial: abs((trial.value or 0) - (best.value or 0)))
    logits = {trial.number: _logits(trials, trial) for trial in (best, *others)}
    chosen = logits[best.number]
    differences = {
        trial.number: difference(judged.labels, found, chosen, objective)
        for trial in others
        if (found := logits[trial.number]) is not None and chosen is not None
    }
    same = sorted(number for number, gap in differences.items() if not surely_positive(gap, len(differences)))
    own = next((t.number for t in (best, *others) if _is_the_recipes(t, student)), None)
    interval = None if chosen is None else _interval(chosen, judged.labels, objective)
    weights = trials / trial_name(best.number)
    return {
        "student": student.name,
        "trial": best.number,
        "params": best.params,
        "objective": {
            "name": objective, "value": best.value, "ci95": interval, "n": len(judged),
            "judged_on": f"{study.config.folds} folds of train" if study.config.folds else "the validation split",
        },
        "metrics": best.scores,
        "runner_up": _beside(others[0], differences) if others else None,
        "recipe_trial": own,
        "indistinguishable": same,
        "conclusion": conclude(best.number, differences, same, own),
        "warnings": list(warnings),
        "trials": dict(Counter(trial.state for trial in study.trials())),
        "importance": study.importance(),
        "space": {key: dimension.to_dict() for key, dimension in study.space.items()},
        "weights": f"{trials.name}/{weights.name}" if weights.is_dir() else None,
    }  # fmt: skip


def difference(labels: Labels, other: NDArray[np.float32], best: NDArray[np.float32], objective: str) -> Estimate:
    """How much better the best trial's logits are on the same rows, with a 95 % interval."""
    if objective != "nll":
        one, two = (fitted_decision(logits, labels).choose(logits) for logits in (other, best))
        return paired_difference(labels, one, two, objective)
    gaps = losses(other, labels) - losses(best, labels)
    mean, error = float(gaps.mean()), float(gaps.std(ddof=1)) / math.sqrt(len(gaps))
    half = _normal.inv_cdf(0.975) * error
    return Estimate(mean, mean - half, mean + half, len(gaps))


def _interval(logits: NDArray[np.float32], labels: Labels, objective: str) -> Any:
    """The 95 % interval of the objective."""
    answers = Answers(logits, fitted_decision(logits, labels))
    return answers.scores(labels, 2000, 0)[objective].to_dict()["ci95"]


def surely_positive(gap: Estimate, comparisons: int) -> bool:
    """Whether a difference is above 0 at 95 % for as many comparisons together (Bonferroni, normal approximation).

    The best of many was chosen for being best here, so that plain intervals would call noise a difference.
    """
    error = (gap.high - gap.low) / (2 * _normal.inv_cdf(0.975))
    return gap.value - _normal.inv_cdf(1 - 0.025 / comparisons) * error > 0


def conclude(best: int, differences: Mapping[int, Estimate], same: Sequence[int], own: int | None) -> str:
    """The verdict in words."""
    compared = len(differences)
    if not compared:
        return f"Trial {best} is the only one that was completed here; there is nothing to compare it with."
    against = f"{compared} other complete {'trial' if compared == 1 else 'trials'}"
    rows = f"on the same {next(iter(differences.values())).n} rows (95 %, corrected for {compared} comparisons)"
    if not same:
        return (
            f"Trial {best} is better than the {against} {rows}. It was chosen as the best of them, so that its own "
            "value is somewhat too good."
        )
    named = ", ".join(map(str, same[:_NAMED])) + (f" and {len(same) - _NAMED} more" if len(same) > _NAMED else "")
    lines = [
        f"Trial {best} cannot be told apart from {len(same)} of {against} ({named}) {rows}. Another seed would add to "
        "that noise."
    ]
    if own in same:
        lines.append(f"The recipe's own settings (trial {own}) are among them: nothing surely better was found.")
    return " ".join(lines)


def snippet(found: Mapping[str, Any]) -> str:
    """The best settings as lines of a recipe."""
    objective = found["objective"]
    lines = [
        f"# trial {found['trial']}: {objective['name']} {objective['value']:.4f} on {objective['judged_on']}; "
        f"for the [[students]] table named {found['student']}"
    ]
    # Scalars and lists of them are written in TOML as in JSON.
    return "\n".join(lines + [f"{key} = {json.dumps(value)}" for key, value in found["params"].items()]) + "\n"


def _complete(study: Study, best: Trial) -> list[Trial]:
    return [trial for trial in study.trials() if trial.state == "complete" and trial.number != best.number]


def _logits(trials: Path, trial: Trial) -> NDArray[np.float32] | None:
    """The logits of a trial, which may have run on another machine."""
    file = trials / f"{trial_name(trial.number)}.npy"
    return np.load(file) if file.exists() else None


def _is_the_recipes(trial: Trial, student: StudentConfig) -> bool:
    settings = dict(student)
    return all(settings[key] == value for key, value in trial.params.items())


def _beside(trial: Trial, differences: Mapping[int, Estimate]) -> dict[str, Any]:
    gap = differences.get(trial.number)
    return {
        "trial": trial.number, "params": trial.params, "value": trial.value,
        "difference": gap and {key: value for key, value in gap.to_dict().items() if key != "n"},
    }  # fmt: skip
