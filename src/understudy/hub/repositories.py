"""Repositories on the hub: listed, downloaded into the hub's own cache, every file checked, found there offline.

What the cache has is used as it is; `fetch` brings it up to date. The cache's layout is documented:
https://huggingface.co/docs/hub/local-cache (refs/REVISION holds a commit, snapshots/COMMIT/ its files).
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import InputError, WorkError
from ..progress import Progress, Silent
from .choosing import CONFIG, PICKLED, data_files, is_whole_model, is_whole_split, model_files, split_files
from .explaining import NoRevisionError, explained
from .names import MAIN, Repo, parse_repo

_CONVERSIONS = "refs/pr/"  # branches of proposed changes, among them those to safetensors
_CONVERTER = (
    "SFconvertbot"  # the hub's account that proposes them; transformers trusts no other (safetensors_conversion)
)
_PARQUET = "refs/convert/parquet"  # the branch on which the hub keeps every public data set as Parquet
_MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Download:
    """The files of a repository that are to be here: bytes by path, which of them are missing, and the digests."""

    repo: Repo
    commit: str
    sizes: Mapping[str, int]
    digests: Mapping[str, str]
    missing: tuple[str, ...]

    @property
    def missing_bytes(self) -> int:
        """Bytes still to come."""
        return sum(self.sizes[path] for path in self.missing)


def model(name: str) -> Path:
    """The directory of a model named `NAME` or `NAME@REVISION`: from the cache, downloaded first if need be."""
    repo = parse_repo(name, "model")
    return cached_model(repo) or download(list_model(repo), Silent())


def model_config(name: str) -> Path:
    """A directory with at least the config.json of a model."""
    repo = parse_repo(name, "model")
    if found := cached_model(repo):
        return found
    from huggingface_hub import hf_hub_download

    with explained(repo):
        return Path(hf_hub_download(repo.name, CONFIG, revision=repo.revision)).parent


def data_split(name: str, config: str, split: str) -> list[Path]:
    """The Parquet files of one split of a data set: from the cache, downloaded first if need be."""
    repo = parse_repo(name, "dataset")
    for candidate in _branches(repo):
        if (home := _snapshot(candidate)) is None:
            continue
        try:
            chosen = split_files(repo.title, _paths(home), config, split)
        except InputError:
            continue
        if is_whole_split(chosen):
            return [home / path for path in chosen]
    found = list_data(repo, config, [split])
    home = download(found, Silent())
    return [home / path for path in sorted(found.sizes)]


def commit_of(name: str, kind: Any) -> str:
    """The commit that a name stands for in the cache, "" where it has none; that of a conversion where it is one."""
    repo = parse_repo(name, kind)
    home = cached_model(repo) if kind == "model" else next(filter(None, map(_snapshot, _branches(repo))), None)
    return home.name if home else ""


def cached_model(repo: Repo) -> Path | None:
    """Where the cache has all of a model, or all of its conversion to safetensors."""
    names = [repo.revision]
    if repo.revision == MAIN:
        conversions = _home(repo) / "refs" / _CONVERSIONS
        names += [f"{_CONVERSIONS}{path.name}" for path in sorted(conversions.glob("*"))]
    homes = (_snapshot(replace(repo, revision=name)) for name in names)
    return next((home for home in homes if home and is_whole_model(home)), None)


def list_model(repo: Repo) -> Download:
    """What a model's download is; raises InputError for one without safetensors."""
    found = _list(repo, model_files)
    if not found.sizes:
        with explained(repo):
            conversion = _conversion(repo) if repo.revision == MAIN else None
        found = _list(conversion, model_files) if conversion else found
    if not found.sizes:
        pickled = any(name in found.digests for name in PICKLED)
        what = f"only pickled weights ({PICKLED[0]}), which understudy never opens" if pickled else "no safetensors"
        raise InputError(f"{repo.title} has {what}: choose a revision with model.safetensors (NAME@REVISION)")
    return found


def list_data(repo: Repo, config: str = "", splits: Sequence[str] = ()) -> Download:
    """What the download of a data set's splits is, of all its Parquet files without `splits`."""

    def choose(paths: Iterable[str]) -> list[str]:
        there = data_files(paths)
        chosen = [split_files(repo.title, paths, config, split) for split in splits] if there else []
        # the first file last: see `is_whole_split`
        return [path for its in (chosen if splits else there.values()) for path in reversed(its)]

    refusals: list[InputError] = []
    for branch in _branches(repo):
        try:
            found = _list(branch, choose)
        except NoRevisionError as error:
            refusals += [error] if branch is repo else []
        except InputError as error:
            refusals.append(error)
        else:
            if found.sizes:
                return found
    if refusals:
        raise refusals[0]
    raise InputError(f"{repo.title} has no Parquet files; download its files and name them in the recipe")


def download(wanted: Download, progress: Progress) -> Path:
    """Download what is missing and check it; only then does the branch's name lead to it. Returns the directory."""
    from huggingface_hub import hf_hub_download, snapshot_download

    repo = wanted.repo
    _check_space(wanted)
    with explained(repo):
        if wanted.missing:
            megabytes = -(-wanted.missing_bytes // _MEGABYTE)
            with progress.track(f"{repo.name}, MB", megabytes) as advance:
                bars = _bars(advance)
                for path in wanted.missing:
                    file = hf_hub_download(
                        repo.name, path, repo_type=repo.kind, revision=wanted.commit, tqdm_class=bars
                    )
                    _check(Path(file), path, wanted)
        commit = wanted.commit if repo.revision == wanted.commit else repo.revision
        home = snapshot_download(
            repo.name, repo_type=repo.kind, revision=commit, allow_patterns=list(wanted.sizes), tqdm_class=_bars(None)
        )
    return Path(home)


def copy_to(wanted: Download, home: Path, out: Path) -> None:
    """Copy the downloaded files to a new directory, whole or not at all."""
    scratch = out.parent / f".{out.name}.partial"
    shutil.rmtree(scratch, ignore_errors=True)
    for path in wanted.sizes:
        (scratch / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(home / path, scratch / path)
    if out.is_dir():
        out.rmdir()  # empty: the caller has looked
    scratch.rename(out)


def _branches(repo: Repo) -> list[Repo]:
    """Where to look for a data set's Parquet: as it is, then as the hub converts it."""
    return [repo, replace(repo, revision=_PARQUET)] if repo.revision == MAIN else [repo]


def _list(repo: Repo, choose: Callable[[Iterable[str]], list[str]]) -> Download:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    with explained(repo):
        api = HfApi()
        commit = str(api.repo_info(repo.name, repo_type=repo.kind, revision=repo.revision).sha)
        tree = api.list_repo_tree(repo.name, recursive=True, revision=commit, repo_type=repo.kind)
        entries = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
    sizes = {path: entries[path].size for path in choose(entries)}
    digests = {path: entry.lfs.sha256 if entry.lfs else entry.blob_id for path, entry in entries.items()}
    home = _home(repo) / "snapshots" / commit
    missing = tuple(path for path, size in sizes.items() if not _is_there(home / path, size))
    return Download(repo, commit, sizes, digests, missing)


def _conversion(repo: Repo) -> Repo | None:
    """The change to safetensors that the hub's converter proposes for a repository."""
    from huggingface_hub import HfApi

    for proposal in HfApi().get_repo_discussions(repo.name, author=_CONVERTER, discussion_type="pull_request"):
        if proposal.author == _CONVERTER and "safetensors" in proposal.title and proposal.git_reference:
            return replace(repo, revision=proposal.git_reference)
    return None


def _check(file: Path, path: str, wanted: Download) -> None:
    """Compare a file with the hub's digest: SHA-256 of a large one, Git's SHA-1 of another. Deletes a wrong one."""
    digest = wanted.digests[path]
    if len(digest) == 64:
        hasher = hashlib.sha256()
    else:
        hasher = hashlib.sha1(b"blob %d\0" % file.stat().st_size, usedforsecurity=False)
    with file.open("rb") as content:
        while block := content.read(1 << 20):
            hasher.update(block)
    if hasher.hexdigest() != digest:
        file.resolve().unlink()
        file.unlink(missing_ok=True)
        raise WorkError(f"{wanted.repo.title}: {path} is not what the hub lists (its digest differs); it was deleted")


def _check_space(wanted: Download) -> None:
    from huggingface_hub import constants

    place = Path(constants.HF_HUB_CACHE)
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if wanted.missing_bytes > free:
        need, have = (f"{count / 1e9:.2f} GB" for count in (wanted.missing_bytes, free))
        raise InputError(f"{wanted.repo.title} takes {need}, and {place} has {have} free: set HF_HOME to another disk")


def _home(repo: Repo) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / "--".join([f"{repo.kind}s", *repo.name.split("/")])


def _snapshot(repo: Repo) -> Path | None:
    """The cache's directory of a revision, whole or not."""
    home = _home(repo)
    ref = home / "refs" / repo.revision
    commit = ref.read_text(encoding="utf-8").strip() if ref.is_file() else repo.revision
    found = home / "snapshots" / commit
    return found if found.is_dir() else None


def _paths(home: Path) -> list[str]:
    return [path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()]


def _is_there(file: Path, size: int) -> bool:
    return file.is_file() and file.stat().st_size == size


def _bars(advance: Callable[[int], None] | None) -> Any:
    """What the hub's client takes for a class of progress bars; counts whole megabytes, shows nothing itself."""
    done = 0

    class Bar:
        total = None
        n = 0

        def __init__(self, *arguments: Any, **settings: Any) -> None:
            self.items = arguments[0] if arguments else ()

        def __iter__(self) -> Any:
            return iter(self.items)

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def update(self, count: float | None = 1) -> None:
            nonlocal done
            before, done = done, done + int(count or 0)
            if advance is not None:
                advance(done // _MEGABYTE - before // _MEGABYTE)

        def update_transfer(self, count: float | None = 1) -> None:
            """Bytes over the network; those written are counted."""

        def _nothing(self, *arguments: Any, **settings: Any) -> None:
            pass

        close = refresh = set_description = set_description_str = set_postfix_str = set_transfer_postfix_str = _nothing
        reset = clear = display = _nothing

    return Bar
