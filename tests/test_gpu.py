"""Measuring on a GPU. None of these tests has one: `pretend/` says what NVML, onnxruntime and torch would answer.

So they show what is asked, of which device and process, in which order, and what becomes of the answers. They cannot
show that a real driver answers so, that CUDA's kernels end before `torch.cuda.synchronize` returns, or that a model
runs there: benchmarks/README.md has the command for a machine with a GPU.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from understudy import gpu
from understudy.artifact import Artifact
from understudy.cli import understudy
from understudy.config import ExportConfig, load_recipe
from understudy.errors import InputError, MissingExtraError
from understudy.machine import describe
from understudy.pipeline import run
from understudy.progress import Silent
from understudy.reporting import model_card
from understudy.reporting.devices import device_table, gpu_table
from understudy.reporting.documents import described
from understudy.reporting.view import prepared
from understudy.speed import Speed, artifact_runner
from understudy.training import export, gpu_timing, pipeline_worker, torch_files
from understudy.worker import Subject, _answer

PRETEND = Path(__file__).parent / "pretend"


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    """Nothing that another test learned of NVML."""
    gpu._nvml.cache_clear()
    yield
    gpu._nvml.cache_clear()


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The pretended NVML, in this process."""
    spec = importlib.util.spec_from_file_location("pynvml", PRETEND / "pynvml.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def machine(nvml: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine with a GPU, for this process and for those that it starts; of one core, which spares half the time."""
    monkeypatch.syspath_prepend(PRETEND)
    import pretend_gpu

    pretend_gpu.act(monkeypatch.setattr)
    monkeypatch.setenv("PYTHONPATH", f"{PRETEND}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    for module in ("benchmarking", "comparison"):
        monkeypatch.setattr(f"understudy.{module}.available_cores", lambda: 1)
    return pretend_gpu


def test_the_machine_names_its_gpus(nvml: Any) -> None:
    assert describe()["gpus"] == [
        {"name": "Pretend 80GB", "memory_bytes": 85_000_000_000, "driver": "580.1"},
        {"name": "Pretend 40GB", "memory_bytes": 85_000_000_000, "driver": "580.1"},
    ]


@pytest.mark.parametrize(
    ("visible", "name"),
    [(None, "Pretend 80GB"), ("1", "Pretend 40GB"), ("1,0", "Pretend 40GB"), ("GPU-bbbb", "Pretend 40GB"),
     ("MIG-cccc", "Pretend 40GB"), ("0", "Pretend 80GB")],
)  # fmt: skip
def test_the_gpu_asked_about_is_the_one_computed_on(
    nvml: Any, monkeypatch: pytest.MonkeyPatch, visible: str | None, name: str
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    assert gpu.Gpu().name == name
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"  # or CUDA would count in another order than NVML


def test_memory_is_that_of_the_asking_process(nvml: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """X11: another process holds 50 GB of the same GPU."""
    assert gpu.Gpu().held() == nvml.HELD
    for processes in (
        [SimpleNamespace(pid=1, usedGpuMemory=nvml.OTHERS)],
        [SimpleNamespace(pid=os.getpid(), usedGpuMemory=0)],
    ):
        monkeypatch.setattr(nvml, "nvmlDeviceGetComputeRunningProcesses", lambda handle, found=processes: found)
        assert gpu.Gpu().held() is None  # in a container of its own process numbers


def test_what_a_driver_does_not_tell_is_none(nvml: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise nvml.NVMLError("Not Supported")

    for name in ("nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetComputeRunningProcesses"):
        monkeypatch.setattr(nvml, name, refuse)
    monkeypatch.setattr("understudy.worker.ENERGY_SECONDS", 0.01)
    subject = Subject(lambda texts: None, lambda texts: np.zeros((1, 2), np.float32), ("a", "b"))
    assert set(_use(subject).values()) == {None}


def test_without_a_driver_there_is_no_gpu() -> None:
    """The real `pynvml`, on a machine that has no driver; where there is one, this test has nothing to say."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        assert gpu.devices() == []
        assert "gpus" not in describe()
        with pytest.raises(InputError, match="'cuda': NVIDIA's driver shows no GPU here; choose cpu"):
            gpu.require("cuda")
    else:
        pytest.skip("a driver is here")


def test_the_package_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"provider 'tensorrt' needs an extra: pip install 'understudy\[gpu\]'"):
        gpu.require("tensorrt")


def test_the_pretended_nvml_is_like_the_real_one(nvml: Any) -> None:
    """Its functions have the names and parameters of NVIDIA's package, and what `gpu` calls is among them."""
    sys.modules.pop("pynvml")
    import pynvml as real

    assert real is not nvml
    pretended = {name: value for name, value in vars(nvml).items() if name.startswith("nvml")}
    for name, value in pretended.items():
        inspect.signature(getattr(real, name)).bind(*inspect.signature(value).parameters)
    called = {
        node.attr
        for node in ast.walk(ast.parse(Path(gpu.__file__).read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr.startswith("nvml")
    }
    assert called == set(pretended)


def _use(subject: Subject, texts: tuple[str, ...] = ("x",), batch: int = 1) -> dict[str, Any]:
    return _ask(subject, "gpu", texts, batch, gpu.Gpu())


def _ask(subject: Subject, what: str, texts: tuple[str, ...], batch: int, one: Any = None) -> dict[str, Any]:
    file = Path(os.environ["PYTEST_TMP"]) / "texts.json"
    file.write_text(json.dumps(texts), encoding="utf-8")
    return _answer(subject, {"do": what, "texts": str(file), "batch": batch}, one)


@pytest.fixture(autouse=True)
def _a_place_for_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_TMP", str(tmp_path))


def test_every_timing_waits_for_the_device_at_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """X8. The clock is read after what was queued before has ended, and again after the call's own kernels have."""
    happened: list[str] = []
    subject = Subject(
        lambda texts: happened.append("predict"), lambda texts: np.zeros((1, 2), np.float32), ("a", "b"),
        settle=lambda: happened.append("wait"),
    )  # fmt: skip
    clock = iter([1.0, 1.5, 2.0, 2.25])

    def tick() -> float:
        happened.append("clock")
        return next(clock)

    monkeypatch.setattr("understudy.worker.time.perf_counter", tick)
    assert _ask(subject, "time", ("x", "y"), 1) == {"milliseconds": [500.0, 250.0]}
    assert happened == ["wait", "clock", "predict", "wait", "clock"] * 2


def test_on_cuda_it_is_torch_that_waits_and_tells() -> None:
    subject = Subject(lambda texts: None, lambda texts: np.zeros((1, 2), np.float32), ("a", "b"))
    on_gpu = gpu_timing.on_device("cuda", subject)
    assert (on_gpu.settle, on_gpu.reserved) == (torch.cuda.synchronize, torch.cuda.max_memory_reserved)
    assert gpu_timing.on_device("cpu", subject) is subject


def test_energy_is_that_of_the_texts(nvml: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A board of 200 W and five milliseconds a text: one joule for each. The clock moves by what is predicted only."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    sizes: list[int] = []

    def predict(texts: Any) -> None:
        sizes.append(len(texts))
        now[0] += 0.005 * len(texts)

    subject = Subject(predict, lambda texts: np.zeros((1, 2), np.float32), ("a", "b"))
    found = _use(subject, ("w", "x", "y", "z", "last"), 4)
    assert found == {
        "gpu_memory": nvml.HELD, "gpu_reserved": None, "gpu_watts": 200.0, "gpu_joules_per_1000": pytest.approx(1000),
    }  # fmt: skip
    assert sizes == [4, 1] * (len(sizes) // 2)
    assert 0.005 * sum(sizes) == pytest.approx(gpu.ENERGY_SECONDS, abs=0.03)


def test_no_ratio_between_two_devices() -> None:
    best = {1: np.full(3, 200.0)}
    fast, slow = Speed(best=best, gpu="H"), Speed(best={1: np.full(3, 50.0)}, gpu="H")
    assert fast.ratio(slow) == 4.0
    slow.gpu = None
    assert fast.ratio(slow) is slow.ratio(fast) is None
    fast.gpu = None
    assert fast.ratio(slow) == 4.0


def test_a_benchmark_on_a_gpu(finished_run: Path, tmp_path: Path, machine: Any) -> None:
    """Teacher and student on the same device; the bag of words stays on the CPU and is compared with neither."""
    out = tmp_path / "measured"
    arguments = [str(finished_run / model) for model in ("teacher-fp32", "students/cnn/int8")]
    arguments += ["--data", str(finished_run / "data"), "--teacher", str(finished_run / "teacher"), "--out", str(out)]
    done = CliRunner().invoke(
        understudy,
        ["benchmark", *arguments, "--provider", "cuda", "--speed-texts", "8", "--repeats", "1", "--bootstrap", "100"],
    )
    assert done.exit_code == 0, done.output
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    models = {f"{model['name']}/{model['variant']}": model for model in results["models"]}
    on_gpu = [models[key] for key in ("teacher/torch", "teacher/fp32", "cnn/int8")]
    for model in on_gpu:
        assert model["gpu"] == "Pretend 80GB"
        assert set(model["speedup_vs"]) == {"pipeline", "onnx_fp32"}
        assert all(ratio > 0 for ratio in model["speedup_vs"].values())
        for row in model["speed"]:
            assert row["gpu_memory"] == 700_000_000
            assert row["gpu_reserved"] == (machine.RESERVED if model["variant"] == "torch" else None)
            assert row["gpu_watts"] == pytest.approx(200, rel=0.5)  # of 0.2 seconds, on a busy machine
            assert row["gpu_joules_per_1000"] > 0
    assert models["cnn/int8"]["nodes"][machine.CPU] == 2
    bag = models["tfidf-lr/sklearn"]
    assert set(bag["speedup_vs"].values()) == {None}
    assert "gpu" not in bag and not any(name.startswith("gpu") for row in bag["speed"] for name in row)
    header, *rows = (out / "speed.csv").read_text(encoding="utf-8").splitlines()
    assert header.endswith("gpu_memory,gpu_reserved,gpu_watts,gpu_joules_per_1000,gpu")
    assert [line for line in rows if line.startswith("tfidf-lr") and not line.endswith(",,,,,")] == []
    for text in ("Where they ran", "On the GPU", "J per 1,000", "Pretend 80GB"):
        assert text in done.stdout
    _check_report(results)


def _check_report(results: dict[str, Any]) -> None:
    view = prepared(results)
    where, took = device_table(view), gpu_table(view)
    assert all(table in described(view)["tables"]["measured"] for table in (where, took))
    assert [cell.text for cell in where.columns] == ["Model", "Device", "cuda", "cpu"]
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in where.rows}
    assert rows["tfidf-lr/sklearn"] == ["CPU", "–", "–"]
    assert rows["teacher/torch"] == ["Pretend 80GB", "–", "–"]
    assert rows["cnn/int8"][0] == "Pretend 80GB" and rows["cnn/int8"][2] == "2"
    taken = {(row[0].text, row[1].text): row[2] for row in took.rows}
    assert taken["cnn/int8", "1"] == ("700", "")
    assert taken["teacher/torch", "1"] == ("700", "PyTorch 300")
    assert ("tfidf-lr/sklearn", "1") not in taken
    assert any("(median, one thread, Pretend 80GB)" in sentence for sentence in described(view)["findings"])
    assert ("gpus", "Pretend 80GB, 85.0 GB, driver 580.1; Pretend 40GB, 85.0 GB, driver 580.1") in described(view)[
        "machine"
    ]
    card = model_card(results, next(model for model in results["models"] if model["name"] == "cnn"))
    assert f"Measured on Pretend 80GB ({rows['cnn/int8'][1]} of its nodes by cuda, 2 of its nodes by cpu)," in card
    assert "GPU memory of the process, MB" in card


@pytest.mark.wide
def test_what_torch_runs_is_timed_on_the_gpu(finished_run: Path, tmp_path: Path, machine: Any) -> None:
    (tmp_path / "mine.txt").write_text("a lovely film\n", encoding="utf-8")
    arguments = ["--sentences", str(tmp_path / "mine.txt"), "--runs", "1", "--provider", "cuda"]
    done = CliRunner().invoke(understudy, ["benchmark", str(finished_run / "students/cnn/torch"), *arguments])
    assert done.exit_code == 0, done.output
    where, took = done.stdout.splitlines()[-2:]
    assert where == "cnn/torch: on Pretend 80GB"
    assert re.match(r"  batch 1: 700 MB of its memory, \d+ W, [\d.]+ J per 1,000 texts$", took)


@pytest.mark.parametrize(
    ("variant", "provider", "device"),
    [("torch-fp16", "cuda", "cuda"), ("exported", "tensorrt", "cuda"), ("exported", "openvino", "cpu"),
     ("torchscript", "cuda", "cpu"), ("torch-fp16", "cpu", "cpu")],
)  # fmt: skip
def test_what_was_traced_on_the_cpu_stays_there(variant: str, provider: str, device: str) -> None:
    artifact: Any = SimpleNamespace(details={"variant": variant}, path=Path("x"))
    runner = artifact_runner(artifact, provider)
    assert (runner.options, runner.gpu) == ((device,), device == "cuda")


def test_models_are_moved_to_the_device(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`meta` is a device that torch has everywhere: it keeps shapes only, and refuses tensors of the CPU among its own.

    A trace with the CPU in its code would fail here as it would on CUDA.
    """
    meta = torch.device("meta")
    made = export(
        finished_run / "students/half/torch", finished_run / "data", tmp_path / "exported", ExportConfig(samples=2),
        form="exported",
    )  # fmt: skip
    ids = torch.ones(2, 5, dtype=torch.int64, device=meta)
    assert torch_files.open_form(made, meta)(ids, torch.ones_like(ids)).device == meta
    weights = torch_files.open_form(Artifact.load(finished_run / "students/half/torch"), meta).parameters()
    assert {weight.device for weight in weights} == {meta}
    told: dict[str, Any] = {}
    monkeypatch.setattr("understudy.training.loop.choose_device", lambda name: meta)
    monkeypatch.setattr("transformers.pipeline", lambda task, **settings: told.update(settings))
    pipeline_worker._load(str(finished_run / "teacher"), 1, 16, "single", "cuda")
    assert told["device"] == meta


def test_what_ran_on_the_cpu_says_nothing_of_gpus(finished_run: Path) -> None:
    results = json.loads((finished_run / "benchmark" / "results.json").read_text(encoding="utf-8"))
    results["machine"].pop("gpus", None)
    assert '"gpu' not in json.dumps(results)
    assert "gpu" not in (finished_run / "benchmark" / "speed.csv").read_text(encoding="utf-8")
    report = (finished_run / "report" / "report.md").read_text(encoding="utf-8")
    assert "Where they ran" not in report and "GPU" not in report
    view = prepared(results)
    assert not device_table(view).rows and not gpu_table(view).rows
    card = model_card(results, next(model for model in results["models"] if model["name"] == "cnn"))
    assert f"Measured on {results['machine']['cpu']}, tokenisation" in card.replace("\\", "")


def test_another_provider_of_the_cpu_is_named(finished_run: Path) -> None:
    """OpenVINO runs on the CPU, too: ratios stand, and the report says which nodes it left to onnxruntime's own."""
    results = json.loads((finished_run / "benchmark" / "results.json").read_text(encoding="utf-8"))
    model = next(one for one in results["models"] if (one["name"], one["variant"]) == ("cnn", "fp32"))
    model["nodes"] = {"OpenVINOExecutionProvider": 9, "CPUExecutionProvider": 2}
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in device_table(prepared(results)).rows}
    assert rows["cnn/fp32"] == ["CPU", "2", "9"] or rows["cnn/fp32"] == ["CPU", "9", "2"]
    assert "9 of its nodes by openvino, 2 of its nodes by cpu" in model_card(results, model)


def test_a_run_is_refused_before_it_trains(workshop: Path, tmp_path: Path) -> None:
    recipe = load_recipe(workshop / "recipe.toml")
    recipe = recipe.model_copy(update={"benchmark": recipe.benchmark.model_copy(update={"provider": "openvino"})})
    with pytest.raises(InputError, match="provider 'openvino' is not in the installed onnxruntime"):
        run(recipe, tmp_path / "out", workshop, Silent())
    assert not (tmp_path / "out").exists()
