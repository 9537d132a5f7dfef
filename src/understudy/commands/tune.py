"""understudy tune"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ..space import TuneConfig
from .options import flags, out_directory, recipe_argument


@click.command("tune")
@recipe_argument
@click.option("--out", type=out_directory, required=True, help="directory of the run")
@click.option("--data", type=click.Path(path_type=Path), help="directory that the recipe's files or hub splits are in")
@click.option("--workers", type=click.IntRange(min=0), default=0, help="processes; 0: one, or one per GPU")
@click.option("--storage", default="", help="URL of a database that machines share; default: SQLite in the directory")
@click.option("--json", "as_json", is_flag=True, help="print best_params.json")
@flags(TuneConfig)
def command(
    recipe: Path, out: Path, data: Path | None, workers: int, storage: str, as_json: bool, **given: Any
) -> None:
    """Search the settings of a student of RECIPE on validation, over the ranges in its [tune.space].

    Started again, it goes on with the trials that are missing.

    \b
    understudy tune recipes/emotion.toml --student cut3 --trials 20 --out runs/emotion
    """
    from ..config import load_recipe
    from ..display import terminal_progress
    from ..errors import InputError
    from ..searching import home_of, search

    if data is not None and not data.is_dir():
        raise InputError(f"--data {data}: no such directory")
    settings = load_recipe(recipe, {name: value for name, value in given.items() if value is not None}, data)
    base = data if data is not None or settings.data.hub else recipe.parent
    found = search(settings, out, base, terminal_progress(), workers=workers, storage=storage)
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    home = home_of(out, settings)
    for warning in found["warnings"]:
        click.echo(f"warning: {warning}", err=True)
    click.echo((home / "best.toml").read_text(encoding="utf-8"), nl=False)
    click.echo(found["conclusion"])
    click.echo(f"trials: {home / 'hypersearch.csv'}")
