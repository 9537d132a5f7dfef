"""The search of a recipe's student in the directory of a run: data, teacher and labels once, then the trials.

DIR/
├── data/  teacher/  labels/    as `run` makes them, which finds them there
└── tune/
    ├── study.db                every study of this directory (SQLite)
    └── STUDENT/                what `tune` writes, importance.png, slice.png
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .claiming import claimed
from .config import Recipe
from .pipeline import known_data, plan, work
from .progress import Progress
from .reporting import draw_search
from .run_log import logged
from .tracking import tracking

_NEEDED = ("data", "teacher", "labels", "pseudo-labels")


def home_of(out: Path, recipe: Recipe) -> Path:
    """Where the search of the recipe's student is kept."""
    return out / "tune" / recipe.tuned.name


def search(
    recipe: Recipe, out: Path, base: Path | None, progress: Progress, *, workers: int = 0, storage: str = ""
) -> dict[str, Any]:
    """Do what [tune] asks for; returns what best_params.json says."""
    from .training import tune

    home, title = home_of(out, recipe), f"search of the student {recipe.tuned.name}"
    with claimed(out, recipe), logged(out, title, progress) as told, tracking(recipe, out, told) as record:
        steps = [step for step in plan(recipe, out, base, told) if step.out in _NEEDED]
        work(steps, told, record, f"{len(steps)}")
        try:
            found = tune(
                out / "teacher", out / "labels", known_data(recipe, out), home, recipe.tuned, recipe.tune,
                seed=recipe.seed, workers=workers, storage=storage, progress=told,
            )  # fmt: skip
            draw_search(home)
        finally:
            record(home.relative_to(out).as_posix())
    return found
