"""Write the tables of the README, of docs/seeds.md and of docs/students.md from the committed result files.

    python benchmarks/tables.py

A table stands between `<!-- table NAME -->` and `<!-- end -->`; NAME is a function below. Figures of students are the
median over seeds; intervals and speed are those of the recipe's own seed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import ladder_tables
import overconfidence_table

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent.parent / "README.md"
PAGES = (README, *(README.parent / "docs" / name for name in ("seeds.md", "students.md")))
LADDERS = ("emotion", "imdb", "sst2", "tweet-sentiment")  # whose students were measured, with peers, maybe cascades
Model = dict[str, Any]
_FILES = {"torch": "transformers pipeline", "fp32": "ONNX FP32", "int8": "ONNX INT8", "sklearn": "scikit-learn"}


def main() -> None:
    """Entry point."""
    for page in PAGES:
        page.write_text(updated(page.read_text(encoding="utf-8")), encoding="utf-8")


def updated(text: str) -> str:
    """The text with every table made anew."""
    for name, make in TABLES.items():
        start, end = f"<!-- table {name} -->", "<!-- end -->"
        if start in text:
            before, rest = text.split(start, 1)
            after = rest.split(end, 1)[1]
            text = f"{before}{start}\n{make()}\n{end}{after}"
    return text


def emotion() -> str:
    """The headline: the emotion recipe, INT8 students beside the teacher and the controls."""
    return _run_table("emotion")


def sst2() -> str:
    """The same shape of recipe on SST-2."""
    return _run_table("sst2")


def imdb() -> str:
    """The IMDb recipe: a stratified 5,000 of the test reviews."""
    return _run_table("imdb")


def imdb_all() -> str:
    """The word networks of the IMDb recipe on all 25,000 test reviews: what they answer; other work ran beside them."""
    run = _main_run("imdb-all")
    models = [model for model in run["models"] if model["variant"] != "none"]
    rows = [_row(model, _values(model, [run], "accuracy"), "accuracy")[:5] for model in models]
    n = models[0]["metrics"]["test"]["accuracy"]["n"]
    note = f"Test split, n = {n:,}; seed {run['seed']}."
    return _markdown(["model", "file", "MB", "accuracy %", "95 % interval"], rows) + f"\n\n{note}"


def imperative() -> str:
    """The imperative recipe, five seeds."""
    return _run_table("imperative")


def headlines() -> str:
    """What five projects publish, what their own logs say, and what we measure on the same kind of work."""
    rows = []
    for headline in json.loads((RESULTS.parent / "published.json").read_text(encoding="utf-8")):
        ours = [_sentence(headline["task"], name) for name in headline["models"] if _files(headline["task"])]
        here = (
            "<br>".join(ours) or f"{headline['without']}: `understudy run recipes/{headline['recipe']}.toml --out RUN`"
        )
        rows.append([headline["project"], headline["published"], headline["logs"], here])
    return _markdown(["project", "published", "by its own logs and code", "understudy"], rows)


def _sentence(task: str, name: str) -> str:
    """A student's INT8 file beside the teacher, in one line; where INT8 was refused, its FP32 file."""
    runs = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(_files(task))]
    main_run = _main_run(task)
    metric = main_run["task_metric"]
    (teacher,) = (m for m in main_run["models"] if (m["name"], m["variant"]) == ("teacher", "fp32"))
    files = {m["variant"]: m for m in main_run["models"] if m["name"] == name}
    variant = "int8" if "int8" in files else "fp32"
    model = files[variant]
    values = _values(model, runs, metric)
    estimate, reference = model["metrics"]["test"][metric], teacher["metrics"]["test"][metric]
    interval = "–".join(f"{100 * bound:.1f}" for bound in estimate["ci95"])
    seeds = f"median of {len(values)} seeds, " if len(values) > 1 else ""
    megabytes, theirs = model["bytes"] / 1e6, teacher["bytes"] / 1e6
    return (
        f"{task}, {name} {variant.upper()}: {metric} {median(values):.2f} [{interval}] "
        f"({seeds}test, n = {estimate['n']:,}; teacher {100 * reference['value']:.2f}), "
        f"{megabytes:.1f} of {theirs:.1f} MB, "
        f"{model['speedup_vs']['pipeline']:.0f} × the pipeline, {model['speedup_vs']['onnx_fp32']:.0f} × ONNX FP32"
    )


def training() -> str:
    """Steps per second of our loop and two others."""
    found = json.loads((RESULTS / "training_speed.json").read_text(encoding="utf-8"))
    rows = [[row["loop"], f"{row['steps_per_second']:.2f}", f"{row['ours_is_faster']:.1f} ×"] for row in found["loops"]]
    machine = f"{found['machine']['cpu']}, {found['machine']['cores']} cores; {found['what']}"
    return _markdown(["loop", "steps/s", "ours is faster by"], rows) + f"\n\n{machine}."


def startup() -> str:
    """Seconds from nothing to an answer."""
    found = json.loads((RESULTS / "startup.json").read_text(encoding="utf-8"))
    return _markdown(["what", "median of runs"], [[row["what"], f"{row['seconds']:.2f} s"] for row in found["rows"]])


def processes() -> str:
    """What a process of its own takes, by model, on emotion."""
    run = _main_run("emotion")
    rows = [
        [model["name"], _FILES[model["variant"]], f"{model['load_ms'] / 1000:.2f} s", f"{model['peak_rss'] / 1e6:.0f}"]
        for model in run["models"]
        if model["load_ms"] and model["variant"] != "fp16"
    ]
    return _markdown(["model", "file", "start to first answer", "peak memory, MB"], rows)


def pruning() -> str:
    """What pruning does to a trained student: structured, and unstructured beside it."""
    found = json.loads((RESULTS / "pruning.json").read_text(encoding="utf-8"))
    rows = []
    for row in found["rows"]:
        interval = "–".join(f"{100 * bound:.1f}" for bound in row["accuracy"]["ci95"])
        accuracy, ratio = f"{100 * row['accuracy']['value']:.2f}", f"{row['latency_ratio']:.2f}"
        rows.append([f"{found['student']}, {row['student']}", f"{row['bytes'] / 1e6:.1f}", accuracy, interval, ratio])
    recovery = found["recovery"]
    note = (
        f"{found['task']}, ONNX FP32, validation split, n = {found['rows'][0]['accuracy']['n']}; recovery: "
        f"{recovery['epochs']} epochs over {recovery['texts']:,} texts; time as a share of the first row's: one text, "
        "one thread, median of interleaved passes."
    )
    return _markdown(["student", "MB", "accuracy %", "95 % interval", "time"], rows) + f"\n\n{note}"


def overconfidence() -> str:
    """Students of a sure teacher and of less sure ones."""
    return _with_note(overconfidence_table.table(RESULTS / "overconfidence"))


def ladder(task: str) -> str:
    """The students of a task, from the fastest to its teacher."""
    return _with_note(ladder_tables.ladder(_main_run(f"{task}-students")))


def worth(task: str) -> str:
    """What the teacher is worth to each of them."""
    return _with_note(ladder_tables.worth(_main_run(f"{task}-students")))


def peers(task: str) -> str:
    """Other libraries beside them."""
    found = json.loads((RESULTS / "peers" / f"{task}.json").read_text(encoding="utf-8"))
    return _with_note(ladder_tables.peers(found, _main_run(f"{task}-students")))


def cascades(task: str) -> str:
    """Cascades of them."""
    return _with_note(ladder_tables.cascades(_main_run(f"{task}-cascades")))


def _with_note(table: ladder_tables.Table) -> str:
    header, rows, note = table
    return _markdown(header, rows) + f"\n\n{note}"


def _main_run(task: str) -> dict[str, Any]:
    """The run of the recipe's own seed: the one in which speed was measured."""
    runs = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(_files(task))]
    return max(runs, key=lambda run: sum(bool(model["speed"]) for model in run["models"]))


def _run_table(task: str) -> str:
    runs = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(_files(task))]
    main_run = _main_run(task)
    metric = main_run["task_metric"]
    rows = []
    for model in main_run["models"]:
        if model["variant"] in ("fp16", "none"):
            continue
        rows.append(_row(model, _values(model, runs, metric), metric))
    n = next(model["metrics"]["test"][metric]["n"] for model in main_run["models"] if model["metrics"])
    header = ["model", "file", "MB", f"{metric} %", "95 % interval", "kept %", "ms/text", "texts/s"]
    header += ["× pipeline", "× ONNX FP32"]
    machine = main_run["machine"]
    cpu = f"{machine['cpu']}, {', '.join(machine['instruction_set'])}"
    count = max(len(runs), *(len(model.get("seeds", {}).get("files", "1")) for model in main_run["models"]))
    several = f"students: median of {count} seeds, with the lowest and highest; intervals and controls: "
    note = (
        f"Test split, n = {n}; {several if count > 1 else ''}seed {main_run['seed']}. Speed: one thread, "
        f"tokenisation included; ms/text is the median of single texts, texts/s that of the best batch size; {cpu}."
    )
    return _markdown(header, rows) + f"\n\n{note}"


def _files(task: str) -> list[Path]:
    return list((RESULTS / task).glob("seed-*/results.json"))


def _find(run: Mapping[str, Any], model: Model) -> Model | None:
    same = (m for m in run["models"] if (m["name"], m["variant"]) == (model["name"], model["variant"]) and m["metrics"])
    return next(same, None)


def _values(model: Model, runs: list[dict[str, Any]], metric: str) -> list[float]:
    """The test metric of each seed in percent: of one result file, or of older files with a seed each."""
    if "seeds" in model:
        return [100 * value for value in model["seeds"]["metrics"][metric]["values"].values()]
    return [100 * found["metrics"]["test"][metric]["value"] for run in runs if (found := _find(run, model))]


def _row(model: Model, values: list[float], metric: str) -> list[str]:
    value = interval = kept = "–"
    if values:
        spread = f" ({min(values):.2f}–{max(values):.2f})" if max(values) > min(values) else ""
        value = f"{median(values):.2f}{spread}"
        interval = "–".join(f"{100 * bound:.1f}" for bound in model["metrics"]["test"][metric]["ci95"])
        first = 100 * model["metrics"]["test"][metric]["value"]  # the teacher is the same for all seeds
        kept = f"{100 * model['retention']['value'] * median(values) / first:.1f}" if model["retention"] else "–"
    single = [row for row in model["speed"] if row["threads"] == 1]
    latency = next((f"{row['p50']:.2f}" for row in single if row["batch"] == 1), "–")
    rate = f"{max(row['texts_per_second'] for row in single):,.0f}" if single else "–"
    times = [f"{ratio:.1f}" if (ratio := model["speedup_vs"][name]) else "–" for name in ("pipeline", "onnx_fp32")]
    size = f"{model['bytes'] / 1e6:.1f}" if model["bytes"] else "–"
    return [model["name"], _FILES[model["variant"]], size, value, interval, kept, latency, rate, *times]


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


TABLES: dict[str, Callable[[], str]] = {
    "emotion": emotion, "sst2": sst2, "imdb": imdb, "imdb-all": imdb_all, "imperative": imperative,
    "headlines": headlines, "training": training, "startup": startup, "processes": processes, "pruning": pruning,
    "overconfidence": overconfidence,
    **{f"{task}-{make.__name__}": partial(make, task) for task in LADDERS for make in (ladder, worth, peers, cascades)},
}  # fmt: skip

if __name__ == "__main__":
    main()
