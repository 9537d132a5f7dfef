"""understudy cascade"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..cascade_settings import CascadeConfig
from ..certificates import described
from ..display import terminal_progress
from .options import directory, flags, out_directory, settle


@click.command("cascade")
@click.argument("models", type=directory, nargs=-1, required=True, metavar="SMALL... LARGE")
@click.option("--data", type=directory, required=True, help="directory that `prepare` wrote")
@click.option("--out", type=out_directory, required=True, help="directory to write")
@click.option(
    "--texts", type=click.Path(path_type=Path),
    help="certify agreement on the texts of this file (.csv .tsv .jsonl .parquet) instead of validation; no labels "
    "needed; those that the data has for training are left out",
)  # fmt: skip
@click.option("--text", "column", default="text", show_default=True, help="column of the text in --texts")
@flags(CascadeConfig)
def command(models: tuple[Path, ...], data: Path, out: Path, texts: Path | None, column: str, **given: Any) -> None:
    """Make one artifact of ONNX artifacts, SMALL to LARGE: the large one answers where the others are unsure.

    From which confidence on a small one answers is fitted on validation, with a certificate: so much risk at most, with
    so much confidence. Where nothing can be certified nothing is written, and the exit code is 3. The temperatures and
    the best epochs of the members were chosen on validation, too, which flatters its certificate a little: --texts that
    nobody has seen are better.
    """
    from ..cards import write_cascade_card
    from ..cascading import cascade as stage

    config = settle(CascadeConfig, {}, given)
    done = stage(models, data, out, config, texts=texts, column=column, progress=terminal_progress())
    write_cascade_card(done)
    seen, certificate = done.measurements["validation"], done.measurements["certificate"]
    click.echo(f"a member answers from a confidence of {done.decision['defer_below']:.4f} on, else the next one")
    for name, share in seen["answered"].items():
        click.echo(f"{name:<24} answers {100 * share:5.1f} % of the validation texts")
    for name, what in _FIGURES.items():
        if name in seen:
            low, high = (100 * bound for bound in seen[name]["ci95"])
            click.echo(f"{what:<24} {100 * seen[name]['value']:.2f} % [{low:.2f}, {high:.2f}] on validation")
    click.echo(f"certified: {described(certificate)}")
    for warning in done.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(done.path)


_FIGURES = {
    "accuracy": "accuracy",
    "accuracy_of_the_large": "of the large model",
    "agreement": "same answer",
}
