"""Build the wheel, install it without extras and away from the source tree, and use it as someone who only predicts.

    python tests/wheel/check.py

Checks: under 225 MB installed, no torch and no transformers, the tests of the runtime pass (`runtime_checks.py`), a
missing extra names its pip command. The artifact that is predicted with is made by the development environment.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMIT_MB = 225


def main() -> None:
    """Entry point."""
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        developer = ROOT / ".venv" / "bin" / "python"
        _run([developer, ROOT / "tests" / "wheel" / "make_artifact.py", home / "artifact"])
        _run([developer, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", home, ROOT])
        (wheel,) = home.glob("understudy-*.whl")
        python = home / "venv" / "bin" / "python"
        _run([developer, "-m", "venv", home / "venv"])
        base = _megabytes(home / "venv")
        constraints = ROOT / "constraints.txt"
        _run([python, "-m", "pip", "install", "--quiet", "--constraint", constraints, wheel])
        size = _megabytes(home / "venv") - base
        print(f"installed size of the runtime: {size:.0f} MB (limit {LIMIT_MB})")
        if size > LIMIT_MB:
            sys.exit(f"the base install takes {size:.0f} MB, more than {LIMIT_MB}")
        _run([python, "-m", "pip", "install", "--quiet", "--constraint", constraints, "pytest", "pytest-timeout"])
        shutil.copy(ROOT / "tests" / "wheel" / "runtime_checks.py", home / "test_runtime.py")
        _run([python, "-m", "pytest", "-q", "-p", "no:cacheprovider", home / "test_runtime.py"], cwd=home)


def _run(command: list[object], cwd: Path | None = None) -> None:
    subprocess.run([str(part) for part in command], check=True, cwd=cwd)


def _megabytes(directory: Path) -> float:
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file() and not file.is_symlink()) / 1e6


if __name__ == "__main__":
    main()
