"""Reading an artifact: what is refused, and what it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from making import OTHER, PLAN, make
from understudy import artifact as module
from understudy.artifact import MANIFEST, Artifact, TextConfig
from understudy.data.task import Task
from understudy.errors import ArtifactError


def refusal(out: Path, kind: str | None = None, *, verify: bool = False) -> str:
    with pytest.raises(ArtifactError) as error:
        Artifact.load(out, *filter(None, [kind]), verify=verify)
    return str(error.value).replace(str(out), "OUT")


def change(out: Path, **fields: Any) -> None:
    """Edit a manifest by hand."""
    manifest = json.loads((out / MANIFEST).read_text())
    (out / MANIFEST).write_text(json.dumps(manifest | fields))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "model"


# What is refused


def test_what_is_not_an_artifact(out: Path) -> None:
    assert refusal(out) == "OUT: no such artifact directory"
    out.mkdir()
    assert refusal(out) == "OUT has no artifact.json: it is not an understudy artifact"
    for content in (b"{", b"\xff"):
        (out / MANIFEST).write_bytes(content)
        assert refusal(out) == "OUT/artifact.json is not valid JSON; rerun its stage"
    (out / MANIFEST).write_text("[]")
    assert refusal(out) == "OUT/artifact.json is not a JSON object; rerun its stage"
    (out / MANIFEST).unlink()
    (out / MANIFEST).mkdir()
    assert refusal(out) == "OUT/artifact.json cannot be read: Is a directory"


def test_another_format_or_kind(out: Path) -> None:
    make(out)
    assert refusal(out, "data") == "OUT is a model directory, expected a data directory"
    change(out, format=2)
    message = "OUT/artifact.json has format 2, expected 1: it was written by another version of understudy"
    assert refusal(out) == message


@pytest.mark.parametrize(
    "fields",
    [
        {"task": {}},
        {"task": "x"},
        {"text": {"normalize": []}},
        {"files": []},
        {"files": {"model.bin": {}}},
        {"more": 1},
    ],
)
def test_a_manifest_of_another_shape(out: Path, fields: dict[str, Any]) -> None:
    make(out)
    change(out, **fields)
    assert refusal(out) == "OUT/artifact.json lacks fields of format 1; it was changed by hand"


def test_a_missing_or_changed_file(out: Path) -> None:
    make(out)
    changed = "OUT/model.bin was changed after it was written (its SHA-256 is not the manifest's); rerun its stage"
    (out / "model.bin").write_text("WEIGHTS")  # of the same size: seen when asked
    assert Artifact.load(out).key == PLAN.key
    assert refusal(out, verify=True) == changed
    (out / "model.bin").write_text("weights and more")
    assert refusal(out) == changed
    (out / "model.bin").unlink()
    assert refusal(out) == "OUT lacks model.bin; copy the whole directory again or rerun its stage"


@pytest.mark.parametrize("name", ["../secret", "deep/../../secret", "{}/secret", "link", "linked/secret"])
def test_a_manifest_cannot_reach_outside(out: Path, tmp_path: Path, name: str) -> None:
    make(out)
    (tmp_path / "secret").write_text("s")
    (out / "link").symlink_to(tmp_path / "secret")
    (out / "linked").symlink_to(tmp_path)
    name = name.format(tmp_path)
    change(out, files={name: {"bytes": 1, "sha256": module.sha256_of_file(tmp_path / "secret")}})
    message = f"OUT: {name} is not a plain file inside the directory"
    assert refusal(out, verify=True) == message.replace(str(out), "OUT")


def test_a_copy_is_as_good_and_may_be_reached_by_a_link(out: Path, tmp_path: Path) -> None:
    made = make(out)
    shutil.copytree(out, tmp_path / "elsewhere" / "copy")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "copy")
    assert Artifact.load(tmp_path / "link", verify=True).digest == made.digest


# Identity


def test_the_digest_is_of_what_the_artifact_is(tmp_path: Path) -> None:
    first = make(tmp_path / "a")
    same = make(tmp_path / "b", OTHER, measurements={"seconds": 9}, decision={"temperature": 2.0}, warnings=["w"])
    assert same.digest == first.digest
    others = [
        make(tmp_path / "c", content="other weights"),
        make(tmp_path / "d", task=Task("mood", ("good", "bad"))),
        make(tmp_path / "e", text=TextConfig(("nfc",), 32)),
        make(tmp_path / "f", text=TextConfig((), 64)),
    ]
    assert len({first.digest, *(other.digest for other in others)}) == 5
