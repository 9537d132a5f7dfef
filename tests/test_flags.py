"""The flags of the stages: made from the settings, they go over those of the recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

import tiny
import understudy.training
from making import make
from understudy import cli
from understudy.budget_settings import Limits
from understudy.cascade_settings import CascadeConfig
from understudy.config import (
    BenchmarkConfig,
    CalibrateConfig,
    DataConfig,
    DistillConfig,
    ExportConfig,
    LabelConfig,
    QuantizeConfig,
    TeacherConfig,
)
from understudy.sections import Section
from understudy.space import TuneConfig


@pytest.mark.parametrize(
    ("command", "section", "left_out"),
    [
        ("prepare", DataConfig, {"unlabeled", "normalize", "augment_ways"}),
        ("train", TeacherConfig, {"label_map", "kind", "variants"}),
        ("label", LabelConfig, set()),
        ("distill", DistillConfig, {"layer_map"}),
        ("export", ExportConfig, set()),
        ("quantize", QuantizeConfig, set()),
        ("calibrate", CalibrateConfig, set()),
        ("cascade", CascadeConfig, set()),
        ("tune", TuneConfig, {"space"}),
        ("choose", Limits, set()),
        ("benchmark", BenchmarkConfig, {"pipeline"}),
    ],
)
def test_every_simple_setting_has_a_flag(command: str, section: type[Section], left_out: set[str]) -> None:
    known = cli.understudy.get_command(click.Context(cli.understudy), command)  # type: ignore[attr-defined]
    flags = {option.name: option for option in known.params if isinstance(option, click.Option)}
    assert set(section.model_fields) - set(flags) == left_out
    for name in set(section.model_fields) - left_out:
        field = section.model_fields[name]
        dashed = f"--{name.replace('_', '-')}"
        assert flags[name].opts == [dashed]
        assert flags[name].secondary_opts == ([f"--no-{dashed[2:]}"] if field.annotation is bool else [])
        assert flags[name].default is None
        assert flags[name].help.startswith(field.description)


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the stage is called with, instead of a training; `arguments` are those of the command."""
    (tmp_path / "recipe.toml").write_text(tiny.RECIPE)
    artifact = make(tmp_path / "made")
    arguments = ["train", str(tmp_path / "recipe.toml"), "--data", str(tmp_path / "made"), "--out", str(tmp_path / "x")]
    seen: dict[str, Any] = {"arguments": arguments}

    def train(data: Path, out: Path, config: TeacherConfig, *, seed: int, progress: object) -> object:
        seen.update(config.model_dump(), seed=seed)
        return artifact

    monkeypatch.setattr(understudy.training, "train", train)
    return seen


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    return int(end.value.code or 0)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ((), (5, False, 5e-3, 5)),
        (("--epochs", "7", "--freeze-encoder", "--seed", "0"), (7, True, 5e-3, 0)),
        (("--learning-rate", "0.5", "--no-freeze-encoder"), (5, False, 0.5, 5)),
    ],
)
def test_flags_go_over_the_recipe(trained: dict[str, Any], flags: tuple[str, ...], expected: tuple[Any, ...]) -> None:
    assert call(*trained["arguments"], *flags) == 0
    assert tuple(trained[name] for name in ("epochs", "freeze_encoder", "learning_rate", "seed")) == expected


@pytest.mark.parametrize(("flags", "loss", "temperature"), [((), "kl", 3.0), (("--loss", "mse"), "mse", 2.0)])
def test_a_loss_that_is_given_leaves_out_what_it_does_not_read(
    trained: dict[str, Any], monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], loss: str, temperature: float
) -> None:
    seen: dict[str, Any] = {}

    def distill(*places: Any, **named: Any) -> object:
        seen.update(places[-1].model_dump())
        return make(Path(trained["arguments"][-1]))

    monkeypatch.setattr(understudy.training, "distill", distill)
    recipe, data, out = (trained["arguments"][index] for index in (1, 3, 5))
    Path(recipe).write_text(tiny.RECIPE.replace("[distill]", "[distill]\ntemperature = 3.0"))
    places = ("--teacher", data, "--labels", data, "--data", data, "--out", out)
    assert call("distill", recipe, "--student", "cnn", *places, *flags) == 0
    assert (seen["loss"], seen["temperature"], seen["epochs"]) == (loss, temperature, 4)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--learning-rate", "0"), "learning_rate: input should be greater than 0, got 0.0"),
        (("--learning-rate", "nan"), "learning_rate: input should be a finite number, got nan"),
        (
            ("--no-train",),
            "a ready classifier (train = false) is not trained: remove batch_size, epochs, learning_rate",
        ),
    ],
)
def test_flags_that_cannot_be_used(
    trained: dict[str, Any], flags: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*trained["arguments"], *flags) == 2
    assert capsys.readouterr() == ("", f"understudy: the command line: {message}\n")
    assert "seed" not in trained
