"""tune: teacher + soft labels + data → the settings of a student that do best on validation.

understudy tune RECIPE --student small --trials 20 --out runs/x

    OUT/
    ├── hypersearch.csv     a row per trial, written after each
    ├── best_params.json    the best trial, and which others cannot be told apart from it
    ├── best.toml           its settings, to be pasted into the recipe
    └── trials/             logits of each complete trial, and the best one's weights

This process keeps the study and trains nothing: trials run in worker processes, so that one that dies takes none with
it. Only the validation split is opened, or with folds only train.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..artifact import Artifact
from ..config import StudentConfig
from ..data.storing import read_split
from ..errors import MissingExtraError, RecipeError, WorkError
from ..files import write_atomically, write_csv
from ..kinds import check_metric
from ..progress import Progress, Silent
from ..soft_labels import TEACHERS, answered
from ..space import Dimension, TuneConfig, search_space
from .pool import Pool
from .trials import judged_rows, trial_name
from .verdict import snippet, verdict

if TYPE_CHECKING:
    from .study import Study, Trial

BEST, TABLE, SNIPPET, TRIALS = "best_params.json", "hypersearch.csv", "best.toml", "trials"
_OWNER = "study"  # in TRIALS: which study its files belong to


def tune(
    teacher: Path,
    labels: Path,
    data: Path,
    out: Path,
    student: StudentConfig,
    config: TuneConfig,
    *,
    seed: int = 13,
    workers: int = 0,
    storage: str = "",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Search the student's settings and return what best_params.json says; goes on with the trials that are missing.

    `workers` 0: one, or one per GPU; `storage`: the URL of a database that several machines can share, SQLite beside
    `out` if empty. One process at a time may search in `out`. Raises WorkError if no trial succeeds.
    """
    if find_spec("optuna") is None:
        raise MissingExtraError("Searching", "tune")
    from .study import Study

    progress = progress or Silent()
    model = Artifact.load(teacher, *TEACHERS)
    soft, source = Artifact.load(labels, "labels"), Artifact.load(data, "data")
    assert source.task is not None
    try:
        space = search_space(config, student)
        check_metric(source.task.kind, "objective", config.objective, ("nll",))
    except ValueError as error:
        raise RecipeError(str(error)) from None
    train, val = (read_split(data / f"{name}.parquet", name) for name in ("train", "val"))
    train = answered(labels, train)
    if config.folds > len(train):
        raise RecipeError(f"tune.folds: {config.folds} folds of {len(train)} training rows; give at most {len(train)}")
    name = _study_name(student, config, space, {"labels": soft.digest, "data": source.digest}, seed)
    _take(out, name)
    study = Study(
        storage or _sqlite(out.parent / "study.db"), name, space, config, seed=seed,
        salt=_owner(out) if storage else "", owner=_owner(out),
    )  # fmt: skip
    bench = {"teacher": teacher, "labels": labels, "data": data, "out": out / TRIALS}
    job = {key: str(path.resolve()) for key, path in bench.items()} | {"folds": config.folds, "seed": seed}
    with Pool(job, workers, config.trials, student.device) as pool:
        _search(study, pool, student, out, progress)
    best = study.best()
    if best is None:
        raise WorkError(_nothing(student, study.trials(), out))
    judged = judged_rows(train, val, config.folds, seed)
    found = verdict(study, judged, out / TRIALS, student, _warnings(model, student, config))
    write_atomically(out / BEST, json.dumps(found, indent=2, ensure_ascii=False).encode())
    write_atomically(out / SNIPPET, snippet(found).encode())
    return found


def _search(study: Study, pool: Pool, student: StudentConfig, out: Path, progress: Progress) -> None:
    """Run the trials that are missing."""
    interrupted = study.forget_interrupted()
    if interrupted:
        trials = "trial is" if interrupted == 1 else "trials are"
        progress.note(f"{interrupted} interrupted {trials} done again")
    settings, steps = dict(student), dict[int, int]()  # every key, those too that a dump leaves out
    done = sum(trial.counts for trial in study.trials())
    with progress.track(f"tune {student.name}", study.config.trials) as advance:
        advance(done)
        while True:
            for worker in pool.idle():
                trial = study.ask(settings)
                if trial is None:
                    break
                steps[trial.number] = study.config.folds or (settings | trial.params)["epochs"]
                worker.start(trial.number, settings | trial.params)
            if not pool.busy():
                break
            for number, message in pool.messages():
                if "step" in message:
                    weak = study.report(number, message["step"], message["scores"], message["epochs"])
                    pool.answer(number, {"stop": weak and message["step"] < steps[number]})  # what is done, stays
                    continue
                _close(study, number, message)
                advance(1)
                progress.note(_told(study, number))
                _forget_weights(study, out)
                write_csv(out / TABLE, _rows(study))
            study.beat()
    write_csv(out / TABLE, _rows(study))


def _close(study: Study, number: int, message: Mapping[str, Any]) -> None:
    match message["state"]:
        case "complete":
            study.complete(number, message["scores"], message["epochs"], message["seconds"])
        case "stopped":
            study.prune(number, message["seconds"])
        case _:
            study.fail(number, message["error"], message["seconds"])


def _told(study: Study, number: int) -> str:
    """A finished trial in a line."""
    trial = study.trials()[number]
    values = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in trial.params.items()}
    params = ", ".join(f"{key} {value}" for key, value in values.items())
    result = trial.error if trial.state == "failed" else f"{study.config.objective} {trial.value:.4f}"
    return f"  trial {number} {trial.state}: {result} ({params})"


def _rows(study: Study) -> list[dict[str, Any]]:
    """The table of trials; a cell that does not apply is empty."""
    rows, trials = [], study.trials()
    measured = next((list(trial.scores) for trial in trials if trial.scores), ["nll"])
    for trial in trials:
        row: dict[str, Any] = {"number": trial.number, "state": trial.state}
        row |= {key: trial.params.get(key, "") for key in study.space}
        row["objective"] = "" if trial.value is None else trial.value
        row |= {f"val_{name}": trial.scores.get(name, "") for name in measured}
        row |= {"epochs_trained": trial.epochs, "seconds": round(trial.seconds, 3)}
        row["error"] = trial.error or ("interrupted" if trial.state == "failed" else "")
        rows.append(row)
    return rows


def _forget_weights(study: Study, out: Path) -> None:
    """Delete the weights of every finished trial but the best; a best one can only be replaced by a better one."""
    best = study.best()
    for trial in study.trials():
        if trial.state != "running" and (best is None or trial.number != best.number):
            name = trial_name(trial.number)
            for left in (out / TRIALS / name, out / TRIALS / f".{name}.partial"):
                shutil.rmtree(left, ignore_errors=True)
            (out / TRIALS / f"{name}.partial.npy").unlink(missing_ok=True)


def _study_name(
    student: StudentConfig, config: TuneConfig, space: Mapping[str, Dimension], inputs: Mapping[str, str], seed: int
) -> str:
    """The same for searches whose trials can be compared, whatever their number, sampler and pruner."""
    settings = {key: value for key, value in student.model_dump().items() if key not in space}
    ranges = {key: dimension.to_dict() for key, dimension in space.items()}
    parts = [settings, ranges, config.objective, config.folds, dict(inputs), seed]
    return f"{student.name}-{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]}"


def _take(out: Path, study: str) -> None:
    """Make the directory of the study's trials; files of another study would be taken for this one's."""
    note = out / TRIALS / _OWNER
    if not (note.exists() and note.read_text(encoding="utf-8") == study):
        shutil.rmtree(out / TRIALS, ignore_errors=True)
        (out / TRIALS).mkdir(parents=True)
        write_atomically(note, study.encode())


def _owner(out: Path) -> str:
    return f"{socket.gethostname()}:{out.resolve()}"


def _sqlite(path: Path) -> str:
    from sqlalchemy import URL

    return URL.create("sqlite", database=str(path.resolve())).render_as_string()


def _nothing(student: StudentConfig, trials: list[Trial], out: Path) -> str:
    errors = [trial.error for trial in trials if trial.error]
    first = f", the first because: {errors[0]}" if errors else ""
    return f"none of the {len(trials)} trials of {student.name} succeeded{first}; {out / TABLE} has them all"


def _warnings(teacher: Artifact, student: StudentConfig, config: TuneConfig) -> list[str]:
    """What makes the judgement less than it seems."""
    from_teacher = student.kind == "cut" or getattr(student, "teacher_embeddings", False)
    if config.folds and teacher.config.get("train") and from_teacher:
        return ["the student starts from weights of the teacher, which learnt from every fold: its values are too good"]
    return []
