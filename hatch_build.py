"""Build hook: compiles hashing.c where a C compiler is; without one the wheel is a plain one, and NumPy does the work.

python hatch_build.py       into the source tree, for development
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # called as a script
    BuildHookInterface = object

PACKAGE = Path(__file__).parent / "src" / "understudy"
SOURCE, LIBRARY = PACKAGE / "hashing.c", PACKAGE / "_hashing.so"


class CompileHook(BuildHookInterface):  # type: ignore[misc]
    """Puts the library into the wheel, which then is one of this platform, for any Python."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects files; an editable install finds the library in the source tree."""
        if compile_library() and version != "editable":
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform}"
            build_data["force_include"][str(LIBRARY)] = "understudy/_hashing.so"


def compile_library() -> bool:
    """Compile for any CPU of this platform; False, and no library, where that is not possible."""
    LIBRARY.unlink(missing_ok=True)  # of another version
    compiler = shlex.split(os.environ.get("CC") or "cc")
    if shutil.which(compiler[0]) is None:
        return False
    made = LIBRARY.with_suffix(".tmp")
    command = [*compiler, "-O3", "-shared", "-fPIC", "-o", str(made), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        made.unlink(missing_ok=True)
        return False
    made.replace(LIBRARY)
    return True


if __name__ == "__main__":
    sys.exit(0 if compile_library() else "no C compiler that works: NumPy will do the work")
