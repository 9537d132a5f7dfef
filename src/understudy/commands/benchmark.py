"""understudy benchmark"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ..config import BenchmarkConfig
from .options import flags, settle


@click.command("benchmark")
@click.argument("models", nargs=-1, required=True)
@click.option("--data", type=click.Path(path_type=Path), required=True, help="labelled file: .csv .tsv .jsonl .parquet")
@click.option("--text", default="text", show_default=True, help="column of the text")
@click.option("--label", default="label", show_default=True, help="column of the label")
@click.option(
    "--max-length", type=click.IntRange(4), default=512, show_default=True, help="tokens kept by a torch classifier"
)
@click.option("--json", "as_json", is_flag=True, help="print everything as JSON")
@flags(BenchmarkConfig, skip=("pipeline",))
def command(
    models: tuple[str, ...], data: Path, text: str, label: str, max_length: int, as_json: bool, **given: Any
) -> None:
    """Measure MODELS on a labelled file, and compare each two of them on the same texts.

    A model is an artifact directory, or the directory or hub name of a torch classifier.
    """
    from ..comparison import compare_on_file
    from ..display import terminal_progress

    config = settle(BenchmarkConfig, {}, given)
    results = compare_on_file(
        models, data, config, text=text, label=label, max_length=max_length, progress=terminal_progress()
    )
    if as_json:
        click.echo(json.dumps(results, ensure_ascii=False))
        return
    metric = results["task_metric"]
    click.echo(
        f"{'model':<32}{metric:>10}  {'95 % interval':<18}{'ms p50':>8}{'texts/s':>10}{'MB':>8}   n = {results['n']}"
    )
    for model in results["models"]:
        click.echo(_row(model, metric))
    for pair in results["comparisons"]:
        d, p = pair["difference"], pair["mcnemar"]["p"]
        low, high = (100 * bound for bound in d["ci95"])
        verdict = "no difference shown" if low <= 0 <= high else f"{pair['first' if low > 0 else 'second']} is better"
        click.echo(
            f"{pair['first']} - {pair['second']}: {100 * d['value']:+.2f} points [{low:+.2f}, {high:+.2f}], "
            f"McNemar p = {p:.2g}: {verdict}"
        )


def _row(model: dict[str, Any], metric: str) -> str:
    estimate = model["metrics"]["file"][metric]
    single = [row for row in model["speed"] if row["threads"] == 1]
    latency = next(row["p50"] for row in single if row["batch"] == 1)
    rate = max(row["texts_per_second"] for row in single)
    size = f"{model['bytes'] / 1e6:.1f}" if model["bytes"] else "-"
    low, high = (f"{100 * bound:.2f}" for bound in estimate["ci95"])
    interval = f"[{low}, {high}]"
    return f"{model['name']:<32}{100 * estimate['value']:>9.2f}%  {interval:<18}{latency:>8.2f}{rate:>10.0f}{size:>8}"
