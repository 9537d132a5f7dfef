"""train, for a teacher that is not a model: its directory says what is asked and how.

    teacher/
    ├── artifact.json   kind "answers"
    ├── teacher.json    all that the answers depend on
    └── answers.*       of a table: the file as it was given

Beside it, `journal.jsonl` has every answer of an endpoint.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from ..artifact import Artifact, Plan, TextConfig, finished, writing
from ..classifier import note_on_data
from ..data.storing import read_split
from ..data.task import Task
from ..errors import DataError, RecipeError
from ..files import sha256_of_file
from ..progress import Progress, Silent
from ..teachers import EndpointTeacher, EnsembleTeacher, FunctionTeacher, OtherTeacher, TableTeacher, only_of_one_label
from .endpoint import Questions
from .ensemble import find_members, fit_weights, identity, opened
from .function import find_function
from .table import read_table

ANSWERS = "answers"  # the kind of such a directory
MAX_LENGTH = 128  # tokens that a student keeps if its max_length is 0, "as the teacher": this one has no tokens
_OF_NO_CONCERN = {  # to the answers
    "path", "members", "key_variable", "concurrency", "timeout", "retries", "price_per_million_input",
    "price_per_million_output", "max_cost", "test",
}  # fmt: skip


def appoint(
    data: Path, out: Path, config: OtherTeacher, base: Path | None, *, progress: Progress | None = None
) -> Artifact:
    """Write down who the teacher is, after checking all that can be checked before it is asked.

    `base` is the directory that file names are relative to.
    """
    source = Artifact.load(data, "data")
    assert source.task is not None and source.text is not None
    if source.task.multi and (vain := only_of_one_label(config)):
        raise RecipeError(f"{vain}: for a task of kind single; this one has several labels per text: remove it")
    normalize, here = source.text.normalize, (base or Path()).resolve()
    of_answers = outside(config, base, source.task)
    plan = Plan("teacher", config.model_dump(), {"data": source.digest, **of_answers})
    done = finished(out, plan, progress or Silent())
    if done is not None:
        return done
    with writing(out, plan, ANSWERS) as draft:
        draft.task, draft.text = source.task, TextConfig(normalize, MAX_LENGTH)
        draft.details = {"base": str(here)} if isinstance(config, FunctionTeacher | EnsembleTeacher) else {}
        if isinstance(config, EnsembleTeacher):
            draft.details |= {"weights": _weights(config, here, source)}
            draft.warnings = _of_other_data(config, here, source)
        if isinstance(config, TableTeacher):
            read_table(here / config.path, config, source.task, normalize)
            shutil.copyfile(here / config.path, draft.path / copy_of_table(config))
        about = config.model_dump(exclude=_OF_NO_CONCERN) | of_answers
        (draft.path / "teacher.json").write_text(json.dumps(about, indent=2, ensure_ascii=False), encoding="utf-8")
    return Artifact.load(out)


def outside(config: OtherTeacher, base: Path | None, task: Task) -> dict[str, str]:
    """Digests of what the answers depend on beside the settings; raises InputError if it is not there."""
    here = (base or Path()).resolve()
    match config:
        case TableTeacher():
            if not (here / config.path).is_file():
                raise DataError(f"{here / config.path}: no such file; the recipe's teacher.path names it")
            return {"table": sha256_of_file(here / config.path)}
        case FunctionTeacher():
            return {"source of the function": find_function(config.function, here, task).digest}
        case EndpointTeacher():
            Questions(config, task.labels)
            return {}
        case EnsembleTeacher():
            members = find_members(config.members, here, task)
            return {f"member {name}": identity(of) for name, of in zip(config.members, members, strict=True)}


def _weights(config: EnsembleTeacher, here: Path, data: Artifact) -> tuple[float, ...]:
    """The weights of the members, in their order."""
    if config.weights == "equal":
        return (1 / len(config.members),) * len(config.members)
    assert data.task is not None
    members = [opened(member.path, identity(member)) for member in find_members(config.members, here, data.task)]
    return fit_weights(members, read_split(data.path / "val.parquet", "val"))


def _of_other_data(config: EnsembleTeacher, here: Path, data: Artifact) -> list[str]:
    """A warning of each member that may know texts which these data hold out."""
    assert data.task is not None
    members = zip(config.members, find_members(config.members, here, data.task), strict=True)
    return [
        f"member {name} was {note}, which would flatter the teacher's weights and figures"
        for name, member in members
        if (note := note_on_data(member, data))
    ]


def copy_of_table(config: TableTeacher) -> str:
    """The name of the table in the teacher's directory."""
    return f"answers{Path(config.path).suffix.lower()}"
