"""push: an artifact and its card to a hub on the loopback, and back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from fake_hub import TOKEN, FakeHub, FakeRepo, serving
from test_fetching import OFFLINE, Machine

LOGGED_IN = {"HF_TOKEN": TOKEN}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with serving() as running:
        yield running


@pytest.fixture
def machine(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Machine:
    # the small protocol: large files would go through hf_xet otherwise, whose servers are the real ones
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    return Machine(hub, tmp_path, monkeypatch, capsys)


@pytest.fixture
def student(finished_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished_run / "students" / "cnn" / "int8", tmp_path / "student")


def test_a_pushed_artifact_comes_back_and_predicts(hub: FakeHub, machine: Machine, student: Path) -> None:
    before = machine.run("predict", str(student), "a lovely film", **OFFLINE)
    said = machine.run("push", str(student), "me/mood", "--private", "--license", "mit", **LOGGED_IN)
    assert said == f"{hub.url}/me/mood\n"
    assert hub.repos["me/mood"].private
    assert set(hub.repos["me/mood"].branches["main"]) == {path.name for path in student.iterdir()}
    assert len([line for line in hub.asked if "/commit/" in line]) == 1
    machine.run("fetch", "me/mood", "--out", "back", **LOGGED_IN)
    assert machine.run("predict", "back", "a lovely film", **OFFLINE) == before
    assert "all as the manifest says" in machine.run("inspect", "back", **OFFLINE)
    assert machine.refusal("fetch", "me/mood", "--out", "back", **LOGGED_IN) == (
        "back exists already; choose another --out"
    )


def test_the_card_says_what_was_measured(hub: FakeHub, machine: Machine, student: Path) -> None:
    machine.run("push", str(student), "me/mood", **LOGGED_IN)
    card = hub.repos["me/mood"].branches["main"]["README.md"].decode()
    _, metadata, text = card.split("---\n", 2)
    known = yaml.safe_load(metadata)
    assert (known["library_name"], known["pipeline_tag"], "license" in known) == (
        "understudy",
        "text-classification",
        0,
    )
    [result] = known["model-index"][0]["results"]
    assert result["dataset"]["split"] == "test" and result["dataset"]["args"]["n"] > 0
    accuracy = next(metric["value"] for metric in result["metrics"] if metric["type"] == "accuracy")
    assert f"{accuracy:.4f}" in text
    assert text.strip() == (student / "README.md").read_text().split("---\n", 2)[2].strip()


def test_a_cascade_comes_back_with_its_members(hub: FakeHub, machine: Machine, finished_run: Path) -> None:
    models = [str(finished_run / name) for name in ("students/cnn/int8", "teacher-fp32")]
    machine.run("cascade", *models, "--data", str(finished_run / "data"), "--out", "duo/cascade", "--level", "0.3")
    home = machine.home / "duo" / "cascade"
    before = machine.run("predict", "duo/cascade", "a lovely film", **OFFLINE)
    machine.run("push", "duo/cascade", "me/duo", **LOGGED_IN)
    there = {path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()}
    assert {"README.md", "members/cnn-int8/model.onnx"} < there == set(hub.repos["me/duo"].branches["main"])
    machine.run("fetch", "me/duo", "--out", "back", **LOGGED_IN)
    assert machine.run("predict", "back", "a lovely film", **OFFLINE) == before


def test_a_dry_run_and_refusals_publish_nothing(hub: FakeHub, machine: Machine, student: Path, tmp_path: Path) -> None:
    assert machine.run("push", str(student), "me/mood", "--dry-run", **OFFLINE) == f"{hub.url}/me/mood\n"
    assert "needs a token" in machine.refusal("push", str(student), "me/mood")
    assert machine.refusal("push", str(student), "mood", **LOGGED_IN) == (
        "mood: expected OWNER/NAME, the repository to publish to"
    )
    assert "log in" in machine.refusal("push", str(student), "me/mood", HF_TOKEN="hf_wrong")
    hub.repos["me/public"] = FakeRepo({"main": {}})
    said = "me/public exists and is public: make it private on the hub first, or choose another name"
    assert machine.refusal("push", str(student), "me/public", "--private", **LOGGED_IN) == said
    hub.repos["me/other"] = FakeRepo({"main": {"thesis.pdf": b"x"}})
    said = "me/other holds files that understudy did not write; choose another name"
    assert machine.refusal("push", str(student), "me/other", **LOGGED_IN) == said
    (student / "model.onnx").write_bytes((student / "model.onnx").read_bytes()[:-1] + b"x")
    assert "was changed after it was written" in machine.refusal("push", str(student), "me/mood", **LOGGED_IN)
    assert "is not an understudy artifact" in machine.refusal("push", str(tmp_path), "me/mood", **LOGGED_IN)
    assert not [line for line in hub.asked if "/commit/" in line]


def test_a_refused_commit_leaves_what_was_there(hub: FakeHub, machine: Machine, student: Path) -> None:
    machine.run("push", str(student), "me/mood", **LOGGED_IN)
    first = dict(hub.repos["me/mood"].branches["main"])
    hub.repos["me/mood"].branches["main"]["old.onnx"] = b"x"
    hub.fail_commit = True
    said = machine.refusal("push", str(student), "me/mood", "--license", "mit", **LOGGED_IN)
    assert said.startswith("model 'me/mood' cannot be published: the hub refuses it (403); log in")
    assert hub.repos["me/mood"].branches["main"] == first | {"old.onnx": b"x"}
    hub.fail_commit = False
    machine.run("push", str(student), "me/mood", "--license", "mit", **LOGGED_IN)
    files = hub.repos["me/mood"].branches["main"]
    assert set(files) == set(first) and b"license: mit" in files["README.md"]


def test_an_artifact_without_a_card(machine: Machine, student: Path) -> None:
    (student / "README.md").unlink()
    assert machine.refusal("push", str(student), "me/mood", "--dry-run", **OFFLINE) == (
        f"{student} has no card: `understudy run` and `understudy cascade` write one, or write its README.md yourself"
    )
