"""A worker process for an artifact that torch runs: TorchScript, an exported program, a torch directory.

Started as `python -m understudy.training.torch_worker PATH THREADS DEVICE`; DEVICE is cpu or cuda.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ..gpu import Gpu
from ..worker import Subject, answer_questions, limit_threads


def _load(path: Path, threads: int, name: str) -> Subject:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from ..artifact import Artifact
    from ..classifier import TOKENS_PER_RUN, decision_of
    from ..tokenization import TextEncoder, batches
    from . import torch_files
    from .gpu_timing import on_device
    from .loop import choose_device

    device = choose_device(name)
    torch.set_num_threads(threads)
    artifact = Artifact.load(path, "model", verify=True)
    assert artifact.task is not None and artifact.text is not None
    labels = artifact.task.labels
    encoder = TextEncoder.load(artifact, artifact.text)
    module = torch_files.open_form(artifact, device).eval()

    def logits(texts: Sequence[str]) -> NDArray[np.float32]:
        """As `Classifier` does it: texts of equal length together, nothing padded."""
        tokens = encoder.encode(texts)
        result = np.empty((len(texts), len(labels)), dtype=np.float32)
        with torch.inference_mode():
            for rows in batches(tokens, TOKENS_PER_RUN):
                ids = torch.from_numpy(np.stack([tokens[row] for row in rows])).to(device)
                result[rows] = module(ids, torch.ones_like(ids)).cpu().numpy()
        return result

    subject = Subject(lambda texts: decision_of(artifact).probabilities(logits(texts)), logits, labels)
    return on_device(name, subject)


def main() -> None:
    """Entry point of the process."""
    path, threads, device = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    limit_threads(threads)
    answer_questions(lambda: _load(path, threads, device), None if device == "cpu" else Gpu())


if __name__ == "__main__":
    main()
