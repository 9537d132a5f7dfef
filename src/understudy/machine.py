"""What this process runs on: cores that it may use, instruction set, memory, versions."""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from . import gpu, hashing

Provider = Literal["cpu", "cuda", "tensorrt", "openvino"]
PROVIDERS: dict[str, str] = {  # what onnxruntime calls them
    "cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}  # fmt: skip
GPU_PROVIDERS = ("cuda", "tensorrt")

_RECORDED = ("understudy", "numpy", "onnxruntime", "tokenizers", "onnx", "torch", "transformers", "scikit-learn")
_INSTRUCTION_SETS = (
    "avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimddp", "i8mm", "bf16",
)  # fmt: skip


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that results depend on."""
    found = {"python": platform.python_version()}
    for package in _RECORDED:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def available_cores() -> int:
    """Cores that this process may use: its affinity, and its cgroup's quota where that is smaller."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, _cgroup_quota(Path("/sys/fs/cgroup/cpu.max")) or cores))


def _cgroup_quota(path: Path) -> int | None:
    try:
        quota, period = path.read_text().split()
        return None if quota == "max" else max(1, round(int(quota) / int(period)))
    except (OSError, ValueError):
        return None


def peak_memory() -> int:
    """Most bytes of memory that this process held since its program was started."""
    try:  # on Linux the getrusage figure is inherited through fork and exec: a child reports its parent's peak
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@cache
def instruction_set() -> list[str]:
    """The INT8-relevant instruction sets of this CPU: without VNNI, unsigned-by-signed INT8 may saturate."""
    flags = set(_cpu_field("flags").split()) | set(_cpu_field("Features").split())
    return [name for name in _INSTRUCTION_SETS if name in flags]


def has_vnni(instructions: Sequence[str]) -> bool:
    """Whether unsigned-by-signed INT8 products are summed exactly: with VNNI, and on ARM."""
    return any("vnni" in name or name in ("asimddp", "i8mm", "amx_int8") for name in instructions)


def describe() -> dict[str, Any]:
    """The machine as results record it; `gpus` only where there are some."""
    gpus = gpu.devices()
    return {
        "cpu": _cpu_field("model name") or platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "cores": available_cores(),
        "instruction_set": instruction_set(),
        "memory_bytes": _memory_bytes(),
        "hashing": "c" if hashing.fast() else "numpy",
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        **({"gpus": gpus} if gpus else {}),
    }


@cache
def _cpu_field(name: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name) and ":" in line), "")


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0
