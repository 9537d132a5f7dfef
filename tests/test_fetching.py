"""fetch: what is taken, checked, resumed and refused, against a hub on the loopback; then everything without it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants

import tiny
from fake_hub import FakeHub, FakeRepo, serving
from understudy import cli


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with serving() as running:
        yield running


@dataclass
class Done:
    """What a command said and how it ended."""

    returncode: int
    stdout: str
    stderr: str


class Machine:
    """A machine with a cache of its own, that commands run on: in this process, as starting one takes a second."""

    def __init__(self, hub: FakeHub, home: Path, patch: pytest.MonkeyPatch, said: pytest.CaptureFixture[str]) -> None:
        self.hub, self.home, self.patch, self.said = hub, home, patch, said
        self.env = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "UNDERSTUDY_CACHE": str(home / "cache")}
        self.cache = home / "hf"
        patch.chdir(home)

    def call(self, *arguments: str, **env: str) -> Done:
        return self._do(lambda: cli.main(arguments), env)

    def python(self, code: str, **env: str) -> str:
        done = self._do(lambda: exec(code, {}), env)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def run(self, *arguments: str, **env: str) -> str:
        done = self.call(*arguments, **env)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refusal(self, *arguments: str, code: int = 2, **env: str) -> str:
        done = self.call(*arguments, **env)
        assert done.returncode == code, (done.stdout, done.stderr)
        last = done.stderr.splitlines()[-1]
        assert last.startswith("understudy: ")
        return last.removeprefix("understudy: ")

    def _do(self, work: Callable[[], object], env: dict[str, str]) -> Done:
        """Do it as a process with this environment would, whose constants huggingface_hub reads when it is imported."""
        known = self.env | env
        with self.patch.context() as patch:
            patch.setenv("UNDERSTUDY_CACHE", known["UNDERSTUDY_CACHE"])
            for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
                patch.delenv(name, raising=False)
            if "HF_TOKEN" in known:
                patch.setenv("HF_TOKEN", known["HF_TOKEN"])
            patch.setattr(constants, "ENDPOINT", known["HF_ENDPOINT"])
            template = known["HF_ENDPOINT"] + "/{repo_id}/resolve/{revision}/{filename}"
            patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
            patch.setattr(constants, "HF_HUB_OFFLINE", known["HF_HUB_OFFLINE"] == "1")
            patch.setattr(constants, "HF_HUB_CACHE", str(self.cache / "hub"))
            patch.setattr(constants, "HF_TOKEN_PATH", str(self.cache / "token"))
            self.said.readouterr()
            code = 0
            try:
                work()
            except SystemExit as end:
                code = int(end.code or 0)
            return Done(code, *self.said.readouterr())

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The command in a process of its own."""
        env = os.environ | self.env | {"HF_HOME": str(self.cache)}
        command = [sys.executable, "-m", "understudy", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=env, cwd=self.home, stdout=pipe, stderr=pipe, text=True)


@pytest.fixture
def machine(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Machine:
    return Machine(hub, tmp_path, monkeypatch, capsys)


def model_of(encoder: Path) -> dict[str, bytes]:
    """The files of a model, and what else its repository would hold."""
    files = {path.name: path.read_bytes() for path in encoder.iterdir()}
    return files | {"README.md": b"# x", "pytorch_model.bin": b"x", "tf_model.h5": b"x", "modeling.py": b"1/0"}


def parquet(pairs: list[tuple[str, str]], names: tuple[str, ...] = tiny.LABELS) -> bytes:
    """A Parquet file as `datasets` writes it: class numbers, and their names in its metadata."""
    features = {"text": {"dtype": "string", "_type": "Value"}, "label": {"names": list(names), "_type": "ClassLabel"}}
    table = pa.table({"text": [text for text, _ in pairs], "label": [names.index(label) for _, label in pairs]})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())


OFFLINE = {"HF_HUB_OFFLINE": "1"}
LOCATE = "from understudy.hub.repositories import model; print(model({!r}))"


def test_a_model_is_only_what_understudy_reads(hub: FakeHub, machine: Machine, encoder: Path) -> None:
    hub.repos["someone/encoder"] = FakeRepo({"main": model_of(encoder)})
    said = machine.call("fetch", "someone/encoder", "--dry-run")
    commit = hub.repos["someone/encoder"].commit("main")
    size = sum(path.stat().st_size for path in encoder.iterdir())
    expected = f"someone/encoder at {commit[:12]}: 4 files, {size / 1e6:,.1f} MB, {size / 1e6:,.1f} MB to download\n"
    assert (said.stdout, said.stderr, hub.downloads()) == ("", expected, [])
    home = Path(machine.run("fetch", "someone/encoder").strip())
    assert {path.name: path.read_bytes() for path in home.iterdir()} == {
        path.name: path.read_bytes() for path in encoder.iterdir()
    }
    hub.asked.clear()
    assert machine.call("fetch", "someone/encoder").stderr.endswith(", all here\n")
    assert hub.downloads() == []
    hub.asked.clear()
    assert machine.python(LOCATE.format("someone/encoder")) == str(home)
    assert hub.asked == []


def test_a_cut_download_is_resumed_to_equal_bytes(hub: FakeHub, machine: Machine, encoder: Path) -> None:
    files = model_of(encoder) | {"model.safetensors": os.urandom(24_000_000)}
    hub.repos["someone/encoder"] = FakeRepo({"main": files})
    hub.cuts = {"model.safetensors": 1}
    running = machine.start("fetch", "someone/encoder")
    said, _ = running.communicate()
    home = Path(said.strip())
    assert (home / "model.safetensors").read_bytes() == files["model.safetensors"]
    kept = 10 << 20  # huggingface_hub writes 10 MiB at a time
    assert [line.partition(" ")[2] for line in hub.downloads() if "safetensors" in line] == ["", f"bytes={kept}-"]
    assert not [*machine.cache.rglob("*.incomplete")]


def test_a_killed_download_is_never_seen_as_a_model(hub: FakeHub, machine: Machine, encoder: Path) -> None:
    hub.repos["someone/encoder"] = FakeRepo({"main": model_of(encoder)})
    hub.cuts = {"model.safetensors": 100}
    running = machine.start("fetch", "someone/encoder")
    while hub.cuts["model.safetensors"] == 100:
        time.sleep(0.02)
    running.kill()
    running.communicate()
    assert "is not on this machine" in machine.refusal("fetch", "someone/encoder", **OFFLINE)
    hub.cuts.clear()
    hub.asked.clear()
    machine.run("fetch", "someone/encoder")
    assert [line.rpartition("/")[2] for line in hub.downloads()] == ["model.safetensors"]  # the others were complete
    machine.python(LOCATE.format("someone/encoder"), **OFFLINE)


def test_changed_bytes_are_found_and_deleted(hub: FakeHub, machine: Machine, encoder: Path) -> None:
    hub.repos["someone/encoder"] = FakeRepo({"main": model_of(encoder)})
    for name in ("config.json", "model.safetensors"):
        hub.spoil = name
        expected = f"model 'someone/encoder': {name} is not what the hub lists (its digest differs); it was deleted"
        assert machine.refusal("fetch", "someone/encoder", code=1) == expected
    hub.spoil = ""
    machine.run("fetch", "someone/encoder")


def test_a_revision_is_pinned_and_noted(hub: FakeHub, machine: Machine, encoder: Path) -> None:
    old = model_of(encoder)
    repo = FakeRepo({"main": old | {"vocab.txt": b"new"}, "v1": old})
    hub.repos["someone/encoder"] = repo
    [found] = json.loads(machine.run("fetch", "someone/encoder@v1", "--json"))
    assert (found["revision"], found["files"], Path(found["path"]).name) == (repo.commit("v1"), 4, repo.commit("v1"))
    assert machine.python(LOCATE.format("someone/encoder@v1"), **OFFLINE) == found["path"]
    assert machine.python(LOCATE.format(f"someone/encoder@{repo.commit('v1')}"), **OFFLINE) == found["path"]
    assert machine.refusal("fetch", "someone/encoder@v9").startswith("model 'someone/encoder@v9': no such revision")
    code = "from understudy.training.origins import commit; print(commit('someone/encoder@v1')['source'])"
    assert machine.python(code, **OFFLINE) == f"someone/encoder@{repo.commit('v1')}"


def test_pickle_is_never_downloaded(hub: FakeHub, machine: Machine, encoder: Path) -> None:
    files = model_of(encoder)
    bare = {name: content for name, content in files.items() if name != "model.safetensors"}
    hub.repos["someone/old"] = FakeRepo({"main": bare})
    assert machine.refusal("fetch", "someone/old") == (
        "model 'someone/old' has only pickled weights (pytorch_model.bin), which understudy never opens: choose a "
        "revision with model.safetensors (NAME@REVISION)"
    )
    assert hub.downloads() == []
    proposal = {
        "num": 3, "title": "Adding `safetensors` variant of this model", "status": "open", "isPullRequest": True,
        "author": {"name": "SFconvertbot"}, "createdAt": "2023-01-01T00:00:00.000Z",
        "repo": {"name": "someone/old", "type": "model"},
    }  # fmt: skip
    other = proposal | {"num": 2, "author": {"name": "mallory"}}
    hub.repos["someone/old"] = FakeRepo({"main": bare, "refs/pr/3": files, "refs/pr/2": files | {"vocab.txt": b"x"}})
    hub.repos["someone/old"].discussions = [other, proposal]
    home = machine.run("fetch", "someone/old").strip()
    assert Path(home).name == hub.repos["someone/old"].commit("refs/pr/3")
    assert machine.python(LOCATE.format("someone/old"), **OFFLINE) == home


@pytest.mark.parametrize(
    ("repo", "message"),
    [
        (None, "model 'a/b' does not exist on the hub, or is private: check the name, or log in"),
        (FakeRepo({"main": {}}, private=True), "model 'a/b' does not exist on the hub, or is private"),
        (FakeRepo({"main": {}}, refuse="GatedRepo"), "model 'a/b' is gated: accept its terms at http://127.0.0.1"),
        (FakeRepo({"main": {}}, refuse="Other"), "model 'a/b' cannot be downloaded: the hub refuses it (403); log in"),
        (FakeRepo({"main": {"README.md": b"x"}}), "model 'a/b' has no safetensors: choose a revision"),
    ],
)
def test_what_cannot_be_had_is_one_line(hub: FakeHub, machine: Machine, repo: FakeRepo | None, message: str) -> None:
    if repo is not None:
        hub.repos["a/b"] = repo
    assert machine.refusal("fetch", "a/b").startswith(message)


def test_without_a_network_the_command_is_named(machine: Machine, tmp_path: Path) -> None:
    expected = (
        "model 'a/b' is not on this machine, and the hub is switched off (HF_HUB_OFFLINE): run `understudy fetch a/b` "
        "where there is a network, and copy the cache"
    )
    assert machine.refusal("fetch", "a/b", **OFFLINE) == expected
    unreachable = machine.refusal("fetch", "dataset:a/b", HF_ENDPOINT="http://127.0.0.1:9")
    assert unreachable.startswith("data set 'a/b' is not on this machine, and the hub cannot be reached (")
    assert "run `understudy fetch dataset:a/b` where" in unreachable
    tiny.write_csv(tmp_path / "train.csv", tiny.rows(60, seed=1))
    (tmp_path / "recipe.toml").write_text(tiny.RECIPE.replace('"encoder"', '"a/b"'))
    assert machine.refusal("run", "recipe.toml", "--out", "run", **OFFLINE).startswith(expected)
    (tmp_path / "recipe.toml").write_text(tiny.RECIPE.replace('"train.csv"', '"train"\nhub = "a/b"'))
    assert machine.refusal("run", "recipe.toml", "--out", "run", **OFFLINE) == expected.replace(
        "model", "data set"
    ).replace("fetch a/b", "fetch dataset:a/b")


def test_a_recipe_is_fetched_and_runs_offline(hub: FakeHub, machine: Machine, encoder: Path) -> None:
    hub.repos["someone/encoder"] = FakeRepo({"main": model_of(encoder)})
    train = tiny.rows(120, seed=1)
    data = {
        "en/train-00000-of-00002.parquet": parquet(train[:70]), "en/train-00001-of-00002.parquet": parquet(train[70:]),
        "en/test-00000-of-00001.parquet": parquet(tiny.rows(40, seed=2)), "fr/train-00000-of-00001.parquet": b"no",
    }  # fmt: skip
    hub.repos["datasets/someone/moods"] = FakeRepo({"main": data})
    hub.web["/more.csv"] = b"text\nanother film\n"
    digest = hashlib.sha256(hub.web["/more.csv"]).hexdigest()
    recipe = tiny.RECIPE.replace('"encoder"', '"someone/encoder"').replace(
        'train = "train.csv"',
        'train = "train"\ntest = "test"\nhub = "someone/moods"\nhub_config = "en"\n'
        f'unlabeled = ["{hub.url}/more.csv#sha256={digest}"]',
    )
    (machine.home / "recipe.toml").write_text(recipe)
    said = machine.call("fetch", "recipe.toml")
    assert said.returncode == 0, said.stderr
    assert "dataset:someone/moods at " in said.stderr and "3 files" in said.stderr
    assert not [line for line in hub.asked if "/fr/" in line]
    hub.asked.clear()
    rows = machine.run("prepare", "recipe.toml", "--out", "data", **OFFLINE)
    assert re.search(r"train +\d+ rows  bad \d+, good \d+", rows)
    assert re.search(r"test +40 rows", rows)
    assert re.search(r"unlabeled +1 rows", rows)
    machine.run("train", "recipe.toml", "--data", "data", "--out", "teacher", "--epochs", "1", **OFFLINE)
    assert hub.asked == []
    commit = hub.repos["someone/encoder"].commit("main")
    details = json.loads((machine.home / "teacher" / "artifact.json").read_text())["details"]
    assert details["source"] == f"someone/encoder@{commit}"


def test_other_layouts_of_data_sets(hub: FakeHub, machine: Machine) -> None:
    one, two = parquet(tiny.rows(20, seed=1)), parquet(tiny.rows(20, seed=2))
    converted = {"default/train/0000.parquet": one, "default/train/0001.parquet": two}
    hub.repos["datasets/a/script"] = FakeRepo({"main": {"script.py": b"1/0"}, "refs/convert/parquet": converted})
    code = "from understudy.data.hub import load_hub; s = load_hub({!r}, '', 'train'); " \
           "print(sum(len(c.rows) for c in s.chunks(['text', 'label'])), s.class_names('label'))"  # fmt: skip
    assert machine.python(code.format("a/script")) == "40 ['bad', 'good']"
    hub.asked.clear()
    assert machine.python(code.format("a/script"), **OFFLINE) == "40 ['bad', 'good']"
    first = next(machine.cache.rglob("0000.parquet"))
    first.unlink()  # as after a kill: the first file comes last
    done = machine.call("fetch", "dataset:a/script", **OFFLINE)
    assert done.returncode == 2
    hub.repos["datasets/a/plain"] = FakeRepo(
        {"main": {"data/train-00000-of-00001.parquet": one, "x/test.parquet": two}}
    )
    assert machine.python(code.format("a/plain")) == "20 ['bad', 'good']"
    hub.repos["datasets/a/two"] = FakeRepo({"main": {"en/train.parquet": one, "fr/train.parquet": two}})
    recipe = tiny.RECIPE.replace('"train.csv"', '"train"\nhub = "a/two"')
    (machine.home / "recipe.toml").write_text(recipe)
    said = "data set 'a/two' has several configurations: set hub_config to en, fr"
    assert machine.refusal("prepare", "recipe.toml", "--out", "data") == said
    (machine.home / "recipe.toml").write_text(recipe.replace('"train"', '"valid"\nhub_config = "en"'))
    assert machine.refusal("prepare", "recipe.toml", "--out", "data") == (
        "data set 'a/two' has no split en/valid; it has en/train, fr/train"
    )


def test_a_url_is_resumed_and_checked(hub: FakeHub, machine: Machine) -> None:
    content = b"text,label\n" + b"a long text,good\n" * 60_000
    digest = hashlib.sha256(content).hexdigest()
    hub.web["/train.csv"] = content
    url, target = f"{hub.url}/train.csv", machine.home / "x.csv"
    wrong = machine.refusal("fetch", url, "--sha256", "0" * 64, "--out", "x.csv")
    assert wrong == f"{url} has the SHA-256 {digest}, expected {'0' * 64}: nothing was kept"
    assert [path.name for path in machine.home.iterdir()] == []
    hub.cuts = {"train.csv": 1}
    hub.asked.clear()
    machine.run("fetch", url, "--sha256", digest, "--out", "x.csv")
    assert target.read_bytes() == content
    half = len(content) // 2
    assert hub.downloads() == ["/train.csv", f"/train.csv bytes={half}-"]
    assert [path.name for path in machine.home.iterdir()] == ["x.csv"]
    hub.asked.clear()
    assert "all here" in machine.call("fetch", url, "--sha256", digest, "--out", "x.csv").stderr
    assert hub.asked == []


def test_a_url_is_resumed_by_the_next_call_unless_the_file_changed(hub: FakeHub, machine: Machine) -> None:
    old, new = (b"text,label\n" + word * 60_000 for word in (b"one text,good\n", b"two text,good\n"))
    hub.web["/train.csv"] = old
    url = f"{hub.url}/train.csv"
    for content, version in ((old, '"one"'), (new, '"two"')):
        hub.web["/train.csv"], hub.version, hub.cuts = old, '"one"', {"train.csv": 5}
        cut = machine.refusal("fetch", url, "--out", "x.csv", code=1)
        assert "the download was cut" in cut and not (machine.home / "x.csv").exists()
        hub.web["/train.csv"], hub.version, hub.cuts = content, version, {}
        hub.asked.clear()
        digest = hashlib.sha256(content).hexdigest()
        said = machine.run("fetch", url, "--out", "x.csv")
        assert said == f"x.csv\nin a recipe: {url}#sha256={digest}\n"
        assert (machine.home / "x.csv").read_bytes() == content
        assert re.search("bytes=[1-9]", hub.downloads()[0])
        (machine.home / "x.csv").unlink()


def test_a_file_of_a_recipe_by_its_url(hub: FakeHub, machine: Machine) -> None:
    hub.web["/train.csv"] = tiny.write_csv(machine.home / "here.csv", tiny.rows(60, seed=1)).read_bytes()
    url = f"{hub.url}/train.csv"
    recipe = machine.home / "recipe.toml"
    recipe.write_text(tiny.RECIPE.replace("train.csv", url))
    said = f"{url}: say what the file holds, URL#sha256=HEX; `understudy fetch {url}` prints it"
    assert machine.refusal("prepare", "recipe.toml", "--out", "data") == said
    line = machine.run("fetch", url).splitlines()[-1].removeprefix("in a recipe: ")
    recipe.write_text(tiny.RECIPE.replace("train.csv", line))
    hub.asked.clear()
    machine.run("prepare", "recipe.toml", "--out", "data", **OFFLINE)
    assert hub.asked == []
    missing = machine.refusal("prepare", "recipe.toml", "--out", "data2", **OFFLINE, UNDERSTUDY_CACHE="elsewhere")
    assert missing.startswith(f"{line} is not on this machine, and the network is switched off (HF_HUB_OFFLINE): run `")
    machine.run("prepare", "recipe.toml", "--out", "data2", UNDERSTUDY_CACHE="elsewhere")
    assert hub.downloads() == ["/train.csv"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["two words"], "model 'two words' is no directory here, and no name on the hub (OWNER/NAME or NAME@REVISION)"),
        (["../up"], "model '../up' is no directory here, and no name on the hub (OWNER/NAME or NAME@REVISION)"),
        (["http://h/a.csv", "--sha256", "abc"], "a SHA-256 has 64 hexadecimal digits, got 'abc'"),
        (["http://h/a.csv#md5=1"], "http://h/a.csv#md5=1: expected #sha256=HEX after the URL, got #md5=1"),
        (["a/b", "c/d", "--out", "x"], "--out and --sha256 are for one model or one URL; fetch the others by "
         "themselves"),
        (["a/b", "--sha256", "0" * 64], "--sha256 is for a URL; pin a revision of a repository: a/b@COMMIT"),
        (["bundled:minilm-l6"], "bundled:minilm-l6 is here already; `fetch` takes a recipe (.toml), a name on the hub, "
         "or a URL"),
        (["no.toml"], "no.toml: no such recipe"),
    ],
)  # fmt: skip
def test_bad_usage(arguments: list[str], message: str) -> None:
    from understudy.errors import InputError
    from understudy.fetching import fetch

    options: dict[str, Any] = {}
    names = arguments
    if "--out" in arguments:
        names, options = arguments[:-2], {"out": Path("x")}
    if "--sha256" in arguments:
        names, options = arguments[:-2], {"sha256": arguments[-1]}
    with pytest.raises(InputError) as error:
        fetch(names, **options)
    assert str(error.value) == message


def test_a_url_that_is_not_there(hub: FakeHub, machine: Machine) -> None:
    assert machine.refusal("fetch", f"{hub.url}/no.csv") == f"{hub.url}/no.csv: the server answers 404 Not Found"
    assert "http://127.0.0.1:9/a.csv cannot be reached: " in machine.refusal("fetch", "http://127.0.0.1:9/a.csv")
