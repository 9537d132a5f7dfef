"""The scripts of benchmarks/, to be tested."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def script(name: str) -> Any:
    """The module, which may import its neighbours; the test file that asks for it is skipped where there is none."""
    if not BENCHMARKS.exists():
        pytest.skip("benchmarks/ does not come with the sdist", allow_module_level=True)
    if str(BENCHMARKS) not in sys.path:
        sys.path.insert(0, str(BENCHMARKS))
    return importlib.import_module(name)
