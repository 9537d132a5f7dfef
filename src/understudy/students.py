"""Which students a run makes, which of them learn without the teacher, too, and which files each of them gets."""

from __future__ import annotations

from collections.abc import Sequence

from .config import Recipe, StudentConfig
from .errors import RecipeError
from .sections import UNWRITABLE, Variant

ALL = "all"


def only(recipe: Recipe, names: Sequence[str]) -> Recipe:
    """The recipe with those of its students that are named, each made as in a run of all of them.

    `all` names every one. The labels still hold what the other students need, and `controls = "first"` still means the
    first of the recipe. Raises RecipeError for a name that no student has.
    """
    known = [student.name for student in recipe.students]
    for name in names:
        if name not in (*known, ALL):
            raise RecipeError(f"--students: the recipe has no student {name!r}; it has {', '.join(known)}")
    chosen = [student for student in recipe.students if student.name in names or ALL in names]
    lost = recipe.controls == "first" and chosen[:1] != recipe.students[:1]
    changes = {"students": chosen, "label": recipe.labelling, "controls": "none" if lost else recipe.controls}
    return recipe.model_copy(update=changes)


def twins(recipe: Recipe) -> list[StudentConfig]:
    """The students that also learn without the teacher."""
    return {"none": [], "first": list(recipe.students[:1]), "all": list(recipe.students)}[recipe.controls]


def variants_of(student: StudentConfig, recipe: Recipe) -> list[Variant]:
    """The files that are made and measured of a student: the recipe's, but for those that torch cannot write."""
    return [variant for variant in recipe.variants if (student.kind, variant) not in UNWRITABLE]


def left_out(recipe: Recipe) -> list[str]:
    """A sentence for each file of the recipe's variants that a student cannot have."""
    return [
        f"{variant} of {student.name} was left out: {UNWRITABLE[student.kind, variant]}"
        for student in recipe.students
        for variant in recipe.variants
        if (student.kind, variant) in UNWRITABLE
    ]
