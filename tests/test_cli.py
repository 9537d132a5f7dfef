"""The command line: help, one line for what a user can mend, exit codes."""

from __future__ import annotations

import errno
import fcntl
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import tiny
from making import make, names
from understudy import cli
from understudy.artifact import MANIFEST

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command in this process; gives the exit code, standard output and standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory with a recipe and its data; its teacher is never loaded."""
    tiny.write_csv(tmp_path / "train.csv", tiny.rows(60, seed=1))
    (tmp_path / "recipe.toml").write_text(tiny.RECIPE)
    return tmp_path


def edit(home: Path, old: str, new: str) -> None:
    recipe = home / "recipe.toml"
    assert old in recipe.read_text()
    recipe.write_text(recipe.read_text().replace(old, new, 1))


def refused(call: Call, *arguments: object) -> str:
    """What a command that cannot use its input says in its one line, standard error's only one."""
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("understudy: ")
    assert err.count("\n") == 1
    return err.removeprefix("understudy: ").rstrip("\n")


# Help and usage


def test_help_lists_every_command(call: Call) -> None:
    code, out, err = call("--help")
    assert (code, err) == (0, "")
    listed = re.findall(r"^  ([\w-]+)  +\w", out.split("Commands:")[1], re.MULTILINE)
    assert listed == list(cli.COMMANDS)
    for command, (summary, _) in cli.COMMANDS.items():
        assert f"  {command} " in out
        assert summary in " ".join(out.split())


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_help(call: Call, command: str) -> None:
    for flag in ("--help", "-h"):
        code, out, err = call(command, flag)
        assert (code, err) == (0, "")
        assert out.startswith(f"Usage: understudy {command} ")
        described = out.split("Options:")[0].splitlines()[2:]
        assert any(line.strip().endswith((".", ":")) for line in described)


def test_the_version(call: Call) -> None:
    code, out, _ = call("--version")
    assert code == 0
    assert re.fullmatch(r"understudy, version \d+\.\d+\.\d+\n", out)


TRAIN = ["train", "r.toml", "--data", ".", "--out", "x"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rum"], "No such command 'rum'."),
        (["run", "r.toml"], "Missing option '--out'."),
        (["run", "r.toml", "--out", "x", "--dryrun"], "No such option '--dryrun'."),
        ([*TRAIN, "--data", "no"], "Invalid value for '--data': Directory 'no' does not exist."),
        (
            [*TRAIN, "--precision", "fp8"],
            "Invalid value for '--precision': 'fp8' is not one of 'auto', 'fp32', 'bf16'.",
        ),
        ([*TRAIN, "--epochs", "two"], "Invalid value for '--epochs': 'two' is not a valid integer."),
        (["predict", "model"], "give either TEXTs or --input FILE (- is standard input)"),
    ],
)
def test_wrong_usage(
    call: Call, arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("Usage: understudy ")
    assert err.splitlines()[-1].startswith(f"Error: {message}")
    assert names(tmp_path) == []


# run: what is wrong with a recipe is said before anything is written


def test_a_recipe_that_cannot_be_used(call: Call, home: Path) -> None:
    before, recipe, run = names(home), home / "recipe.toml", ("run", home / "recipe.toml", "--out", home / "out")
    assert refused(call, "run", home / "no.toml", "--out", home / "out") == f"{home / 'no.toml'}: no such recipe"
    absent = home / "absent"
    assert refused(call, *run, "--data", absent) == f"--data {absent}: no such directory"
    for names_given in ("half,cn", ""):
        wrong = names_given.removeprefix("half,")
        message = f"--students: the recipe has no student {wrong!r}; it has half, fresh, cnn"
        assert refused(call, *run, "--students", names_given) == message
    edit(home, "seed = 5", "sede = 5")
    assert refused(call, *run) == f"{recipe}: unknown key 'sede'; did you mean 'seed'?"
    edit(home, "sede = 5", "seed = [5")
    assert refused(call, *run).startswith(f"{recipe}: not a TOML file: ")
    assert names(home) == before


TRAIN_FILE = 'train = "train.csv"'
UNDECLARED = "train.csv: line {line}: label 'good' is not declared; expected bad, fine, or 0 to 1"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (TRAIN_FILE, 'train = "no.csv"', "no.csv: no such file"),
        (TRAIN_FILE, f'{TRAIN_FILE}\ntext = "body"', "train.csv: no column 'body'; it has 'text', 'label'"),
        ('["bad", "good"]', '["bad", "fine"]', UNDECLARED),
        (
            TRAIN_FILE,
            'train = "torn.csv"',
            "torn.csv: line 2: not UTF-8 (byte 0xff at position 1); save the file as UTF-8",
        ),
    ],
)
@pytest.mark.parametrize("dry", [True, False])
def test_data_that_cannot_be_used(call: Call, home: Path, old: str, new: str, message: str, dry: bool) -> None:
    (home / "torn.csv").write_bytes(b"text,label\n\xff\xfe,good\n")
    edit(home, old, new)
    before = names(home)
    code, out, err = call("run", home / "recipe.toml", "--out", home / "out", *(["--dry-run"] if dry else []))
    lines = err.splitlines()
    assert (code, out) == (2, "")
    assert sum(line.startswith("understudy: ") for line in lines) == 1
    assert lines[:-1] == ([] if dry else [f"[1/{lines[0].split('/')[1]}"])  # the stage that was at work
    hint = "; the recipe's data.train, val, test and unlabeled name the files" if "such" in message and not dry else ""
    line = next(n for n, row in enumerate((home / "train.csv").read_text().splitlines(), 1) if row.endswith("good"))
    assert lines[-1] == f"understudy: {home}/{message.format(line=line)}{hint}"
    assert (
        names(home) == before
        if dry
        else {*names(home)} - {*before} == {"out", "out/.lock", "out/run.json", "out/run.log"}
    )


def full(*given: object, **named: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_no_space_left_is_one_line(call: Call, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.pipeline.prepare", full)
    code, out, err = call("run", home / "recipe.toml", "--out", home / "out")
    assert (code, out) == (2, "")
    assert err.splitlines()[1:] == [
        "understudy: no space left on the device; finished stages are kept: free space and run the same command again"
    ]


def test_an_interruption_is_one_line(call: Call, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*given: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("understudy.pipeline.prepare", interrupt)
    code, out, err = call("run", home / "recipe.toml", "--out", home / "out")
    assert (code, out) == (130, "")
    line = "understudy: interrupted; nothing half-written is left, and `run` goes on from here"
    assert err.strip().splitlines()[-1] == line


def test_an_error_of_ours_is_not_hidden(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object, **named: object) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr("understudy.pipeline.prepare", fail)
    with pytest.raises(OSError, match="broken"):
        cli.main(["run", str(home / "recipe.toml"), "--out", str(home / "out")])


def test_a_directory_of_another_task_or_run_or_person(call: Call, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, recipe = home / "out", home / "recipe.toml"
    monkeypatch.setattr("understudy.pipeline.prepare", full)
    assert call("run", recipe, "--out", out)[0] == 2
    (out / "data").mkdir()
    (out / "data" / "artifact.json").write_text("{}")  # data is prepared: the directory is this task's now
    with (out / ".lock").open() as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        busy = f"another understudy is at work in {out}; wait for it or choose another --out"
        assert refused(call, "run", recipe, "--out", out) == busy
    before = names(out)
    edit(home, 'name = "tiny"', 'name = "mood"')
    assert refused(call, "run", recipe, "--out", out) == (
        f"{out} belongs to the task 'tiny' with labels bad, good; this recipe's task is 'mood' with bad, good: "
        "choose another --out"
    )
    assert names(out) == before
    (home / "photos").mkdir()
    (home / "photos" / "cat.png").write_text("cat")
    foreign = f"{home / 'photos'} holds files that understudy did not write; choose another --out or empty it"
    assert refused(call, "run", recipe, "--out", home / "photos") == foreign
    assert names(home / "photos") == ["cat.png"]
    assert refused(call, "run", recipe, "--out", recipe) == f"{recipe} is not a directory; choose another --out"


def test_a_dry_run_tells_and_writes_nothing(call: Call, workshop: Path, tmp_path: Path) -> None:
    before = names(workshop)
    run = ("run", workshop / "recipe.toml", "--out", tmp_path / "out", "--dry-run")
    code, out, err = call(*run)
    assert (code, err) == (0, "")
    assert out.startswith("to do  data\nto do  teacher\nto do  labels\nto do  teacher-fp32\n")
    assert "to do  students/cnn/int8 calibrated\n" in out
    assert "to do  controls/half-no-teacher/torch\n" in out
    tail = out[out.index("rows: ") :]
    assert re.fullmatch(
        r"rows: train 560, val 70, test 70, unlabeled 0\nteacher calls: 630\n"
        r"time: about \d+ minutes on this machine\ndisk: about \d+ MB in all\n",
        tail,
    )
    code, out, _ = call(*run, "--json")
    forecast = json.loads(out)
    assert code == 0
    assert (forecast["teacher_calls"], forecast["rows"]["test"]) == (630, 70)
    assert forecast["seconds"] > 0
    assert forecast["disk_bytes"] > 0
    assert names(tmp_path) == []
    assert names(workshop) == before


# Artifacts


def test_inspect(call: Call, tmp_path: Path) -> None:
    out = tmp_path / "model"
    make(out, details={"variant": "int8", "params": None}, decision={"temperature": 1.5})
    code, text, err = call("inspect", out)
    assert (code, err) == (0, "")
    assert [" ".join(line.split()) for line in text.splitlines() if not line.startswith("versions")] == [
        "kind model, written by train", "task mood (accuracy): bad, good", "text nfc; at most 64 tokens",
        "variant int8", "temperature 1.500", "files 2, 0.0 MB, all as the manifest says", "seed 5",
    ]  # fmt: skip
    code, text, err = call("inspect", out, "--json")
    assert (code, err) == (0, "")
    assert json.loads(text) == json.loads((out / MANIFEST).read_text())


def test_artifacts_that_cannot_be_used(call: Call, tmp_path: Path) -> None:
    out = tmp_path / "model"
    assert refused(call, "inspect", out) == f"{out}: no such artifact directory"
    out.mkdir()
    for command in (["inspect", out], ["predict", out, "text"]):
        assert refused(call, *command) == f"{out} has no artifact.json: it is not an understudy artifact"
    make(out)
    (out / "model.bin").write_text("WEIGHTS")
    changed = f"{out}/model.bin was changed after it was written (its SHA-256 is not the manifest's); rerun its stage"
    (out / "model.bin").unlink()
    missing = f"{out} lacks model.bin; copy the whole directory again or rerun its stage"
    for state, message in ((None, missing), ("WEIGHTS", changed)):
        if state:
            (out / "model.bin").write_text(state)
        for command in (["inspect", out], ["predict", out, "text"]):
            assert refused(call, *command) == message
    make(out)
    assert refused(call, "predict", out, "text") == (
        f"{out} holds no model.onnx; `understudy export` makes an ONNX artifact of a trained model"
    )
    assert refused(call, "train", "r.toml", "--data", out, "--out", tmp_path / "x") == "r.toml: no such recipe"
    assert refused(call, "quantize", out, "--data", out, "--out", tmp_path / "x").startswith(
        f"{out} is a model directory, expected a data directory"
    )
    assert names(tmp_path) == ["model", *(f"model/{name}" for name in names(out))]
