"""report: what `benchmark` measured, for people; the same in short for the terminal, and model cards."""

from .documents import model_card
from .findings import findings
from .search import draw_search
from .stage import report
from .terminal import print_summary, summary_table

__all__ = ["draw_search", "findings", "model_card", "print_summary", "report", "summary_table"]
