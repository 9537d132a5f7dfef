"""report: what `benchmark` measured, for people; the same in short for the terminal, and model cards."""

from .calibration import studied
from .cascades import cascade_card
from .documents import model_card
from .findings import findings
from .limits import try_in_words
from .search import draw_search
from .stage import calibration_report, report
from .terminal import print_calibration, print_choice, print_summary, summary_table

__all__ = [
    "calibration_report", "cascade_card", "draw_search", "findings", "model_card", "print_calibration", "print_choice",
    "print_summary", "report", "studied", "summary_table", "try_in_words",
]  # fmt: skip
