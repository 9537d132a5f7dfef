"""The directory that a stage writes: complete or absent, self-contained, verifiable.

    some-artifact/
    ├── artifact.json   written last: kind, stage, task, config, inputs, text, decision, measurements, files, golden
    └── …               the files it lists, each with its size and SHA-256

What is loaded is what the manifest lists: other files in the directory are never opened, links are refused.

A stage works in a hidden directory beside its target and renames it when all is done, so that a kill at any moment
leaves the target as it was. The hidden directory of a killed stage is taken up again if the plan is the same.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from .data.task import Task
from .data.text import TextConfig as TextConfig
from .errors import ArtifactError
from .files import sha256_of_file, sha256_of_json, write_atomically
from .machine import versions
from .plans import FORMAT
from .plans import Plan as Plan
from .progress import Progress

MANIFEST = "artifact.json"
SCRAPS = "work"  # inside a scratch directory: checkpoints and the like, gone when the artifact is complete
_PLAN = "plan.json"  # likewise: the key of the plan that is being worked


@dataclass(frozen=True)
class Artifact:
    """A finished directory and what its manifest says."""

    path: Path
    kind: str
    stage: str
    key: str
    config: dict[str, Any]
    inputs: dict[str, str]
    seed: int
    task: Task | None
    text: TextConfig | None
    details: dict[str, Any]
    decision: dict[str, Any]
    measurements: dict[str, Any]
    warnings: list[str]
    versions: dict[str, str]
    files: dict[str, dict[str, Any]]
    golden: dict[str, Any] | None = None  # texts and the scores expected of them, see `golden`

    @classmethod
    def load(cls, path: Path, *kinds: str, verify: bool = False) -> Artifact:
        """Read a directory's manifest and check that its files are there.

        `kinds` ask for an artifact of one of them; `verify` recomputes every SHA-256. Raises ArtifactError.
        """
        artifact = cls._from_manifest(path, _read_manifest(path))
        if kinds and artifact.kind not in kinds:
            raise ArtifactError(f"{path} is a {artifact.kind} directory, expected a {' or '.join(kinds)} directory")
        artifact._check_files()
        if verify:
            artifact.verify()
        return artifact

    @classmethod
    def _from_manifest(cls, path: Path, raw: dict[str, Any]) -> Artifact:
        if raw.get("format") != FORMAT:
            raise ArtifactError(
                f"{path / MANIFEST} has format {raw.get('format')!r}, expected {FORMAT}: "
                "it was written by another version of understudy"
            )
        try:
            task, text = raw["task"], raw["text"]
            task = None if task is None else Task(**task | {"labels": tuple(task["labels"])})
            text = None if text is None else TextConfig.from_dict(text)
            rest = {key: value for key, value in raw.items() if key not in ("format", "task", "text", "files")}
            files = {name: {"bytes": int(f["bytes"]), "sha256": f["sha256"]} for name, f in raw["files"].items()}
            return cls(path=path, task=task, text=text, files=files, **rest)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ArtifactError(f"{path / MANIFEST} lacks fields of format {FORMAT}; it was changed by hand") from None

    def verify(self, *, without: tuple[str, ...] = ()) -> None:
        """Recompute the SHA-256 of every file but those of some names; raises ArtifactError for a changed one."""
        for name, entry in self.files.items():
            if Path(name).name not in without and sha256_of_file(self.path / name) != entry["sha256"]:
                raise self._changed(name)

    def read(self, name: str) -> bytes:
        """What a file holds, read once and checked; raises ArtifactError if the manifest lists no such file."""
        if name not in self.files:
            raise ArtifactError(f"{self.path / MANIFEST} lists no {name}, so none is opened; rerun its stage")
        try:
            content = (self.path / name).read_bytes()
        except OSError as error:
            raise ArtifactError(f"{self.path / name} cannot be read: {error.strerror}") from None
        if hashlib.sha256(content).hexdigest() != self.files[name]["sha256"]:
            raise self._changed(name)
        return content

    def _check_files(self) -> None:
        for name, entry in self.files.items():
            file = self.path / name
            if Path(name).is_absolute() or file.resolve() != self.path.resolve() / name:
                raise ArtifactError(f"{self.path}: {name} is not a plain file inside the directory")
            if not file.is_file():
                raise ArtifactError(f"{self.path} lacks {name}; copy the whole directory again or rerun its stage")
            if file.stat().st_size != entry["bytes"]:
                raise self._changed(name)

    def _changed(self, name: str) -> ArtifactError:
        file = self.path / name
        return ArtifactError(
            f"{file} was changed after it was written (its SHA-256 is not the manifest's); rerun its stage"
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the artifact is: its files, task and text handling, not when or how fast it was made."""
        files = {name: entry["sha256"] for name, entry in self.files.items()}
        return sha256_of_json(
            {"files": files, "task": self.task and asdict(self.task), "text": self.text and self.text.to_dict()}
        )

    def digest_of(self, *names: str) -> str:
        """SHA-256 of some of its files, whatever the others are; of those that it has."""
        return sha256_of_json({name: self.files[name]["sha256"] for name in names if name in self.files})

    @property
    def temperature(self) -> float:
        """The calibration temperature; 1 before calibration."""
        return float(self.decision.get("temperature", 1.0))

    def bytes_of(self, *names: str) -> int:
        """Size of the named files and the manifest."""
        sizes = [int(self.files[name]["bytes"]) for name in names if name in self.files]
        return sum(sizes) + (self.path / MANIFEST).stat().st_size

    def rewrite(self, **changes: Any) -> Artifact:
        """Replace fields of the manifest, atomically; the files stay as they are."""
        changed = replace(self, **changes)
        _write_manifest(self.path, changed)
        return changed


@dataclass
class Draft:
    """An artifact in the making: put files into `path` and fill in the rest."""

    path: Path
    task: Task | None = None
    text: TextConfig | None = None
    details: dict[str, Any] = field(default_factory=dict)
    decision: dict[str, Any] = field(default_factory=dict)
    measurements: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    golden: dict[str, Any] | None = None

    def as_artifact(self, plan: Plan, kind: str = "model") -> Artifact:
        """What would be written if this were all, to be opened before it is."""
        return Artifact(
            path=self.path, kind=kind, stage=plan.stage, key=plan.key, config=dict(plan.config),
            inputs=dict(plan.inputs), seed=plan.seed, task=self.task, text=self.text, details=self.details,
            decision=self.decision, measurements=self.measurements, warnings=self.warnings, versions=versions(),
            files=_inventory(self.path), golden=self.golden,
        )  # fmt: skip

    @property
    def work(self) -> Path:
        """A directory for checkpoints: survives a kill, is gone from the finished artifact."""
        directory = self.path / SCRAPS
        directory.mkdir(exist_ok=True)
        return directory


def finished(out: Path, plan: Plan, progress: Progress) -> Artifact | None:
    """The artifact at `out` if an equal plan made it; says why if it must be made again, refuses what is not ours."""
    scratch = _scratch(out)
    if (scratch / MANIFEST).exists() and (not out.exists() or _read_manifest(scratch).get("key") == plan.key):
        _complete(scratch, out)  # killed between the last write and the rename
    _refuse_foreign(out, plan)
    if not (out / MANIFEST).exists():
        return None
    try:
        artifact = Artifact.load(out)
    except ArtifactError as error:
        progress.note(f"{short_name(out)} is damaged and made again: {error}")
        return None
    if artifact.key != plan.key:
        changes = plan.changes(artifact.config, artifact.inputs, artifact.seed)
        progress.note(f"{short_name(out)} is made again, because of {', '.join(changes) or 'its stage'}")
        return None
    progress.note(f"  {short_name(out)} is there")
    return artifact


@contextmanager
def writing(out: Path, plan: Plan, kind: str) -> Iterator[Draft]:
    """Make the artifact `out`: yields a draft, writes the manifest last, renames.

    After an error the scratch directory stays only if it holds checkpoints to go on from. An older artifact
    at `out` is replaced at the very end; anything else there raises ArtifactError before work begins.
    """
    _refuse_foreign(out, plan)
    scratch = _scratch(out)
    _open_scratch(scratch, plan)
    draft = Draft(scratch)
    try:
        yield draft
    except Exception:
        if not (scratch / SCRAPS).exists():
            shutil.rmtree(scratch, ignore_errors=True)
        raise
    _write_manifest(scratch, draft.as_artifact(plan, kind))
    _complete(scratch, out)


def short_name(out: Path) -> str:
    """The last two parts of a path: students are told apart by them, their further seeds by NAME/seeds/N."""
    return "/".join(out.parts[-4:] if out.parts[-3:-2] == ("seeds",) else out.parts[-2:])


def _scratch(out: Path) -> Path:
    return out.parent / f".{out.name}.partial"


def _open_scratch(scratch: Path, plan: Plan) -> None:
    """Take up the scratch directory of an equal plan, or start an empty one."""
    note = scratch / _PLAN
    if scratch.exists() and not (note.exists() and note.read_text(encoding="utf-8") == plan.key):
        shutil.rmtree(scratch)
    try:
        scratch.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise ArtifactError(f"{scratch.parent} cannot be written to: {error.strerror}; choose another --out") from None
    for torn in [path for path in scratch.rglob(".*.partial") if path.is_file()]:  # of `write_atomically`, killed
        torn.unlink()
    write_atomically(note, plan.key.encode())


def _refuse_foreign(out: Path, plan: Plan) -> None:
    """What may be replaced: nothing, an empty directory, an artifact of the same stage, a damaged one."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise ArtifactError(f"{out} exists and is not a directory; choose another --out")
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).exists():
        raise ArtifactError(f"{out} holds files that understudy did not write; choose another --out or empty it")
    stage = plan.stage
    with suppress(ArtifactError):
        stage = _read_manifest(out).get("stage", stage)
    if stage != plan.stage:
        raise ArtifactError(f"{out} was written by {stage}, which {plan.stage} must not replace; choose another --out")


def _complete(scratch: Path, out: Path) -> None:
    """Clear the scraps away and rename; only once the manifest is there, so that a kill costs no finished work."""
    shutil.rmtree(scratch / SCRAPS, ignore_errors=True)
    (scratch / _PLAN).unlink(missing_ok=True)
    replaced = out.parent / f".{out.name}.replaced"
    shutil.rmtree(replaced, ignore_errors=True)
    if out.exists():
        out.rename(replaced)
    scratch.rename(out)
    shutil.rmtree(replaced, ignore_errors=True)


def _inventory(directory: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of every file but the scraps."""
    ours = {path.relative_to(directory): path for path in directory.rglob("*") if path.is_file()}
    return {
        name.as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)}
        for name, path in sorted(ours.items())
        if name.parts[0] not in (SCRAPS, _PLAN, MANIFEST)
    }


def _read_manifest(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        raise ArtifactError(f"{path}: no such artifact directory")
    if (path / MANIFEST).is_symlink():
        raise ArtifactError(f"{path}: {MANIFEST} is not a plain file inside the directory")
    try:
        raw = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path} has no {MANIFEST}: it is not an understudy artifact") from None
    except OSError as error:
        raise ArtifactError(f"{path / MANIFEST} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, json.JSONDecodeError):
        raise ArtifactError(f"{path / MANIFEST} is not valid JSON; rerun its stage") from None
    if not isinstance(raw, dict):
        raise ArtifactError(f"{path / MANIFEST} is not a JSON object; rerun its stage")
    return raw


def _write_manifest(directory: Path, artifact: Artifact) -> None:
    raw = {"format": FORMAT, **asdict(artifact), "text": artifact.text and artifact.text.to_dict()}
    del raw["path"]
    if artifact.golden is None:
        del raw["golden"]
    write_atomically(directory / MANIFEST, json.dumps(raw, indent=2, ensure_ascii=False).encode())
