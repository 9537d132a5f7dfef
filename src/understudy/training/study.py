"""The study of a search: Optuna's trials in a database, in our words. The only module that imports Optuna."""

from __future__ import annotations

import json
import math
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from ..errors import InputError, first_line
from ..space import Dimension, TuneConfig

_HEARTBEAT, _GRACE = 60, 600  # seconds; a machine that is silent for the grace period is taken for dead
_STATES = {
    TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed",
    TrialState.RUNNING: "running", TrialState.WAITING: "waiting",
}  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """One trial as the study knows it; `error` is empty for one that was interrupted, which does not count."""

    number: int
    state: str
    params: dict[str, Any]
    value: float | None
    scores: dict[str, float] = field(default_factory=dict)
    epochs: int = 0
    seconds: float = 0.0
    error: str = ""

    @property
    def counts(self) -> bool:
        """Whether it is one of the trials that were asked for."""
        return self.state != "waiting" and (self.state != "failed" or bool(self.error))


class Study:
    """Asks for trials and tells how they went. `owner` names the directory and machine that this process works for."""

    def __init__(
        self,
        storage: str,
        name: str,
        space: Mapping[str, Dimension],
        config: TuneConfig,
        *,
        seed: int,
        salt: str,
        owner: str,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.space, self.config, self.owner = space, config, owner
        self._seed = [seed, zlib.crc32(salt.encode())]
        self._open: dict[int, optuna.Trial] = {}
        try:
            with _quiet():
                self._storage = optuna.storages.RDBStorage(storage, heartbeat_interval=_HEARTBEAT, grace_period=_GRACE)
            self._study = optuna.create_study(
                storage=self._storage, study_name=name, load_if_exists=True, pruner=_pruner(config),
                direction="minimize" if config.objective == "nll" else "maximize",
            )  # fmt: skip
        except Exception as error:  # of the driver of any database
            raise InputError(f"--storage {_masked(storage)}: cannot be opened: {first_line(error)}") from None

    def forget_interrupted(self) -> int:
        """Mark what an earlier process of ours left running as failed; the caller holds the directory's lock."""
        left = [
            trial
            for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            if trial.user_attrs.get("owner", self.owner) == self.owner
        ]
        for trial in left:
            self._study.tell(trial.number, state=TrialState.FAIL)
        return len(left)

    def ask(self, first: Mapping[str, Any]) -> Trial | None:
        """The next trial; None when there are enough, or no point of a grid is left. The first one is given."""
        with _quiet():
            optuna.storages.fail_stale_trials(self._study)
        trials = self.trials()
        index = sum(trial.counts for trial in trials)
        if index >= self.config.trials:
            return None
        point = self._next_point(trials) if self.config.sampler == "grid" else None if index else first
        if self.config.sampler == "grid" and point is None:
            return None
        if point is not None and all(point[key] in dimension for key, dimension in self.space.items()):
            self._enqueue(point, trials)
        # By the index, not by what this process drew before: a search that was interrupted goes on as if it were not.
        self._study.sampler = _sampler(self.config, int(np.random.default_rng([*self._seed, index]).integers(2**31)))
        with _quiet():
            trial = self._study.ask({key: _distribution(dimension) for key, dimension in self.space.items()})
        trial.set_user_attr("owner", self.owner)
        self._open[trial.number] = trial
        self._storage.record_heartbeat(trial._trial_id)
        return Trial(trial.number, "running", _decoded(trial.params, self.space), None)

    def report(self, number: int, step: int, scores: Mapping[str, float], epochs: int) -> bool:
        """Note how a trial does; returns whether to stop it."""
        trial = self._open[number]
        trial.set_user_attr("scores", dict(scores))
        trial.set_user_attr("epochs", epochs)
        trial.report(scores[self.config.objective], step)
        return bool(trial.should_prune())  # a pruner may answer with numpy's

    def complete(self, number: int, scores: Mapping[str, float], epochs: int, seconds: float) -> None:
        """Note the result of a trial."""
        self._open[number].set_user_attr("scores", dict(scores))
        self._close(number, TrialState.COMPLETE, scores[self.config.objective], epochs=epochs, seconds=seconds)

    def prune(self, number: int, seconds: float) -> None:
        """Note that a trial was stopped; its last report is its value."""
        self._close(number, TrialState.PRUNED, seconds=seconds)

    def fail(self, number: int, error: str, seconds: float) -> None:
        """Note that a trial failed, and why."""
        self._close(number, TrialState.FAIL, seconds=seconds, error=error or "no message")

    def beat(self) -> None:
        """Tell other machines that the open trials are alive."""
        for trial in self._open.values():
            self._storage.record_heartbeat(trial._trial_id)

    def trials(self) -> list[Trial]:
        """All trials by number."""
        return [_ours(trial, self.space) for trial in self._study.get_trials(deepcopy=False)]

    def best(self) -> Trial | None:
        """The complete trial with the best value."""
        finished = [trial for trial in self.trials() if trial.state == "complete" and trial.value is not None]
        sign = 1 if self.config.objective == "nll" else -1
        return min(finished, key=lambda trial: sign * (trial.value or 0.0), default=None)

    def importance(self) -> dict[str, float]:
        """The share of each key in the objective's variation (PED-ANOVA); empty if too little is known."""
        finished = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(finished) < 4 or len({trial.value for trial in finished}) < 2:
            return {}
        found = optuna.importance.get_param_importances(self._study)
        return {key: float(share) for key, share in found.items() if math.isfinite(share)}

    def _close(self, number: int, state: TrialState, value: float | None = None, **notes: Any) -> None:
        trial = self._open.pop(number)
        for name, note in notes.items():
            trial.set_user_attr(name, note)
        self._study.tell(trial, value, state)

    def _next_point(self, trials: Sequence[Trial]) -> dict[str, Any] | None:
        """The next point of the grid, in an order that the seed decides; None if none is left."""
        taken = [trial.params for trial in trials if trial.counts]
        points: list[dict[str, Any]] = [{}]
        for key, dimension in self.space.items():
            points = [{**point, key: value} for point in points for value in dimension.points]
        order = np.random.default_rng(self._seed).permutation(len(points))
        return next((points[row] for row in order if points[row] not in taken), None)

    def _enqueue(self, point: Mapping[str, Any], trials: Sequence[Trial]) -> None:
        """Let the next trial be this one, unless a process that was killed has put one there already."""
        if not any(trial.state == "waiting" for trial in trials):
            self._study.enqueue_trial({key: _scalar(point[key]) for key in self.space})


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's warnings that heartbeats are experimental and meant for its own loop."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _sampler(config: TuneConfig, seed: int) -> optuna.samplers.BaseSampler:
    """TPE, or uniform draws; a grid's points are queued, which comes before any sampler."""
    if config.sampler == "tpe":
        return optuna.samplers.TPESampler(seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)


def _pruner(config: TuneConfig) -> optuna.pruners.BasePruner:
    match config.pruner:
        case "halving":
            return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)
        case "median":
            return optuna.pruners.MedianPruner()
        case _:
            return optuna.pruners.NopPruner()


def _distribution(dimension: Dimension) -> BaseDistribution:
    if dimension.choices:
        return CategoricalDistribution([_scalar(choice) for choice in dimension.choices])
    if isinstance(dimension.low, int):
        return IntDistribution(dimension.low, int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _scalar(choice: Any) -> Any:
    """What a database can hold: a list is written as JSON."""
    return json.dumps(choice) if isinstance(choice, list | dict) else choice


def _decoded(params: Mapping[str, Any], space: Mapping[str, Dimension]) -> dict[str, Any]:
    named = {key: {_scalar(choice): choice for choice in space[key].choices} for key in params if key in space}
    return {key: named[key].get(value, value) for key, value in params.items() if key in space}


def _ours(trial: FrozenTrial, space: Mapping[str, Dimension]) -> Trial:
    notes, state = trial.user_attrs, _STATES[trial.state]
    return Trial(
        trial.number, state, _decoded(trial.params, space), trial.value, notes.get("scores", {}),
        notes.get("epochs", 0), notes.get("seconds", 0.0), notes.get("error", ""),
    )  # fmt: skip


def _masked(storage: str) -> str:
    """The address without its password."""
    try:
        from sqlalchemy.engine import make_url

        return make_url(storage).render_as_string(hide_password=True)
    except Exception:  # not an address at all, so that it holds no password in a known place
        return "URL"
