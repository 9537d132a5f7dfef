"""track = "mlflow": what a run's finished directories say, as runs of MLflow.

    experiment               the task's name, or MLFLOW_EXPERIMENT_NAME
    └── run                  the run's directory: recipe.json, the task metric of every model
        ├── run              of each artifact: settings, measurements, history by epoch, manifest, `recorded_files`
        └── tune/STUDENT     of each search, with a run of each trial

A reader, like the report: it records what a stage has finished, and no stage reads what it writes. The store is the one
that MLflow chooses: MLFLOW_TRACKING_URI, or else mlflow.db in the working directory. DIR/mlflow.json remembers which
artifact is which run, so that a run that goes on records nothing twice, and catches up on what it could not record.
"""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from typing import Any

from .artifact import MANIFEST, Artifact
from .config import Recipe
from .errors import MissingExtraError, first_line
from .files import sha256_of_file, write_atomically
from .progress import Progress

NOTE = "mlflow.json"
TRIALS = "hypersearch.csv"
_STATUS = {"complete": "FINISHED", "failed": "FAILED", "pruned": "KILLED"}
_PATIENCE = {  # an unreachable server is to cost seconds, not MLflow's minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
LARGEST = 20_000_000  # bytes of a file that is copied into the store
_METRICS, _PARAMS, _LONGEST = 1000, 100, 6000  # MLflow's limits: of a request, of a request, characters of a value


@contextmanager
def tracking(recipe: Recipe, out: Path, progress: Progress) -> Iterator[Callable[[str], None]]:
    """Yield a function that records what the finished stage of a name wrote; where MLflow fails, the run goes on.

    Raises MissingExtraError.
    """
    if recipe.track == "none":
        yield lambda stage: None
        return
    if find_spec("mlflow") is None:
        raise MissingExtraError('track = "mlflow"', "track")
    tracker, status = _Tracker(recipe, out, progress), "FAILED"
    try:
        yield tracker.record
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        tracker.close(status)


class _Tracker:
    """Records the stages of one directory; says so once and does nothing more when MLflow fails."""

    def __init__(self, recipe: Recipe, out: Path, progress: Progress) -> None:
        self.recipe, self.out, self.progress = recipe, out, progress
        self.store: _Store | None = None
        with self._tolerant():
            self.store = _Store(recipe, out)

    def record(self, stage: str) -> None:
        """Record the directory that a stage's name begins with, if it is new or has changed."""
        name = stage.split(" ")[0]
        if self.store is None:
            return
        with self._tolerant():
            if (self.out / name / MANIFEST).exists():
                self.store.record_artifact(name)
            elif (self.out / name / TRIALS).exists():
                self.store.record_search(name, self.recipe.tune.model_dump())

    def close(self, status: str) -> None:
        """End the run of the directory and say where it is to be seen."""
        if self.store is None:
            return
        with self._tolerant():
            self.store.client.set_terminated(self.store.note["run"], status)
            self.progress.note(f"tracked: {self.store.place}")

    @contextmanager
    def _tolerant(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of MLflow, of its database driver, of its HTTP client
            self.store = None
            reason = shorten(_without_password(first_line(error)), 160, placeholder=" …")
            self.progress.note(
                f"  warning: MLflow cannot record this: {reason}; the work goes on, and the next time that this "
                "command runs it records what is missing"
            )


class _Store:
    """The directory's runs in MLflow; `note` is what DIR/mlflow.json holds."""

    def __init__(self, recipe: Recipe, out: Path) -> None:
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        import mlflow

        for library in ("mlflow", "alembic"):  # dozens of lines when a database is made
            logging.getLogger(library).setLevel(logging.WARNING)
        self.out, self.uri, self.client = out, mlflow.get_tracking_uri(), mlflow.MlflowClient()
        self.note = self._resumed() or self._begun(recipe)
        self.client.log_dict(self.note["run"], recipe.model_dump(mode="json"), "recipe.json")

    @property
    def place(self) -> str:
        """The server's address, or the command that shows a local store."""
        uri = _without_password(self.uri)
        return uri if uri.startswith(("http", "databricks")) else f"mlflow ui --backend-store-uri {uri}"

    def record_artifact(self, name: str) -> None:
        """Record an artifact as a run; one whose manifest alone has changed keeps its run."""
        home = self.out / name
        seen, known = sha256_of_file(home / MANIFEST), self.note["recorded"].get(name, {})
        if known.get("seen") == seen:
            return
        made, ended = Artifact.load(home), _milliseconds(home / MANIFEST)
        run = known["run"] if known.get("key") == made.key else ""
        if not run:
            began = ended - int(1000 * made.measurements.get("seconds", 0))
            run = self._start(name, self.note["run"], began)
            self._log_params(run, {**made.config, "seed": made.seed})
            history: Sequence[Mapping[str, float]] = made.measurements.get("history", [])
            curves = [(numbers(epoch), int(epoch["epoch"])) for epoch in history]
            self._log_metrics(run, [({k: v for k, v in row.items() if k != "epoch"}, step) for row, step in curves])
        self._log_new(run, numbers(made.measurements) | ({"bytes": made.bytes_of(*made.files)}))
        if made.warnings:
            self.client.set_tag(run, "mlflow.note.content", "\n\n".join(made.warnings))
        for file in [MANIFEST, *([] if known.get("run") == run else recorded_files(made))]:
            parent = Path(file).parent.as_posix()
            self.client.log_artifact(run, str(home / file), None if parent == "." else parent)
        if made.kind == "benchmark":
            self._record_results(run, json.loads((home / "results.json").read_text(encoding="utf-8")))
        self._finish(name, run, "FINISHED", ended, {"key": made.key, "seen": seen})

    def record_search(self, name: str, settings: Mapping[str, Any]) -> None:
        """Record a search, and each trial that has ended as a run below it."""
        home = self.out / name
        run = self.note["recorded"].get(name, {}).get("run") or self._start(name, self.note["run"], 0)
        for path in sorted(path for path in home.iterdir() if path.is_file() and not path.name.startswith(".")):
            self.client.log_artifact(run, str(path))
        self.client.log_dict(run, dict(settings), "tune.json")
        self._finish(name, run, "FINISHED", _milliseconds(home / TRIALS), {})
        with (home / TRIALS).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            trial, seen = f"{name}/{row['number']}", hashlib.sha256(json.dumps(row).encode()).hexdigest()
            if row["state"] in _STATUS and self.note["recorded"].get(trial, {}).get("seen") != seen:
                self._record_trial(trial, run, row, seen)

    def _record_trial(self, name: str, parent: str, row: Mapping[str, str], seen: str) -> None:
        ended = _milliseconds(self.out / Path(name).parent / TRIALS)
        run = self._start(name, parent, ended - int(1000 * float(row["seconds"] or 0)))
        scores = [key for key in row if key.startswith("val_") or key in ("objective", "epochs_trained", "seconds")]
        self._log_new(run, {key: float(row[key]) for key in scores if row[key]})
        self._log_params(run, {key: row[key] for key in row if key not in (*scores, "number", "state", "error")})
        if row["error"]:
            self.client.set_tag(run, "mlflow.note.content", row["error"])
        self._finish(name, run, _STATUS[row["state"]], ended, {"seen": seen})

    def _record_results(self, run: str, results: Mapping[str, Any]) -> None:
        """Test results: all with the benchmark, each model's own with its file, the task metric with the directory."""
        for model in results["models"]:
            facts, key = measured(model), f"{model['name']}.{model['variant']}"
            own = self.note["recorded"].get(model["path"], {}).get("run")
            if own:
                self._log_new(own, facts)
            self._log_new(run, {f"{key}/{name}": value for name, value in facts.items()})
            task = f"test.{results['task_metric']}"
            self._log_new(self.note["run"], {f"{key}/{task}": facts[task]} if task in facts else {})

    def _begun(self, recipe: Recipe) -> dict[str, Any]:
        """A new run of the directory."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or recipe.task.name
        found = self.client.get_experiment_by_name(name)
        self.experiment = found.experiment_id if found else self.client.create_experiment(name)
        self.note = {"uri": _without_password(self.uri), "experiment": self.experiment, "recorded": {}, "open": ""}
        self.note["run"] = self._start(self.out.resolve().name, "", 0)
        self.note["open"] = ""
        self._keep()
        return self.note

    def _resumed(self) -> dict[str, Any] | None:
        """What an earlier process has recorded in this store; what it was killed over is thrown away."""
        from mlflow.exceptions import MlflowException

        try:
            note: dict[str, Any] = json.loads((self.out / NOTE).read_text(encoding="utf-8"))
            if note["uri"] != _without_password(self.uri):
                return None
            if self.client.get_run(note["run"]).info.lifecycle_stage != "active":
                return None
            self.client.update_run(note["run"], status="RUNNING")
        except (OSError, ValueError, KeyError, TypeError):
            return None
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        self.experiment, self.note = note["experiment"], note
        if note["open"]:
            self.client.delete_run(note["open"])
            note["open"] = ""
            self._keep()
        return note

    def _start(self, name: str, parent: str, began: int) -> str:
        tags = {"mlflow.source.name": "understudy", **({"mlflow.parentRunId": parent} if parent else {})}
        run = self.client.create_run(self.experiment, began or None, tags, run_name=name)
        self.note["open"] = str(run.info.run_id)
        if parent:
            self._keep()
        return str(run.info.run_id)

    def _finish(self, name: str, run: str, status: str, ended: int, facts: Mapping[str, str]) -> None:
        self.client.set_terminated(run, status, ended)
        self.note["recorded"][name] = {"run": run, **facts}
        self.note["open"] = ""
        self._keep()

    def _keep(self) -> None:
        write_atomically(self.out / NOTE, json.dumps(self.note, indent=2).encode())

    def _log_new(self, run: str, facts: Mapping[str, float]) -> None:
        """Log what the run does not say yet."""
        known = self.client.get_run(run).data.metrics
        self._log_metrics(run, [({name: value for name, value in facts.items() if known.get(name) != value}, 0)])

    def _log_metrics(self, run: str, rows: Sequence[tuple[Mapping[str, float], int]]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(name, value, now, step) for facts, step in rows for name, value in facts.items()]
        for start in range(0, len(metrics), _METRICS):
            self.client.log_batch(run, metrics=metrics[start : start + _METRICS])

    def _log_params(self, run: str, settings: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        params = [Param(name, value[:_LONGEST]) for name, value in flat(settings).items()]
        for start in range(0, len(params), _PARAMS):
            self.client.log_batch(run, params=params[start : start + _PARAMS])


def recorded_files(made: Artifact) -> list[str]:
    """The files of a stage that are copied into the store, beside its manifest.

    Of a model, of what says who the teacher is, and of the report those of at most LARGEST bytes each; of the benchmark
    its results. No text of the data and no answer about one: nothing of data, labels, annotated and the like.
    """
    if made.kind == "benchmark":
        return ["results.json"]
    if made.kind not in ("model", "report", "answers"):
        return []
    small = [name for name, facts in made.files.items() if int(facts["bytes"]) <= LARGEST]
    return [name for name in small if not name.startswith("answers.")]  # the table of a teacher


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted names and text; a list is JSON."""
    found: dict[str, str] = {}
    for name, value in settings.items():
        key = f"{prefix}{_allowed(name)}"
        if isinstance(value, Mapping):
            found |= flat(value, f"{key}.")
        else:
            found[key] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return found


def numbers(facts: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Nested measurements as dotted names; an estimate is its value, `.low` and `.high`; lists are left out."""
    found: dict[str, float] = {}
    for name, value in facts.items():
        key = f"{prefix}{_allowed(name)}"
        if isinstance(value, Mapping) and "ci95" in value:
            low, high = value["ci95"] or (None, None)
            found |= numbers({key: value["value"], f"{key}.low": low, f"{key}.high": high})
        elif isinstance(value, Mapping):
            found |= numbers(value, f"{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[key] = float(value)
    return found


def measured(model: Mapping[str, Any]) -> dict[str, float]:
    """What results.json says of a model, as metrics."""
    kept = ("retention", "agreement", "params", "bytes", "compression_ratio", "peak_rss", "load_ms", "speedup_vs")
    found = numbers(model["metrics"]) | numbers({name: model.get(name) for name in kept})
    for row in model["speed"]:
        times = {name: value for name, value in row.items() if name not in ("threads", "batch")}
        found |= numbers(times, f"speed.threads{row['threads']}.batch{row['batch']}.")
    return found


def _allowed(name: str) -> str:
    """The name with the characters that MLflow takes; a label may hold any."""
    return re.sub(r"[^\w .-]", "_", name)


def _milliseconds(file: Path) -> int:
    return int(1000 * file.stat().st_mtime)


def _without_password(text: str) -> str:
    return re.sub(r"//[^/@\s]*@", "//", text)
