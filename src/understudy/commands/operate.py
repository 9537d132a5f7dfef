"""understudy operate"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from ..display import terminal_progress
from .options import directory

_share = click.FloatRange(0, 1, min_open=True)


@click.command("operate")
@click.argument("artifact", type=directory)
@click.option("--data", type=directory, required=True, help="directory that `prepare` wrote")
@click.option("--label", required=True, help="the label that is to be given so precisely, or found so often")
@click.option("--precision", type=_share, help="share right among the texts that get the label")
@click.option("--recall", type=_share, help="share found among the texts that have it")
@click.option("--json", "as_json", is_flag=True, help="print a JSON object")
@click.pass_context
def command(
    ctx: click.Context, /, artifact: Path, data: Path, label: str, precision: float | None, recall: float | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Find the probability from which on ARTIFACT should give a label, for a precision or a recall on validation.

    Its intervals say what so few texts can show; chosen on the same texts, it flatters itself a little. Where nothing
    reaches the aim the nearest is said, and the exit code is 3.
    """
    if (precision is None) == (recall is None):
        raise click.UsageError("give either --precision or --recall", ctx)
    from ..operating import operate as stage

    aim, target = ("precision", precision) if precision is not None else ("recall", recall)
    made = stage(artifact, data, label, aim, target or 0.0, progress=terminal_progress())  # type: ignore[arg-type]
    if as_json:
        found = asdict(made) | {name: getattr(made, name).to_dict() for name in ("precision", "recall")}
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    click.echo(f"threshold {made.threshold:.4f} of {label}, on {made.n:,} validation texts:")
    for name, of in (("precision", "texts that get the label"), ("recall", "texts that have it")):
        share = getattr(made, name)
        value, low, high = (100 * bound for bound in (share.value, share.low, share.high))
        click.echo(f"  {name:<10}{value:6.2f} % [{low:.2f}, {high:.2f}] of {share.n:,} {of}")
    click.echo(f"use it: understudy predict {artifact} --threshold '{label}={made.threshold:.6g}' …")
