"""NVML of a machine with two GPUs: the first draws 200 W, the second 300 W, whatever is done."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from types import SimpleNamespace

HELD = 700_000_000  # bytes that whoever asks holds of a GPU
OTHERS = 50_000_000_000  # and what another process does


@dataclass(frozen=True)
class Device:
    name: str
    uuid: str
    watts: int


DEVICES = [Device("Pretend 80GB", "GPU-aaaa-1111", 200), Device("Pretend 40GB", "GPU-bbbb-2222", 300)]


class NVMLError(Exception):
    """What NVML's functions raise."""


def nvmlInit() -> None:  # noqa: N802
    pass


def nvmlSystemGetDriverVersion() -> str:  # noqa: N802
    return "580.1"


def nvmlDeviceGetCount() -> int:  # noqa: N802
    return len(DEVICES)


def nvmlDeviceGetHandleByIndex(index: int) -> Device:  # noqa: N802
    if index >= len(DEVICES):
        raise NVMLError("Invalid Argument")
    return DEVICES[index]


def nvmlDeviceGetHandleByUUID(uuid: str) -> Device:  # noqa: N802
    if uuid == "MIG-cccc":  # a slice of the second
        return DEVICES[1]
    raise NVMLError("Not Found")


def nvmlDeviceGetUUID(handle: Device) -> str:  # noqa: N802
    return handle.uuid


def nvmlDeviceGetName(handle: Device) -> str:  # noqa: N802
    return handle.name


def nvmlDeviceGetMemoryInfo(handle: Device) -> SimpleNamespace:  # noqa: N802
    return SimpleNamespace(total=85_000_000_000, used=OTHERS + HELD, free=0)


def nvmlDeviceGetTotalEnergyConsumption(handle: Device) -> int:  # noqa: N802
    return round(1000 * handle.watts * time.perf_counter())


def nvmlDeviceGetComputeRunningProcesses(handle: Device) -> list[SimpleNamespace]:  # noqa: N802
    return [SimpleNamespace(pid=1, usedGpuMemory=OTHERS), SimpleNamespace(pid=os.getpid(), usedGpuMemory=HELD)]
