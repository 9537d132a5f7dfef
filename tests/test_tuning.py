"""tune: real trials of tiny students in worker processes, in the directory of a run."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import pytest

from understudy import cli
from understudy.artifact import Artifact
from understudy.config import Recipe, load_recipe, parse
from understudy.data.splitting import stratified_folds
from understudy.data.storing import read_split
from understudy.errors import MissingExtraError, RecipeError, WorkError
from understudy.pipeline import plan, work
from understudy.progress import Silent
from understudy.searching import search
from understudy.training import distill, tune
from understudy.training.pool import Worker, environment, visible_gpus
from understudy.training.trial_worker import conduct
from understudy.training.trials import Bench, StoppedError, judged_rows, run_trial

pytestmark = pytest.mark.wide  # real searches with killed processes: two minutes

SPACE = {
    "learning_rate": {"low": 1e-4, "high": 5e-2, "log": True},
    "epochs": {"low": 1, "high": 3},
    "kernels": {"choices": [[2], [2, 3]]},
}
PARAMS = set(SPACE)


class Listener(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def asking(workshop: Path, **tune: Any) -> Recipe:
    """The recipe of the workshop with a search of its TextCNN."""
    raw = load_recipe(workshop / "recipe.toml").model_dump(exclude_unset=True)
    return parse(Recipe, raw | {"tune": {"student": "cnn", "space": SPACE, "trials": 3, "pruner": "none"} | tune}, "r")


@pytest.fixture(scope="module")
def labelled(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run as far as its soft labels; its test split cannot be read."""
    out = tmp_path_factory.mktemp("runs") / "labelled"
    steps = plan(asking(workshop), out, workshop, Silent())
    work([step for step in steps if step.out in ("data", "teacher", "labels")], Silent())
    (out / "run.json").write_text(json.dumps({"task": "tiny", "labels": ["bad", "good"]}), encoding="utf-8")
    test = out / "data" / "test.parquet"
    test.write_bytes(b"?" * test.stat().st_size)
    return out


@pytest.fixture
def out(labelled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(labelled, tmp_path / "run"))


class Inline:
    """A pool of one worker, which is a thread of this process: no time goes into starting one."""

    def __init__(self, job: dict[str, Any], workers: int, most: int, device: str) -> None:
        self.bench, self.trial = Bench(**job), -1
        self.inbox: Queue[Any] = Queue()
        self.outbox: Queue[Any] = Queue()

    def __enter__(self) -> Inline:
        return self

    def __exit__(self, *given: object) -> None:
        pass

    def idle(self) -> list[Inline]:
        return [self] if self.trial < 0 else []

    def busy(self) -> list[Inline]:
        return [self] if self.trial >= 0 else []

    def start(self, number: int, student: dict[str, Any]) -> None:
        trial = json.loads(json.dumps({"number": number, "student": student}))
        self.trial = number
        threading.Thread(target=conduct, args=(self.bench, trial, self.outbox.put, self.inbox.get)).start()

    def messages(self) -> Iterator[tuple[int, dict[str, Any]]]:
        number, message = self.trial, json.loads(json.dumps(self.outbox.get(timeout=100)))
        if "state" in message:
            self.trial = -1
        yield number, message

    def answer(self, number: int, message: dict[str, Any]) -> None:
        self.inbox.put(json.loads(json.dumps(message)))


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.training.tuning.Pool", Inline)


def go(out: Path, recipe: Recipe, **named: Any) -> dict[str, Any]:
    return tune(
        out / "teacher", out / "labels", out / "data", out / "tune" / "cnn", recipe.tuned, recipe.tune,
        seed=recipe.seed, **named,
    )  # fmt: skip


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "tune" / "cnn" / "hypersearch.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def results(out: Path) -> list[dict[str, str]]:
    """The table without what time and the number of an interrupted trial change."""
    return [
        {k: v for k, v in row.items() if k not in ("seconds", "number")}
        for row in rows(out)
        if row["error"] != "interrupted"
    ]


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


@pytest.fixture(scope="module")
def searched(workshop: Path, labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A finished search of six trials; nobody changes it."""
    out = Path(shutil.copytree(labelled, tmp_path_factory.mktemp("searched") / "run"))
    listener = Listener()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.*") if path.is_file()}
    found = search(asking(workshop, trials=6), out, workshop, listener)
    assert not [note for note in listener.notes if "again" in note]
    changed = [path for path, moment in before.items() if path.stat().st_mtime_ns != moment]
    assert changed == []  # data, teacher and labels are those of the run
    return out, found


# What a search leaves behind


def test_exact_files(searched: tuple[Path, dict[str, Any]]) -> None:
    out, found = searched
    home = out / "tune" / "cnn"
    assert names(out / "tune") == {"study.db", "cnn"}
    assert names(home) == {"hypersearch.csv", "best_params.json", "best.toml", "importance.png", "slice.png", "trials"}
    best = f"{found['trial']:04d}"
    assert names(home / "trials") == {"study", best, *(f"{number:04d}.npy" for number in range(6))}
    assert found["weights"] == f"trials/{best}"
    assert json.loads((home / "best_params.json").read_text()) == found


def test_the_table_has_every_trial(searched: tuple[Path, dict[str, Any]], workshop: Path) -> None:
    out, found = searched
    table = rows(out)
    assert list(table[0]) == [
        "number", "state", *SPACE, "objective", "val_nll", "val_accuracy", "val_macro_f1", "val_macro_recall",
        "epochs_trained", "seconds", "error",
    ]  # fmt: skip
    assert [row["number"] for row in table] == list(map(str, range(6)))
    assert {row["state"] for row in table} == {"complete"}
    assert {row["error"] for row in table} == {""}
    own = asking(workshop).tuned.model_dump()
    assert own["epochs"] not in (1, 2, 3)  # so that the recipe's settings are not in the space, and not tried
    assert found["recipe_trial"] is None
    for row in table:
        assert row["objective"] == row["val_nll"]
        assert row["epochs"] == row["epochs_trained"]
        assert 1e-4 <= float(row["learning_rate"]) <= 5e-2
        assert json.loads(row["kernels"]) in ([2], [2, 3])
        assert float(row["seconds"]) > 0
    best = min(table, key=lambda row: float(row["objective"]))
    assert found["trial"] == int(best["number"])
    assert found["objective"]["value"] == float(best["objective"])
    low, high = found["objective"]["ci95"]
    assert low < found["objective"]["value"] < high
    assert (found["objective"]["n"], found["objective"]["judged_on"]) == (70, "the validation split")
    second = sorted(table, key=lambda row: float(row["objective"]))[1]
    assert found["runner_up"]["trial"] == int(second["number"])
    gap = float(second["objective"]) - float(best["objective"])
    assert found["runner_up"]["difference"]["value"] == pytest.approx(gap, abs=1e-5)
    assert set(found["importance"]) == PARAMS
    assert sum(found["importance"].values()) == pytest.approx(1)
    assert found["trials"] == {"complete": 6}


def test_the_snippet_makes_the_run_that_was_searched(
    searched: tuple[Path, dict[str, Any]], workshop: Path, tmp_path: Path
) -> None:
    out, found = searched
    settings = tomllib.loads((out / "tune" / "cnn" / "best.toml").read_text())
    assert settings == found["params"]
    student = asking(workshop).tuned.model_copy(update=settings)
    made = distill(out / "teacher", out / "labels", out / "data", tmp_path / "torch", student, seed=5)
    kept = Artifact.load(out / "tune" / "cnn" / found["weights"], verify=True)
    assert kept.files == made.files
    assert kept.key == made.key


def test_the_logits_are_those_of_the_scores(searched: tuple[Path, dict[str, Any]]) -> None:
    out, _ = searched
    val = read_split(out / "data" / "val.parquet", "val")
    for row in rows(out):
        logits = np.load(out / "tune" / "cnn" / "trials" / f"{int(row['number']):04d}.npy")
        assert (logits.argmax(axis=1) == val.labels).mean() == pytest.approx(float(row["val_accuracy"]))


# Going on


@pytest.mark.usefixtures("inline")
def test_more_trials_later_are_those_of_one_long_search(
    searched: tuple[Path, dict[str, Any]], workshop: Path, out: Path
) -> None:
    go(out, asking(workshop, trials=2))
    assert len(rows(out)) == 2
    go(out, asking(workshop, trials=6))
    assert results(out) == results(searched[0])
    before = (out / "tune" / "cnn" / "hypersearch.csv").read_bytes()
    go(out, asking(workshop, trials=6))
    assert (out / "tune" / "cnn" / "hypersearch.csv").read_bytes() == before


def test_a_killed_search_goes_on(
    searched: tuple[Path, dict[str, Any]], workshop: Path, out: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    text = (workshop / "recipe.toml").read_text(encoding="utf-8")
    ranges = "\n".join(f"{key} = {json.dumps(values)}" for key, values in SPACE.items())
    ranges = ranges.replace('": ', '" = ').replace('"low"', "low").replace('"high"', "high")
    ranges = ranges.replace('"log" = true', "log = true").replace('"choices"', "choices")
    recipe.write_text(f'{text}\n[tune]\npruner = "none"\n[tune.space]\n{ranges}\n', encoding="utf-8")
    command = [
        sys.executable, "-m", "understudy", "tune", str(recipe), "--student", "cnn", "--trials", "6", "--out", str(out),
        "--data", str(workshop),
    ]  # fmt: skip
    trials = out / "tune" / "cnn" / "trials"
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    while not (trials / ".0002.partial").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "1 interrupted trial is done again" in done.stderr
    assert results(out) == results(searched[0])
    states = [(row["state"], row["error"]) for row in rows(out)]
    assert states.count(("failed", "interrupted")) == 1
    assert len(states) == 7
    assert done.stdout.startswith("# trial ")
    assert "on the same 70 rows" in done.stdout
    assert not [path for path in trials.iterdir() if path.name.endswith(".partial")]
    assert len([path for path in trials.iterdir() if path.is_dir()]) == 1


@pytest.mark.usefixtures("inline")
def test_an_edited_recipe_is_another_search(workshop: Path, out: Path) -> None:
    first = go(out, asking(workshop, trials=1))
    student = asking(workshop, trials=2).students[2].model_copy(update={"filters": 4})
    recipe = asking(workshop, trials=2)
    second = tune(
        out / "teacher", out / "labels", out / "data", out / "tune" / "cnn", student, recipe.tune, seed=recipe.seed
    )  # fmt: skip
    assert len(rows(out)) == 2
    assert names(out / "tune" / "cnn" / "trials") == {"study", "0000.npy", "0001.npy", f"{second['trial']:04d}"}
    assert go(out, asking(workshop, trials=1))["objective"] == first["objective"] | {
        "ci95": None
    }  # its logits are gone


def test_a_second_student_has_a_search_of_its_own(
    searched: tuple[Path, dict[str, Any]], workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("understudy.training.tuning.Pool", Inline)
    out = Path(shutil.copytree(searched[0], tmp_path / "run"))
    before = (out / "tune" / "cnn" / "best_params.json").read_bytes()
    found = search(asking(workshop, student="fresh", space={}, trials=2), out, workshop, Silent())
    assert (found["student"], set(found["params"])) == (
        "fresh", {"temperature", "soft_weight", "learning_rate", "epochs"},
    )  # fmt: skip
    assert found["recipe_trial"] == 0
    assert names(out / "tune") == {"study.db", "cnn", "fresh"}
    assert (out / "tune" / "cnn" / "best_params.json").read_bytes() == before


# The command


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main([str(argument) for argument in arguments])
    return int(end.value.code or 0)


@pytest.mark.usefixtures("inline")
def test_the_command_prints_what_can_be_pasted(workshop: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ("tune", workshop / "recipe.toml", "--student", "cnn", "--trials", "2", "--out", out)
    assert call(*command) == 0
    printed = capsys.readouterr().out
    home = out / "tune" / "cnn"
    found = json.loads((home / "best_params.json").read_text())
    assert printed == f"{(home / 'best.toml').read_text()}{found['conclusion']}\ntrials: {home / 'hypersearch.csv'}\n"
    assert call(*command, "--json") == 0
    assert json.loads(capsys.readouterr().out) == found
    folds = ("--student", "half", "--trials", "1", "--folds", "2", "--objective", "macro_f1", "--out", out)
    assert call("tune", workshop / "recipe.toml", *folds) == 0
    assert "warning: the student starts from weights of the teacher" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--student", "small"), "{recipe}: tune.student: the recipe has no student 'small'; it has half, fresh, cnn"),
        (("--folds", "1"), "{recipe}: tune: folds must be 0 or at least 2, got 1"),
        (("--trials", "0"), "{recipe}: tune.trials: input should be greater than or equal to 1, got 0"),
        (
            ("--sampler", "grid"),
            "{recipe}: tune.space.temperature: the grid sampler needs choices or a range of whole numbers",
        ),
        (("--data", "/no/such"), "--data /no/such: no such directory"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_is_written(
    workshop: Path, tmp_path: Path, flags: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = workshop / "recipe.toml"
    assert call("tune", recipe, "--out", tmp_path / "out", *flags) == 2
    assert capsys.readouterr() == ("", f"understudy: {message.format(recipe=recipe)}\n")
    assert names(tmp_path) == set()


def test_a_storage_that_cannot_be_opened_is_one_line(
    workshop: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--out", out, "--storage", "postgresql+nodriver://a:secret@h/x")
    assert call("tune", workshop / "recipe.toml", *flags) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("understudy: --storage postgresql+nodriver://a:***@h/x: cannot be opened: ")


# Trials and workers that fail


def children() -> list[int]:
    """The workers that this process has started."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            if b"trial_worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(int(pid))
    return found


@pytest.fixture
def killer(out: Path) -> Iterator[None]:
    """Kills the worker that trains trial 1."""

    def kill() -> None:
        until = time.monotonic() + 120
        while time.monotonic() < until:
            if (out / "tune" / "cnn" / "trials" / ".0001.partial").exists():
                for pid in children():
                    os.kill(pid, signal.SIGKILL)
                return
            time.sleep(0.005)

    thread = threading.Thread(target=kill)
    thread.start()
    yield
    thread.join()


@pytest.mark.usefixtures("killer")
def test_a_dead_worker_is_noticed_and_the_rest_goes_on(workshop: Path, out: Path) -> None:
    listener = Listener()
    found = go(out, asking(workshop, trials=3), progress=listener)
    table = rows(out)
    assert [row["state"] for row in table] == ["complete", "failed", "complete"]
    assert table[1]["error"] == "the worker was killed by signal 9"
    assert (table[1]["objective"], table[1]["val_nll"]) == ("", "")
    assert found["trials"] == {"complete": 2, "failed": 1}
    assert any("trial 1 failed: the worker was killed by signal 9" in note for note in listener.notes)
    assert ".0001.partial" not in names(out / "tune" / "cnn" / "trials")


@pytest.mark.usefixtures("inline")
def test_a_trial_that_raises_is_recorded(workshop: Path, out: Path) -> None:
    space = {"max_length": {"choices": [2_000, 8]}, "soft_weight": {"choices": [0.5, 1.0]}}
    recipe = asking(
        workshop, space=space | {"class_weights": {"choices": ["none", "balanced"]}}, sampler="grid", trials=20
    )
    go(out, recipe)
    table = rows(out)
    assert len(table) == 8
    failed = [row for row in table if row["state"] == "failed"]
    assert {(row["soft_weight"], row["class_weights"]) for row in failed} == {("1.0", "balanced")}
    assert len(failed) == 2
    assert all("class_weights act on the hard term" in row["error"] for row in failed)


@pytest.mark.usefixtures("inline")
def test_a_search_in_which_all_fails(workshop: Path, out: Path) -> None:
    recipe = asking(workshop, space={"dropout": {"choices": [0.0, 0.1]}}, trials=2)
    student = recipe.tuned.model_copy(update={"device": "warp"})
    with pytest.raises(WorkError) as error:
        tune(out / "teacher", out / "labels", out / "data", out / "tune" / "cnn", student, recipe.tune)
    assert str(error.value).startswith("none of the 2 trials of cnn succeeded, the first because: device 'warp' cannot")
    assert str(error.value).endswith("hypersearch.csv has them all")
    assert [row["state"] for row in rows(out)] == ["failed", "failed"]
    assert all(row["error"].startswith("device 'warp' cannot be used here") for row in rows(out))


# Settings


def test_two_workers_share_the_trials(workshop: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    class Counted(Worker):
        def start(self, trial: int, student: Mapping[str, Any]) -> None:
            started.append(id(self))
            super().start(trial, student)

    monkeypatch.setattr("understudy.training.pool.Worker", Counted)
    found = go(out, asking(workshop, trials=4, sampler="random"), workers=2)
    assert found["trials"] == {"complete": 4}
    assert [row["number"] for row in rows(out)] == ["0", "1", "2", "3"]
    assert (len(started), len(set(started))) == (4, 2)


@pytest.mark.usefixtures("inline")
def test_weak_trials_are_stopped_and_do_not_count_as_best(workshop: Path, out: Path) -> None:
    space = {"learning_rate": {"choices": [1e-2, 1e-7]}, "dropout": {"choices": [0.0, 0.01, 0.02]}}
    found = go(out, asking(workshop, space=space, sampler="grid", pruner="halving", trials=6, objective="accuracy"))
    table = rows(out)
    pruned = [row for row in table if row["state"] == "pruned"]
    assert pruned
    assert {row["learning_rate"] for row in pruned} == {"1e-07"}
    assert all(int(row["epochs_trained"]) < 4 for row in pruned)
    assert all(row["objective"] == row["val_accuracy"] != "" for row in table)
    assert found["params"]["learning_rate"] == 1e-2
    assert found["objective"]["name"] == "accuracy"


@pytest.mark.usefixtures("inline")
def test_folds_judge_on_every_training_row(workshop: Path, out: Path) -> None:
    found = go(out, asking(workshop, trials=2, folds=3, space={"dropout": {"choices": [0.0, 0.3]}}))
    assert (found["objective"]["n"], found["objective"]["judged_on"]) == (560, "3 folds of train")
    assert found["weights"] is None
    assert found["warnings"] == [
        "the student starts from weights of the teacher, which learnt from every fold: its values are too good"
    ]
    assert names(out / "tune" / "cnn" / "trials") == {"study", "0000.npy", "0001.npy"}
    train, val = (read_split(out / "data" / f"{name}.parquet", name) for name in ("train", "val"))
    judged = judged_rows(train, val, 3, 5)
    assert sorted(judged.ids) == sorted(train.ids)
    for row in rows(out):
        logits = np.load(out / "tune" / "cnn" / "trials" / f"{int(row['number']):04d}.npy")
        assert (logits.argmax(axis=1) == judged.labels).mean() == pytest.approx(float(row["val_accuracy"]))
        assert row["epochs_trained"] == "12"
    many = asking(workshop, folds=561)
    with pytest.raises(RecipeError, match="561 folds of 560 training rows; give at most 560"):
        go(out, many)


def test_a_fold_is_not_learnt_from(out: Path, workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[set[str], set[str]]] = []

    def teach(draft: Any, sources: Any, *given: Any, **named: Any) -> Any:
        seen.append((set(sources.train.ids), set(sources.val.ids)))
        raise StoppedError

    monkeypatch.setattr("understudy.training.trials.teach", teach)
    paths = (str(out / name) for name in ("teacher", "labels", "data", "x"))
    with pytest.raises(StoppedError):
        run_trial(Bench(*paths, folds=4, seed=1), 0, asking(workshop).tuned.model_dump(), lambda *given: None)
    learnt, held_out = seen[0]
    assert (len(learnt), len(held_out)) == (420, 140)
    assert not learnt & held_out


def test_folds_are_even_stratified_and_seeded() -> None:
    labels = np.array([0] * 50 + [1] * 23 + [2] * 4)
    fold = stratified_folds(labels, 4, seed=1)
    assert np.bincount(fold).tolist() in ([20, 19, 19, 19], [19, 20, 19, 19])
    for label in (0, 1, 2):
        counts = np.bincount(fold[labels == label], minlength=4)
        assert counts.max() - counts.min() <= 1
    assert (stratified_folds(labels, 4, seed=1) == fold).all()
    assert (stratified_folds(labels, 4, seed=2) != fold).any()


@pytest.mark.usefixtures("inline")
def test_a_shared_storage(workshop: Path, out: Path, tmp_path: Path) -> None:
    """Another directory stands for another machine: it adds what is missing, and its trials are not compared here."""
    other = Path(shutil.copytree(out, tmp_path / "other"))
    url = f"sqlite:///{tmp_path}/shared.db"
    go(out, asking(workshop, trials=1), storage=url)
    found = go(other, asking(workshop, trials=2), storage=url)
    assert len(rows(other)) == 2
    assert found["trials"] == {"complete": 2}
    assert found["runner_up"]["difference"] is None
    assert not (out / "tune" / "study.db").exists()


def test_without_optuna(workshop: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.training.tuning.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'understudy\[tune\]'"):
        go(out, asking(workshop))


def test_each_worker_sees_its_gpu_and_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [visible_gpus(device) for device in ("auto", "cuda", "cuda:1", "cpu")] == [["0", "1"], ["0", "1"], [], []]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    gpus = visible_gpus("auto")
    assert [environment(number, 3, gpus, 12)["CUDA_VISIBLE_DEVICES"] for number in range(3)] == ["5", "7", "5"]
    assert environment(0, 3, [], 12) == {"OMP_NUM_THREADS": "4"}
    assert environment(0, 3, [], 2) == {"OMP_NUM_THREADS": "1"}
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert environment(0, 3, [], 12) == {"OMP_NUM_THREADS": "2"}
