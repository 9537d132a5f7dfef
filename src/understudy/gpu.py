"""NVIDIA GPUs, as NVML tells of them: their names and memory, what this process holds of it, the energy used.

NVML comes with the driver; `nvidia-ml-py` asks it. Where either is missing there is no GPU to tell of.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

from .errors import InputError, MissingExtraError

# How long to draw power for a figure: NVML renews its counter about ten times a second (ml.energy's measurement).
ENERGY_SECONDS = 3.0


def devices() -> list[dict[str, Any]]:
    """Name, bytes of memory and driver of each GPU."""
    nvml = _nvml()
    if nvml is None:
        return []
    driver = _asked(nvml.nvmlSystemGetDriverVersion)
    found = [(_asked(nvml.nvmlDeviceGetName, one), _asked(nvml.nvmlDeviceGetMemoryInfo, one)) for one in _handles(nvml)]
    return [{"name": name, "memory_bytes": memory and int(memory.total), "driver": driver} for name, memory in found]


def require(provider: str) -> None:
    """Raise MissingExtraError or InputError where a measurement could not say on which GPU it ran, nor what it took."""
    if find_spec("pynvml") is None:
        raise MissingExtraError(f"a measurement with provider {provider!r}", "gpu")
    if not devices():
        raise InputError(f"provider {provider!r}: NVIDIA's driver shows no GPU here; choose cpu, or check `nvidia-smi`")


class Gpu:
    """The GPU that this process computes on: the first that CUDA shows it. To be made before CUDA is started."""

    def __init__(self) -> None:
        os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # NVML's order; CUDA's own begins with the fastest
        self._nvml = _nvml()
        self._handle = None if self._nvml is None else _first_visible(self._nvml)
        self.name = "GPU" if self._nvml is None else str(_asked(self._nvml.nvmlDeviceGetName, self._handle) or "GPU")

    def joules(self) -> float | None:
        """Energy that the board has used since its driver was loaded, by whomever; None before Volta."""
        used = self._nvml and _asked(self._nvml.nvmlDeviceGetTotalEnergyConsumption, self._handle)
        return None if used is None else used / 1000

    def held(self) -> int | None:
        """Bytes of its memory that this process holds, CUDA's own included; None where the driver does not tell.

        That is so in a container with process numbers of its own: the driver knows those outside.
        """
        processes = self._nvml and _asked(self._nvml.nvmlDeviceGetComputeRunningProcesses, self._handle)
        mine = (process.usedGpuMemory for process in processes or [] if process.pid == os.getpid())
        return next(mine, None) or None


@cache
def _nvml() -> Any:
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no package, no driver, no right to ask it
        return None
    return pynvml


def _asked(function: Callable[..., Any], *arguments: Any) -> Any:
    """What NVML answers; None where this GPU or driver cannot."""
    try:
        return function(*arguments)
    except Exception:  # NVMLError, and a class of its own for a driver that is older than the package
        return None


def _handles(nvml: Any) -> list[Any]:
    count = _asked(nvml.nvmlDeviceGetCount) or 0
    return [handle for index in range(count) if (handle := _asked(nvml.nvmlDeviceGetHandleByIndex, index)) is not None]


def _first_visible(nvml: Any) -> Any:
    """By index, or by the beginning of a UUID, as CUDA_VISIBLE_DEVICES says it; a MIG slice only by its whole UUID."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    if named.isdecimal():
        return _asked(nvml.nvmlDeviceGetHandleByIndex, int(named))
    handles = (one for one in _handles(nvml) if str(_asked(nvml.nvmlDeviceGetUUID, one)).startswith(named))
    return next(handles, None) or _asked(nvml.nvmlDeviceGetHandleByUUID, named)
