"""Copy what a run measured (results and logits, no text), and its small students, to where they are committed.

python benchmarks/collect.py runs/emotion benchmarks/results/emotion
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from understudy.recording import PREDICTIONS

_SMALL = 1_500_000  # bytes of an INT8 student that is worth its place in the repository


def main() -> None:
    """Entry point: the run's own benchmark, that of each further seed, and the students."""
    run, out = Path(sys.argv[1]), Path(sys.argv[2])
    for old in [*out.glob("seed-*"), out / "students"]:
        shutil.rmtree(old, ignore_errors=True)
    first = json.loads((run / "benchmark" / "results.json").read_text(encoding="utf-8"))["seed"]
    sources = {first: run / "benchmark"}
    sources |= {
        int(home.name): home / "benchmark"
        for home in sorted((run / "seeds").glob("*"))
        if (home / "benchmark").exists()
    }
    for seed, source in sources.items():
        shutil.copytree(source, out / f"seed-{seed}", ignore=shutil.ignore_patterns("artifact.json", PREDICTIONS))
    students = [home for home in sorted((run / "students").glob("*/int8")) if _size(home) <= _SMALL]
    for home in students:
        shutil.copytree(home, out / "students" / home.parent.name)
    print(f"{out}: seeds {', '.join(map(str, sources))}; students {', '.join(home.parent.name for home in students)}")


def _size(home: Path) -> int:
    return sum(file.stat().st_size for file in home.iterdir())


if __name__ == "__main__":
    main()
