"""Write docs/recipe.md, the reference of every recipe key, from the settings themselves: `make docs`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from understudy.budget_settings import BudgetConfig
from understudy.config import STUDENT_KINDS, TEACHER_KINDS, Recipe, TaskConfig
from understudy.distill_settings import DistillConfig
from understudy.sections import Section
from understudy.soft_terms import LAYER_TERMS, SOFT_TERMS
from understudy.space import Range

HEAD = """\
# Every key of a recipe

Made by `make docs` from the settings in the code. A recipe is a TOML file with the keys and sections below; what has a
default may be left out, an unknown key is an error. A section's simple keys are also flags of its command:
`learning_rate` of [teacher] is `--learning-rate` of `understudy train`. A recipe to start from:
[`demo.toml`](../recipes/demo.toml).
"""
WORDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true, false", "array": "list",
         "object": "table"}  # fmt: skip
LOSSES = """\
### The losses

    L = soft_weight · S + (1 − soft_weight) · CE + hidden_weight · H + attention_weight · A

S is what `loss` says; CE is the cross-entropy with the gold label, where there is one. Probabilities are softmax(z/T),
in a multi-label task σ(z/T) of each label; z are logits, the teacher's divided by its calibration temperature; T is
`temperature`. Each is a mean over texts, in a multi-label task over labels too. In code: `training/losses.py` and
`training/multilabel_losses.py`, each with a test against an independent implementation.

| term | one label per text | several labels per text | source |
| --- | --- | --- | --- |
"""
HARD = (
    "`CE`",
    "−ln p of the gold label; `class_weights` weights it, `label_smoothing` spreads a part over all labels",
    "binary cross-entropy, label by label",
    "smoothing: Szegedy et al. 2016",
)
CORRECTED = (
    "`correct_teacher`",
    "where the teacher is wrong, its highest logit and that of the gold label change places",
    "where the teacher is wrong about a label, its logit changes its sign",
    "Wen, Lai and Qian 2021 (probability shift)",
)
LIMITS = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}",
          "minItems": "{} or more"}  # fmt: skip


def page() -> str:
    """The whole page as Markdown."""
    sections: dict[str, type[Section]] = {
        name: field.annotation
        for name, field in Recipe.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }
    sections["budget"] = BudgetConfig  # which a recipe need not have
    top = [name for name in Recipe.model_fields if name not in (*sections, "teacher", "students")]
    parts = [HEAD, "## Before the first section\n", table(Recipe, top)]
    for name, section in sections.items():
        if name == "label":  # where a recipe has it
            parts += [
                "## [teacher]\n",
                "A model, or with another `kind` answers from elsewhere.\n",
                *kinds(TEACHER_KINDS),
            ]
        parts += [f"## [{name}]\n", f"{section.__doc__}\n", table(section, list(section.model_fields))]
        if name == "distill":
            parts += ["Every student takes these settings, and may set each of them itself.\n", losses()]
        if name == "tune":
            parts += ["### Each key of [tune.space]\n", table(Range, list(Range.model_fields))]
    parts += [
        "## [[students]]\n",
        "One table for each student: `kind`, the keys of its kind, and any key of [distill].\n",
    ]
    return "\n".join([*parts, *kinds(STUDENT_KINDS, without=DistillConfig)])


def losses() -> str:
    """Formula and source of every term that a student can learn by."""
    soft = [(f'`loss = "{name}"`', term.formula, term.by_label, term.source) for name, term in SOFT_TERMS.items()]
    layers = [(f"`{weight}`", f"{letter}: {meaning}", "the same", source)
              for weight, (letter, meaning, source) in LAYER_TERMS.items()]  # fmt: skip
    rows = [f"| {' | '.join(cell or '–' for cell in row)} |" for row in (*soft, HARD, *layers, CORRECTED)]
    return LOSSES + "\n".join([*rows, ""])


def kinds(sections: Mapping[str, type[Section]], without: type[Section] = Section) -> Iterator[str]:
    """The keys of each kind of teacher or student, but those that another section lists."""
    for name, section in sections.items():
        own = [key for key in section.model_fields if key not in (*without.model_fields, "kind")]
        yield from (f'### kind = "{name}"\n', f"{section.__doc__}\n", table(section, own))


def table(section: type[Section], names: list[str]) -> str:
    """Some keys of a section, one in each row."""
    schema = section.model_json_schema()
    rows = [
        f"| `{name}` | {kind(schema['properties'][name])} | {default(section, name)} | {help_of(section, name)} |"
        for name in names
    ]
    return "\n".join(["| key | value | default | |", "| --- | --- | --- | --- |", *rows, ""])


def kind(schema: Mapping[str, Any]) -> str:
    """What a key takes: type and limits, or the values one by one."""
    if "anyOf" in schema:
        return " or ".join(kind(option) for option in schema["anyOf"] if option.get("type") != "null")
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema.get("enum", [schema.get("const")]))
    words = "table" if "$ref" in schema else WORDS.get(schema.get("type", ""), "any value")
    if schema.get("items"):
        words += f" of {kind(schema['items'])}"
    return ", ".join([words, *limits(schema)])


def limits(schema: Mapping[str, Any]) -> Iterator[str]:
    """The bounds of a value, in words."""
    for name, words in LIMITS.items():
        if name in schema:
            yield words.format(f"{schema[name]:g}")


def default(section: type[Section], name: str) -> str:
    """The default as TOML writes it; a key without one must be given."""
    field = section.model_fields[name]
    if field.is_required():
        return "the file's name" if (section, name) == (TaskConfig, "name") else "required"
    return "" if field.default in ("", None, [], {}) else f"`{json.dumps(field.default)}`"


def help_of(section: type[Section], name: str) -> str:
    """The key's description, safe in a cell."""
    return (section.model_fields[name].description or "").replace("|", "\\|")


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(page(), encoding="utf-8")
