"""fetch: models, data sets and files from elsewhere → the cache, so that runs need no network.

understudy fetch recipes/emotion-deberta.toml
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .config import PretrainedStudent, Recipe, TeacherConfig, load_recipe
from .data.locating import names_hub_split
from .errors import InputError
from .files import sha256_of_file
from .hub import urls
from .hub.names import DATASET, checked_sha256, file_name, is_url, parse_repo, parse_url
from .hub.repositories import Download, copy_to, download, list_data, list_model
from .progress import Progress, Silent

_BUNDLED = "bundled:"


@dataclass(frozen=True)
class Fetched:
    """One thing that was asked for: `bytes` and `missing_bytes` are None where a server does not say.

    `revision` is the commit on the hub or the SHA-256 of a file, `path` where it now is ("" in a dry run).
    """

    name: str
    kind: str
    revision: str
    files: int
    bytes: int | None
    missing_bytes: int | None
    path: str = ""


@dataclass(frozen=True)
class _Address:
    """A file on the web."""

    url: str
    sha256: str
    target: Path | None

    @property
    def done(self) -> bool:
        return self.target is not None and self.target.is_file()


_Plan = tuple[Fetched, Download | _Address]


def fetch(
    names: Sequence[str],
    *,
    out: Path | None = None,
    sha256: str = "",
    dry_run: bool = False,
    progress: Progress | None = None,
) -> list[Fetched]:
    """Download what each name stands for, after saying what that takes; with `dry_run`, only say it.

    A name is a recipe's file, a model on the hub (`NAME@REVISION`), a data set (`dataset:NAME`) or a URL
    (`URL#sha256=HEX`, or `sha256`). `out` is where a file, or a copy of a model, goes as well. Raises InputError for
    what does not exist or cannot be had, WorkError for a download that was cut; what is complete by then is kept.
    """
    progress = progress or Silent()
    if (out is not None or sha256) and (len(names) != 1 or names[0].endswith(".toml")):
        raise InputError("--out and --sha256 are for one model or one URL; fetch the others by themselves")
    if sha256 and not is_url(names[0]):
        raise InputError(f"--sha256 is for a URL; pin a revision of a repository: {names[0]}@COMMIT")
    plans: list[_Plan] = []
    for name in names:
        plans += _recipe_plans(load_recipe(Path(name))) if name.endswith(".toml") else [_plan(name, sha256, out)]
    for wanted, _ in plans:
        progress.note(_line(wanted))
    if len(plans) > 1:
        progress.note(f"to download in all: {sum(wanted.missing_bytes or 0 for wanted, _ in plans) / 1e6:,.1f} MB")
    return [wanted if dry_run else _get(wanted, plan, out, progress) for wanted, plan in plans]


def _plan(name: str, sha256: str, out: Path | None) -> _Plan:
    if is_url(name):
        return _url_plan(name, sha256, out)
    if name.startswith(DATASET):
        if out is not None:
            raise InputError("--out is for a model or a URL; a data set is read from the cache")
        return _repo_plan(list_data(parse_repo(name.removeprefix(DATASET), "dataset")), name)
    if Path(name).exists() or name.startswith(_BUNDLED):
        raise InputError(f"{name} is here already; `fetch` takes a recipe (.toml), a name on the hub, or a URL")
    if out is not None and (out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir())))):
        raise InputError(f"{out} exists already; choose another --out")
    return _repo_plan(list_model(parse_repo(name, "model")), name)


def _recipe_plans(recipe: Recipe) -> list[_Plan]:
    plans = []
    for name in dict.fromkeys(_models(recipe)):
        plans.append(_repo_plan(list_model(parse_repo(name, "model")), name))
    data = recipe.data
    files = [data.train, data.val, data.test, *data.unlabeled]
    if splits := [name for name in files if name and names_hub_split(name, data.hub, None)]:
        found = list_data(parse_repo(data.hub, "dataset"), data.hub_config, splits)
        plans.append(_repo_plan(found, f"{DATASET}{data.hub}"))
    return plans + [_url_plan(name, "", None) for name in files if is_url(name)]


def _models(recipe: Recipe) -> Iterator[str]:
    """The models of a recipe that are on the hub."""
    lead = [recipe.teacher.source] if isinstance(recipe.teacher, TeacherConfig) else []
    names = [*lead, *(s.source for s in recipe.students if isinstance(s, PretrainedStudent))]
    return (name for name in names if not name.startswith(_BUNDLED) and not Path(name).exists())


def _repo_plan(found: Download, name: str) -> _Plan:
    size = sum(found.sizes.values())
    return Fetched(name, found.repo.kind, found.commit, len(found.sizes), size, found.missing_bytes), found


def _url_plan(name: str, sha256: str, out: Path | None) -> _Plan:
    url, said = parse_url(name)
    given = checked_sha256(sha256) if sha256 else said
    if said and given != said:
        raise InputError(f"--sha256 {given} is not the #sha256 of the URL, {said}: give one")
    target = out if out is not None else urls.cached(url, given) if given else None
    address = _Address(url, given, target)
    if address.done:
        found = sha256_of_file(address.target) if address.target else ""
        if found != given:
            raise InputError(f"{target} exists with the SHA-256 {found}: choose another --out, or delete it")
        size = address.target.stat().st_size if address.target else 0
        return Fetched(name, "file", given, 1, size, 0), address
    size_there = urls.size(url)
    return Fetched(name, "file", given, 1, size_there, size_there), address


def _get(wanted: Fetched, plan: Download | _Address, out: Path | None, progress: Progress) -> Fetched:
    if isinstance(plan, Download):
        home = download(plan, progress)
        if out is not None:
            copy_to(plan, home, out)
        return replace(wanted, path=str(out or home), missing_bytes=0)
    if plan.done:
        return replace(wanted, path=str(plan.target))
    # without a digest the content's own names its place in the cache
    target = plan.target or urls.cache() / file_name(plan.url)
    digest = urls.download(plan.url, target, plan.sha256, progress)
    if plan.target is None:
        final = urls.cached(plan.url, digest)
        final.parent.mkdir(parents=True, exist_ok=True)
        target = target.replace(final)
    size = target.stat().st_size
    return replace(wanted, revision=digest, path=str(target), bytes=size, missing_bytes=0)


def _line(wanted: Fetched) -> str:
    def size(count: int | None) -> str:
        return "an unknown size" if count is None else f"{count / 1e6:,.1f} MB"

    what = f"{wanted.files} file{'s' * (wanted.files != 1)}, {size(wanted.bytes)}"
    rest = "all here" if wanted.missing_bytes == 0 else f"{size(wanted.missing_bytes)} to download"
    at = f" at {wanted.revision[:12]}" if wanted.revision else ""
    return f"{wanted.name}{at}: {what}, {rest}"
