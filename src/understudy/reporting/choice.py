"""What `choose` found, for the terminal: the candidates, the choice and why, then its test figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .formats import Cell, digits, megabytes, percent, points
from .limits import limits_in_words, misses_in_words
from .tables import Table
from .view import METRICS

Found = Mapping[str, Any]
_COLUMNS = {"max_mb": "MB", "max_latency_ms": "ms", "min_throughput": "texts/s", "min_retention": "kept"}


def candidate_table(found: Found) -> Table:
    """Every candidate as validation and the measurement of speed show it, and which limits it misses."""
    percentile = found["percentile"]
    columns = [Cell("model"), Cell(_metric(found), "%"), Cell("kept", "%"), Cell("MB"), Cell("ms", percentile)]
    rows = [
        [
            Cell(one["key"]), percent(one["quality"]), percent(one["retention"]), megabytes(one["bytes"]),
            Cell(digits(one["latency_ms"].get(percentile))), Cell(digits(one["texts_per_second"])),
            Cell(", ".join(_COLUMNS[miss["limit"]] for miss in one["misses"]) or "–"),
        ]
        for one in found["candidates"]
    ]  # fmt: skip
    note = (
        f"validation split, n = {found['n']:,}, 95 % intervals; kept: of the teacher's there; one thread: ms for one "
        "text, texts/s of the best batch"
    )
    return Table("", note, [*columns, Cell("texts/s"), Cell("fails")], rows)


def choice_in_words(found: Found) -> Iterator[str]:
    """The choice, why it is that, what else would do; or the nearest misses."""
    yield from (f"Note: {remark}." for remark in found["remarks"])
    by_key = {one["key"]: one for one in found["candidates"]}
    limits = limits_in_words(found["limits"], found["percentile"], _metric(found))
    if not found["choice"]:
        yield f"Nothing fits: {limits}. Nearest:"
        yield from (f"  {key}: {misses_in_words(by_key[key]['misses'])}" for key in found["nearest"])
        return
    chosen, fitting = by_key[found["choice"]], sum(not one["misses"] for one in found["candidates"])
    quality = percent(chosen["quality"])
    yield (
        f"Choice: {found['choice']}: of {fitting} that fit ({limits}) it has the highest {_metric(found)} on "
        f"validation, {quality.text} % ({quality.detail})."
    )
    alike = [_alike(found, by_key[other["key"]], other["difference"]) for other in found["not_told_apart"]]
    if alike:
        yield f"Smaller or faster, fitting, and not told apart from it on validation: {'; '.join(alike)}."
    yield f"On test, which had no say in it: {_on_test(found)}."
    yield f"Ship: {found['path']}"


def _alike(found: Found, one: Mapping[str, Any], difference: Mapping[str, Any]) -> str:
    gap, size = points(difference), megabytes(one["bytes"]).text
    time = digits(one["latency_ms"].get(found["percentile"]))
    return f"{one['key']} ({gap.text} points, {gap.detail}; {size} MB, {time} ms)"


def _on_test(found: Found) -> str:
    test = found["test"]
    score, kept, bag = percent(test["score"]), percent(test["retention"]), percent(test["bag_of_words"])
    if not test["score"]:
        return "it was not measured there"
    said = f"{_metric(found)} {score.text} % ({score.detail}; n = {test['score']['n']:,})"
    said += f", {kept.text} % of the teacher's is kept ({kept.detail})" if test["retention"] else ""
    return said + (f"; a bag of words has {bag.text} % ({bag.detail})" if test["bag_of_words"] else "")


def _metric(found: Found) -> str:
    return METRICS[found["metric"]]
