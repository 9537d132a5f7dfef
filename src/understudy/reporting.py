"""report: what `benchmark` measured, for people. Reads finished artifacts only; no stage reads what it writes.

    benchmark/{results.json, labels.npz, logits/*.npz} → report/{report.html, report.md, results.json, *.png}

`summary_table` is the short form for the terminal, `model_card` the README.md of a model's directory.
"""

from __future__ import annotations

import base64
import json
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.table import Table as TerminalTable
from rich.text import Text

from .errors import ArtifactError, MissingExtraError

if TYPE_CHECKING:
    import jinja2

Results = Mapping[str, Any]
Model = dict[str, Any]

NONE = "–"
FILES = {
    "torch": "PyTorch", "fp32": "ONNX FP32", "fp16": "ONNX FP16", "int8": "ONNX INT8", "sklearn": "scikit-learn",
    "none": "no file",
}  # fmt: skip
METRICS = {"accuracy": "Accuracy", "macro_f1": "Macro-F1", "macro_recall": "Macro recall"}
PICTURES = {
    "accuracy.png": "All models, with 95 % intervals. The dashed line is the teacher.",
    "tradeoff.png": "Up and left is better. The area of a dot is the size on disk; nothing lies above the dashed line.",
    "training.png": "Training loss and its parts (training texts), and below the task metric (validation split).",
    "confusion.png": "The teacher and, of each student, the file that ships (INT8, or its smallest): a row is a true "
    "label, colour the share of its texts that got an answer, the number their count. Test split.",
    "reliability.png": "How often an answer is right at the confidence that it states: on the dashed line is right. "
    "Equal-mass bins, test split; ECE is that of the calibrated file.",
    "labels.png": "How often each label occurs in the truth, and how often the teacher and each student answer it.",
}


class Cell(NamedTuple):
    """What stands in a table's cell: the number, and in small what belongs to it."""

    text: str
    detail: str = ""


@dataclass(frozen=True)
class Table:
    """A table of either document; `title` is its heading, `note` says what the numbers are."""

    title: str
    note: str
    columns: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]
    text_columns: int = 1


def report(benchmark: Path, out: Path) -> Path:
    """Write the report of a benchmark into the empty directory `out`; returns the path of report.html."""
    try:
        from . import plots

        html, markdown = _template("report.html.jinja"), _template("report.md.jinja")
    except ImportError:
        raise MissingExtraError("the report", "build") from None
    results = prepared(_read_results(benchmark))
    labels, logits = _read_logits(benchmark, results["models"])
    evidence = plots.Evidence(
        results["models"], results["training"], results["labels"], results["task_metric"], labels, logits,
        [model["key"] for model in _shown(results)],
    )  # fmt: skip
    drawn = plots.draw(evidence, out)
    shutil.copyfile(benchmark / "results.json", out / "results.json")
    view = {**_view(results), "pictures": {name: PICTURES[name] for name in drawn}}
    embedded = {name: base64.b64encode((out / name).read_bytes()).decode() for name in drawn}
    (out / "report.md").write_text(markdown.render(view), encoding="utf-8")
    (out / "report.html").write_text(html.render(view, embedded=embedded), encoding="utf-8")
    return out / "report.html"


def summary_table(results: Results) -> TerminalTable:
    """The main columns for the terminal, in at most 100 columns."""
    results = prepared(results)
    metric = METRICS.get(results["task_metric"], results["task_metric"])
    table = TerminalTable(box=box.SIMPLE_HEAD, caption=f"test split, {_count(results)}; ms: p50, one text, one thread")
    table.add_column("model", overflow="ellipsis", no_wrap=True, max_width=34)
    for name in ("MB", f"{metric} %", "kept %", "ms", "texts/s", "× pipeline"):
        table.add_column(name, justify="right", no_wrap=True)
    for model in results["models"]:
        half = None if model["low"] is None else (model["high"] - model["low"]) / 2
        score = _percent(model["score"]).text + (f" ± {100 * half:.1f}" if half is not None else "")
        kept, pipeline = _percent(model["retention"], 1).text, _times(model["speedup_vs"].get("pipeline")).text
        cells = [_megabytes(model["bytes"]).text, score, kept, _digits(model["p50"]), _digits(model["rate"]), pipeline]
        style = {"teacher": "bold", "control": "dim"}.get(model["role"], "")
        table.add_row(Text(model["key"]), *cells, style=style)
    return table


def model_card(results: Results, model: Model) -> str:
    """The Markdown model card of one of `results["models"]`."""
    results = prepared(results)
    key = f"{model['name']}/{model['variant']}"
    chosen = next(entry for entry in results["models"] if entry["key"] == key)
    student = chosen["name"].removesuffix("-no-teacher")
    recipe = results["recipe"]
    made = next((entry for entry in recipe.get("students", []) if entry.get("name") == student), {})
    try:
        template = _template("card.md.jinja")
    except ImportError:
        raise MissingExtraError("the model card", "build") from None
    file = FILES.get(chosen["variant"], chosen["variant"])
    return template.render(_view(results), model=chosen, file=file, made=made, teacher=_teacher(results) or {"key": ""})


def prepared(results: Results) -> dict[str, Any]:
    """The results with every optional key there, models in reading order, and what is derived from them.

    Each model gets: key, kind, score (the task metric on test) with value, low, high; p50 and rate (one thread).
    """
    filled = {"recipe": {}, "data": {}, "training": [], "comparisons": [], "machine": {}, "versions": {}, **results}
    filled["data"] = _data(filled["data"] or {})
    filled["models"] = _in_order([_derived(model, results["task_metric"]) for model in results["models"]])
    return filled


def _data(data: Results) -> dict[str, dict[str, Any]]:
    """Counts per split and label, the majority's share per split, rows dropped by reason.

    Takes the data stage's own record, {"splits": …, "dropped": {split: {reason: n}}}, as well.
    """
    splits = {name: split for name, split in data.get("splits", {}).items() if "classes" in split}
    dropped: dict[str, int] = {}
    for name, found in (data.get("dropped") or {}).items():
        dropped |= {f"{name}: {reason}": n for reason, n in found.items()} if isinstance(found, dict) else {name: found}
    return {
        "counts": data.get("counts") or {name: split["classes"] for name, split in splits.items()},
        "majority": data.get("majority") or {name: split["majority"]["share"] for name, split in splits.items()},
        "dropped": dropped,
    }


def _derived(model: Model, metric: str) -> Model:
    optional = (
        "params",
        "bytes",
        "retention",
        "agreement",
        "peak_rss",
        "load_ms",
        "calibration",
        "path",
        "temperature",
    )
    model = {**dict.fromkeys(optional), "per_class": [], "warnings": [], **model}
    score = (model["metrics"].get("test") or {}).get(metric) or {}
    low, high = score.get("ci95") or (None, None)
    speed = [row for row in model.get("speed") or [] if row["threads"] == 1]
    fastest = max(speed, key=lambda row: row["texts_per_second"] or 0, default={})
    model |= {"speed": model.get("speed") or [], "speedup_vs": model.get("speedup_vs") or {}}
    model |= {"key": f"{model['name']}/{model['variant']}", "kind": _kind(model)}
    model |= {"score": score, "value": score.get("value"), "low": low, "high": high}
    model |= {"rate": fastest.get("texts_per_second"), "rate_batch": fastest.get("batch")}
    return model | {"p50": next((row["p50"] for row in speed if row["batch"] == 1), None)}


def _kind(model: Model) -> str:
    if model["role"] != "control":
        return str(model["role"])
    if model["name"].endswith("-no-teacher"):
        return "control: learned without the teacher"
    known = {"none": "control: always the commonest label", "sklearn": "control: bag of words (TF-IDF)"}
    return known.get(model["variant"], "control")


def _in_order(models: Sequence[Model]) -> list[Model]:
    """Teacher, students, controls; in each the best first, the variants of one model side by side."""
    best: dict[str, float] = {}
    for model in models:
        best[model["name"]] = max(best.get(model["name"], 0.0), model["value"] or 0.0)
    roles, variants = ["teacher", "student", "control"], list(FILES)
    place = {name: index for index, name in enumerate(variants)}
    return sorted(
        models, key=lambda m: (roles.index(m["role"]), -best[m["name"]], m["name"], place.get(m["variant"], 99))
    )


def _read_results(benchmark: Path) -> dict[str, Any]:
    try:
        results: dict[str, Any] = json.loads((benchmark / "results.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{benchmark} has no results.json; `understudy benchmark` writes it") from None
    except ValueError:
        raise ArtifactError(f"{benchmark / 'results.json'} is not valid JSON; rerun `understudy benchmark`") from None
    return results


def _read_logits(benchmark: Path, models: Sequence[Model]) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float32]]]:
    """The test split's labels, and the logits of the models that have some, rows in the labels' order."""
    try:
        with np.load(benchmark / "labels.npz") as file:
            ids, labels = file["ids"], file["labels"].astype(np.int64)
    except (OSError, KeyError, ValueError):
        raise ArtifactError(f"{benchmark} lacks a readable labels.npz; rerun `understudy benchmark`") from None
    order, logits = np.argsort(ids), {}
    for model in models:
        path = benchmark / "logits" / f"{model['name']}-{model['variant']}.npz"
        if path.exists():
            with np.load(path) as file:
                theirs = np.argsort(file["ids"])
                if not np.array_equal(file["ids"][theirs], ids[order]):
                    raise ArtifactError(f"{path} and labels.npz hold other ids; rerun `understudy benchmark`")
                logits[model["key"]] = file["logits"][theirs][np.argsort(order)]
    return labels, logits


def _template(name: str) -> jinja2.Template:
    """A template that escapes every text for what it writes: HTML or Markdown. Imported late: jinja2 is an extra."""
    import jinja2
    from markupsafe import Markup

    def escaped(value: Any) -> Any:
        return Markup(_escape_markdown(value)) if isinstance(value, str) and not hasattr(value, "__html__") else value

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True,
        finalize=escaped if ".md." in name else None,
    )  # fmt: skip
    environment.filters |= {
        "toml": _toml, "digits": _digits, "percent": _percent, "megabytes": _megabytes, "quoted": shlex.quote,
        "literal": lambda text: json.dumps(text, ensure_ascii=False), "words": lambda name: name.replace("_", " "),
    }  # fmt: skip
    return environment.get_template(name)


def _escape_markdown(text: str) -> str:
    """Text that neither Markdown nor the HTML in it can take for markup, on one line."""
    entities = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
    return "".join(
        entities.get(sign, f"\\{sign}" if sign in "\\`*_[]|~#$" else sign) for sign in " ".join(text.split())
    )


def _view(results: Results) -> dict[str, Any]:
    """What the documents say."""
    best, _ = _best(results)
    details = {
        "answers": [_classes(results), _comparisons(results)],
        "measured": [_calibration(results), _speeds(results)],
        "data": _data_tables(results),
    }
    filled = {name: [table for table in tables if table.rows] for name, tables in details.items()}
    return {
        "results": results,
        "metric": _metric(results),
        "counted": _count(results),
        "findings": findings(results),
        "best": best,
        "tables": {"results": _results_table(results), **filled},
        "machine": [(name.replace("_", " "), _plain(name, value)) for name, value in results["machine"].items()]
        + [(name, str(value)) for name, value in results["versions"].items()],
    }


def _plain(name: str, value: Any) -> str:
    if name.endswith("_bytes") and value:
        return f"{value / 1e9:.1f} GB"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _metric(results: Results) -> str:
    return METRICS.get(results["task_metric"], results["task_metric"])


def _count(results: Results) -> str:
    counts = sorted({model["score"]["n"] for model in results["models"] if model["score"]})
    return "n = " + " or ".join(f"{n:,}" for n in counts) if counts else "not measured"


def _results_table(results: Results) -> Table:
    metric, reference = _metric(results), _teacher(results)
    columns: list[tuple[Cell, Callable[[Model], Cell]]] = [
        (Cell("Model"), lambda m: Cell(m["name"])),
        (Cell("What it is"), lambda m: Cell(m["kind"], _remark(results, m))),
        (Cell("File"), lambda m: Cell(FILES.get(m["variant"], m["variant"]))),
        (Cell("Parameters", "millions"), lambda m: Cell(_digits(m["params"] and m["params"] / 1e6))),
        (Cell("Size", "MB"), lambda m: _megabytes(m["bytes"])),
        (Cell(metric, "%"), lambda m: _percent(m["score"])),
        (Cell("Kept", "% of the teacher's"), lambda m: _percent(m["retention"])),
        (Cell("Same answer", "% as the teacher"), lambda m: _percent(m["agreement"], 1)),
        (Cell("ECE", "%"), lambda m: _percent((m["metrics"].get("test") or {}).get("ece"), 1)),
        (Cell("Time", "ms per text"), lambda m: Cell(_digits(m["p50"]))),
        (Cell("Rate", "texts/s"), lambda m: Cell(_digits(m["rate"]), m["rate"] and f"batch {m['rate_batch']}")),
        (Cell("Speed-up", "× teacher, pipeline"), lambda m: _times(m["speedup_vs"].get("pipeline"))),
        (Cell("Speed-up", "× teacher, ONNX FP32"), lambda m: _times(m["speedup_vs"].get("onnx_fp32"))),
    ]
    note = (
        f"Test split, {_count(results)}; below a figure its 95 % interval. Size: all that a prediction reads. Kept: "
        f"the model's {metric.lower()} divided by that of {reference['key'] if reference else 'the teacher'}. ECE: "
        "calibration error, 0 is best. Time: median for one text, one thread. Rate: one thread, best batch. Speed-up: "
        "rate against the teacher in a transformers pipeline and in ONNX FP32, same texts and threads."
    )
    rows = [[cell(model) for _, cell in columns] for model in results["models"]]
    return Table("Results", note, [name for name, _ in columns], rows, text_columns=3)


def _remark(results: Results, model: Model) -> str:
    bag = _bag_of_words(results)
    if bag and model["role"] == "student" and (model["value"] or 0) < (bag["value"] or 0):
        return f"below {bag['name']}"
    return ""


def _data_tables(results: Results) -> list[Table]:
    counts, majority = results["data"]["counts"], results["data"]["majority"]
    tables = []
    if counts:
        rows = [[Cell(n), *(Cell(f"{split.get(n, 0):,}") for split in counts.values())] for n in results["labels"]]
        rows.append([Cell("all"), *(Cell(f"{sum(split.values()):,}") for split in counts.values())])
        rows.append([Cell("commonest label, %"), *(_percent({"value": majority.get(name)}, 1) for name in counts)])
        tables.append(Table("Texts by label", "Labelled texts.", [Cell("Label"), *map(Cell, counts)], rows))
    if results["data"]["dropped"]:
        rows = [[Cell(reason), Cell(f"{n:,}")] for reason, n in results["data"]["dropped"].items()]
        tables.append(Table("Left out", "Texts not used, by reason.", [Cell("Reason"), Cell("Texts")], rows))
    return tables


def _classes(results: Results) -> Table:
    models = [m for m in [*_shown(results), _bag_of_words(results)] if m and m["per_class"]]
    rows = []
    for index, label in enumerate(results["labels"] if models else []):
        scores = [model["per_class"][index] for model in models]
        cells = [Cell(_hundredth(s["f1"]), f"{_hundredth(s['precision'])} / {_hundredth(s['recall'])}") for s in scores]
        rows.append([Cell(label), Cell(f"{scores[0]['support']:,}"), *cells])
    note = "F1 in %, below it precision / recall; test split, n as given for each label."
    return Table("Per label", note, [Cell("Label"), Cell("n"), *(Cell(m["key"]) for m in models)], rows)


def _calibration(results: Results) -> Table:
    rows = []
    for model in results["models"]:
        if model["calibration"]:
            before, after = model["calibration"]["before"], model["calibration"]["after"]
            pairs = [Cell(f"{before[name]:.4f} → {after[name]:.4f}") for name in ("ece", "brier", "nll")]
            rows.append([Cell(model["key"]), Cell(_digits(model["temperature"])), *pairs])
    n = sum(results["data"]["counts"].get("val", {}).values())
    note = (
        f"Before → after dividing by the temperature; validation split{f', n = {n:,}' if n else ''}. Lower is better."
    )
    columns = [Cell("Model"), Cell("Temperature"), Cell("ECE"), Cell("Brier"), Cell("NLL")]
    return Table("Calibration", note, columns, rows)


def _comparisons(results: Results) -> Table:
    rows = []
    for pair in results["comparisons"]:
        test = pair["mcnemar"] or {"only_first": None, "only_second": None, "p": None}
        rows.append([
            Cell(pair["first"]), Cell(pair["second"]), _points(pair["difference"]), Cell(_whole(test["only_first"])),
            Cell(_whole(test["only_second"])), Cell(_p(test["p"])),
        ])  # fmt: skip
    note = (
        f"Difference in {_metric(results).lower()}, first − second, in points, with its paired 95 % interval; texts "
        f"that only one of the two gets right; exact McNemar test. Test split, {_count(results)}."
    )
    names = ("First", "Second", "Difference", "Only first right", "Only second right", "p")
    return Table("Paired comparisons", note, [Cell(name) for name in names], rows, text_columns=2)


def _speeds(results: Results) -> Table:
    rows = []
    for model in results["models"]:
        memory = Cell(_digits(model["peak_rss"] and model["peak_rss"] / 1e6))
        for row in model["speed"]:
            times = [Cell(_digits(row.get(name))) for name in ("mean", "p50", "p95", "p99")]
            head = [Cell(model["key"]), Cell(_whole(row["threads"])), Cell(_whole(row["batch"]))]
            rows.append(
                [*head, *times, Cell(_digits(row["texts_per_second"])), memory, Cell(_digits(model["load_ms"]))]
            )
    names = ("Model", "Threads", "Batch", "Mean", "p50", "p95", "p99", "Texts/s", "Memory", "Start")
    units = {**dict.fromkeys(("Mean", "p50", "p95", "p99"), "ms"), "Memory": "peak, MB", "Start": "ms"}
    note = (
        "Time of one batch, tokenisation included, texts of the test split; peak memory of the process; start: from "
        "loading to the first answer."
    )
    return Table("Speed", note, [Cell(name, units.get(name, "")) for name in names], rows)


def findings(results: Results) -> list[str]:
    """What the figures say, in sentences; `results` as `prepared` makes them."""
    best, split = _best(results)
    said = _about_best(results, best, split) if best else []
    for student in [model for model in _shown(results) if model["role"] == "student"]:
        said += [
            *_about_bag_of_words(results, student),
            *_about_teacher(results, student),
            *_about_int8(results, student),
        ]
    return said + [f"Warning, {model['key']}: {text}" for model in results["models"] for text in model["warnings"]]


def _about_best(results: Results, best: Model, split: str) -> list[str]:
    metric, teacher = _metric(results).lower(), _teacher(results)
    how = (
        "chosen on validation" if split == "val" else "chosen on the test split itself, so its figures flatter a little"
    )
    said = [
        f"Best student: {best['key']} ({how}). On the test split ({_count(results)}) its {metric} is {_said(best)}."
    ]
    if teacher and best["retention"]:
        kept, same = _percent(best["retention"]), _percent(best["agreement"], 1)
        said[0] = said[0][:-1] + f"; the teacher's is {_said(teacher)}."
        said.append(
            f"It keeps {kept.text} % of the teacher ({kept.detail}) and gives the same answer on {same.text} %."
        )
    speed = best["speedup_vs"].get("pipeline")
    smaller = teacher["bytes"] / best["bytes"] if teacher and teacher["bytes"] and best["bytes"] else None
    facts = [f"it takes {_megabytes(best['bytes']).text} MB" + (f", {_digits(smaller)} times less" if smaller else "")]
    facts += [f"it answers one text in {_digits(best['p50'])} ms (median, one thread)"] if best["p50"] else []
    facts += [f"it does {_digits(speed)} times the texts per second of the teacher in a pipeline"] if speed else []
    return [*said, "; ".join(facts).capitalize() + "."]


def _about_bag_of_words(results: Results, student: Model) -> list[str]:
    bag = _bag_of_words(results)
    if not bag or student["value"] is None or bag["value"] is None:
        return []
    gap = _gap(results, student, bag)
    verdict = _verdict(gap, "beats", "is beaten by", "does not beat, beyond the interval,")
    return [f"{student['key']} {verdict} a bag of words ({bag['key']}, {_said(bag)}): {_spoken(gap)}."]


def _about_teacher(results: Results, student: Model) -> list[str]:
    """The paired test against the same student without a teacher, of the variant that has one."""
    models = {model["key"]: model for model in results["models"]}
    for variant in (student["variant"], *FILES):
        first, twin = (models.get(f"{name}/{variant}") for name in (student["name"], f"{student['name']}-no-teacher"))
        if first and twin and first["value"] is not None and twin["value"] is not None:
            gap = _gap(results, first, twin)
            verdict = _verdict(gap, "helped", "harmed", "made no difference that this split can show for")
            return [f"Learning from the teacher {verdict} {first['key']}: {_spoken(gap)} against {twin['key']}."]
    return []


def _about_int8(results: Results, student: Model) -> list[str]:
    source = next((m for m in results["models"] if m["key"] == f"{student['name']}/fp32"), None)
    if student["variant"] != "int8" or not source or source["value"] is None or student["value"] is None:
        return []
    gap = _gap(results, student, source)
    verdict = _verdict(gap, "gained", "cost", "changed nothing that this split can show for")
    return [f"INT8 {verdict} {student['name']}: {_spoken(gap)} against FP32."]


def _gap(results: Results, first: Model, second: Model) -> Model:
    """first − second: the paired difference where it was measured, else what the two intervals allow at most."""
    for pair in results["comparisons"]:
        if {pair["first"], pair["second"]} == {first["key"], second["key"]} and pair["difference"]["value"] is not None:
            found, sign = pair["difference"], 1 if pair["first"] == first["key"] else -1
            low, high = sorted(sign * (found["value"] if bound is None else bound) for bound in found["ci95"])
            return {"value": sign * found["value"], "ci95": [low, high], "p": (pair["mcnemar"] or {}).get("p")}
    lows = [model["value"] if model["low"] is None else model["low"] for model in (first, second)]
    highs = [model["value"] if model["high"] is None else model["high"] for model in (first, second)]
    return {"value": first["value"] - second["value"], "ci95": [lows[0] - highs[1], highs[0] - lows[1]], "p": None}


def _verdict(gap: Model, better: str, worse: str, same: str) -> str:
    low, high = gap["ci95"]
    return better if low > 0 else worse if high < 0 else same


def _spoken(gap: Model) -> str:
    cell = _points(gap)
    test = "not a paired interval" if gap["p"] is None else f"McNemar p {_p(gap['p'])}"
    return f"{cell.text} points ({cell.detail}; {test})"


def _said(model: Model) -> str:
    cell = _percent(model["score"])
    return f"{cell.text} % ({cell.detail})" if cell.detail else f"{cell.text} %"


def _teacher(results: Results) -> Model | None:
    """The teacher's file that is scored: ONNX FP32, else the first that has a score."""
    scored = [m for m in results["models"] if m["role"] == "teacher" and m["value"] is not None]
    return min(scored, key=lambda model: model["variant"] != "fp32", default=None)


def _bag_of_words(results: Results) -> Model | None:
    return next((model for model in results["models"] if model["variant"] == "sklearn"), None)


def _shown(results: Results) -> list[Model]:
    """The teacher, and of each student the file that ships: INT8, or its smallest."""
    students: dict[str, Model] = {}
    for model in (model for model in results["models"] if model["role"] == "student"):
        held = students.get(model["name"])
        if held is None or _shipping_rank(model) < _shipping_rank(held):
            students[model["name"]] = model
    teacher = _teacher(results)
    return [teacher, *students.values()] if teacher else list(students.values())


def _shipping_rank(model: Model) -> tuple[bool, float]:
    return model["variant"] != "int8", model["bytes"] or float("inf")


def _best(results: Results) -> tuple[Model | None, str]:
    """The best of the shown students and the split that it was chosen on: validation where every history has it."""
    students = [m for m in _shown(results) if m["role"] == "student" and m["value"] is not None]
    name = f"val_{results['task_metric']}"
    found = {
        run["name"]: next((row.get(name) for row in run["history"] if row["epoch"] == run["best_epoch"]), None)
        for run in results["training"]
    }
    if all(found.get(model["name"]) is not None for model in students):
        return max(students, key=lambda model: (found[model["name"]], -(model["bytes"] or 0)), default=None), "val"
    return max(students, key=lambda model: model["value"], default=None), "test"


def _digits(number: float | None) -> str:
    """Three digits that count; whole numbers from 100 on."""
    if number is None:
        return NONE
    decimals = next((places for limit, places in ((100, 0), (10, 1), (1, 2), (0.1, 3)) if abs(number) >= limit), 4)
    return f"{number:,.{decimals}f}"


def _whole(number: int | None) -> str:
    return NONE if number is None else f"{number:,}"


def _hundredth(share: float | None) -> str:
    return NONE if share is None else f"{100 * share:.1f}"


def _percent(estimate: Results | float | None, digits: int = 2) -> Cell:
    """A share with its interval, without the sign."""
    found: Results = {"value": estimate} if isinstance(estimate, float | int) else estimate or {}
    if found.get("value") is None:
        return Cell(NONE)
    low, high = found.get("ci95") or (None, None)
    detail = "" if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f}"
    return Cell(f"{100 * found['value']:.{digits}f}", detail)


def _points(difference: Results) -> Cell:
    """A signed difference in points, with its interval."""
    if difference["value"] is None:
        return Cell(NONE)
    numbers = [difference["value"], *(bound for bound in difference["ci95"] if bound is not None)]
    value, *bounds = (f"{100 * number:+.2f}".replace("-", "−") for number in numbers)
    return Cell(value, " to ".join(bounds))


def _megabytes(size: float | None) -> Cell:
    return Cell(NONE if size is None else _digits(size / 1e6))


def _times(ratio: float | None) -> Cell:
    return Cell(NONE if ratio is None else f"{_digits(ratio)} ×")


def _p(value: float | None) -> str:
    if value is None:
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _toml(recipe: Results) -> str:
    """A recipe as the TOML that it came from, unset keys left out."""
    plain = {key: value for key, value in recipe.items() if not _is_section(value)}
    lines = [f"{_key(key)} = {_toml_value(value)}" for key, value in plain.items() if value is not None]
    for key, value in recipe.items():
        for section in (
            value if isinstance(value, list) and _is_section(value) else [value] if _is_section(value) else []
        ):
            head = f"[[{_key(key)}]]" if isinstance(value, list) else f"[{_key(key)}]"
            lines += ["", head, *(f"{_key(k)} = {_toml_value(v)}" for k, v in section.items() if v is not None)]
    return "\n".join(lines).strip()


def _is_section(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else json.dumps(key)


def _toml_value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(k)} = {_toml_value(v)}" for k, v in value.items() if v is not None) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
