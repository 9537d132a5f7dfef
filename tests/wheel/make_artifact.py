"""Run the pipeline on the tiny data and copy one INT8 student: the artifact that the wheel's tests predict with."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tiny
from architectures import save_encoder
from understudy.config import load_recipe
from understudy.pipeline import run
from understudy.progress import Silent


def main() -> None:
    """Entry point."""
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        tiny.write_csv(home / "train.csv", tiny.rows(300, seed=1))
        save_encoder("bert", home / "encoder")
        kept, _, _ = tiny.RECIPE.partition('[[students]]\nname = "fresh"')
        recipe = 'controls = "none"\nvariants = ["fp32", "int8"]\n' + kept.replace('"encoder"', f'"{home / "encoder"}"')
        (home / "recipe.toml").write_text(recipe, encoding="utf-8")
        run(load_recipe(home / "recipe.toml"), home / "run", home, Silent())
        shutil.copytree(home / "run" / "students" / "half" / "int8", sys.argv[1])


if __name__ == "__main__":
    main()
