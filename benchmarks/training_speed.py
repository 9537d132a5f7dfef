"""Steps per second of our training loop against two others: same student, same texts, in turns.

    python benchmarks/training_speed.py runs/emotion benchmarks/results/training_speed.json

(i) the loop that published projects use: batch 16, everything padded to 128 tokens, the teacher asked on every batch;
(ii) a careful loop: batch 32, padded to the longest of the batch, the teacher asked on every batch;
(iii) ours: batch 32, batches of similar length, the teacher's stored logits.

Loop (i) makes batches of 16, so that its rate is given per 32 texts to compare equal work. Everything else is the same:
the 3-layer student of the run, its trimmed vocabulary, AdamW, clipping. (i) and (ii) train in FP32, as those projects
do; ours in the precision that `precision = "auto"` chooses, and once more in FP32.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch

from understudy.artifact import Artifact
from understudy.config import CutStudent
from understudy.data.storing import read_split
from understudy.machine import describe, versions
from understudy.soft_labels import read_labels
from understudy.tokenization import TextEncoder
from understudy.training import networks
from understudy.training.loop import Examples, choose_device, collate, epoch_batches, make_optimizer, pad, train_step
from understudy.training.losses import Batch, distillation

STEPS, ROUNDS = 10, 9
CPU = torch.device("cpu")


def main() -> None:
    """Entry point."""
    run, out = Path(sys.argv[1]), Path(sys.argv[2])
    choose_device("cpu")
    loops = {name: make(run) for name, make in LOOPS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(ROUNDS + 1):
        for name, steps in loops.items():
            begun = time.perf_counter()
            for _ in range(STEPS):
                next(steps)
            if number:  # the first round warms up
                seconds[name].append((time.perf_counter() - begun) / STEPS)
    ours = seconds["ours"]
    rows = []
    for name, times in seconds.items():
        ratios = [other / mine for other, mine in zip(times, ours, strict=True)]
        rows.append({
            "loop": name, "steps_per_second": 1 / median(times), "ours_is_faster": median(ratios),
            "ratios": [round(ratio, 3) for ratio in ratios],
        })  # fmt: skip
        print(f"{name:<70} {1 / median(times):6.2f} steps/s   ours is {median(ratios):.2f} times as fast")
    what = f"emotion, 3-layer student; a step is 32 texts; median of {ROUNDS} interleaved rounds of {STEPS} steps"
    result = {"machine": describe(), "versions": versions(), "what": what, "loops": rows}
    out.write_text(json.dumps(result, indent=1), encoding="utf-8")


def _published(run: Path) -> Iterator[None]:
    """Two batches of 16 are one step of 32 texts."""
    return _loop(run, size=16, length=128, precision="fp32", batches_per_step=2)


def _careful(run: Path) -> Iterator[None]:
    return _loop(run, size=32, length=None, precision="fp32")


def _loop(run: Path, *, size: int, length: int | None, precision: str, batches_per_step: int = 1) -> Iterator[None]:
    """A loop that asks the teacher for every batch, in random order."""
    student, teacher = networks.load(_student(run)), networks.load(Artifact.load(run / "teacher"))
    examples, teacher_tokens = _examples(run)
    config = CutStudent(precision=precision, batch_size=size)
    optimizer, _ = make_optimizer(student.module, config, 10**6)
    objective = distillation(2.0, 0.8)
    random = np.random.default_rng(0)
    student.module.train()
    while True:
        for _ in range(batches_per_step):
            rows = random.permutation(len(examples.tokens))[:size]
            ids, mask = _padded([examples.tokens[row] for row in rows], student.pad_id, length)
            asked, asked_mask = _padded([teacher_tokens[row] for row in rows], teacher.pad_id, length)
            with torch.no_grad():
                logits = teacher.module(asked, asked_mask)
            batch = Batch(ids, mask, torch.from_numpy(examples.labels[rows]), logits)
            train_step(student.module, batch, objective, optimizer, 1e-5, config, CPU)
        yield


def _ours(run: Path, precision: str = "auto") -> Iterator[None]:
    student = networks.load(_student(run))
    examples, _ = _examples(run)
    config = CutStudent(precision=precision)
    optimizer, _ = make_optimizer(student.module, config, 10**6)
    objective = distillation(2.0, 0.8)
    student.module.train()
    epoch = 0
    while True:
        for rows in epoch_batches(examples.tokens, config.batch_size, 0, epoch):
            train_step(
                student.module, collate(examples, rows, student.pad_id, CPU), objective, optimizer, 1e-5, config, CPU
            )
            yield
        epoch += 1


def _examples(run: Path) -> tuple[Examples, list[np.ndarray]]:
    train = read_split(run / "data" / "train.parquet", "train")
    student, teacher = _student(run), Artifact.load(run / "teacher")
    encoders = [TextEncoder.load(a, a.text) for a in (student, teacher) if a.text]
    logits = read_labels(run / "labels", "train", train.ids)
    return Examples(encoders[0].encode(train.texts), train.labels, logits), encoders[1].encode(train.texts)


def _student(run: Path) -> Artifact:
    return Artifact.load(run / "students" / "cut3" / "torch")


def _padded(tokens: list[np.ndarray], pad_id: int, length: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    if length is None:
        return pad(tokens, pad_id)
    ids, mask = pad([*tokens, np.full(length, pad_id)], pad_id)
    return ids[:-1], mask[:-1]


LOOPS: dict[str, Callable[[Path], Iterator[None]]] = {
    "as published: batch 16, padded to 128, teacher on every batch": _published,
    "careful: batch 32, dynamic padding, teacher on every batch": _careful,
    "ours in FP32": lambda run: _ours(run, "fp32"),
    "ours": _ours,
}

if __name__ == "__main__":
    main()
