"""Fixtures: each stage once per session, on tiny real models; no test may reach the network."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import tiny

os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretrained model's directory: a BERT of 2 layers and width 32 with a WordPiece vocabulary."""
    from architectures import save_encoder

    return save_encoder("bert", tmp_path_factory.mktemp("models") / "encoder")


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory, encoder: Path) -> Path:
    """A directory with a recipe, its data and its pretrained model, as a user would have it."""
    home = tmp_path_factory.mktemp("workshop")
    tiny.write_csv(home / "train.csv", tiny.rows(700, seed=1))
    shutil.copytree(encoder, home / "encoder")
    (home / "recipe.toml").write_text(tiny.RECIPE.replace('"encoder"', f'"{home / "encoder"}"'), encoding="utf-8")
    return home


@pytest.fixture(scope="session")
def finished_run(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole pipeline, run once; tests read it and copy what they change."""
    from understudy.config import load_recipe
    from understudy.pipeline import run
    from understudy.progress import Silent

    out = tmp_path_factory.mktemp("runs") / "tiny"
    run(load_recipe(workshop / "recipe.toml"), out, workshop, Silent())
    return out
