"""The difference between two models: where it was measured, whether it is beyond chance, and how that is said."""

from __future__ import annotations

from ..significance import LEVEL
from .formats import p_value, points
from .view import Model, Results

_TESTS = {"mcnemar": "McNemar p", "bootstrap over texts": "bootstrap p"}


def difference(results: Results, first: Model, second: Model) -> Model:
    """first − second: the paired difference where it was measured, over seeds where there are several, with its test.

    Else what the two intervals allow at most. `adjusted` is the p-value after Holm's adjustment in a family of `of`.
    """
    for pair in results["comparisons"]:
        if {pair["first"], pair["second"]} == {first["key"], second["key"]} and pair["difference"]["value"] is not None:
            several, sign = pair.get("over_seeds"), 1 if pair["first"] == first["key"] else -1
            found = (several or pair)["difference"]
            low, high = sorted(sign * (found["value"] if bound is None else bound) for bound in found["ci95"])
            return {"value": sign * found["value"], "ci95": [low, high], **tested(pair)}
    lows = [model["value"] if model["low"] is None else model["low"] for model in (first, second)]
    highs = [model["value"] if model["high"] is None else model["high"] for model in (first, second)]
    gap = {"value": first["value"] - second["value"], "ci95": [lows[0] - highs[1], highs[0] - lows[1]]}
    return gap | {"p": None, "adjusted": None, "of": 0, "test": "", "seeds": 1}


def tested(pair: Model) -> Model:
    """The p-value of a comparison, of which test over how many seeds, and that after the adjustment."""
    several, holm = pair.get("over_seeds"), pair.get("holm") or {}
    p = several["p"] if several else (pair["mcnemar"] or {}).get("p")
    test = holm.get("test", "mcnemar")
    return {
        "p": holm.get("p", p), "adjusted": holm.get("adjusted"), "of": holm.get("of", 0),
        "test": "bootstrap p" if several else _TESTS[test], "seeds": len(several["seeds"]) if several else 1,
    }  # fmt: skip


def judged(gap: Model, better: str, worse: str, same: str) -> str:
    """Which of the three a difference is: by the adjusted p-value where there is one, else by the interval."""
    low, high = gap["ci95"]
    if gap["adjusted"] is not None:
        low, high = (gap["value"], gap["value"]) if gap["adjusted"] < LEVEL else (0.0, 0.0)
    return better if low > 0 else worse if high < 0 else same


def spoken(gap: Model) -> str:
    """The difference in points with what it rests on."""
    cell = points(gap)
    over = f" over {gap['seeds']} seeds" if gap["seeds"] > 1 else ""
    test = "not a paired interval" if gap["p"] is None else f"{gap['test']} {_equals(gap['p'])}"
    if gap["of"] > 1:
        test += f", after Holm's adjustment {_equals(gap['adjusted'])}"
    return f"{cell.text} points ({cell.detail}{over}; {test})"


def _equals(p: float) -> str:
    return p_value(p) if p < 0.001 else f"= {p_value(p)}"
