"""The short form of the results, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .calibration import study_tables
from .choice import Found, candidate_table, choice_in_words
from .columns import in_columns
from .devices import device_table, gpu_table
from .findings import findings
from .formats import digits, megabytes, percent
from .tables import Table as Document
from .view import Results, counted, metric_name, prepared


def summary_table(results: Results) -> Table:
    """The main columns for the terminal, in at most 100 columns."""
    results = prepared(results)
    metric = metric_name(results)
    caption = f"test split, {counted(results)}, 95 % intervals; ms: p50, one text, one thread"
    table = Table(box=box.SIMPLE_HEAD, caption=caption)
    table.add_column("model", overflow="ellipsis", no_wrap=True, max_width=26)
    for name in ("MB", f"{metric} %", "kept %", "ms", "texts/s", "× pipeline"):
        table.add_column(name, justify="right", no_wrap=True)
    for model in results["models"]:
        interval = "" if model["low"] is None else f" ({100 * model['low']:.1f}–{100 * model['high']:.1f})"
        score = percent(model["score"]).text + interval
        kept, pipeline = percent(model["retention"], 1).text, digits(model["speedup_vs"].get("pipeline"))
        cells = [megabytes(model["bytes"]).text, score, kept, digits(model["p50"]), digits(model["rate"]), pipeline]
        style = {"teacher": "bold", "control": "dim"}.get(model["role"], "")
        table.add_row(Text(model["key"]), *cells, style=style)
    return table


def print_calibration(results: Results) -> None:
    """The tables of the calibration study, to standard output; `results` as `calibration_report` gives them."""
    _print_tables(study_tables(results))


def _print_tables(tables: Sequence[Document]) -> None:
    """Tables of the documents; those without rows are left out."""
    console = _wide_console()
    for one in tables:
        if not one.rows:
            continue
        table = in_columns(one)
        table.title, table.title_justify = one.title, "left"
        table.caption, table.caption_justify = one.note, "left"
        console.print(table)


def _wide_console() -> Console:
    console = Console()
    if not console.is_terminal:
        console.width = max(100, console.width)
    return console


def print_summary(results: Results) -> None:
    """The table and what it says, to standard output; at least 100 columns wide where that is not a terminal."""
    console = _wide_console()
    console.print(summary_table(results))
    _print_tables([device_table(prepared(results)), gpu_table(prepared(results))])  # without rows but on a GPU
    for sentence in findings(results):
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)


def print_choice(found: Found) -> None:
    """The candidates of `choose`, its choice and why, to standard output."""
    _print_tables([candidate_table(found)])
    for sentence in choice_in_words(found):
        _wide_console().print(sentence, markup=False, highlight=False, soft_wrap=True)
