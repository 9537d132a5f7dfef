"""Writing an artifact: complete or absent; what is made again, and why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from making import OTHER, PLAN, TASK, make, names
from understudy import artifact as module
from understudy import files
from understudy.artifact import MANIFEST, Artifact, Plan, TextConfig, finished, writing
from understudy.errors import ArtifactError
from understudy.progress import Silent


class Notes(Silent):
    """Keeps what a stage says."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)


class Killed(BaseException):
    """As if the process ended here."""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "model"


# Complete or absent


def test_what_is_written_is_what_is_read(out: Path) -> None:
    made = make(out, details={"params": 7}, decision={"temperature": 1.5}, measurements={"ms": 2}, warnings=["w"])
    assert names(out) == ["artifact.json", "deep", "deep/vocabulary.txt", "model.bin"]
    assert names(out.parent) == ["model", *(f"model/{name}" for name in names(out))]
    assert (made.path, made.kind, made.stage, made.key, made.seed) == (out, "model", "train", PLAN.key, 5)
    assert (made.config, made.inputs) == (PLAN.config, PLAN.inputs)
    assert (made.task, made.text) == (TASK, TextConfig(("nfc",), 64))
    assert (made.details, made.temperature, made.measurements, made.warnings) == ({"params": 7}, 1.5, {"ms": 2}, ["w"])
    assert list(made.files) == ["deep/vocabulary.txt", "model.bin"]
    assert made.bytes_of("model.bin", "absent") == len("weights") + (out / MANIFEST).stat().st_size
    assert made.versions["python"].count(".") == 2


def test_a_failure_leaves_nothing(out: Path) -> None:
    with pytest.raises(ZeroDivisionError), writing(out, PLAN, "model") as draft:
        (draft.path / "model.bin").write_text("half")
        raise ZeroDivisionError
    assert names(out.parent) == []


@pytest.mark.parametrize(("plan", "kept"), [(PLAN, True), (OTHER, False)])
@pytest.mark.parametrize("error", [OSError, Killed])
def test_checkpoints_are_for_an_equal_plan(out: Path, plan: Plan, kept: bool, error: type[BaseException]) -> None:
    with pytest.raises(error), writing(out, PLAN, "model") as draft:
        (draft.work / "step-100").write_text("checkpoint")
        raise error
    assert not out.exists()
    with writing(out, plan, "model") as draft:
        assert (draft.work / "step-100").exists() is kept
    assert names(out.parent) == ["model", "model/artifact.json"]


def test_a_failure_keeps_the_older_artifact(out: Path) -> None:
    make(out)
    with pytest.raises(ZeroDivisionError), writing(out, OTHER, "model"):
        raise ZeroDivisionError
    assert Artifact.load(out, verify=True).key == PLAN.key


def test_an_older_artifact_is_replaced_with_all_its_files(out: Path) -> None:
    make(out)
    with writing(out, OTHER, "model") as draft:
        (draft.path / "other.bin").write_text("x")
        assert Artifact.load(out, verify=True).key == PLAN.key  # until the very end
    assert names(out) == ["artifact.json", "other.bin"]
    assert names(out.parent) == ["model", "model/artifact.json", "model/other.bin"]


def kill_in(monkeypatch: pytest.MonkeyPatch, name: str, out: Path, plan: Plan) -> None:
    """Make the artifact in a process that ends as it calls a function of the module."""

    def end(*given: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module, name, end)
        with pytest.raises(Killed), writing(out, plan, "model") as draft:
            (draft.work / "step-100").write_text("checkpoint")
            (draft.path / "model.bin").write_text(f"weights of {plan.seed}")


@pytest.mark.parametrize("older", [False, True])
def test_work_killed_before_the_rename_is_finished(out: Path, older: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if older:
        make(out)
    kill_in(monkeypatch, "_complete", out, OTHER)
    found = finished(out, OTHER, Silent())
    assert found is not None
    assert found.key == OTHER.key
    assert names(out) == ["artifact.json", "model.bin"]
    assert names(out.parent) == ["model", "model/artifact.json", "model/model.bin"]


def test_work_killed_before_the_rename_is_no_answer_to_another_plan(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(out)
    kill_in(monkeypatch, "_complete", out, OTHER)
    found = finished(out, PLAN, Silent())
    assert found is not None
    assert found.key == PLAN.key


@pytest.mark.parametrize("place", ["_inventory", "_write_manifest"])
def test_work_killed_before_the_manifest_goes_on_from_its_checkpoint(
    out: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_in(monkeypatch, place, out, PLAN)
    (out.parent / ".model.partial" / f".{MANIFEST}.partial").write_text("{")  # torn
    assert finished(out, PLAN, Silent()) is None
    with writing(out, PLAN, "model") as draft:
        assert (draft.work / "step-100").exists()
    assert names(out) == ["artifact.json", "model.bin"]
    Artifact.load(out, verify=True)


def test_work_can_hold_an_artifact_in_the_making(out: Path) -> None:
    """As the teacher of a fold while labels are made; both go on."""
    for _ in range(2):
        with (
            pytest.raises(Killed),
            writing(out, PLAN, "labels") as draft,
            writing(draft.work / "part", OTHER, "model") as part,
        ):
            (part.work / "step-100").write_text("")
            (part.path / ".torn.partial").write_text("{")
            raise Killed
    with writing(out, PLAN, "labels") as draft:
        assert [path.name for path in draft.work.iterdir()] == [".part.partial"]
        assert not list(draft.work.rglob(".torn.partial"))
        with writing(draft.work / "part", OTHER, "model") as part:
            assert (part.work / "step-100").exists()
        assert Artifact.load(draft.work / "part").key == OTHER.key
    assert names(out) == ["artifact.json"]


def test_a_kill_between_the_two_renames_loses_nothing(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(out)
    real = Path.rename

    def rename(path: Path, target: Path) -> Path:
        if target == out:
            raise Killed
        return real(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        with pytest.raises(Killed):
            make(out, OTHER)
    assert not out.exists()
    found = finished(out, OTHER, Silent())
    assert found is not None
    assert names(out.parent) == ["model", *(f"model/{name}" for name in names(out))]


@contextmanager
def untouched(directory: Path) -> Iterator[None]:
    before = {name: (directory / name).is_file() and (directory / name).read_bytes() for name in names(directory)}
    yield
    assert {
        name: (directory / name).is_file() and (directory / name).read_bytes() for name in names(directory)
    } == before


def test_a_foreign_target_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_text("cat")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    foreign = "{} holds files that understudy did not write; choose another --out or empty it"
    messages = {
        "photos": foreign,
        "file": "{} exists and is not a directory; choose another --out",
        "link": "{} exists and is not a directory; choose another --out",
    }
    with untouched(tmp_path):
        for name, message in messages.items():
            with pytest.raises(ArtifactError) as error, writing(tmp_path / name, PLAN, "model"):
                raise AssertionError("the work began")
            assert str(error.value) == message.format(tmp_path / name)
        with pytest.raises(ArtifactError) as error, writing(tmp_path / "file" / "model", PLAN, "model"):
            raise AssertionError("the work began")
    assert str(error.value) == f"{tmp_path / 'file'} cannot be written to: Not a directory; choose another --out"


def test_another_stage_is_not_replaced(out: Path) -> None:
    make(out)
    plan = replace(PLAN, stage="export")
    message = f"{out} was written by train, which export must not replace; choose another --out"
    (out / "model.bin").unlink()  # nor a damaged one
    with untouched(out):
        with pytest.raises(ArtifactError) as error, writing(out, plan, "model"):
            raise AssertionError("the work began")
        assert str(error.value) == message
        with pytest.raises(ArtifactError) as error:
            finished(out, plan, Silent())
        assert str(error.value) == message
    (out / MANIFEST).write_text("{")
    assert make(out, plan).stage == "export"  # what cannot be read anyway may go


def test_an_empty_directory_is_a_fine_target(out: Path) -> None:
    out.mkdir()
    assert make(out).key == PLAN.key


def test_a_rewrite_is_atomic_and_keeps_the_files(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make(out)
    before = (out / MANIFEST).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", lambda handle: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            made.rewrite(decision={"temperature": 3.0})
    assert (out / MANIFEST).read_bytes() == before
    made.rewrite(decision={"temperature": 2.0})
    again = Artifact.load(out, verify=True)
    assert again == replace(made, decision={"temperature": 2.0})
    assert again.digest == made.digest
    assert (out / "model.bin").read_text() == "weights"


# What is not made again, and what is


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        (replace(PLAN, config={"epochs": 4, "model": PLAN.config["model"]}), "epochs"),
        (replace(PLAN, config={"epochs": 3, "model": {"layers": (1, 2), "name": "x"}}), "model.layers"),
        (replace(PLAN, config={**PLAN.config, "clip": 1.0}), "clip"),
        (replace(PLAN, inputs={"data": "d2"}), "another data"),
        (replace(PLAN, inputs={"data": "d1", "teacher": "t"}), "another teacher"),
        (OTHER, "seed"),
        (replace(OTHER, config={"model": PLAN.config["model"]}, inputs={"data": "d2"}), "another data, epochs, seed"),
        (replace(PLAN, inputs={}), "its stage"),
    ],
)
def test_what_changed_is_named(tmp_path: Path, plan: Plan, why: str) -> None:
    make(tmp_path / "run" / "teacher")
    notes = Notes()
    assert finished(tmp_path / "run" / "teacher", plan, notes) is None
    assert notes.said == [f"run/teacher is made again, because of {why}"]


def test_an_equal_plan_is_done(out: Path) -> None:
    notes = Notes()
    assert finished(out, PLAN, notes) is None
    make(out)
    equal = replace(PLAN, config={"model": {"name": "x", "layers": (0, 1)}, "epochs": 3})
    found = finished(out, equal, notes)
    assert found == Artifact.load(out)
    assert notes.said == [f"  {out.parent.name}/{out.name} is there"]


def test_a_damaged_artifact_is_made_again(out: Path) -> None:
    make(out)
    (out / "model.bin").unlink()
    notes = Notes()
    assert finished(out, PLAN, notes) is None
    missing = f"{out} lacks model.bin; copy the whole directory again or rerun its stage"
    assert notes.said == [f"{'/'.join(out.parts[-2:])} is damaged and made again: {missing}"]
    assert make(out).key == PLAN.key
