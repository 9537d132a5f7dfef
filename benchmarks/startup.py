"""How long a user waits before anything happens: whole processes, median of several.

python benchmarks/startup.py runs/emotion/students/cut3/int8 benchmarks/results/startup.json
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from understudy.machine import describe, versions

RUNS = 7


def main() -> None:
    """Entry point."""
    artifact, out = sys.argv[1], Path(sys.argv[2])
    python, command = sys.executable, str(Path(sys.executable).with_name("understudy"))
    commands = {
        "python -c 'import numpy, onnxruntime'": [python, "-c", "import numpy, onnxruntime"],
        "python -c 'import understudy'": [python, "-c", "import understudy"],
        "understudy --help": [command, "--help"],
        "understudy predict (3-layer INT8 student, one text)": [command, "predict", artifact, "i feel fine"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(RUNS + 1):
        for name, line in commands.items():
            begun = time.perf_counter()
            subprocess.run(line, check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - begun)
    rows = [{"what": name, "seconds": median(times[1:]), "all": times[1:]} for name, times in seconds.items()]
    out.write_text(
        json.dumps({"machine": describe(), "versions": versions(), "rows": rows}, indent=1), encoding="utf-8"
    )
    for row in rows:
        print(f"{row['what']:<56} {row['seconds']:.3f} s")


if __name__ == "__main__":
    main()
