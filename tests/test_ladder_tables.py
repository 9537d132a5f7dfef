"""The tables of the ladders of students: their cells follow from the result files, and what is missing is a dash."""

from __future__ import annotations

import copy
import json
from statistics import fmean
from typing import Any

import pytest

from scripts import BENCHMARKS, script

ladder_tables = script("ladder_tables")


@pytest.fixture(scope="module")
def results() -> Any:
    return json.loads((BENCHMARKS / "results/emotion-students/seed-13/results.json").read_text(encoding="utf-8"))


def cells(table: Any) -> dict[str, dict[str, str]]:
    """By the first cell of a row, its others by the header."""
    header, rows, _ = table
    assert {len(row) for row in rows} == {len(header)}
    return {row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in rows}


def model(results: Any, name: str, variant: str) -> Any:
    return next(row for row in results["models"] if (row["name"], row["variant"]) == (name, variant))


def test_a_student_has_the_mean_of_its_seeds_and_the_speed_of_what_ships(results: Any) -> None:
    found, row = cells(ladder_tables.ladder(results)), model(results, "bigru", "int8")
    values = row["seeds"]["metrics"]["accuracy"]["values"].values()
    assert len(values) == 3
    assert found["bigru"]["accuracy %"].startswith(f"{100 * fmean(values):.2f} [")
    assert found["bigru"]["MB"] == f"{row['bytes'] / 1e6:.2f}"
    assert found["bigru"]["× pipeline"] == f"{row['speedup_vs']['pipeline']:.1f}"
    assert {"teacher FP32", "teacher INT8", "tfidf-lr"} < found.keys()
    assert not [name for name in found if "no-teacher" in name]


def test_a_gain_is_that_over_seeds_and_its_p_the_adjusted_one(results: Any) -> None:
    found = cells(ladder_tables.worth(results))["hashed"]
    pair = next(
        row
        for row in results["comparisons"]
        if (row["first"], row["second"]) == ("hashed/fp32", "hashed-no-teacher/fp32")
    )
    assert found["gold labels alone"].startswith(f"{100 * pair['over_seeds']['difference']['value']:+.2f} [")
    assert found["gold labels alone"].endswith(f"p = {pair['holm']['adjusted']:.2g}")
    lesser = next(
        row for row in results["comparisons"] if (row["first"], row["second"]) == ("hashed/int8", "teacher/fp32")
    )
    assert found["not worse by"] == f"{-100 * lesser['non_inferiority']['bound']:.2f}"


def test_a_twin_that_was_not_trained_is_a_dash(results: Any) -> None:
    fewer = copy.deepcopy(results)
    fewer["comparisons"] = [row for row in fewer["comparisons"] if "hard-label" not in row["second"]]
    assert {row["the teacher's labels"] for row in cells(ladder_tables.worth(fewer)).values()} == {"–"}
    assert "–" not in {row["gold labels alone"] for row in cells(ladder_tables.worth(fewer)).values()}


def test_peers_stand_by_their_rates_beside_our_files(results: Any) -> None:
    def timed(name: str, rate: float) -> dict[str, Any]:
        row = {"threads": 1, "batch": 1, "p50": 1000 / rate, "texts_per_second": rate}
        return {
            "name": name,
            "speed": [row],
            "ratio": {"pipeline": rate / 10, "fasttext": rate / 1000, "tfidf-lr": None},
        }

    accuracy = {"value": 0.5, "ci95": [0.4, 0.6], "n": 100}
    found = {
        "machine": results["machine"],
        "quality": [
            {"name": "fasttext", "bytes": 2_000_000, "metrics": {"accuracy": accuracy}},
            {"name": "students/bigru/int8", "bytes": 1_000_000},
        ],
        "speed": [timed("fasttext", 1000.0), timed("students/bigru/int8", 2000.0), timed("pipeline", 10.0)],
    }
    table = ladder_tables.peers(found, results)
    rows = cells(table)
    assert [row[0] for row in table[1]] == ["bigru/int8", "fasttext", "pipeline"]
    assert (
        rows["fasttext"] | {"accuracy %": "50.00 [40.0, 60.0]", "MB": "2.00", "× pipeline": "100.00"}
        == rows["fasttext"]
    )
    assert rows["bigru/int8"]["accuracy %"] == cells(ladder_tables.ladder(results))["bigru"]["accuracy %"]
    assert (rows["bigru/int8"]["× fastText"], rows["pipeline"]["MB"]) == ("2.00", "–")
