"""Copy a run's soft labels to where they are committed: ids and logits, no text.

python benchmarks/soft_labels.py runs/imdb benchmarks/results/imdb/soft_labels.parquet

The file serves as a teacher: `[teacher] kind = "table"`, `id = "id"`, `scale = "logit"`, with the recipe's own [data]
and seed, trains further students without the hours that the teacher took: those that start from nothing or from a hub.
A cut, and `teacher_embeddings`, take weights from the teacher itself.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from understudy.artifact import Artifact
from understudy.data.storing import read_split
from understudy.soft_labels import read_labels


def main() -> None:
    """Entry point."""
    run, out = Path(sys.argv[1]), Path(sys.argv[2])
    labels = Artifact.load(run / "labels", "labels", verify=True)
    assert labels.task is not None
    names = [name for name in ("train", "val", "unlabeled") if list(labels.path.glob(f"{name}-*.parquet"))]
    splits = [read_split(run / "data" / f"{name}.parquet", name) for name in names]
    logits = np.concatenate([read_labels(labels.path, split.name, split.ids) for split in splits])
    columns = {"id": [example for split in splits for example in split.ids]}
    columns |= {name: logits[:, index] for index, name in enumerate(labels.task.labels)}
    out.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), out, compression="zstd")
    print(f"{out}: {len(logits):,} texts, {out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
