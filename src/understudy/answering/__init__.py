"""Teachers that are not models: a table of probabilities, a function, an endpoint. Nothing here needs PyTorch."""

from .appointing import ANSWERS, MAX_LENGTH, appoint, outside
from .asking import expected_bill, settings_of
from .costs import Bill
from .labeling import label
from .testing import TestAnswers, answer_test

__all__ = [
    "ANSWERS", "MAX_LENGTH", "Bill", "TestAnswers", "answer_test", "appoint", "expected_bill", "label", "outside",
    "settings_of",
]  # fmt: skip
