"""What the timing of a model that torch runs needs on a GPU."""

from __future__ import annotations

from dataclasses import replace

import torch

from ..worker import Subject


def on_device(name: str, subject: Subject) -> Subject:
    """The subject; on cuda it also waits for its kernels, which a call only queues, and tells the memory they took."""
    if name != "cuda":
        return subject
    return replace(subject, settle=torch.cuda.synchronize, reserved=torch.cuda.max_memory_reserved)
