"""Copy what a run measured (results and logits, no text) to where it is committed.

python benchmarks/collect.py runs/emotion benchmarks/results/emotion
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from understudy.recording import PREDICTIONS


def main() -> None:
    """Entry point: the run's own benchmark and that of each further seed."""
    run, out = Path(sys.argv[1]), Path(sys.argv[2])
    for old in out.glob("seed-*"):
        shutil.rmtree(old)
    first = json.loads((run / "benchmark" / "results.json").read_text(encoding="utf-8"))["seed"]
    sources = {first: run / "benchmark"}
    sources |= {
        int(home.name): home / "benchmark"
        for home in sorted((run / "seeds").glob("*"))
        if (home / "benchmark").exists()
    }
    for seed, source in sources.items():
        target = out / f"seed-{seed}"
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("artifact.json", PREDICTIONS))
    print(f"{out}: seeds {', '.join(map(str, sources))}")


if __name__ == "__main__":
    main()
