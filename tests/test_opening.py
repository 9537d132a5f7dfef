"""What is loaded is what the manifest lists, as it was checked; nothing else in the directory is opened."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from making import of_files
from neighbours import TEXTS
from understudy import Classifier
from understudy import classifier as module
from understudy.artifact import MANIFEST, Artifact
from understudy.errors import ArtifactError

# Every file that Python opens; onnxruntime and tokenizers open none, they are given bytes.
WATCHED = """
import json, os, sys
home, opened = sys.argv[1], []
sys.addaudithook(lambda event, given: event == "open" and isinstance(given[0], str | bytes | os.PathLike)
                 and opened.append(os.path.realpath(os.fsdecode(given[0]))))
from understudy import Classifier
Classifier.load(home).predict(["a lovely film"])
print(json.dumps([os.path.relpath(path, home) for path in opened if path.startswith(home + os.sep)]))
"""


class Trap:
    """Unpickled, it would leave a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, (f"__import__('pathlib').Path({str(self.mark)!r}).touch()",)


@pytest.fixture
def home(finished_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished_run / "students/cnn/int8", tmp_path.resolve() / "model")


def delist(home: Path, name: str) -> None:
    artifact = Artifact.load(home)
    artifact.rewrite(files={kept: entry for kept, entry in artifact.files.items() if kept != name})


def opened(home: Path) -> list[str]:
    done = subprocess.run([sys.executable, "-c", WATCHED, str(home)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names: list[str] = json.loads(done.stdout)
    return names


def test_nothing_but_what_is_listed_is_opened_and_that_once(home: Path, tmp_path: Path) -> None:
    (home / "README.md").unlink(missing_ok=True)
    expected = Classifier.load(home).logits(TEXTS)
    trap = pickle.dumps(Trap(tmp_path / "sprung"))
    strangers = ("model.pkl", "pytorch_model.bin", "model.pt", "hashing.npy", "model.joblib", "model.onnx.data")
    for name in strangers:
        (home / name).write_bytes(trap)
    for name in ("hashing.json", "config.json", "tokenizer_config.json", "special_tokens_map.json"):
        (home / name).write_text("{}")
    assert sorted(opened(home)) == [MANIFEST, "model.onnx", "tokenizer.json"]
    assert Classifier.load(home).logits(TEXTS).tobytes() == expected.tobytes()
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["hashing.npy", "model.onnx", "tokenizer.json"])
def test_a_pickle_under_a_listed_name_is_read_and_not_run(home: Path, tmp_path: Path, name: str) -> None:
    """As an artifact whose maker is not to be trusted would have it, sizes and digests right."""
    if name == "hashing.npy":
        (home / "tokenizer.json").unlink()
        (home / "hashing.json").write_text('{"ngrams": 1, "subwords": [], "bits": 1}')
    (home / name).write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    manifest = json.loads((home / MANIFEST).read_text()) | {"files": of_files(home).files}
    (home / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError) as error:
        Classifier.load(home)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [("model.onnx", "holds no model.onnx"), ("tokenizer.json", "artifact.json lists no tokenizer.json, so none is")],
)
def test_what_is_not_listed_is_not_loaded(home: Path, name: str, message: str) -> None:
    delist(home, name)
    assert (home / name).exists()
    with pytest.raises(ArtifactError, match=message):
        Classifier.load(home)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", MANIFEST])
@pytest.mark.parametrize("inside", [True, False])
def test_a_linked_file_is_refused(home: Path, tmp_path: Path, name: str, inside: bool) -> None:
    """Though it holds the very bytes."""
    target = (home if inside else tmp_path) / "real"
    (home / name).rename(target)
    (home / name).symlink_to(target.name if inside else target)
    with pytest.raises(ArtifactError, match=f"{name} is not a plain file inside the directory"):
        Classifier.load(home)


def test_a_linked_directory_inside_is_refused_and_one_above_is_not(home: Path, tmp_path: Path) -> None:
    artifact = Artifact.load(home)
    (tmp_path / "link").symlink_to(home)
    (tmp_path / "above").symlink_to(home.parent)
    expected = Classifier.load(home).logits(TEXTS).tobytes()
    for way in (tmp_path / "link", tmp_path / "above" / home.name):
        assert Classifier.load(way).logits(TEXTS).tobytes() == expected
    (tmp_path / "kept").mkdir()
    shutil.copy(home / "tokenizer.json", tmp_path / "kept")
    (home / "part").symlink_to(tmp_path / "kept")
    artifact.rewrite(files=artifact.files | {"part/tokenizer.json": artifact.files["tokenizer.json"]})
    with pytest.raises(ArtifactError, match=r"part/tokenizer\.json is not a plain file inside the directory"):
        Classifier.load(home)


def test_what_runs_is_what_was_checked(home: Path, finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another file in its place, between the check and the run, changes nothing."""
    expected, other = Classifier.load(home).logits(TEXTS), finished_run / "students/fresh/int8/model.onnx"
    real = module.check_onnx

    def check_then_replace(content: bytes, name: str | Path) -> None:
        real(content, name)
        shutil.copyfile(other, home / "model.onnx")

    monkeypatch.setattr(module, "check_onnx", check_then_replace)
    assert Classifier.load(home).logits(TEXTS).tobytes() == expected.tobytes()
    with pytest.raises(ArtifactError, match=r"model\.onnx was changed after it was written"):
        Classifier.load(home)


def test_a_file_is_checked_as_it_is_read(home: Path) -> None:
    """Of the right size when the manifest was read, changed before it is loaded."""
    artifact = Artifact.load(home)
    assert artifact.read("tokenizer.json") == (home / "tokenizer.json").read_bytes()
    for name in ("model.onnx", "tokenizer.json"):
        content = (home / name).read_bytes()
        (home / name).write_bytes(content[:-1] + b"\x00")
        with pytest.raises(ArtifactError, match=f"{name} was changed after it was written"):
            Classifier(artifact)
        (home / name).write_bytes(content)
    (home / "model.onnx").unlink()
    with pytest.raises(ArtifactError, match=r"model\.onnx cannot be read: No such file or directory"):
        Classifier(artifact)
