"""understudy prepare, train, label, … report: the stages one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ..answering import ANSWERS, settings_of
from ..artifact import Artifact
from ..config import (
    FORMATS,
    STUDENT_KINDS,
    CalibrateConfig,
    DataConfig,
    DistillConfig,
    ExportConfig,
    LabelConfig,
    PretrainedStudent,
    QuantizeConfig,
    Recipe,
    StudentConfig,
    TeacherConfig,
    load_recipe,
)
from ..display import terminal_progress
from ..errors import InputError, RecipeError
from ..soft_terms import inherited
from ..teachers import OtherTeacher, unread_label_settings
from .options import directory, explicit, flags, out_directory, recipe_argument, settle

_out = click.option("--out", type=out_directory, required=True, help="directory to write")
_data = click.option("--data", type=directory, required=True, help="directory that `prepare` wrote")
_seed = click.option("--seed", type=click.IntRange(min=0), help="another seed than the recipe's")


@click.command()
@recipe_argument
@_out
@click.option("--data", "base", type=directory, help="directory that the recipe's files or hub splits are in")
@_seed
@flags(DataConfig, recipe=True)
def prepare(recipe: Path, out: Path, base: Path | None, seed: int | None, **given: Any) -> None:
    """Read, check, normalise, cut and de-duplicate the data of RECIPE."""
    from ..preparation import prepare as stage
    from ..preparation import summary

    settings = load_recipe(recipe)
    config = settle(DataConfig, explicit(settings.data), given)
    base = base if base is not None or config.hub else recipe.parent
    done = stage(settings.task, config, out, base, seed=_seed_of(settings, seed), progress=terminal_progress())
    for line in summary(done):
        click.echo(line)
    _end(done)


@click.command()
@recipe_argument
@_data
@_out
@_seed
@flags(TeacherConfig, skip=("kind",), recipe=True)
def train(recipe: Path, data: Path, out: Path, seed: int | None, **given: Any) -> None:
    """Fine-tune the teacher of RECIPE, or take a ready classifier as it is; or write down who answers instead."""
    settings = load_recipe(recipe)
    if not isinstance(settings.teacher, TeacherConfig):
        _appoint(settings.teacher, recipe, data, out, {**given, "seed": seed})
        return
    from ..training import train as stage

    config = settle(TeacherConfig, explicit(settings.teacher), given)
    if given["model"] is None:  # a flag's directory is seen from here
        config.seen_from(recipe.parent)
    _end(stage(data, out, config, seed=_seed_of(settings, seed), progress=terminal_progress()))


def _appoint(config: OtherTeacher, recipe: Path, data: Path, out: Path, given: dict[str, Any]) -> None:
    from ..answering import appoint

    for name, value in given.items():
        if value is not None:
            flag = name.replace("_", "-")
            raise RecipeError(f"--{flag} is for a teacher that is a model; the recipe's is of kind {config.kind}")
    _end(appoint(data, out, config, recipe.parent, progress=terminal_progress()))


@click.command()
@click.argument("teacher", type=directory)
@_data
@_out
@flags(LabelConfig)
def label(teacher: Path, data: Path, out: Path, **given: Any) -> None:
    """Write the logits of TEACHER for every train, validation and unlabelled text, once."""
    config = settle(LabelConfig, {}, given)
    if Artifact.load(teacher).kind == ANSWERS:
        from ..answering import label as ask

        if vain := unread_label_settings(settings_of(Artifact.load(teacher)).kind, config.model_fields_set):
            raise RecipeError(vain)
        _end(ask(teacher, data, out, config, progress=terminal_progress()))
        return
    from ..training import label as stage

    _end(stage(teacher, data, out, config, progress=terminal_progress()))


@click.command()
@click.argument("labels", type=directory)
@_data
@_out
@click.option("--format", "formats", type=click.Choice(FORMATS), multiple=True, help="[default: both]")
def annotate(labels: Path, data: Path, out: Path, formats: tuple[str, ...]) -> None:
    """Write every text that LABELS is of with the teacher's label and all probabilities."""
    from ..annotating import annotate as stage

    _end(stage(labels, data, out, formats or FORMATS, progress=terminal_progress()))


@click.command("pseudo-label")
@click.argument("labels", type=directory)
@_data
@_out
def pseudo_label(labels: Path, data: Path, out: Path) -> None:
    """Write the data again, its texts without gold labels labelled by the teacher of LABELS."""
    from ..preparation import summary
    from ..pseudo_labeling import pseudo_label as stage

    done = stage(labels, data, out, progress=terminal_progress())
    for line in summary(done):
        click.echo(line)
    _end(done)


@click.command()
@recipe_argument
@click.option("--student", "name", required=True, help="name of the student in RECIPE")
@click.option("--teacher", type=directory, required=True, help="directory that `train` wrote")
@click.option("--labels", type=directory, help="directory that `label` wrote; with --no-teacher not needed")
@_data
@_out
@_seed
@click.option("--no-teacher", is_flag=True, help="train the twin that learns from gold labels alone")
@flags(DistillConfig, recipe=True)
def distill(
    recipe: Path, name: str, teacher: Path, labels: Path | None, data: Path, out: Path, seed: int | None,
    no_teacher: bool, **given: Any,
) -> None:  # fmt: skip
    """Train a student of RECIPE on the teacher's soft labels.

    With --no-teacher and --labels the twin takes as many steps as the student would; without --labels, as many as its
    epochs of train are.
    """
    from ..training import distill as stage

    settings = load_recipe(recipe)
    student = _student(settings, name)
    own = {key: value for key, value in given.items() if value is not None}
    config: Any = settle(STUDENT_KINDS[student.kind], inherited(explicit(student), own), given)
    if isinstance(config, PretrainedStudent):
        config.seen_from(recipe.parent)
    done = stage(
        teacher, labels, data, out, config, seed=_seed_of(settings, seed), use_teacher=not no_teacher,
        progress=terminal_progress(),
    )  # fmt: skip
    _end(done)


@click.command()
@click.argument("model", type=directory)
@_data
@_out
@_seed
@click.option(
    "--form", type=click.Choice(["fp32", "torchscript", "exported", "torch-fp16"]), default="fp32", show_default=True,
    help="fp32: ONNX; the others need torch to run: TorchScript, torch.export, a torch directory with FP16 weights",
)  # fmt: skip
@flags(ExportConfig)
def export(model: Path, data: Path, out: Path, seed: int | None, form: Any, **given: Any) -> None:
    """Turn the trained MODEL into ONNX FP32 or another form, proved against torch on training texts."""
    from ..training import export as stage

    config = settle(ExportConfig, {}, given)
    _end(stage(model, data, out, config, form=form, seed=_seed_of(None, seed), progress=terminal_progress()))


@click.command()
@click.argument("model", type=directory)
@_data
@_out
@_seed
@click.option("--precision", type=click.Choice(["int8", "int8-dynamic", "fp16"]), default="int8", show_default=True)
@flags(QuantizeConfig)
def quantize(model: Path, data: Path, out: Path, seed: int | None, precision: Any, **given: Any) -> None:
    """Turn the ONNX FP32 artifact MODEL into INT8 or FP16, gated on validation."""
    from ..quantization import quantize as stage

    config = settle(QuantizeConfig, {}, given)
    done = stage(model, data, out, config, precision=precision, seed=_seed_of(None, seed), progress=terminal_progress())
    _end(done)


@click.command()
@click.argument("model", type=directory)
@_data
@flags(CalibrateConfig)
def calibrate(model: Path, data: Path, **given: Any) -> None:
    """Fit the temperature of the ONNX artifact MODEL on validation and write it into its manifest.

    Of a multi-label task also the threshold of each label.
    """
    from ..calibration import calibrate as stage

    done = stage(model, data, settle(CalibrateConfig, {}, given), progress=terminal_progress())
    made = done.measurements["calibration"]
    before, after = (made[when] for when in ("before", "after"))
    click.echo(f"temperature {done.temperature:.3f}")
    for measure in before:
        click.echo(f"{measure:<11} {before[measure]:.4f} -> {after[measure]:.4f}")
    for label, found in made.get("thresholds", {}).items():
        scores = ", ".join(f"{name} {found[name]:.3f}" for name in ("precision", "recall", "f1"))
        click.echo(f"threshold {found['value']:.4f} of {label}: {scores} on validation")
    for warning in made.get("warnings", []):
        click.echo(f"warning: {warning}", err=True)


@click.command()
@click.argument("benchmark", type=directory, metavar="DIR")
@click.option("--out", type=out_directory, help="directory to write; with --calibration, for pictures and a CSV file")
@click.option("--calibration", is_flag=True, help="print the calibration study; DIR may also be that of a run")
@click.option("--json", "as_json", is_flag=True, help="with --calibration: print it as JSON")
def report(benchmark: Path, out: Path | None, calibration: bool, as_json: bool) -> None:
    """Write the report of DIR, which the benchmark of a run wrote."""
    from ..reporting import report as stage

    if calibration:
        _calibration_study(benchmark, out, as_json)
        return
    if as_json or out is None:
        raise InputError("--json is for --calibration" if as_json else "say with --out where the report goes")
    stage(benchmark, out, progress=terminal_progress())
    click.echo(f"report: {out / 'report.html'}")


def _calibration_study(home: Path, out: Path | None, as_json: bool) -> None:
    from ..reporting import calibration_report, print_calibration, studied

    results = calibration_report(home, out)
    if as_json:
        studies = {model["key"]: model["calibration_study"] for model in studied(results)}
        click.echo(json.dumps(studies, ensure_ascii=False))
    else:
        print_calibration(results)
    if out is not None:
        click.echo(f"pictures and calibration.csv: {out}", err=True)


def _student(recipe: Recipe, name: str) -> StudentConfig:
    for student in recipe.students:
        if student.name == name:
            return student
    known = ", ".join(student.name for student in recipe.students)
    raise RecipeError(f"the recipe has no student {name!r}; it has {known}")


def _seed_of(recipe: Recipe | None, given: int | None) -> int:
    default = int(Recipe.model_fields["seed"].default)
    return given if given is not None else recipe.seed if recipe else default


def _end(done: Artifact) -> None:
    for warning in done.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(done.path)
