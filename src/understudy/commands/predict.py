"""understudy predict"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..machine import PROVIDERS

if TYPE_CHECKING:
    from ..classifier import Classifier

REJECTED = 3  # the exit code of "finished, with rejected rows"

_path = click.Path(path_type=Path, allow_dash=True)
_OF_FILES = ("target", "column", "format", "probabilities", "prefix", "overwrite", "excel_safe")


@click.command("predict")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
@click.option("--input", "source", type=_path, help="label the rows of this file (- is standard input)")
@click.option("--output", "target", type=_path, help="write them here, all or nothing [default: standard output]")
@click.option("--column", "--text", "column", default="text", show_default=True, help="the column that holds the texts")
@click.option(
    "--format", type=click.Choice(["csv", "tsv", "jsonl"]), help="of standard input and output [default: csv]"
)
@click.option("--probabilities", is_flag=True, help="add a column p_<label> for each label")
@click.option("--prefix", default="", help="put this before the names of the new columns")
@click.option("--overwrite", is_flag=True, help="replace an output file that exists")
@click.option("--excel-safe", is_flag=True, help="put ' before CSV cells that a spreadsheet would run as formulas")
@click.option(
    "--abstain-below", type=float, metavar="P",
    help="where the label's probability is lower say `abstained` instead (one label per text)",
)  # fmt: skip
@click.option(
    "--threshold", "pairs", multiple=True, metavar="LABEL=P",
    help="give LABEL from this probability on, and below it another, as `operate` finds it",
)  # fmt: skip
@click.option("--threads", type=click.IntRange(min=1), help="texts worked on at once [default: one per core]")
@click.option(
    "--provider", type=click.Choice(list(PROVIDERS)), default="cpu", show_default=True,
    help="what onnxruntime runs it on",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="print a JSON object for each TEXT, with all probabilities")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    artifact: Path,
    texts: tuple[str, ...],
    source: Path | None,
    target: Path | None,
    abstain_below: float | None,
    pairs: tuple[str, ...],
    threads: int | None,
    provider: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Label each TEXT, or each row of a CSV, TSV, JSONL or Parquet file, with ARTIFACT.

    The columns of a file are kept, `label` and `confidence` are added; in a multi-label task `labels`, those that
    apply. Texts with nothing in them get no label;
    they are counted, and the exit code is then 3. Texts that are abstained from are counted, too; that is no failure.
    """
    _check_usage(ctx, texts, source, as_json)
    choice = {"abstain_below": abstain_below, "thresholds": _thresholds(pairs)}
    from ..classifier import Classifier

    classifier = Classifier.load(artifact, threads, provider)
    try:
        if texts:
            empty = _print(classifier, texts, as_json, choice)
        else:
            empty = _copy(classifier, source, target, options | choice)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, `head` for one, has all it wants; Python would complain at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    if empty:
        ctx.exit(REJECTED)


def _check_usage(ctx: click.Context, texts: Sequence[str], source: Path | None, as_json: bool) -> None:
    if bool(texts) == (source is not None):
        raise click.UsageError("give either TEXTs or --input FILE (- is standard input)", ctx)
    if source is not None and as_json:
        raise click.UsageError("--json is for TEXTs; a file becomes JSON by --output FILE.jsonl or --format jsonl", ctx)
    for name in _OF_FILES if texts else ():
        if ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            flag = {"target": "output"}.get(name, name).replace("_", "-")
            raise click.UsageError(f"--{flag} goes with --input FILE, not with TEXTs", ctx)


def _thresholds(pairs: Sequence[str]) -> dict[str, float]:
    found = {}
    for pair in pairs:
        label, equals, value = pair.rpartition("=")
        try:
            found[label] = float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise click.UsageError(f"--threshold {pair}: expected a label, = and a probability: --threshold toxic=0.8")
    return found


def _print(classifier: Classifier, texts: Sequence[str], as_json: bool, asked: dict[str, Any]) -> int:
    """One line per text; returns how many have no label."""
    import json

    from ..data.normalization import normalize
    from ..kinds import SEPARATOR
    from ..predicting import score

    texts = [normalize(text, ()) for text in texts]  # an argument that is not UTF-8 could not be printed
    choice, empty, abstained = classifier.choice(**asked), 0, 0
    for text, row in zip(texts, score(classifier, texts), strict=True):
        known = bool(row[0] == row[0])
        answer = {name: round(share, 6) for name, share in choice.answer(row).items()} if known else {}
        if as_json:
            label = next(iter(answer), None)
            given: dict[str, Any] = {"label": label, "confidence": answer[label] if label else None}
            if classifier.task.multi:
                given = {"labels": list(answer) if known else None}
            shares = {name: round(float(value), 6) for name, value in zip(classifier.labels, row, strict=True)}
            record = {"text": text, **given, "probabilities": shares if known else None}
            click.echo(json.dumps(record, ensure_ascii=False))
        else:
            shown = SEPARATOR.join(f"{share:.6f}" for share in answer.values())
            click.echo(f"{SEPARATOR.join(answer)}\t{shown}\t{' '.join(text.split())}")
        empty += not known
        abstained += choice.abstains(row)
    if asked["abstain_below"] is not None:
        click.echo(f"{abstained:,} of {len(texts):,} texts abstained from", err=True)
    return empty


def _copy(classifier: Classifier, source: Path | None, target: Path | None, options: dict[str, Any]) -> int:
    """The file with its predictions; returns how many rows have no label."""
    from ..display import terminal_progress
    from ..predicting import predict_file

    progress = terminal_progress()
    streams = [None if path is None or str(path) == "-" else path for path in (source, target)]
    summary = predict_file(classifier, streams[0], streams[1], progress=progress, **options)
    rejected = f", {summary.empty:,} of them without text and so without label" if summary.empty else ""
    abstained = f", {summary.abstained:,} abstained from" if options["abstain_below"] is not None else ""
    progress.note(f"{summary.rows:,} rows{rejected}{abstained}")
    return summary.empty
