"""The README and docs/: their commands parse and run, their links lead somewhere, their snippets are what they say."""

from __future__ import annotations

import ast
import csv
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from understudy import cli
from understudy.config import TEACHER_KINDS, Recipe, load_recipe

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)]*)?\)")
OURS = re.compile(r"\b(?:recipes|benchmarks|docs|notebooks|tests|src)/[\w./-]*\w")
PLACEHOLDER = re.compile(r"[A-Z]+…?|…")


def blocks(page: Path, language: str) -> list[str]:
    return [body for name, body in FENCE.findall(page.read_text(encoding="utf-8")) if name == language]


def commands(page: Path) -> Iterator[list[str]]:
    """The words after `understudy` of every command in a block or between backticks."""
    text = page.read_text(encoding="utf-8")
    lines = [line for body in blocks(page, "sh") for line in body.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`(understudy [^`]+)`", FENCE.sub("", text).replace("\n", " "))
    for line in lines:
        for command in re.split(r"\s(?:&&|\|\|?|>|;)\s", re.sub(r"(?<!\S)#.*", "", line)):
            name, *words = shlex.split(command) or [""]
            if name == "understudy":
                yield words


def complaint(words: list[str]) -> str:
    """What the command line would refuse of a command, without running it; empty if nothing."""
    command, arguments = cli.understudy, list(words)
    whole = click.Context(command, **command.context_settings)  # click remembers the first answer to what asks for help
    while isinstance(command, click.Group) and arguments:
        name = arguments.pop(0)
        command = command.get_command(whole, name)
        if command is None:
            return f"no command {name}"
    context = click.Context(command, parent=whole)
    try:
        given, _, _ = command.make_parser(context).parse_args(list(arguments))
        for option in command.params:
            value = given.get(option.name)
            if isinstance(option, click.Option) and value is not None and not is_a_place(option, value):
                option.type_cast_value(context, value)
    except click.ClickException as error:
        return error.format_message()
    missing = [str(one.name) for one in command.params if one.required and given.get(one.name) in (None, (), [])]
    mention = all(word.startswith("-") for word in arguments[:1])  # of a command or of its flag
    return f"without {', '.join(missing)}" if missing and not mention else ""


def is_a_place(option: click.Option, value: Any) -> bool:
    """Whether it is a path, which need not be there, or a word like FILE that stands for a value."""
    return isinstance(option.type, click.Path) or bool(PLACEHOLDER.fullmatch(str(value)))


@pages
def test_every_command_is_one_that_the_command_line_takes(page: Path) -> None:
    found = {" ".join(words): complaint(words) for words in commands(page)}
    assert {command: problem for command, problem in found.items() if problem} == {}


def test_a_wrong_command_is_noticed() -> None:
    assert complaint(["inspect", "DIR"]) == ""
    assert complaint(["tran", "RECIPE"]) == "no command tran"
    assert "--speling" in complaint(["predict", "DIR", "TEXT", "--speling"])
    assert "out" in complaint(["run", "RECIPE"])
    assert "many" in complaint(["tune", "RECIPE", "--out", "DIR", "--trials", "many"])
    assert complaint(["tune", "RECIPE", "--out", "DIR", "--trials", "N"]) == ""


@pages
def test_every_file_and_link_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link for link in LINK.findall(text) if "://" not in link and not link.startswith("mailto:")]
    assert [link for link in links if not (page.parent / link).exists()] == []
    code = [*re.findall(r"`([^`\n]+)`", FENCE.sub("", text)), *(body for _, body in FENCE.findall(text))]
    named = {name for span in code for name in OURS.findall(span)}
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


@pages
def test_every_snippet_reads(page: Path) -> None:
    for body in blocks(page, "python"):
        ast.parse(body)
    for body in blocks(page, "toml"):
        for name, value in tomllib.loads(body).items():
            keys = getattr(Recipe.model_fields[name].annotation, "model_fields", None)  # of a section
            assert keys is None or set(value) <= set(keys), f"[{name}] {set(value) - set(keys)}"


def test_the_reference_of_the_settings_is_up_to_date() -> None:
    made = runpy.run_path(str(ROOT / "docs/recipe.py"))["page"]()
    assert (ROOT / "docs/recipe.md").read_text(encoding="utf-8") == made, "run `make docs`"
    keys = {name for kind in TEACHER_KINDS.values() for name in kind.model_fields}
    assert {f"`{name}`" for name in keys - {"kind"}} <= set(re.findall("`.*?`", made))


def test_the_map_of_the_code_has_every_module_once() -> None:
    home = ROOT / "src" / "understudy"
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Map of the code")[2].partition("```\n\n")[0]
    found = Counter(re.findall(r"(?<![\w/])(\w+\.py|\w+/)(?=\s)", text))
    modules = {path.name for path in [*home.glob("*.py"), *home.glob("training/*.py")]} - {"__main__.py"}
    folders = {f"{path.parent.name}/" for path in home.glob("*/__init__.py")} | {"starter/", "recipes/", "benchmarks/"}
    assert found == Counter(modules | folders)


def test_quoted_messages_are_messages() -> None:
    code = " ".join(path.read_text(encoding="utf-8") for path in (ROOT / "src" / "understudy").rglob("*.py"))
    code = re.sub(r'"\s*\n\s*f?"', "", code)
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    for message in (
        "the classifier's labels do not fit the task's: ", "cannot be used here:", "is not declared; expected ",
        "but label {task.labels.index(name)} of the task", "is not on this machine", "has only pickled weights",
        "calibrated on a CPU with VNNI, which this one lacks: INT8 sums may saturate here, so measure it here first",
        "no space left on the device; finished stages are kept: free space and run the same command again",
    ):  # fmt: skip
        quoted = message.partition("{")[0].strip()
        assert quoted in page, message
        assert quoted in code or quoted.removeprefix("has ") in code, message


# The published projects

PROMISED = {  # what they promise, by part of docs/seeds.md, as it is called there
    "Data": (
        "IMDb, two classes", "TweetEval sentiment, three classes, official splits", "TweetEval hate",
        "six emotions from `text,label` files", "`sentence,label`, code-mixed",
        "data downloaded on demand, from a hub or a URL", "splits made: 90/10, stratified 70/15/15",
        "a subset of N rows, or all", "class counts printed, class weights", "arbitrary label names",
        "the teacher's label space mapped to the task's",
    ),
    "Teachers": (
        "fine-tune a large transformer", "a ready classifier of a hub",
        "frozen, in evaluation mode, without gradients", "only the head is trained",
    ),
    "Students": (
        "DistilRoBERTa, DistilBERT, MiniLM-L12, TinyBERT-4L", "BERT-tiny", "TextCNN with its own word vocabulary",
        "BiLSTM, small transformer", "a smaller sibling of the teacher",
        "a student with another tokenizer, done right", "all students, or some, in one command",
    ),
    "Distillation": (
        "KL on softened logits × T² and cross-entropy", "probabilities as targets",
        "hard pseudo-labels, no ground truth", "the parts of the loss logged", "the teacher's outputs in files",
        "corrected teacher", "a teacher trained so that it teaches well", "the student without a teacher",
    ),
    "Search": (
        "temperature × weight × learning rate", "Optuna", "successive halving, k folds, several GPUs",
        "`hypersearch.csv`, `best_params.json`",
    ),
    "Training": (
        "mixed precision", "linear, cosine, constant schedules; warm-up, clipping, weight decay",
        "early stopping, best epoch by macro-F1, restored", "a checkpoint per epoch", "seeds",
        "resume; evaluation of a model that is there",
    ),
    "Metrics, plots, files": (
        "accuracy, macro-F1, weighted F1, macro recall", "per-class report, confusion matrix",
        "retention, agreement", "label distribution of teacher and student",
        "mean confidence, entropy, calibration curve, ECE", "accuracy bars",
        "curves of loss, accuracy, F1, learning rate", "config, log, history, metrics, predictions as files",
        "MLflow", "a model directory that `from_pretrained` opens",
    ),
    "Compression": (
        "FP16", "ONNX FP32", "INT8, dynamic and static", "execution provider of choice", "pruning",
        "quantisation-aware training", "TorchScript",
    ),
    "Benchmark and comparison": (
        "parameters, compression ratio, bytes", "latency over N runs of a file of sentences",
        "latency per batch size, speed-up", "GPU memory per process, power, energy",
        "benchmark as CSV; FP32 against INT8", "one report of original, quantised and distilled",
        "trade-off table of the teacher and all students",
    ),
    "Inference and the rest": (
        "predictions for a file", "one text, label and probabilities", "an inference API, real-time serving",
        "download from and publish on a hub", "everything on a CPU", "a command line with documented defaults",
        "notebook", "requirements, installation, licence, troubleshooting", "published tables of results",
    ),
}  # fmt: skip
SEEDS = ROOT / "docs" / "seeds.md"


def table_of(text: str) -> list[list[str]]:
    """The cells of a table's rows, below its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_every_promise_of_the_published_projects_has_a_line() -> None:
    features = SEEDS.read_text(encoding="utf-8").partition("## Features")[2].partition("\n## ")[0]
    parts = dict(part.split("\n", 1) for part in features.split("\n### ")[1:])
    found = {title: table_of(body) for title, body in parts.items()}
    assert {title: tuple(row[0] for row in rows) for title, rows in found.items()} == PROMISED
    for rows in found.values():
        for feature, projects, *here in rows:
            assert re.match(r"00\d|all|some", projects), feature
            said = " | ".join(here)
            missing = said.startswith(("not here yet, because ", "not measured here: "))
            assert missing or re.search(r"`[^`]+`|\]\(|the same|the default|the report", said), feature


def test_every_mistake_of_the_published_projects_has_its_tests() -> None:
    rows = table_of(SEEDS.read_text(encoding="utf-8").partition("## The mistakes")[2])
    assert [row[0] for row in rows] == [f"X{number}" for number in range(1, 26)]
    code = (ROOT / "tests" / "test_requirements.py").read_text(encoding="utf-8")
    for name, what, tests in rows:
        held = [test for test in re.findall(r"^def (test_x\d+_\w+)", code, re.M) if f"_{name.lower()}_" in test]
        assert what and held and re.findall(r"`(\w+)`", tests) == held, name


# By running them


def smaller(text: str) -> str:
    """The demo recipe with few texts and an epoch of each training."""
    text = re.sub(r"^epochs = .*$", "epochs = 1", text, flags=re.M)
    text = re.sub(r"^max_length = .*$", "max_length = 16", text, flags=re.M)
    text = text.replace("[data]\n", "[data]\nlimit = 120\n").replace("samples = 150", "samples = 16\ngate = false")
    return text.replace("speed_texts = 80", "speed_texts = 8\nbootstrap = 100").replace("repeats = 2", "repeats = 1")


def prepare_readme(home: Path) -> None:
    """What the README's reader has: the demo's run to be, a file of texts, a recipe and data of their own."""
    demo = smaller((ROOT / "recipes/demo.toml").read_text(encoding="utf-8"))
    (home / "recipes").mkdir()
    (home / "recipes/demo.toml").write_text(demo, encoding="utf-8")
    bodies = list(blocks(ROOT / "README.md", "toml"))
    task, search = (next(body for body in bodies if body.startswith(first)) for first in ("[task]", "[tune]"))
    own = re.sub(r"\[task\].*?(?=\[teacher\])", f"{task}limit = 120\n\n", demo, flags=re.S) + search
    (home / "tickets.toml").write_text(own, encoding="utf-8")
    labels = load_recipe(home / "tickets.toml").task.labels
    tables: dict[str, list[dict[str, Any]]] = {
        "your.csv": [{"message": f"please send report {number}"} for number in range(9)],
        "tickets.csv": [{"message": f"{labels[n % 3]} number {n} of mine", "label": labels[n % 3]} for n in range(240)],
    }
    for name, rows in tables.items():
        with (home / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


@pytest.mark.wide
@pytest.mark.timeout(3000)
def test_the_commands_of_the_readme_run_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_readme(tmp_path)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}

    def understudy(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "understudy", *words],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{words}: {done.stderr[-2000:]}"
        return done.stdout

    understudy("run", "recipes/demo.toml", "--out", "runs/demo")
    ran = []
    for body in blocks(ROOT / "README.md", "sh"):
        for line in body.splitlines():
            name, *words = shlex.split(line, comments=True) or [""]
            of_the_reader = any(
                word.split("/")[0] in ("RUN", "MODEL") for word in words
            )  # what the demo is too small for
            if name == "understudy" and not of_the_reader and words[0] not in ("fetch", "push"):  # these need a network
                few = ["2" if before == "--trials" else word for before, word in zip(["", *words], words, strict=False)]
                understudy(*few)
                ran.append(words[0])
    assert {"run", "predict", "inspect", "report", "tune", "choose"} <= set(ran)
    assert (tmp_path / "labelled.csv").read_text(encoding="utf-8").count("\n") == 10
    monkeypatch.chdir(tmp_path)
    for body in blocks(ROOT / "README.md", "python"):
        exec(compile(body, "README.md", "exec"), {})
    artifacts = ["runs/demo/students/cut3/int8", "runs/demo/students/small/int8"]
    with (tmp_path / "labelled.csv").open(encoding="utf-8") as file:
        header = next(csv.reader(file))
    assert {"message", "label", "confidence"} <= set(header)
    assert "cut3/int8" in understudy("benchmark", *artifacts, "--data", "labelled.csv", "--text", "message")


@pytest.mark.wide
@pytest.mark.timeout(3000)
def test_the_notebook_runs(tmp_path: Path) -> None:
    import nbclient
    import nbformat

    notebook = nbformat.read(ROOT / "notebooks/demo.ipynb", as_version=4)
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    (tmp_path / "notebooks").mkdir()
    done = nbclient.NotebookClient(
        notebook, timeout=2400, resources={"metadata": {"path": str(tmp_path / "notebooks")}}
    ).execute()
    shown = [output for cell in done.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in shown)
    text = "".join(output.get("text", "") for output in shown)
    assert "textcnn/int8" in text and "imperative" in text


def test_the_notebook_is_committed_without_outputs() -> None:
    import json

    raw = json.loads((ROOT / "notebooks/demo.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in raw["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    for cell in cells:
        ast.parse("".join(cell["source"]))
