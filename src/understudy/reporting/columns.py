"""A table of the documents in columns of characters: for the terminal, and for report.txt."""

from __future__ import annotations

import io

from rich import box
from rich.console import Console
from rich.table import Table as Columns
from rich.text import Text

from .formats import Cell
from .tables import Table

_WIDTH = 400  # so much that no cell is folded


def in_columns(table: Table) -> Columns:
    """What belongs to a number stands below it; a model that several rows are of is named in the first."""
    columns = Columns(box=box.SIMPLE_HEAD, collapse_padding=True)
    for index, name in enumerate(table.columns):
        text = index < table.text_columns
        columns.add_column(_stacked(name), justify="left" if text else "right", no_wrap=index > 0, overflow="fold")
    for number, row in enumerate(table.rows):
        above = table.rows[number - 1][0] if number else None
        cells = [Cell("") if row[0] == above else row[0], *row[1:]]
        columns.add_row(*(_stacked(cell) for cell in cells))
    return columns


def as_text(table: Table) -> str:
    """The same as lines without colours."""
    console = Console(file=io.StringIO(), width=_WIDTH, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(in_columns(table))
    return "\n".join(line.rstrip() for line in captured.get().splitlines()).strip("\n")


def _stacked(cell: Cell) -> Text:
    """A cell in a narrow column: what belongs to the number below it, intervals with a dash."""
    detail = cell.detail.replace(" to ", "–").replace("; ", "\n").replace(", ", "\n")
    return Text(cell.text).append(f"\n{detail}" if detail else "", style="dim")
