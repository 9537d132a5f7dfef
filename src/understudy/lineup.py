"""Which files a run measures: of the teacher, and of each seed of its students and their twins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from . import variants
from .config import Recipe, TeacherConfig
from .entries import Entry
from .students import seeded, twins, variants_of


def lineup(recipe: Recipe, out: Path) -> list[Entry]:
    """Those that are there: a file that was refused, of whatever seed, is not. The first seed's come first."""
    found = list(_of_teacher(recipe, out))
    for number, (below, again) in enumerate(seeded(recipe)):
        seed, timed = (again.seed, False) if number else (None, True)
        for student in recipe.students:
            homes = [out / variants.place(student.name + below, variant) for variant in variants_of(student, recipe)]
            found += [Entry(student.name, "student", home, timed, seed) for home in homes if home.exists()]
        for twin in twins(recipe):
            found.append(Entry(twin.name, "control", out / f"controls/{twin.name}{below}/fp32", False, seed))
    return found


def _of_teacher(recipe: Recipe, out: Path) -> Iterator[Entry]:
    made = recipe.teacher.variants if isinstance(recipe.teacher, TeacherConfig) else []
    homes = (out / variants.place("teacher", variant) for variant in made)
    return (Entry("teacher", "teacher", home) for home in homes if home.exists())
