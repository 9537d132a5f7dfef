"""The study: trials in a database, counted, resumed, the same for the same seed. Nothing is trained here."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import optuna
import pytest

from understudy.errors import InputError
from understudy.space import Dimension, TuneConfig
from understudy.training.study import Study

SPACE = {"rate": Dimension(1e-4, 1.0, True), "epochs": Dimension(1, 8), "kind": Dimension(choices=("a", [1, 2]))}
OWN = {"rate": 0.5, "epochs": 3, "kind": [1, 2]}
GRID = {"epochs": Dimension(1, 3), "kind": Dimension(choices=("a", [1, 2]))}


def open_study(
    home: Path, *, space: Any = SPACE, seed: int = 3, salt: str = "", owner: str = "me", **config: Any
) -> Study:
    settings = TuneConfig(**({"trials": 14} | config))
    return Study(f"sqlite:///{home}/study.db", "s", space, settings, seed=seed, salt=salt, owner=owner)


def score(params: dict[str, Any]) -> dict[str, float]:
    """A landscape with its best at rate 0.01; accuracy goes the other way than NLL."""
    nll = abs(math.log10(params["rate"]) + 2) + 0.1 * params["epochs"]
    return {"nll": nll, "accuracy": -nll}


def search(study: Study, most: int = 100) -> None:
    for _ in range(most):
        trial = study.ask(OWN)
        if trial is None:
            return
        study.complete(trial.number, score(trial.params), trial.params["epochs"], 0.1)


def params(study: Study) -> list[dict[str, Any]]:
    return [trial.params for trial in study.trials() if trial.counts]


def test_trials_are_counted_and_the_first_is_the_recipes(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    search(study)
    assert [trial.number for trial in study.trials()] == list(range(14))
    assert params(study)[0] == OWN
    assert all(found[key] in dimension for found in params(study) for key, dimension in SPACE.items())
    assert isinstance(params(study)[3]["epochs"], int)
    best = study.best()
    assert best is not None
    assert best.value == min(score(found)["nll"] for found in params(study))
    assert set(study.importance()) == set(SPACE)
    assert study.ask(OWN) is None
    search(open_study(tmp_path, trials=16))  # more trials later: only those that are missing
    assert len(study.trials()) == 16


def test_the_recipes_settings_outside_the_space_are_not_tried(tmp_path: Path) -> None:
    study = open_study(tmp_path, trials=1)
    trial = study.ask(OWN | {"epochs": 9})
    assert trial is not None
    assert trial.params["epochs"] <= 8


def test_accuracy_is_made_large(tmp_path: Path) -> None:
    study = open_study(tmp_path, objective="accuracy", pruner="median", trials=99)
    search(study, most=6)
    best = study.best()
    assert best is not None
    assert best.value == max(score(found)["accuracy"] for found in params(study))
    for accuracy, weak in ((0.99, False), (-99.0, True)):
        for _ in range(5):  # as many as the median asks for
            trial = study.ask(OWN)
            assert trial is not None
            study.report(trial.number, 1, {"accuracy": 0.5}, 1)
            study.complete(trial.number, {"accuracy": 0.5}, 1, 0.1)
        trial = study.ask(OWN)
        assert trial is not None
        assert study.report(trial.number, 1, {"accuracy": accuracy}, 1) is weak
        study.prune(trial.number, 0.1)


def test_the_seed_and_the_sampler_decide_the_trials(tmp_path: Path) -> None:
    found = {}
    changed: dict[str, Any] = {"seed": {"seed": 4}, "salt": {"salt": "a machine"}, "random": {"sampler": "random"}}
    for name, changes in ({"first": {}, "again": {}} | changed).items():
        (tmp_path / name).mkdir()
        study = open_study(tmp_path / name, **changes)
        search(study)
        found[name] = params(study)
    assert found["again"] == found["first"]
    assert found["seed"][1:] != found["first"][1:]
    assert found["salt"][1:] != found["first"][1:]
    assert found["random"][10:] != found["first"][10:]  # by then TPE has learnt something


def test_an_interrupted_search_goes_on_as_if_it_were_not(tmp_path: Path) -> None:
    (tmp_path / "calm").mkdir()
    calm = open_study(tmp_path / "calm")
    search(calm)
    for most in (0, 5, 1, 100):
        study = open_study(tmp_path)
        left = study.forget_interrupted()
        assert left == (most > 0)
        search(study, most)
        if most < 100:
            study.ask(OWN)  # and killed
    assert params(study) == params(calm)
    states = [trial.state for trial in study.trials()]
    assert (states.count("complete"), states.count("failed")) == (14, 3)
    assert {trial.error for trial in study.trials()} == {""}


def test_what_another_machine_runs_is_left_alone_until_it_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("understudy.training.study._GRACE", 1)
    theirs, ours = open_study(tmp_path, owner="they"), open_study(tmp_path)
    first = theirs.ask(OWN)
    assert first is not None
    assert ours.forget_interrupted() == 0
    second = ours.ask(OWN)
    assert second is not None
    assert [trial.state for trial in ours.trials()] == ["running", "running"]
    assert sum(trial.counts for trial in ours.trials()) == 2
    time.sleep(2.1)
    ours.beat()
    ours.ask(OWN)
    assert [trial.state for trial in ours.trials()] == ["failed", "running", "running"]


def test_failed_trials_count_and_say_why(tmp_path: Path) -> None:
    study = open_study(tmp_path, trials=2)
    for error in ("it broke", ""):
        trial = study.ask(OWN)
        assert trial is not None
        study.fail(trial.number, error, 0.5)
    assert study.ask(OWN) is None
    assert [(trial.state, trial.error) for trial in study.trials()] == [
        ("failed", "it broke"),
        ("failed", "no message"),
    ]
    assert study.best() is None
    assert study.importance() == {}


def test_a_grid_is_gone_through_once(tmp_path: Path) -> None:
    study = open_study(tmp_path, space=GRID, sampler="grid", trials=100)
    orders = []
    for seed in (3, 4):
        (tmp_path / str(seed)).mkdir()
        study = open_study(tmp_path / str(seed), space=GRID, sampler="grid", trials=100, seed=seed)
        study.ask({})  # interrupted: its point comes again
        assert study.forget_interrupted() == 1
        while (trial := study.ask({})) is not None:
            study.complete(trial.number, {"nll": 1.0 + trial.number}, 1, 0.1)
        orders.append([tuple(map(str, found.values())) for found in params(study)])
    assert sorted(orders[0]) == sorted((str(e), str(k)) for e in (1, 2, 3) for k in ("a", [1, 2]))
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]


@pytest.mark.parametrize(("pruner", "stopped"), [("none", False), ("median", True), ("halving", True)])
def test_weak_trials_are_stopped(tmp_path: Path, pruner: str, stopped: bool) -> None:
    study = open_study(tmp_path, pruner=pruner)
    for _ in range(8):
        trial = study.ask(OWN)
        assert trial is not None
        assert not any(study.report(trial.number, step, {"nll": 1.0}, step) for step in (1, 2))
        study.complete(trial.number, {"nll": 1.0}, 2, 0.1)
    weak = study.ask(OWN)
    assert weak is not None
    assert study.report(weak.number, 1, {"nll": 5.0}, 1) is stopped
    study.prune(weak.number, 0.1)
    seen = study.trials()[-1]
    assert (seen.state, seen.value, seen.scores, seen.epochs, seen.counts) == ("pruned", 5.0, {"nll": 5.0}, 1, True)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mysql+nodriver://anna:secret@host/db", "mysql+nodriver://anna:***@host/db"),
        ("sqlite:////no/such/directory/x.db", "sqlite:////no/such/directory/x.db"),
        ("secret", "URL"),
    ],
)
def test_a_storage_that_cannot_be_opened(url: str, shown: str) -> None:
    with pytest.raises(InputError) as error:
        Study(url, "s", SPACE, TuneConfig(), seed=1, salt="", owner="me")
    assert str(error.value).startswith(f"--storage {shown}: cannot be opened: ")
    assert "secret" not in str(error.value) and "\n" not in str(error.value)


def test_optuna_can_read_the_study(tmp_path: Path) -> None:
    search(open_study(tmp_path, trials=2))
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{tmp_path}/study.db")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE"]
