"""A worker process for an artifact that torch runs: TorchScript, an exported program, a torch directory.

Started as `python -m understudy.training.torch_worker PATH THREADS`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ..worker import Subject, answer_questions, limit_threads


def _load(path: Path, threads: int) -> Subject:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from ..artifact import Artifact
    from ..classifier import TOKENIZER_FILE, TOKENS_PER_RUN
    from ..decision import softmax
    from ..tokenization import TextEncoder, batches
    from . import torch_files

    torch.set_num_threads(threads)
    artifact = Artifact.load(path, "model", verify=True)
    assert artifact.task is not None and artifact.text is not None
    labels = artifact.task.labels
    encoder = TextEncoder.load(path / TOKENIZER_FILE, artifact.text)
    module = torch_files.open_form(artifact).eval()

    def logits(texts: Sequence[str]) -> NDArray[np.float32]:
        """As `Classifier` does it: texts of equal length together, nothing padded."""
        tokens = encoder.encode(texts)
        result = np.empty((len(texts), len(labels)), dtype=np.float32)
        with torch.inference_mode():
            for rows in batches(tokens, TOKENS_PER_RUN):
                ids = torch.from_numpy(np.stack([tokens[row] for row in rows]))
                result[rows] = module(ids, torch.ones_like(ids)).numpy()
        return result

    return Subject(lambda texts: softmax(logits(texts), artifact.temperature), logits, labels)


def main() -> None:
    """Entry point of the process."""
    path, threads = Path(sys.argv[1]), int(sys.argv[2])
    limit_threads(threads)
    answer_questions(lambda: _load(path, threads))


if __name__ == "__main__":
    main()
