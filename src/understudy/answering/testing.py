"""What a teacher that is not a model says of the test split; `benchmark` alone asks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..artifact import Artifact
from ..data.task import Split
from ..progress import Progress
from .asking import asked, settings_of


@dataclass(frozen=True)
class TestAnswers:
    """Logits (n, labels), None if the teacher does not answer all test texts, and what is to be said."""

    __test__ = False  # not a test of pytest

    logits: NDArray[np.float32] | None
    said: list[str]


def answer_test(teacher: Artifact, test: Split, batch: int, progress: Progress) -> TestAnswers:
    """Ask the teacher for the test texts, unless its settings say that it is not to be asked."""
    settings = settings_of(teacher)
    if not getattr(settings, "test", True):
        return TestAnswers(None, ["The teacher was not asked for the test texts (teacher.test = false)"])
    with asked(teacher, [test], 0, batch, progress) as asker:
        with progress.track("ask the teacher for test", len(test)) as advance:
            logits = asker.answer(test, advance)
        said = [f"Test split: {sentence}" for sentence in asker.facts()["said"]]
    silent = np.isnan(logits[:, 0])
    if settings.kind == "endpoint":
        logits[silent] = -np.log(logits.shape[1])  # as on validation: all labels alike
    elif silent.any():
        count = "none" if silent.all() else f"{int((~silent).sum())}"
        return TestAnswers(
            None, [f"The table has answers for {count} of the {len(test)} test texts: no teacher is shown"]
        )
    return TestAnswers(logits, said)
