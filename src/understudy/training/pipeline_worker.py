"""A worker process for a torch classifier: timed as a plain `transformers` pipeline, asked for logits in batches.

Started as `python -m understudy.training.pipeline_worker WHAT THREADS MAX_LENGTH KIND DEVICE`; WHAT is a torch
artifact, a local directory or a hub name, KIND that of the task, DEVICE cpu or cuda.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from ..data.task import Kind
from ..gpu import Gpu
from ..worker import Subject, answer_questions, limit_threads


def _load(what: str, threads: int, max_length: int, kind: Kind, name: str) -> Subject:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
    from transformers.utils import logging

    from ..artifact import MANIFEST, Artifact, TextConfig
    from ..tokenization import TextEncoder
    from . import networks
    from .gpu_timing import on_device
    from .loop import choose_device, infer
    from .origins import resolve

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    device = choose_device(name)
    torch.set_num_threads(threads)
    source = resolve(what)
    tokenizer = AutoTokenizer.from_pretrained(source)
    if (Path(what) / MANIFEST).exists():
        artifact = Artifact.load(Path(what), "model")
        network, text = networks.load(artifact), artifact.text
        labels: Sequence[str] = artifact.task.labels if artifact.task else ()
        model: Any = network.module.model
    else:
        (network, labels), text = networks.load_classifier(what, kind), None
        model = AutoModelForSequenceClassification.from_pretrained(source, dtype=torch.float32, use_safetensors=True)
    classify = pipeline(
        "text-classification", model=model, tokenizer=tokenizer, device=device, truncation=True,
        max_length=max_length, top_k=None,
    )  # fmt: skip
    encoder = TextEncoder(network.tokenizer, text or TextConfig(("html", "nfc"), max_length))
    subject = Subject(
        predict=lambda texts: classify(list(texts), batch_size=len(texts)),
        logits=lambda texts: infer(network.module.to(device), encoder.encode(texts), network.pad_id, device),
        labels=labels,
    )
    return on_device(name, subject)


def main() -> None:
    """Entry point of the process."""
    what, threads, max_length, kind = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), cast("Kind", sys.argv[4])
    device = sys.argv[5]
    limit_threads(threads)
    answer_questions(lambda: _load(what, threads, max_length, kind, device), None if device == "cpu" else Gpu())


if __name__ == "__main__":
    main()
