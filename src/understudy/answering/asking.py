"""A teacher's directory → something that answers texts, and what it tells of its answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..artifact import Artifact
from ..config import TEACHER_KINDS, parse
from ..data.task import Split
from ..errors import ArtifactError
from ..progress import Progress
from ..teachers import EndpointTeacher, EnsembleTeacher, FunctionTeacher, OtherTeacher, TableTeacher
from .appointing import copy_of_table
from .costs import Bill, paid
from .endpoint import Endpoint, Questions, check_cost
from .ensemble import Ensemble, find_members, identity
from .ensemble import opened as opened_member
from .function import Function, find_function
from .journal import opened, read_journal
from .table import Table, read_table

JOURNAL = "journal.jsonl"
Logits = NDArray[np.float32]


class Asker(Protocol):
    """A teacher that can be asked."""

    def answer(self, split: Split, advance: Callable[[int], None]) -> Logits:
        """Logits (n, labels) of a split's texts, NaN where there is no answer."""

    def facts(self) -> dict[str, Any]:
        """What is to be said of the answers so far, as JSON; `said` holds it in sentences."""


def settings_of(teacher: Artifact) -> OtherTeacher:
    """The [teacher] section that the directory was made from."""
    config: Any = parse(TEACHER_KINDS[teacher.config["kind"]], teacher.config, str(teacher.path))
    return config  # type: ignore[no-any-return]


@contextmanager
def asked(teacher: Artifact, splits: Sequence[Split], later: int, batch: int, progress: Progress) -> Iterator[Asker]:
    """Open the teacher of a directory for these splits.

    An endpoint's cost is told, and held against its limit, before the first call; `later` is the number of texts that
    will be asked after these. A function gets `batch` texts at a time. Raises ArtifactError for one that has changed.
    """
    assert teacher.task is not None and teacher.text is not None
    task, config = teacher.task, settings_of(teacher)
    match config:
        case TableTeacher():
            yield _Table(read_table(teacher.path / copy_of_table(config), config, task, teacher.text.normalize))
        case FunctionTeacher():
            function = find_function(config.function, Path(teacher.details["base"]), task)
            if function.digest != teacher.inputs["source of the function"]:
                raise ArtifactError(f"{config.function} has changed since {teacher.path} was made; run its stage again")
            yield _Function(function, batch)
        case EnsembleTeacher():
            members = find_members(config.members, Path(teacher.details["base"]), task)
            if [identity(member) for member in members] != [v for k, v in teacher.inputs.items() if k != "data"]:
                raise ArtifactError(f"a member has changed since {teacher.path} was made; run its stage again")
            classifiers = tuple(opened_member(member.path, identity(member)) for member in members)
            yield _Ensemble(Ensemble(classifiers, tuple(teacher.details["weights"]), task), config.members)
        case EndpointTeacher():
            questions = Questions(config, task.labels)
            with opened(teacher.path.parent / JOURNAL) as journal:
                texts = [text for split in splits for text in split.texts]
                bill, spent = questions.bill(texts, journal.records), paid(config, list(journal.records.values()))
                progress.note(f"  {config.model}: {bill}, estimated; paid so far: {spent.cost:.4g}")
                rest = bill.part(later / max(1, len(texts))) if bill.calls else Bill()
                if later and bill.calls:
                    progress.note(f"  and for the test split, in `benchmark`: {rest}, estimated")
                check_cost(config, bill + rest if later else bill, spent)
                yield _Endpoint(Endpoint(questions, journal))


def expected_bill(config: EndpointTeacher, labels: Sequence[str], texts: Sequence[str], teacher: Path) -> Bill:
    """What answers for the texts would still cost beside those in the journal of a run; writes nothing."""
    return Questions(config, labels).bill(texts, read_journal(teacher.parent / JOURNAL))


class _Table:
    def __init__(self, table: Table) -> None:
        self._table = table

    def answer(self, split: Split, advance: Callable[[int], None]) -> Logits:
        advance(len(split))
        return self._table.answer(split)

    def facts(self) -> dict[str, Any]:
        count, mass = self._table.incomplete, self._table.mass
        said = []
        if count:
            share = f"{100 * mass / count:.2g} % of the probability"
            said.append(f"{count} answers lack labels: on average {share} was spread evenly over these")
        return {"calls": 0, "incomplete_rows": count, "spread_mass": mass, "said": said}


class _Function:
    def __init__(self, function: Function, batch: int) -> None:
        self._function, self._batch, self._calls = function, batch, 0

    def answer(self, split: Split, advance: Callable[[int], None]) -> Logits:
        answers = self._function.answer(split, self._batch, advance)
        self._calls += len(split)
        return answers

    def facts(self) -> dict[str, Any]:
        return {"calls": self._calls, "said": []}


class _Ensemble:
    def __init__(self, ensemble: Ensemble, names: Sequence[str]) -> None:
        self._ensemble, self._names, self._calls = ensemble, names, 0

    def answer(self, split: Split, advance: Callable[[int], None]) -> Logits:
        self._calls += len(split)
        return self._ensemble.answer(split, advance)

    def facts(self) -> dict[str, Any]:
        weights = dict(zip(self._names, self._ensemble.weights, strict=True))
        said = "the teacher is the mean of " + ", ".join(f"{name} ({w:.0%})" for name, w in weights.items())
        return {"calls": self._calls, "weights": weights, "said": [said]}


class _Endpoint:
    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def answer(self, split: Split, advance: Callable[[int], None]) -> Logits:
        return self._endpoint.answer(split.texts, advance)

    def facts(self) -> dict[str, Any]:
        tally, bill = self._endpoint.tally, self._endpoint.bill
        said = [f"{self._endpoint.config.model} was asked: {bill}"]
        if tally["by_tokens"] and tally["by_samples"]:
            said.append(
                f"{tally['by_samples']} texts were answered by samples, since token probabilities did not decide"
            )
        if tally["samples_without_a_label"]:
            said.append(f"{tally['samples_without_a_label']} samples named no label")
        if tally["without_a_label"]:
            said.append(f"{tally['without_a_label']} texts got no answer that names a label")
        return {"calls": tally["asked"], **tally, "cost": bill.cost, "said": said}
