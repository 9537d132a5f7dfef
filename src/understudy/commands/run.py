"""understudy run"""

from __future__ import annotations

import json
from pathlib import Path

import click

from .choose import NOTHING_FITS
from .options import out_directory, recipe_argument


@click.command("run")
@recipe_argument
@click.option("--out", type=out_directory, required=True, help="directory of the run")
@click.option("--data", type=click.Path(path_type=Path), help="directory that the recipe's files or hub splits are in")
@click.option(
    "--students", default="all", show_default=True, metavar="NAME,…", help="those to make and report on this time"
)
@click.option("--dry-run", is_flag=True, help="say what would run, how long, how much disk, how many teacher calls")
@click.option("--json", "as_json", is_flag=True, help="print the results as JSON")
def command(recipe: Path, out: Path, data: Path | None, students: str, dry_run: bool, as_json: bool) -> None:
    """Do everything that RECIPE asks for and write a report; what is already done is not done again.

    Ends with 3 if all is done and no student meets the recipe's [budget].

    \b
    understudy run recipes/emotion.toml --out runs/emotion --data my/files
    understudy run recipes/emotion.toml --out runs/emotion --students cut3,textcnn
    """
    from ..config import load_recipe
    from ..display import terminal_progress
    from ..errors import InputError
    from ..students import only

    if data is not None and not data.is_dir():
        raise InputError(f"--data {data}: no such directory")
    settings = only(load_recipe(recipe, base=data), students.split(","))
    base = data if data is not None or settings.data.hub else recipe.parent
    if dry_run:
        from ..estimating import estimate

        forecast = estimate(settings, out, base)
        click.echo(json.dumps(forecast.to_dict(), indent=2) if as_json else forecast.to_text())
        return
    from ..pipeline import run
    from ..reporting import print_summary

    results = run(settings, out, base, terminal_progress())
    if as_json:
        click.echo(json.dumps(results, ensure_ascii=False))
    else:
        print_summary(results)
        click.echo(f"report: {out / 'report' / 'report.html'}")
    if results.get("budget") and not results["budget"]["met"]:
        click.get_current_context().exit(NOTHING_FITS)
