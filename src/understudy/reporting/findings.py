"""What the figures say, in sentences."""

from __future__ import annotations

from ..certificates import described
from ..label_mapping import mapped_names
from .formats import digits, megabytes, p_value, percent, points
from .limits import about_budget
from .view import (
    Model,
    Results,
    bag_of_words_of,
    best_student,
    counted,
    metric_name,
    prepared,
    shown,
    teacher_of,
)


def findings(results: Results) -> list[str]:
    """What the figures of results.json say, in sentences."""
    return sentences(prepared(results))


def sentences(results: Results) -> list[str]:
    """The same of results as `view.prepared` makes them."""
    best, split = best_student(results)
    said = _about_best(results, best, split) if best else []
    said += about_budget(results)
    for student in [model for model in shown(results) if model["role"] == "student"]:
        for about in (_about_bag_of_words, _about_teacher, _about_alike, _about_int8):
            said += about(results, student)
    said += _about_cascades(results)
    said += _about_labels(results)
    said += _unfinished(results)
    said += [f"Refused: {refusal}." for refusal in results["refused"]]
    said += [f"{remark[0].upper()}{remark[1:].rstrip('.')}." for remark in results["remarks"]]
    said += _warnings(results)
    # No line may begin with one of the signs.
    return [sentence.replace(" %", "\u00a0%").replace(" < ", "\u00a0<\u00a0") for sentence in said]


def _about_labels(results: Results) -> list[str]:
    """Whose labels were learnt from, and what became of the teacher's own."""
    said, mapping, taught = [], results["label_mapping"], results["data"]["of_the_teacher"]
    if taught:
        said.append(
            f"No gold label of the training texts was read: the labels of {' and '.join(taught)} are the teacher's."
        )
    if mapping:
        line = f"The teacher's labels were mapped (label_policy {mapping['policy']}: {mapped_names(mapping)})"
        if mapping["policy"] != "merge":
            count, texts = mapping["best_means_nothing"]["train"], mapping["texts"]["train"]
            fate = "nothing was learnt from them" if mapping["policy"] == "abstain" else "its other labels answer them"
            line += f": {percent(mapping['dropped_mass']['train'], 1).text} % of its probability on train was dropped"
            line += f"; its best label means nothing on {count:,} of {texts:,} texts, and {fate}"
        said.append(f"{line}.")
    return said


def _unfinished(results: Results) -> list[str]:
    """Who was still learning when the training ended: validation NLL fell by over 5 % in the last epoch."""
    falling = []
    for part in results["training"]:
        losses = [row["val_nll"] for row in part["history"] if row.get("val_nll") is not None]
        if len(losses) > 1 and losses[-1] < 0.95 * losses[-2]:
            falling.append(part["name"])
    verb = "was" if len(falling) == 1 else "were"
    return [f"{', '.join(falling)} {verb} still learning at the last epoch: give more epochs."] if falling else []


def _warnings(results: Results) -> list[str]:
    """Every warning once, with all that it is about."""
    about: dict[str, list[str]] = {}
    for part in [*results["training"], *results["models"]]:
        for text in part.get("warnings", []):
            about.setdefault(text, []).append(part.get("key", part["name"]))
    return [f"Warning, {', '.join(names)}: {text}" for text, names in about.items()]


def _about_best(results: Results, best: Model, split: str) -> list[str]:
    teacher, name = teacher_of(results), best["key"]
    how = "on validation" if split == "val" else "on the test split itself, which flatters its figures a little"
    said = [f"Best student: {name}, chosen {how}."]
    said += [f"On the test split ({counted(results)}) its {metric_name(results)} is {_said(best)}."]
    if teacher and best["retention"]:
        kept, same = percent(best["retention"]), percent(best["agreement"], 1)
        said += [f"The teacher's is {_said(teacher)}: {kept.text} % of it is kept ({kept.detail})."]
        said += [f"Both give the same answer on {same.text} % of the texts."]
    facts = [f"{name} is {megabytes(best['bytes']).text} MB"]
    if teacher and teacher["bytes"] and best["bytes"]:
        facts[0] += f", {digits(teacher['bytes'] / best['bytes'])} times smaller than the teacher"
    on = f", {best['gpu']}" if "gpu" in best else ""
    if best["p50"]:
        facts.append(f"it answers one text in {digits(best['p50'])} ms (median, one thread{on})")
    if best["speedup_vs"].get("pipeline"):
        speed = digits(best["speedup_vs"]["pipeline"])
        facts.append(f"it does {speed} times the texts per second of the teacher in a transformers pipeline")
    return [" ".join(said), f"{'; '.join(facts)}."]


def _about_bag_of_words(results: Results, student: Model) -> list[str]:
    bag = bag_of_words_of(results)
    if not bag or student["value"] is None or bag["value"] is None:
        return []
    gap = _gap(results, student, bag)
    same = "is not above" if gap["value"] <= 0 else "is above, but not beyond the interval,"
    verdict = _verdict(gap, "beats", "is beaten by", same)
    return [f"{student['key']} {verdict} a bag of words ({bag['key']}, {_said(bag)}): {_spoken(gap)}."]


def _about_teacher(results: Results, student: Model) -> list[str]:
    """The paired test against the same student without a teacher: FP32 against FP32 where that was measured."""
    models = {model["key"]: model for model in results["models"]}
    twin = models.get(f"{student['name']}-no-teacher/fp32")
    for variant in ("fp32", student["variant"]):
        first = models.get(f"{student['name']}/{variant}")
        if first and twin and first["value"] is not None and twin["value"] is not None:
            gap = _gap(results, first, twin)
            verdict = _verdict(gap, "helped", "harmed", "made no difference that this split can show for")
            return [f"Learning from the teacher {verdict} {first['key']}: {_spoken(gap)} against {twin['key']}."]
    return []


def _about_alike(results: Results, student: Model) -> list[str]:
    """Students of one shape that learnt in other ways: FP32 against FP32."""
    models = {model["key"]: model for model in results["models"] if model["role"] == "student"}
    said = []
    for pair in results["comparisons"]:
        first, second = models.get(pair["first"]), models.get(pair["second"])
        if first and second and first["variant"] == "fp32" and student["name"] == first["name"] != second["name"]:
            gap = _gap(results, first, second)
            verdict = _verdict(gap, "is better than", "is worse than", "cannot be told apart on this split from")
            said.append(f"{first['key']} {verdict} {second['key']}, of the same shape: {_spoken(gap)}.")
    return said


def _about_int8(results: Results, student: Model) -> list[str]:
    source = next((m for m in results["models"] if m["key"] == f"{student['name']}/fp32"), None)
    if student["variant"] != "int8" or not source or source["value"] is None or student["value"] is None:
        return []
    gap = _gap(results, student, source)
    verdict = _verdict(gap, "gained", "cost", "changed nothing that this split can show for")
    return [f"INT8 {verdict} {student['name']}: {_spoken(gap)} against FP32."]


def _about_cascades(results: Results) -> list[str]:
    """Who answered, and what was promised beforehand."""
    said = []
    for model in (model for model in results["models"] if "cascade" in model):
        cascade = model["cascade"]
        shares = [f"{name} {percent(share, 1).text} %" for name, share in cascade["answered"].items()]
        promise = f"; certified: {described(cascade['certificate'])}" if cascade["certificate"] else ""
        said.append(f"{model['key']}: the test texts were answered by {', '.join(shares)}{promise}.")
    return said


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
    cell = points(gap)
    sign = "" if gap["p"] is None or gap["p"] < 0.001 else "= "
    test = "not a paired interval" if gap["p"] is None else f"McNemar p {sign}{p_value(gap['p'])}"
    return f"{cell.text} points ({cell.detail}; {test})"


def _said(model: Model) -> str:
    cell = percent(model["score"])
    return f"{cell.text} % ({cell.detail})" if cell.detail else f"{cell.text} %"
