"""understudy benchmark"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ..config import BenchmarkConfig
from ..errors import InputError
from ..kinds import SEPARATOR
from .options import directory, flags, out_directory, settle


@click.command("benchmark")
@click.argument("models", nargs=-1, required=True)
@click.option(
    "--data", type=click.Path(path_type=Path), required=True,
    help="labelled file (.csv .tsv .jsonl .parquet), or the directory that `prepare` wrote",
)  # fmt: skip
@click.option("--out", type=out_directory, help="with a prepared directory: where to write what `report` reads")
@click.option("--teacher", type=directory, help="with a prepared directory: the trained teacher, timed in a pipeline")
@click.option("--text", default="text", show_default=True, help="column of the text in a file")
@click.option(
    "--label",
    default="label",
    show_default=True,
    help="column of the label in a file; empty, for multi-label artifacts: a column of 0 and 1 for each label",
)
@click.option(
    "--label-separator",
    "separator",
    default=SEPARATOR,
    show_default=True,
    help="what stands between the labels in a cell, for multi-label artifacts",
)
@click.option(
    "--max-length", type=click.IntRange(4), default=512, show_default=True, help="tokens kept by a torch classifier"
)
@click.option(
    "--map", "pairs", multiple=True, metavar="THEIRS=OURS", help="a torch classifier's label and what the task calls it"
)
@click.option("--json", "as_json", is_flag=True, help="print everything as JSON")
@flags(BenchmarkConfig, skip=("pipeline",))
def command(
    models: tuple[str, ...], data: Path, out: Path | None, teacher: Path | None, text: str, label: str, separator: str,
    max_length: int, pairs: tuple[str, ...], as_json: bool, **given: Any,
) -> None:  # fmt: skip
    """Measure MODELS on a labelled file, and compare each two of them on the same texts.

    The file should hold texts that none of them was trained on. A model is an artifact directory, or the directory or
    hub name of a torch classifier.

    With the directory that `prepare` wrote as --data, measure ONNX artifacts on its test split, beside the controls,
    and write the results to --out.
    """
    config = settle(BenchmarkConfig, {}, given)
    if (data / "artifact.json").exists():
        _on_test_split(models, data, out, teacher, config)
        return
    if out or teacher:
        raise InputError(f"--out and --teacher are for a directory that `prepare` wrote, and --data {data} is none")
    from ..comparison import compare_on_file
    from ..display import terminal_progress

    results = compare_on_file(
        models, data, config, text=text, label=label, separator=separator, max_length=max_length,
        label_map=_label_map(pairs), progress=terminal_progress(),
    )  # fmt: skip
    if as_json:
        click.echo(json.dumps(results, ensure_ascii=False))
    else:
        _print(results)


def _on_test_split(
    models: tuple[str, ...], data: Path, out: Path | None, teacher: Path | None, config: BenchmarkConfig
) -> None:
    from ..benchmarking import RESULTS, Entry, benchmark
    from ..display import terminal_progress
    from ..reporting import print_summary

    if out is None:
        raise InputError(f"--data {data} is a prepared directory: say with --out where the results go")
    entries = [Entry.of(Path(model)) for model in models]
    made = benchmark(entries, data, out, config, teacher=teacher, notes={}, progress=terminal_progress())
    print_summary(json.loads((made.path / RESULTS).read_text(encoding="utf-8")))


def _print(results: dict[str, Any]) -> None:
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


def _label_map(pairs: tuple[str, ...]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise InputError(f"--map {pair}: expected a classifier's label, =, and the task's: --map LABEL_0=negative")
    return dict(pair.split("=", 1) for pair in pairs)


def _row(model: dict[str, Any], metric: str) -> str:
    estimate = model["metrics"]["file"][metric]
    single = [row for row in model["speed"] if row["threads"] == 1]
    latency = next(row["p50"] for row in single if row["batch"] == 1)
    rate = max(row["texts_per_second"] for row in single)
    size = f"{model['bytes'] / 1e6:.1f}" if model["bytes"] else "-"
    low, high = (f"{100 * bound:.2f}" for bound in estimate["ci95"])
    interval = f"[{low}, {high}]"
    return f"{model['name']:<32}{100 * estimate['value']:>9.2f}%  {interval:<18}{latency:>8.2f}{rate:>10.0f}{size:>8}"
