"""understudy benchmark"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ..config import BenchmarkConfig
from ..errors import InputError
from ..kinds import SEPARATOR
from ..machine import PROVIDERS
from .options import directory, flags, out_directory, settle

WORSE = 3  # exit code of --fail-if-worse
_RUNS = 10  # of --sentences
_LABELS = 10  # of which a verdict says what changed


@click.command("benchmark")
@click.argument("models", nargs=-1, required=True)
@click.option(
    "--data", type=click.Path(path_type=Path),
    help="labelled file (.csv .tsv .jsonl .parquet), or the directory that `prepare` wrote",
)  # fmt: skip
@click.option(
    "--sentences", type=click.Path(path_type=Path),
    help="instead of --data: a text file, one sentence a line; speed alone is measured, one sentence at a time",
)  # fmt: skip
@click.option("--runs", type=click.IntRange(1), help="with --sentences: timed passes over the file  [default: 10]")
@click.option("--out", type=out_directory, help="with a prepared directory: where to write what `report` reads")
@click.option("--teacher", type=directory, help="with a prepared directory: the trained teacher, timed in a pipeline")
@click.option(
    "--labels", type=directory, help="with a --teacher that is not a model: its soft labels' temperature counts"
)
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
@click.option(
    "--margin", type=click.FloatRange(0, 100, min_open=True),
    help="points of the task metric that a later model may lose against the first; choose it before you look",
)  # fmt: skip
@click.option(
    "--fail-if-worse", is_flag=True,
    help="end with 3 if a later model is worse than the first, or with --margin, unless a larger loss is ruled out",
)  # fmt: skip
@click.option(
    "--changes", type=click.Path(path_type=Path), metavar="FILE.csv",
    help="where to write the texts that two models answer differently: which are fixed, which are broken",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="print everything as JSON")
@flags(BenchmarkConfig, skip=("pipeline",))
@click.pass_context
def command(
    ctx: click.Context, /, models: tuple[str, ...], data: Path | None, sentences: Path | None, runs: int | None,
    out: Path | None, teacher: Path | None, labels: Path | None, text: str, label: str, separator: str, max_length: int,
    pairs: tuple[str, ...], margin: float | None, fail_if_worse: bool, changes: Path | None, as_json: bool,
    **given: Any,
) -> None:  # fmt: skip
    """Measure MODELS on a labelled file, and say of each two whether the later one may take the other's place.

    The file should hold texts that none of them was trained on. A model is an artifact directory, or the directory or
    hub name of a torch classifier. In CI, the model in use comes first:

    \b
    understudy benchmark now/int8 new/int8 --data labelled.csv --margin 0.5 --fail-if-worse --changes changes.csv

    With the directory that `prepare` wrote as --data, measure ONNX artifacts on its test split, beside the controls,
    and write the results to --out.

    With --sentences, time MODELS on sentences of your own: no labels, nothing else is measured.
    """
    if (data is None) == (sentences is None):
        raise InputError("give either --data, a labelled file, or --sentences, a file with one sentence a line")
    config = settle(BenchmarkConfig, {}, given)
    if sentences is not None:
        _refuse_beside_sentences()
        _print_times(models, sentences, runs or _RUNS, max_length, config.provider, as_json)
        return
    if runs is not None:
        raise InputError("--runs is for --sentences; with --data it is --repeats")
    assert data is not None
    _check_upgrade(models, data, margin, fail_if_worse, changes)
    if (data / "artifact.json").exists():
        _on_test_split(models, data, out, (teacher, labels), config)
        return
    if out or teacher or labels or given["predictions"] is not None:
        raise InputError(
            "--out, --teacher, --labels and --predictions are for a directory that `prepare` wrote, "
            f"and --data {data} is none"
        )
    from ..comparison import compare_on_file
    from ..display import terminal_progress

    results = compare_on_file(
        models, data, config, text=text, label=label, separator=separator, max_length=max_length,
        label_map=_label_map(pairs), margin=None if margin is None else margin / 100, changes=changes,
        progress=terminal_progress(),
    )  # fmt: skip
    if as_json:
        click.echo(json.dumps(results, ensure_ascii=False))
    else:
        _print(results)
    from ..upgrading import fails

    first = results["models"][0]["name"]
    if fail_if_worse and any(fails(pair["upgrade"]) for pair in results["comparisons"] if pair["first"] == first):
        ctx.exit(WORSE)


def _check_upgrade(
    models: tuple[str, ...], data: Path, margin: float | None, fail_if_worse: bool, changes: Path | None
) -> None:
    given = [name for name, there in (
        ("--margin", margin is not None), ("--fail-if-worse", fail_if_worse), ("--changes", changes is not None)
    ) if there]  # fmt: skip
    if given and (data / "artifact.json").exists():
        raise InputError(f"{given[0]} is for a labelled file, and --data {data} is a prepared directory")
    if given and len(models) < 2:
        raise InputError(f"{given[0]} compares two models, got one: name the model in use first, then the new one")
    if changes and len(models) > 2:
        raise InputError(f"--changes is for two models, got {len(models)}: run it for each new one")


def _refuse_beside_sentences() -> None:
    """Refuse a flag that says how quality is measured."""
    context = click.get_current_context()
    for name in context.params:
        given = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if given and name not in ("models", "sentences", "runs", "max_length", "provider", "as_json"):
            flag = {"pairs": "map"}.get(name, name).replace("_", "-")
            raise InputError(f"--{flag} is for --data; --sentences takes --runs, --max-length, --provider and --json")


def _print_times(
    models: tuple[str, ...], sentences: Path, runs: int, max_length: int, provider: str, as_json: bool
) -> None:
    from ..comparison import time_on_sentences
    from ..display import terminal_progress

    found = time_on_sentences(
        models, sentences, runs, max_length=max_length, provider=provider, progress=terminal_progress()
    )
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    columns = ("mean", "std", "p50", "p95", "p99")
    click.echo(f"{'model':<32}{''.join(f'{name:>9}' for name in columns)}{'texts/s':>10}")
    for model in found["models"]:
        (row,) = model["speed"]
        times = "".join(f"{row[name]:>9.3f}" for name in columns)
        click.echo(f"{model['name']:<32}{times}{row['texts_per_second']:>10,.0f}")
    what = f"{found['n']:,} sentence{'s' if found['n'] > 1 else ''}, {runs:,} run{'s' if runs > 1 else ''}"
    click.echo(f"ms per sentence, one at a time, one thread; {what}, the models in turns, after a warm-up")
    _print_devices(found["models"])


def _print_devices(models: list[dict[str, Any]]) -> None:
    """Where each model ran and what it took of a GPU, if any ran elsewhere than on the CPU by its provider."""
    cpu = {PROVIDERS["cpu"]}
    if not any("gpu" in model or set(model["nodes"] or cpu) - cpu for model in models):
        return
    for model in models:
        nodes = "".join(f", {count} nodes by {name}" for name, count in (model["nodes"] or {}).items() if count)
        click.echo(f"{model['name']}: on {model.get('gpu', 'the CPU')}{nodes}")
        for row in (row for row in model["speed"] if "gpu" in model and row["threads"] == 1):
            memory, watts, joules = (row[name] for name in ("gpu_memory", "gpu_watts", "gpu_joules_per_1000"))
            facts = [f"{memory / 1e6:,.0f} MB of its memory"] if memory else []
            facts += [f"{watts:.0f} W, {joules:.1f} J per 1,000 texts"] if watts is not None else []
            click.echo(f"  batch {row['batch']}: {', '.join(facts) or 'the driver tells no memory and no energy'}")


def _on_test_split(
    models: tuple[str, ...],
    data: Path,
    out: Path | None,
    lead: tuple[Path | None, Path | None],
    config: BenchmarkConfig,
) -> None:
    from ..benchmarking import RESULTS, Entry, benchmark
    from ..display import terminal_progress
    from ..reporting import print_summary

    if out is None:
        raise InputError(f"--data {data} is a prepared directory: say with --out where the results go")
    entries = [Entry.of(Path(model)) for model in models]
    teacher, labels = lead
    made = benchmark(entries, data, out, config, teacher=teacher, labels=labels, notes={}, progress=terminal_progress())
    print_summary(json.loads((made.path / RESULTS).read_text(encoding="utf-8")))


def _print(results: dict[str, Any]) -> None:
    metric = results["task_metric"]
    click.echo(
        f"{'model':<32}{metric:>10}  {'95 % interval':<18}{'ms p50':>8}{'texts/s':>10}{'MB':>8}   n = {results['n']}"
    )
    for model in results["models"]:
        click.echo(_row(model, metric))
    _print_devices(results["models"])
    for model in (model for model in results["models"] if "cascade" in model):
        shares = [f"{name} {100 * share['value']:.1f} %" for name, share in model["cascade"]["answered"].items()]
        click.echo(f"{model['name']}: answered by {', '.join(shares)}")
    for pair in results["comparisons"]:
        _print_upgrade(pair["upgrade"])
    if len(results["comparisons"]) > 1:
        click.echo("Each verdict is at 95 % by itself: of many, some are wrong by chance.")


def _print_upgrade(found: dict[str, Any]) -> None:
    click.echo("\n  ".join(found["said"]))
    moved = sorted((row for row in found["by_label"] if row["fixed"] + row["broken"]), key=_net)[:_LABELS]
    if moved:
        parts = (f"{row['label']} {row['fixed']}/{row['broken']} of {row['n']:,}" for row in moved)
        click.echo(f"  fixed/broken by label: {', '.join(parts)}")


def _net(row: dict[str, Any]) -> int:
    return int(row["fixed"] - row["broken"])


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
