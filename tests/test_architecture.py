"""The shape of the package: who may import whom, what an import costs, how long a file may be."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import understudy

SRC = Path(understudy.__file__).parent
# A module imports from the lines above its own, never from its own line; a folder counts as one module.
LAYERS = (
    {"errors", "progress", "explaining", "kinds", "soft_terms", "hashing"},
    {"gpu", "onnx_checks"},
    {"machine"},
    {"sections"},
    {
        "space",
        "files",
        "budget_settings",
        "rungs",
        "task_settings",
        "teachers",
        "run_log",
        "distill_settings",
        "data_settings",
        "cascade_settings",
    },
    {"student_settings"},
    {"config", "hub"},
    {"data", "plans"},
    {"artifact"},
    {"decision", "estimates", "tokenization", "certificates"},
    {"thresholds", "multilabel", "choice"},
    {"metrics"},
    {"answers", "calibration_metrics", "classifier", "label_mapping", "significance"},
    {"soft_labels", "golden"},
    {"pseudo_labeling"},  # a stage, and what students ask of its data
    {"controls", "qdq", "recording", "speed", "answering", "traits", "upgrading", "fitting"},  # what stages lean on
    {"worker", "entries", "ranges", "pooled_tables"},
    {"conclusions"},  # what the answers of a benchmark show together
    {
        "preparation",
        "quantization",
        "calibration",
        "benchmarking",
        "reporting",
        "predicting",
        "training",
        "annotating",
        "fetching",
        "pushing",
        "choosing",
        "cascading",
        "operating",
    },
    {"layer_checks", "sizes"},  # of a recipe, from the configs of its models
    {"comparison", "tracking"},  # a benchmark of any model on any file; MLflow
    {"claiming", "variants", "students"},
    {"climbing", "cards", "telling", "lineup"},
    {"pipeline"},
    {"estimating", "searching", "display"},
    {"commands"},
    {"cli"},
    {"__init__", "__main__"},
)
HEAVY = {"torch", "transformers", "safetensors", "datasets", "accelerate"}


def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def sources() -> list[Path]:
    return sorted(SRC.rglob("*.py"))


def unit(file: Path) -> str:
    """The module, or the folder, that a file belongs to."""
    return file.relative_to(SRC).parts[0].removesuffix(".py")


def imports(file: Path) -> Iterator[tuple[str, bool]]:
    """Every imported name with all its dots, relative ones made absolute, and whether a function imports it."""
    package = ("understudy", *file.relative_to(SRC).parts[:-1])
    module = tree(file)
    functions = [node for node in ast.walk(module) if isinstance(node, ast.FunctionDef)]
    lazy = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*start, *([node.module] if node.module else [])])
            yield from ((f"{base}.{alias.name}", id(node) in lazy) for alias in node.names)


def edges(file: Path) -> set[str]:
    """The modules and folders of understudy that a file imports."""
    names = (name.split(".") for name, _ in imports(file) if name.split(".")[0] == "understudy")
    return {parts[1] for parts in names if len(parts) > 1} - {unit(file)}


def test_every_module_has_its_place() -> None:
    placed = [name for layer in LAYERS for name in layer]
    assert sorted(placed) == sorted({unit(file) for file in sources()})


@pytest.mark.parametrize("file", sources(), ids=lambda file: str(file.relative_to(SRC)))
def test_imports_point_down(file: Path) -> None:
    level = next(number for number, layer in enumerate(LAYERS) if unit(file) in layer)
    below = {name for layer in LAYERS[:level] for name in layer}
    assert edges(file) - below == set()


def test_imports_are_found_wherever_they_hide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "SRC", tmp_path)
    (tmp_path / "data").mkdir()
    file = tmp_path / "data" / "x.py"
    file.write_text(
        "from . import formats\nfrom .. import cli\nfrom ..commands.run import command\nimport understudy.qdq\n"
        "def f():\n    from understudy import speed\n    import torch.nn\n"
    )
    assert edges(file) == {"cli", "commands", "qdq", "speed"}
    assert dict(imports(file))["torch.nn"]
    assert not dict(imports(file))["understudy.qdq"]


def test_only_training_imports_torch() -> None:
    found = {
        f"{file.relative_to(SRC)}: {name}"
        for file in sources()
        for name, _ in imports(file)
        if name.split(".")[0] in HEAVY and unit(file) != "training"
    }
    assert found == set()


def test_others_import_training_inside_functions_only() -> None:
    found = {
        (str(file.relative_to(SRC)), lazy)
        for file in sources()
        for name, lazy in imports(file)
        if name.startswith("understudy.training") and unit(file) != "training"
    }
    assert {file for file, lazy in found if not lazy} == set()
    assert ("pipeline.py", True) in found


def loaded_after(code: str, *packages: str) -> str:
    script = f"import sys\n{code}\nprint(sorted(set({packages}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_torch_wall() -> None:
    modules = [
        *("classifier", "predicting", "quantization", "calibration", "benchmarking", "comparison", "reporting"),
        *(
            "reporting.plots",
            "preparation",
            "worker",
            "variants",
            "students",
            "choosing",
            "climbing",
            "pipeline",
            "estimating",
            "searching",
        ),
        *("tracking", "display", "cli", *(f"commands.{file.stem}" for file in (SRC / "commands").glob("*.py"))),
    ]
    code = "import importlib\n" + "\n".join(f"importlib.import_module('understudy.{name}')" for name in modules)
    assert loaded_after(code, *HEAVY) == "[]"


def test_the_runtime_is_light() -> None:
    build = ("pydantic", "click", "rich", "pyarrow", "onnx", "matplotlib", "sklearn", "jinja2")
    assert loaded_after("import understudy", *HEAVY, *build) == "[]"
    assert (
        loaded_after("import understudy.cli", *HEAVY, *build, "numpy", "onnxruntime")
        == "['click', 'numpy', 'onnxruntime']"
    )


def test_the_public_names() -> None:
    assert understudy.__all__ == sorted(understudy.__all__)
    assert [name for name in understudy.__all__ if not hasattr(understudy, name)] == []
    public = {name.split(".")[-1] for name, _ in imports(SRC / "__init__.py")}
    assert set(understudy.__all__) == public - {"annotations", "import_module", "TYPE_CHECKING", "Any"}
    stages = {name: importlib.import_module(f"understudy.{module}") for name, module in understudy._STAGES.items()}
    assert all(getattr(understudy, name) is getattr(module, name) for name, module in stages.items())
    with pytest.raises(AttributeError, match="has no attribute 'quantise'"):
        understudy.quantise  # noqa: B018


def test_no_file_is_long() -> None:
    lengths = {str(file.relative_to(SRC)): len(file.read_text(encoding="utf-8").splitlines()) for file in sources()}
    assert {name: length for name, length in lengths.items() if length > 330} == {}


def test_nobody_prints_but_the_command_line() -> None:
    allowed = {SRC / "cli.py", SRC / "reporting" / "terminal.py", *(SRC / "commands").glob("*.py")}
    calls = [
        f"{file.relative_to(SRC)}:{node.lineno}"
        for file in sources()
        if file not in allowed
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert calls == []


def dangers(module: ast.Module) -> Iterator[str]:
    """Ways to run code that a file brought along."""
    for node in ast.walk(module):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names if alias.name in ("pickle", "cloudpickle", "dill", "joblib"))
            case ast.ImportFrom(module="pickle" | "cloudpickle" | "dill" | "joblib" as name):
                yield name
            case ast.Attribute(value=ast.Name(id="torch"), attr="load"):
                yield "torch.load"
            case ast.keyword(arg="trust_remote_code", value=value):
                if not (isinstance(value, ast.Constant) and value.value is False):
                    yield "trust_remote_code"
            case ast.keyword(arg="allow_pickle", value=ast.Constant(value=True)):
                yield "allow_pickle"


def test_nothing_runs_code_from_a_file() -> None:
    assert {str(file.relative_to(SRC)): list(dangers(tree(file))) for file in sources() if [*dangers(tree(file))]} == {}
    code = "import pickle\ntorch.load(x)\nf(trust_remote_code=True)\nf(trust_remote_code=y)\nf(trust_remote_code=False)"
    assert sorted(dangers(ast.parse(code))) == ["pickle", "torch.load", "trust_remote_code", "trust_remote_code"]
