"""The execution provider: the one asked for, or a refusal; never another in silence."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime as ort
import pytest

from understudy import Classifier, cli
from understudy.benchmarking import Entry
from understudy.config import BenchmarkConfig
from understudy.errors import InputError
from understudy.speed import artifact_runner

MODEL = "students/cnn/fp32"
CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


class Session:
    """An onnxruntime session that was given other providers than asked for, or none of the nodes."""

    def __init__(self, real: Any, providers: list[str], nodes: dict[str, int] | None) -> None:
        self._real, self._providers, self._nodes = real, providers, nodes

    def get_providers(self) -> list[str]:
        return self._providers

    def get_provider_graph_assignment_info(self) -> list[Any]:
        assert self._nodes is not None
        found = self._nodes.items()
        return [SimpleNamespace(ep_name=name, get_nodes=lambda n=count: range(n)) for name, count in found]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Act as a machine whose onnxruntime lists CUDA and starts sessions as told; returns what sessions were asked."""
    real, asked = ort.InferenceSession, list[list[str]]()

    def use(providers: list[str], nodes: dict[str, int] | None = None) -> list[list[str]]:
        def start(path: str, options: Any, providers_asked: Any = None, **named: Any) -> Session:
            asked.append(named["providers"])
            return Session(real(path, options, providers=[CPU]), providers, nodes)

        monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])
        monkeypatch.setattr(ort, "InferenceSession", start)
        return asked

    return use


def test_the_cpu_runs_every_node_by_default(finished_run: Path) -> None:
    nodes = Classifier.load(finished_run / MODEL).nodes
    assert set(nodes) == {CPU}
    assert nodes[CPU] > 5
    assert Classifier.load(finished_run / MODEL, provider="cpu").nodes == nodes


def test_a_provider_that_is_not_installed_is_refused(finished_run: Path) -> None:
    with pytest.raises(InputError) as error:
        Classifier.load(finished_run / MODEL, provider="cuda")
    assert str(error.value) == (
        "provider 'cuda' is not in the installed onnxruntime, which has cpu: pip uninstall onnxruntime, then "
        "pip install onnxruntime-gpu"
    )
    with pytest.raises(InputError, match="unknown provider 'gpu'; choose one of cpu, cuda, tensorrt, openvino"):
        Classifier.load(finished_run / MODEL, provider="gpu")


def test_the_provider_that_runs_is_the_one_asked_for(finished_run: Path, pretend: Any) -> None:
    asked = pretend([CUDA, CPU], {CUDA: 9, CPU: 2})
    assert Classifier.load(finished_run / MODEL, provider="cuda").nodes == {CUDA: 9, CPU: 2}
    assert asked == [[CUDA, CPU]]


@pytest.mark.parametrize(("providers", "nodes"), [([CPU], {CPU: 11}), ([CUDA, CPU], {CPU: 11})])
def test_falling_back_to_the_cpu_in_silence_is_refused(
    finished_run: Path, pretend: Any, providers: list[str], nodes: dict[str, int]
) -> None:
    pretend(providers, nodes)
    with pytest.raises(InputError) as error:
        Classifier.load(finished_run / MODEL, provider="cuda")
    assert str(error.value).startswith("provider 'cuda' cannot run ")
    assert str(error.value).endswith("would go on with the CPU: check its driver and libraries, or choose cpu")


def test_an_older_onnxruntime_tells_the_first_provider(
    finished_run: Path, pretend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend([CUDA, CPU])
    monkeypatch.delattr(Session, "get_provider_graph_assignment_info")
    monkeypatch.delattr(ort.capi.onnxruntime_inference_collection.Session, "get_provider_graph_assignment_info", False)
    assert Classifier.load(finished_run / MODEL, provider="cuda").nodes == {CUDA: 1}


def test_the_command_line_says_it_in_one_line(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["predict", str(finished_run / MODEL), "lovely", "--provider", "openvino"])
    out, err = capsys.readouterr()
    assert (end.value.code, out, err.count("\n")) == (2, "", 1)
    assert "pip install onnxruntime-openvino" in err


def test_the_timed_process_is_told(finished_run: Path) -> None:
    config = BenchmarkConfig(provider="cuda")
    runner = artifact_runner(Entry.of(finished_run / MODEL).artifact, config.provider)
    assert runner.command(2)[-4:] == ["classifier", str(finished_run / MODEL), "2", "cuda"]
