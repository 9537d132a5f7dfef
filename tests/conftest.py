"""Fixtures: each stage once per session, on tiny real models; no test may reach the network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

import tiny

os.environ["HF_HUB_OFFLINE"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:  # as many workers as cores: more threads would wait for each other
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretrained model's directory: a BERT of 2 layers and width 32 with a WordPiece vocabulary."""
    from architectures import save_encoder

    return once(tmp_path_factory, "encoder", lambda home: save_encoder("bert", home))


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory, encoder: Path) -> Path:
    """A directory with a recipe, its data and its pretrained model, as a user would have it."""

    def furnish(home: Path) -> None:
        home.mkdir()
        tiny.write_csv(home / "train.csv", tiny.rows(700, seed=1))
        shutil.copytree(encoder, home / "encoder")
        (home / "recipe.toml").write_text(tiny.RECIPE.replace('"encoder"', f'"{home / "encoder"}"'), encoding="utf-8")

    return once(tmp_path_factory, "workshop", furnish)


@pytest.fixture(scope="session")
def finished_run(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole pipeline, run once; tests read it and copy what they change."""
    from understudy.config import load_recipe
    from understudy.pipeline import run
    from understudy.progress import Silent

    recipe = load_recipe(workshop / "recipe.toml")
    return once(tmp_path_factory, "tiny", lambda out: run(recipe, out, workshop, Silent()))


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The directory that `make` fills: once, for all workers of a session."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    home, done = base / name, base / f"{name}.done"
    with FileLock(base / f"{name}.lock"):
        if not done.exists():
            make(home)
            done.touch()
    return home
