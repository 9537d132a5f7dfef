"""Which students a run makes, from which seeds, which of them have twins, and which files each of them gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .config import Recipe, StudentConfig
from .errors import RecipeError
from .kinds import HARD_LABEL, NO_TEACHER
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


@dataclass(frozen=True)
class Twin:
    """A student that learns again, on the same budget, without what the teacher's soft labels say."""

    student: StudentConfig
    how: str  # NO_TEACHER: gold labels alone; HARD_LABEL: the label that the teacher chooses, in place of its logits

    @property
    def name(self) -> str:
        """That of its directory, and in the results."""
        return f"{self.student.name}-{self.how}"

    @property
    def use_teacher(self) -> bool:
        """Whether it learns anything of the teacher."""
        return self.how == HARD_LABEL

    @property
    def settings(self) -> StudentConfig:
        """How it is trained: of the teacher's layers, too, a twin by hard labels learns nothing."""
        if self.how == NO_TEACHER:
            return self.student
        alone = {"name": self.name, "loss": "hard", "hidden_weight": 0.0, "attention_weight": 0.0}
        return self.student.model_copy(update=alone | {"layer_map": "uniform"})


def twins(recipe: Recipe) -> list[Twin]:
    """Those of the students that `controls` names; where hard labels would change nothing, there is no such twin."""
    students = {"none": [], "first": recipe.students[:1], "all": recipe.students}[recipe.controls]
    return [
        Twin(student, how)
        for student in students
        for how in recipe.twins
        if how == NO_TEACHER or (student.soft_weight and student.loss != "hard")
    ]


def seeded(recipe: Recipe) -> list[tuple[str, Recipe]]:
    """The recipe for each seed that its students have, and where their files are below those of the first: seeds/N.

    The data and the teacher, with its soft labels, are those of the first seed.
    """
    further = range(recipe.seed + 1, recipe.seed + recipe.seeds)
    return [("", recipe), *((f"/seeds/{seed}", recipe.model_copy(update={"seed": seed})) for seed in further)]


def twin_homes(recipe: Recipe) -> list[tuple[Twin, str, Recipe]]:
    """Every twin and seed: where its files are in the directory of a run, and the recipe with the seed."""
    return [(twin, f"controls/{twin.name}{below}", again) for twin in twins(recipe) for below, again in seeded(recipe)]


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
