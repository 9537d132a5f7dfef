"""Tables of the ladder of students: what a rung is worth, whether the teacher helped it, and who else does the job.

All figures are of the files that ship; those of students are means over seeds, with intervals over seeds and texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy.answers import model_key
from understudy.kinds import HARD_LABEL, NO_TEACHER

Row = Mapping[str, Any]
Table = tuple[list[str], list[list[str]], str]  # header, rows, note
_NAMES = {"accuracy": "accuracy", "macro_f1": "macro-F1", "macro_recall": "macro recall"}


def ladder(results: Row) -> Table:
    """Quality, size and speed of the teacher, of each student's INT8 file and of the bag of words."""
    metric = results["task_metric"]
    second = "accuracy" if metric == "macro_recall" else "macro_f1"
    rows = []
    for model in results["models"]:
        if model["metrics"] and (model["role"] != "student" or _ships(model)) and model["role"] != "control":
            rows.append(_ladder_row(model, metric, second))
    rows += [_ladder_row(bag, metric, second) for bag in results["models"] if bag["variant"] == "sklearn"]
    header = ["model", "MB", f"{_NAMES[metric]} %", f"{_NAMES[second]} %", "ECE %", "ms/text", "texts/s", "× pipeline"]
    return header, rows, f"{_about(results)} ECE is debiased. {_about_speed(results)}"


def worth(results: Row) -> Table:
    """Each student's gain over its twins, the bag of words and the teacher, in points."""
    pairs = {(pair["first"], pair["second"]): pair for pair in results["comparisons"]}
    teacher = next(model_key(model) for model in results["models"] if model["role"] == "teacher" and model["metrics"])
    rows = []
    for model in results["models"]:
        if model["role"] != "student" or not _ships(model):
            continue
        full = f"{model['name']}/fp32"
        others = [(full, f"{model['name']}-{twin}/fp32") for twin in (NO_TEACHER, HARD_LABEL)]
        others += [(model_key(model), "tfidf-lr/sklearn"), (model_key(model), teacher)]
        found = [pairs.get(pair) for pair in others]
        rows.append([model["name"], *(_gain(pair) for pair in found), _margin(found[-1])])
    header = ["student", "gold labels alone", "the teacher's labels", "a bag of words", "the teacher", "not worse by"]
    margin = next(pair["non_inferiority"]["margin"] for pair in pairs.values() if "non_inferiority" in pair)
    note = (
        f"{_about(results)} Points of {_NAMES[results['task_metric']]} by which a student is above its twins (gold "
        "labels alone, and the labels that the teacher chooses; FP32, as many steps), and its INT8 file above a bag of "
        "words and the teacher. p after Holm's adjustment, the twins' two columns together. The last column is the "
        f"loss that is ruled out (one-sided, 95 %); the margin, {100 * margin:g} points, was set before."
    )
    return header, rows, note


def peers(found: Row, results: Row) -> Table:
    """Other libraries beside our files: the same rows, one measurement of speed in turns."""
    metric = results["task_metric"]
    ours = {model_key(model): model for model in results["models"]}
    quality = {row["name"]: row for row in found["quality"]}
    rows = []
    for row in sorted(found["speed"], key=_rate, reverse=True):
        rows.append(_peer_row(row, quality.get(row["name"], {}), ours, metric))
    header = ["what", "MB", f"{_NAMES[metric]} %", "ms/text", "texts/s", "× fastText", "× pipeline"]
    note = f"{_about(results)} {_about_speed(found)}"
    return header, rows, note


def cascades(results: Row) -> Table:
    """Cascades beside the files that they are made of."""
    metric = results["task_metric"]
    models = [model for model in results["models"] if model["metrics"] and model["role"] != "control"]
    reference = next(model_key(model) for model in models if model["role"] == "teacher")
    large = next(model for model in models if (model["role"], model["variant"]) == ("teacher", "int8"))
    pairs = {(pair["first"], pair["second"]): pair for pair in results["comparisons"]}
    rows = []
    for model in models:
        score, gap = model["metrics"]["test"][metric], _gain(pairs.get((model_key(model), reference)))
        speed = f"{_rate(model) / _rate(large):.1f}"
        row = [model["name"], _promise(model), _deferred(model), _megabytes(model), _estimate(score)]
        rows.append([*row, gap, _said_rate(model), speed])
    header = ["model", "promise, with 95 % confidence", "asks the teacher %", "MB", f"{_NAMES[metric]} %"]
    header += ["less the teacher", "texts/s", "× INT8 teacher"]
    return header, rows, f"{_about(results)} {_about_speed(results)}"


def _ladder_row(model: Row, metric: str, second: str) -> list[str]:
    size, speed = _megabytes(model), model["speedup_vs"]["pipeline"]
    scores = [_score(model, name) for name in (metric, second, "ece")]
    times = [_latency(model), _said_rate(model), f"{speed:.1f}" if speed else "–"]
    return [
        model["name"] if model["role"] != "teacher" else f"teacher {model['variant'].upper()}",
        size,
        *scores,
        *times,
    ]


def _peer_row(row: Row, quality: Row, ours: Row, metric: str) -> list[str]:
    model = ours.get(row["name"].removeprefix("students/")) or ours.get(f"{row['name']}/sklearn", {})
    if quality.get("metrics"):
        score = _estimate(quality["metrics"][metric])
    elif model:
        score = _score(model, metric)
    else:
        score = "–"
    size = quality.get("bytes")
    ratios = [f"{row['ratio'][name]:.2f}" if row["ratio"][name] else "–" for name in ("fasttext", "pipeline")]
    name = row["name"].removeprefix("students/")
    return [name, f"{size / 1e6:.2f}" if size else "–", score, _latency(row), _said_rate(row), *ratios]


def _promise(model: Row) -> str:
    """What a cascade's certificate says; the variant of another model."""
    if "cascade" not in model:
        return str(model["variant"]).upper()
    certificate = model["cascade"]["certificate"]
    level = f"{100 * certificate['level']:g}"
    agrees = certificate["target"] == "agreement"
    return f"at most {level} % other answers" if agrees else f"at most {level} points more errors"


def _deferred(model: Row) -> str:
    if "cascade" not in model:
        return "–"
    *_, large = model["cascade"]["answered"].values()
    return f"{100 * large['value']:.1f}"


def _ships(model: Row) -> bool:
    return bool(model["variant"] == "int8")


def _megabytes(model: Row) -> str:
    return f"{model['bytes'] / 1e6:.2f}" if model["bytes"] else "–"


def _score(model: Row, metric: str) -> str:
    """In percent, of several seeds their mean."""
    if "seeds" in model:
        found = model["seeds"]["metrics"][metric]
        return _estimate({"value": found["mean"], "ci95": found["ci95"]})
    return _estimate(model["metrics"]["test"][metric])


def _estimate(found: Row) -> str:
    low, high = found["ci95"]
    return f"{100 * found['value']:.2f} [{100 * low:.1f}, {100 * high:.1f}]"


def _gain(pair: Row | None) -> str:
    """A difference in points, over seeds where there are several, and its p."""
    if pair is None:
        return "–"
    gap = pair.get("over_seeds", pair)["difference"]
    low, high = gap["ci95"]
    p = f", p = {pair['holm']['adjusted']:.2g}" if "holm" in pair else ""
    return f"{100 * gap['value']:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]{p}"


def _margin(pair: Row | None) -> str:
    return f"{-100 * pair['non_inferiority']['bound']:.2f}" if pair and "non_inferiority" in pair else "–"


def _single(model: Row) -> list[Row]:
    return [row for row in model["speed"] if row["threads"] == 1]


def _latency(model: Row) -> str:
    return next((f"{row['p50']:.2f}" for row in _single(model) if row["batch"] == 1), "–")


def _rate(model: Row) -> float:
    return max(float(row["texts_per_second"]) for row in _single(model))


def _said_rate(model: Row) -> str:
    return f"{_rate(model):,.0f}" if _single(model) else "–"


def _about(results: Row) -> str:
    """The split, and how many seeds."""
    models = results["models"]
    n = next(model["metrics"]["test"][results["task_metric"]]["n"] for model in models if model["metrics"])
    seeds = max(len(model.get("seeds", {}).get("files", "1")) for model in models)
    return f"Test split, n = {n:,}" + (
        f"; students: mean of {seeds} seeds." if seeds > 1 else f"; seed {results['seed']}."
    )


def _about_speed(results: Row) -> str:
    machine = results["machine"]
    return (
        "Speed: one thread, tokenisation included, in turns within one measurement; ms/text is the median of single "
        f"texts, texts/s that of the best batch size; {machine['cpu']}, {', '.join(machine['instruction_set'])}."
    )
