"""understudy fetch"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click


@click.command("fetch")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), help="put a URL's file, or a copy of a model, here as well")
@click.option("--sha256", default="", metavar="HEX", help="what a URL's file must hash to")
@click.option("--dry-run", is_flag=True, help="say how many files and bytes, download nothing")
@click.option("--json", "as_json", is_flag=True, help="print names, revisions, sizes and paths as JSON")
def command(names: tuple[str, ...], out: Path | None, sha256: str, dry_run: bool, as_json: bool) -> None:
    """Download models, data sets and files, so that runs work without a network.

    NAME is a recipe (a .toml file: all that it names), a model on the hub, dataset:NAME, or a URL; @REVISION after
    a name and #sha256=HEX after a URL pin them. Only the files that understudy reads are taken: config, tokenizer,
    safetensors, Parquet; never pickle. What is complete is not downloaded again, and a cut download goes on.

    \b
    understudy fetch recipes/emotion-deberta.toml
    understudy fetch roberta-large dataset:dair-ai/emotion
    understudy fetch https://example.org/reviews.csv --sha256 HEX --out reviews.csv
    """
    from ..display import terminal_progress
    from ..fetching import fetch

    found = fetch(names, out=out, sha256=sha256, dry_run=dry_run, progress=terminal_progress())
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], ensure_ascii=False))
        return
    for one in found:
        if one.path:
            click.echo(one.path)
        if one.path and one.kind == "file":
            click.echo(f"in a recipe: {one.name.partition('#')[0]}#sha256={one.revision}")
