"""push: an artifact and its card → a repository on the hub.

understudy push runs/x/students/small/int8 me/small-mood
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .artifact import MANIFEST, Artifact
from .errors import ArtifactError, InputError
from .hub.explaining import explained
from .hub.names import MAIN, Repo, parse_repo

CARD = "README.md"
_OF_THE_HUB = {".gitattributes"}


@dataclass(frozen=True)
class Pushed:
    """What was published where; `commit` is "" in a dry run."""

    url: str
    commit: str
    files: dict[str, int]


def push(path: Path, name: str, *, private: bool = False, license: str = "", dry_run: bool = False) -> Pushed:
    """Publish a model's artifact with its card, in one commit; with `dry_run`, only check it and list its files.

    Replaces the artifact that the repository may hold. Raises ArtifactError for a directory that is no whole artifact,
    InputError for a repository of other files or one that the token may not write to.
    """
    from huggingface_hub import constants, get_token

    repo = _repo(name)
    artifact = Artifact.load(path, "model", verify=True)
    card = _card(artifact, license)
    sizes = {file: int(entry["bytes"]) for file, entry in artifact.files.items()}
    sizes |= {MANIFEST: (path / MANIFEST).stat().st_size, CARD: len(card)}
    url = f"{constants.ENDPOINT}/{repo.name}"
    if dry_run:
        return Pushed(url, "", sizes)
    if get_token() is None:
        raise InputError("publishing needs a token: `hf auth login`, or one that may write in HF_TOKEN")
    with explained(repo, "published"):
        commit = _commit(repo, path, sizes, card, private)
    return Pushed(url, commit, sizes)


def _repo(name: str) -> Repo:
    repo = parse_repo(name, "model")
    if "/" not in repo.name or repo.revision != MAIN:
        raise InputError(f"{name}: expected OWNER/NAME, the repository to publish to")
    return repo


def _card(artifact: Artifact, license: str) -> bytes:
    """The directory's README.md, with the licence in its metadata."""
    from huggingface_hub import ModelCard

    file = artifact.path / CARD
    if not file.is_file():
        raise ArtifactError(
            f"{artifact.path} has no card: `understudy run` and `understudy cascade` write one, or write its {CARD} "
            "yourself"
        )
    try:
        card = ModelCard(file.read_text(encoding="utf-8"))
    except ValueError as error:  # that of a YAML parser, or of text that is not UTF-8
        raise ArtifactError(f"{file} has metadata that cannot be read: {error}") from None
    if license:
        card.data["license"] = license
    return str(card).encode()


def _commit(repo: Repo, path: Path, sizes: dict[str, int], card: bytes, private: bool) -> str:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi()
    api.create_repo(repo.name, private=private or None, exist_ok=True)
    info = api.model_info(repo.name)
    there = {sibling.rfilename for sibling in info.siblings or ()} - _OF_THE_HUB
    if private and not info.private:
        raise InputError(f"{repo.name} exists and is public: make it private on the hub first, or choose another name")
    if there - {CARD} and MANIFEST not in there:
        raise InputError(f"{repo.name} holds files that understudy did not write; choose another name")
    changes: list[Any] = [CommitOperationDelete(name) for name in sorted(there - set(sizes))]
    for name in sizes:
        changes.append(CommitOperationAdd(name, card if name == CARD else str(path / name)))
    made = api.create_commit(
        repo.name, changes, commit_message="Publish an understudy artifact", parent_commit=info.sha
    )
    return str(made.oid)
