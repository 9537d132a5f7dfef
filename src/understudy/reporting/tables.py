"""The tables of the report, the same for HTML and Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..label_mapping import mapped_names
from .formats import Cell, compact, digits, hundredth, megabytes, p_value, percent, points, whole
from .view import FILES, METRICS, Model, Results, bag_of_words_of, counted, metric_name, shown, teacher_of


@dataclass(frozen=True)
class Table:
    """A table of either document; `title` is its heading, `note` says what the numbers are."""

    title: str
    note: str
    columns: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]
    text_columns: int = 1


def results_table(results: Results) -> Table:
    """Every file, its quality, size and speed."""
    metric, reference = metric_name(results), teacher_of(results)
    columns: list[tuple[Cell, Callable[[Model], Cell]]] = [
        (Cell("Model"), lambda m: Cell(m["name"])),
        (Cell("What it is"), lambda m: Cell(m["role"], m["kind"] or _remark(results, m))),
        (Cell("File"), lambda m: Cell(FILES.get(m["variant"], str(m["variant"])))),
        (Cell("Parameters"), lambda m: Cell(compact(m["params"]))),
        (Cell("Size", "MB"), lambda m: megabytes(m["bytes"])),
        (Cell(metric[0].upper() + metric[1:], "%"), lambda m: percent(m["score"])),
        (Cell("Kept", "% of the teacher's"), lambda m: percent(m["retention"])),
        (Cell("Same answer", "% as the teacher"), lambda m: percent(m["agreement"], 1)),
        (Cell("ECE", "%"), lambda m: percent((m["metrics"].get("test") or {}).get("ece"), 1)),
        (Cell("Time", "ms per text"), lambda m: Cell(digits(m["p50"]))),
        (Cell("Rate", "texts/s"), lambda m: Cell(digits(m["rate"]), f"batch {m['rate_batch']}" if m["rate"] else "")),
        (Cell("Faster", "× teacher, pipeline"), lambda m: Cell(digits(m["speedup_vs"].get("pipeline")))),
        (Cell("Faster", "× teacher, ONNX FP32"), lambda m: Cell(digits(m["speedup_vs"].get("onnx_fp32")))),
    ]
    note = (
        f"Test split, {counted(results)}, with 95 % intervals. Size: all that a prediction reads. Kept: "
        f"the model's {metric} divided by that of {reference['key'] if reference else 'the teacher'}. ECE: "
        "calibration error, 0 is best. Time: median for one text, one thread. Rate: one thread, best batch. Faster: "
        "rate against the teacher in a transformers pipeline and in ONNX FP32, same texts and threads."
    )
    rows = [[cell(model) for _, cell in columns] for model in results["models"]]
    return Table("Every file that was measured", note, [name for name, _ in columns], rows, text_columns=3)


def _remark(results: Results, model: Model) -> str:
    bag = bag_of_words_of(results)
    if bag and model["role"] == "student" and (model["value"] or 0) < (bag["value"] or 0):
        return f"below {bag['name']}"
    return ""


def data_tables(results: Results) -> list[Table]:
    """How many texts the splits have, and what was left out."""
    counts, majority = results["data"]["counts"], results["data"]["majority"]
    tables = []
    if counts:
        rows = [[Cell(n), *(Cell(f"{split.get(n, 0):,}") for split in counts.values())] for n in results["labels"]]
        rows.append([Cell("all"), *(Cell(f"{results['data']['rows'][name]:,}") for name in counts)])
        commonest = "commonest set of labels, %" if results["kind"] == "multi" else "commonest label, %"
        rows.append([Cell(commonest), *(percent({"value": majority.get(name)}, 1) for name in counts)])
        taught = " and ".join(results["data"]["of_the_teacher"])
        note = f"Labelled texts; the labels of {taught} are the teacher's." if taught else "Labelled texts."
        tables.append(Table("Texts by label", note, [Cell("Label"), *map(Cell, counts)], rows))
    if origins := results["data"]["unlabeled"].values():
        head = [Cell(name) for name in ("From", "As", "Texts", "Made of them", "Learnt from")]
        rows = [[*(Cell(of[n]) for n in ("name", "what")), *(Cell(whole(of[n])) for n in ("texts", "made", "rows"))]
                for of in origins]  # fmt: skip
        note = "Students learn what the teacher says of them; their twins do not."
        tables.append(Table("Texts without a label", note, head, rows, text_columns=2))
    if results["data"]["dropped"]:
        rows = [[Cell(reason), Cell(f"{n:,}")] for reason, n in results["data"]["dropped"].items()]
        tables.append(Table("Left out", "Texts not used, by reason.", [Cell("Reason"), Cell("Texts")], rows))
    return [*tables, *_mapping_table(results["label_mapping"]), _confidence_table(results)]


def _mapping_table(mapping: Model | None) -> list[Table]:
    """What became of the teacher's own labels, where they are not the task's."""
    if mapping is None:
        return []
    rows = []
    for split, texts in mapping["texts"].items():
        counts = [Cell(whole(mapping[name][split])) for name in ("best_means_nothing", "abstained")]
        rows.append([Cell(split), Cell(whole(texts)), percent({"value": mapping["dropped_mass"][split]}, 1), *counts])
    note = (
        f"label_policy {mapping['policy']}: {mapped_names(mapping)}. Dropped: mean probability of the teacher's labels "
        "that mean nothing here. Test texts are always answered, by the labels that remain."
    )
    names = ("Split", "Texts", "Dropped", "Best label means nothing", "Left out")
    columns = [Cell(name, "%" if name == "Dropped" else "") for name in names]
    return [Table("The teacher's labels", note, columns, rows)]


def _confidence_table(results: Results) -> Table:
    """How sure the teacher is of the texts that it labelled."""
    folds = (results["recipe"].get("label") or {}).get("folds", 0)
    who = f"train by {folds} teachers, each without its part of it" if folds else "all by the teacher trained on train"
    what = "the label that the teacher chooses"
    if results["kind"] == "multi":
        what = "each label that the teacher gives, and of the absence of each other,"
    note = (
        f"Mean probability of {what}, not calibrated; {who}. A teacher is too sure of the "
        "texts that it was trained on; label.folds labels them out of fold."
    )
    if not (results["recipe"].get("teacher") or {}).get("train", True):
        note = "Mean probability of the label that the teacher, a ready classifier, chooses; not calibrated."
    if (results["recipe"].get("teacher") or {}).get("kind", "model") != "model":
        note = "Mean probability of the label that the teacher chooses, not calibrated."
    rows = [[Cell(split), percent({"value": mean}, 1)] for split, mean in results["teacher_confidence"].items()]
    return Table("Confidence of the soft labels", note, [Cell("Split"), Cell("Confidence", "%")], rows)


def class_tables(results: Results) -> list[Table]:
    """F1, precision and recall by label: of the shown models and the bag of words, then of every file of a model."""
    scored = [m for m in results["models"] if m["score"] and m["per_class"]]
    measured = [m for m in scored if m["variant"] != "none"]  # not the constant answer
    first = [m for m in [*shown(results), bag_of_words_of(results)] if m and m in scored]
    tables = [_class_table(results, "Per label", first)] if first else []
    there = {m["key"] for m in first}
    for name in dict.fromkeys(m["name"] for m in measured if m["key"] not in there):
        files = [m for m in measured if m["name"] == name]
        tables.append(_class_table(results, f"Per label, every file of {name}", files))
    return tables


def _class_table(results: Results, title: str, models: Sequence[Model]) -> Table:
    rows = []
    for index, label in enumerate(results["labels"]):
        scores = [model["per_class"][index] for model in models]
        cells = [Cell(hundredth(s["f1"]), f"{hundredth(s['precision'])} / {hundredth(s['recall'])}") for s in scores]
        rows.append([Cell(label), Cell(f"{scores[0]['support']:,}"), *cells])
    for metric in ("micro_f1", "macro_f1", "weighted_f1"):
        found = [model["metrics"]["test"].get(metric) for model in models]
        if any(found):
            n = next(estimate["n"] for estimate in found if estimate)
            rows.append([Cell(METRICS[metric]), Cell(f"{n:,}"), *(percent(estimate, 1) for estimate in found)])
    note = (
        "F1 in %, with precision / recall; of all labels together with its 95 % interval. Test split; n: texts of the "
        "label."
    )
    return Table(title, note, [Cell("Label"), Cell("n"), *(Cell(m["key"]) for m in models)], rows)


def threshold_table(results: Results) -> Table:
    """From which probability on each label of a multi-label task applies."""
    models = [m for m in [*shown(results), bag_of_words_of(results)] if m and m.get("thresholds")]
    rows = [
        [Cell(label), *(Cell(f"{model['thresholds'][index]:.3f}") for model in models)]
        for index, label in enumerate(results["labels"] if models else [])
    ]
    goal = results["recipe"].get("calibrate") or {}
    aim = goal.get("threshold_for", "f1")
    target = "the best F1" if aim == "f1" else f"a {aim} of {goal['threshold_target']:g}"
    note = f"A text gets a label from this calibrated probability on; fitted on validation for {target} of that label."
    return Table("Thresholds", note, [Cell("Label"), *(Cell(m["key"]) for m in models)], rows)


def calibration_table(results: Results) -> Table:
    """Before and after the temperature on validation, for results without a calibration study of that split."""
    rows = []
    for model in results["models"]:
        if model["calibration"] and "val" not in (model.get("calibration_study") or {}):
            before, after = model["calibration"]["before"], model["calibration"]["after"]
            pairs = [Cell(f"{before[name]:.4f} → {after[name]:.4f}") for name in ("ece", "brier", "nll")]
            rows.append([Cell(model["key"]), Cell(digits(model["temperature"])), *pairs])
    n = results["data"]["rows"].get("val", 0)
    note = (
        f"Before → after dividing by the temperature; validation split{f', n = {n:,}' if n else ''}. Lower is better."
    )
    columns = [Cell("Model"), Cell("Temperature"), Cell("ECE"), Cell("Brier"), Cell("NLL")]
    return Table("Calibration", note, columns, rows)


def comparison_table(results: Results) -> Table:
    """The paired tests."""
    rows = []
    for pair in results["comparisons"]:
        test = pair["mcnemar"] or {"only_first": None, "only_second": None, "p": None}
        rows.append([
            Cell(pair["first"]), Cell(pair["second"]), points(pair["difference"]), Cell(whole(test["only_first"])),
            Cell(whole(test["only_second"])), Cell(p_value(test["p"])),
        ])  # fmt: skip
    note = (
        f"Difference in {metric_name(results)}, first − second, in points, with its paired 95 % interval; texts "
        f"that only one of the two gets right; exact McNemar test. Test split, {counted(results)}."
    )
    names = ("First", "Second", "Difference", "Only first right", "Only second right", "p")
    return Table("Paired comparisons", note, [Cell(name) for name in names], rows, text_columns=2)


def speed_table(results: Results) -> Table:
    """Times, rates and memory of every measurement."""
    rows = []
    for model in results["models"]:
        memory = Cell(digits(model["peak_rss"] and model["peak_rss"] / 1e6))
        for row in model["speed"]:
            times = [Cell(digits(row.get(name))) for name in ("mean", "p50", "p95", "p99")]
            head = [Cell(model["key"]), Cell(whole(row["threads"])), Cell(whole(row["batch"]))]
            rows.append([*head, *times, Cell(digits(row["texts_per_second"])), memory, Cell(digits(model["load_ms"]))])
    names = ("Model", "Threads", "Batch", "Mean", "p50", "p95", "p99", "Texts/s", "Memory", "Start")
    units = {**dict.fromkeys(("Mean", "p50", "p95", "p99"), "ms"), "Memory": "peak, MB", "Start": "ms"}
    note = (
        "Time of one batch, tokenisation included, texts of the test split; peak memory of a process of its own; "
        "start: from the start of that process to its first answer."
    )
    return Table("Speed", note, [Cell(name, units.get(name, "")) for name in names], rows)
