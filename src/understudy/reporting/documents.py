"""The texts of the report and of a model card, from templates."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..answers import model_key, shipped
from ..errors import MissingExtraError
from ..kinds import TWINS
from ..label_mapping import mapped_names
from ..soft_terms import SOFT_TERMS, whole_loss
from .calibration import study_tables
from .columns import as_text
from .devices import device_table, gpu_table, place
from .findings import sentences
from .formats import compact, digits, escape_markdown, megabytes, percent, plain, toml
from .later_stages import later_stages, stages_table
from .proofs import seeds_table, worth_table
from .tables import (
    calibration_table,
    class_tables,
    comparison_table,
    data_tables,
    results_table,
    speed_table,
    threshold_table,
)
from .view import FILES, Model, Results, best_student, counted, metric_name, prepared, teacher_of

if TYPE_CHECKING:
    import jinja2


def model_card(results: Results, model: Model) -> str:
    """The Markdown model card of one of `results["models"]`."""
    results = prepared(results)
    key = model_key(model)
    chosen = next(entry for entry in results["models"] if entry["key"] == key)
    student, twin = chosen["name"], next((twin for twin in TWINS if chosen["name"].endswith(f"-{twin}")), "")
    student = student.removesuffix(f"-{twin}")
    recipe = results["recipe"]
    made: Model = next((entry for entry in recipe.get("students", []) if entry.get("name") == student), {})
    file = FILES.get(chosen["variant"], chosen["variant"])
    return model_template("card.md.jinja").render(
        **described(results), model=chosen, twin=twin, file=file, made=made, teacher=teacher_of(results) or {"key": ""},
        term=SOFT_TERMS[made.get("loss", "kl")], loss=whole_loss(made, results["kind"]),
        metadata=_metadata(results, chosen), several=results["kind"] == "multi",
        stages=later_stages(results, chosen["name"]), place=place(results, chosen),
        on_gpu=gpu_table({"models": [chosen]}).rows,
    )  # fmt: skip


def _metadata(results: Results, model: Model) -> str:
    """What the hub reads of a card, as YAML: what the model is for, and its test metrics with split and n."""
    from huggingface_hub import EvalResult

    tags = ["text-classification", "understudy", *(["knowledge-distillation"] if model["role"] == "student" else [])]
    measured = [
        EvalResult(
            task_type="text-classification", dataset_type=results["task"], dataset_name=results["task"],
            dataset_split=split, dataset_args={"n": estimate["n"]}, metric_type=name, metric_value=estimate["value"],
        )
        for split, estimates in model["metrics"].items()
        for name, estimate in estimates.items()
        if estimate["value"] is not None
    ]  # fmt: skip
    known = {"model_name": model["key"], "eval_results": measured} if measured else {}
    return hub_metadata(tags, **known)


def hub_metadata(tags: list[str], **known: Any) -> str:
    """What every card begins with."""
    from huggingface_hub import ModelCardData

    return str(
        ModelCardData(library_name="understudy", pipeline_tag="text-classification", tags=tags, **known).to_yaml()
    )


def model_template(name: str) -> jinja2.Template:
    """The template of a card; raises MissingExtraError."""
    try:
        return template(name)
    except ImportError:
        raise MissingExtraError("the model card", "build") from None


def described(results: Results) -> dict[str, Any]:
    """What the documents say; `results` as `view.prepared` makes them."""
    best, _ = best_student(results)
    details = {
        "answers": [seeds_table(results), worth_table(results), *class_tables(results), comparison_table(results)],
        "confidence": [*study_tables(results), calibration_table(results)],
        "measured": [threshold_table(results), speed_table(results), device_table(results), gpu_table(results)],
        "data": [*data_tables(results), stages_table(results)],
    }
    filled = {name: [table for table in tables if table.rows] for name, tables in details.items()}
    return {
        "results": results,
        "metric": metric_name(results),
        "counted": counted(results),
        "findings": sentences(results),
        "mapped": mapped_names(results["label_mapping"]) if results["label_mapping"] else "",
        "best": best and best | {"path": shipped(best)[1]["path"]},
        "tables": {"results": results_table(results), **filled},
        "machine": [(name.replace("_", " "), plain(name, value)) for name, value in results["machine"].items()]
        + [(name, str(value)) for name, value in results["versions"].items()],
    }


def template(name: str) -> jinja2.Template:
    """A template that escapes every text for what it writes: HTML, Markdown or plain text, which needs none.

    Imported late: jinja2 is an extra.
    """
    import jinja2
    from markupsafe import Markup

    def escaped(value: Any) -> Any:
        return Markup(escape_markdown(value)) if isinstance(value, str) and not hasattr(value, "__html__") else value

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=".txt." not in name,
        trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True,
        finalize=escaped if ".md." in name else None,
    )  # fmt: skip
    environment.filters |= {
        "toml": toml, "digits": digits, "percent": percent, "megabytes": megabytes, "compact": compact,
        "quoted": shlex.quote, "literal": lambda text: json.dumps(text, ensure_ascii=False),
        "words": lambda name: name.replace("_", " "), "as_text": as_text,
    }  # fmt: skip
    return environment.get_template(name)
