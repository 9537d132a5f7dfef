"""Make this process take the CPU for a GPU: onnxruntime's CUDA provider, torch's device `cuda`.

Two nodes of an ONNX graph are said to be left to the CPU. NVML is the `pynvml` beside this file.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
RESERVED = 300_000_000  # bytes that torch says it took


def act(put: Callable[[Any, str, Any], None]) -> None:
    """Change what is needed with `put`, which is setattr or a monkeypatch's."""
    import onnxruntime as ort

    from understudy import gpu

    real = ort.InferenceSession

    class Session:
        def __init__(self, path: str, options: Any, providers: list[str]) -> None:
            self._real, self._asked = real(path, options, providers=[CPU]), providers

        def get_providers(self) -> list[str]:
            return self._asked

        def get_provider_graph_assignment_info(self) -> list[Any]:
            whole = [node for part in self._real.get_provider_graph_assignment_info() for node in part.get_nodes()]
            left = whole[:2] if self._asked[0] == CUDA else whole
            shares = {CPU: left, CUDA: whole[len(left) :]}
            return [SimpleNamespace(ep_name=n, get_nodes=lambda s=s: s) for n, s in shares.items() if s]

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

    put(ort, "get_available_providers", lambda: [CUDA, CPU])
    put(ort, "InferenceSession", Session)
    put(gpu, "ENERGY_SECONDS", 0.2)


def act_for_torch(put: Callable[[Any, str, Any], None]) -> None:
    """The same for torch, which is slow to import: for its workers."""
    import torch

    from understudy.training import loop

    put(loop, "choose_device", lambda name: torch.device("cpu"))
    put(torch.cuda, "synchronize", lambda: None)
    put(torch.cuda, "max_memory_reserved", lambda: RESERVED)
