"""Copy what a run measured (results and logits, no text), and its small students, to where they are committed.

python benchmarks/collect.py runs/emotion benchmarks/results/emotion    (--no-students: results alone)
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from understudy.answers import shipped
from understudy.recording import PREDICTIONS

_SMALL = 1_500_000  # bytes of an INT8 student that is worth its place in the repository


def main() -> None:
    """Entry point: the run's benchmark, which has all seeds, and of each student the file that ships."""
    run, out = Path(sys.argv[1]), Path(sys.argv[2])
    for old in [*out.glob("seed-*"), out / "students"]:
        shutil.rmtree(old, ignore_errors=True)
    results = json.loads((run / "benchmark" / "results.json").read_text(encoding="utf-8"))
    ignored = shutil.ignore_patterns("artifact.json", PREDICTIONS)
    shutil.copytree(run / "benchmark", out / f"seed-{results['seed']}", ignore=ignored)
    wanted = "--no-students" not in sys.argv
    rows = [row for row in results["models"] if wanted and (row["role"], row["variant"]) == ("student", "int8")]
    found = {row["name"]: run / shipped(row)[1]["path"] for row in rows}
    students = {name: home for name, home in found.items() if _size(home) <= _SMALL}
    for name, home in students.items():
        shutil.copytree(home, out / "students" / name)
    print(f"{out}: seed {results['seed']} and those after it; students {', '.join(students)}")


def _size(home: Path) -> int:
    return sum(file.stat().st_size for file in home.iterdir())


if __name__ == "__main__":
    main()
