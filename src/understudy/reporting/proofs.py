"""What several seeds, a margin and twins show, in sentences and tables."""

from __future__ import annotations

from ..kinds import HARD_LABEL, NO_TEACHER, TWINS
from .formats import Cell, p_value, percent, points
from .gaps import difference, judged, spoken
from .scores import mean_cell
from .tables import Table
from .view import Model, Results, counted, metric_name

_WORTH = ("worth it", "harmful", "no difference that this split can show")
_WITHOUT = {NO_TEACHER: "no teacher", HARD_LABEL: "the teacher's hard labels"}


def about_seeds(results: Results, student: Model) -> list[str]:
    """The mean over seeds, what they share, and which file is to ship."""
    seeds = student.get("seeds")
    if not seeds:
        return []
    numbers, ships = list(seeds["files"]), str(seeds["ships"])
    found, name = seeds["metrics"][results["task_metric"]], metric_name(results)
    mean = mean_cell(found)
    return [
        f"{student['key']} was trained from {len(numbers)} seeds ({', '.join(numbers)}) on the same data and soft "
        f"labels: {name} {mean.text} % (mean ± standard deviation; 95 % interval over seeds and texts {mean.detail}).",
        f"The file to ship is that of seed {ships}, {seeds['files'][ships]['path']}: the best {name} on validation, "
        f"{percent(seeds['validation'][ships]).text} %; on the test split it has "
        f"{percent(found['values'][ships]).text} %.",
    ]


def about_margin(results: Results, student: Model) -> list[str]:
    """Whether a loss beyond the margin is ruled out."""
    for pair in results["comparisons"]:
        found = pair.get("non_inferiority")
        if found and pair["first"] == student["key"]:
            margin, bound = f"{100 * found['margin']:g}", points({"value": found["bound"], "ci95": []}).text
            said = "is not worse than" if found["shown"] else "was not shown to be not worse than"
            return [
                f"{student['key']} {said} the teacher by more than {margin} points, the recipe's margin (one-sided "
                f"95 % bound of the difference: {bound} points)."
            ]
    return []


def about_worth(results: Results, student: Model) -> list[str]:
    """Whether distillation paid: against the twin without a teacher, and that with its hard labels."""
    said = []
    for first, second, how in _pairs(results, student):
        gap = difference(results, first, second)
        same = "made no difference that this split can show for"
        verdict = judged(gap, "helped", "harmed", same)
        what = (
            "Learning from the teacher" if how == NO_TEACHER else "Soft labels in the place of the teacher's hard ones"
        )
        said.append(f"{what} {verdict} {first['key']}: {spoken(gap)} against {second['key']}.")
    return said


def about_families(results: Results) -> list[str]:
    """Which p-values were adjusted together, if any were."""
    found = {pair["holm"]["family"]: pair["holm"]["of"] for pair in results["comparisons"] if "holm" in pair}
    named = [f"{family} ({of})" for family, of in found.items() if of > 1]
    if not named:
        return []
    return [f"These verdicts go by p-values after Holm's adjustment, in families: {'; '.join(named)}."]


def worth_table(results: Results) -> Table:
    """Is distillation worth it here? Each student against its twins on the same budget."""
    rows = []
    for name in dict.fromkeys(model["name"] for model in results["models"] if model["role"] == "student"):
        ships = next(model for model in results["models"] if model["role"] == "student" and model["name"] == name)
        for first, second, how in _pairs(results, ships):
            gap = difference(results, first, second)
            p = [Cell(p_value(gap["p"])), Cell(p_value(gap["adjusted"]))]
            rows.append([Cell(first["key"]), Cell(_WITHOUT[how]), points(gap), *p, Cell(judged(gap, *_WORTH))])
    note = (
        f"The student less its twin, in points of {metric_name(results)}, with the paired 95 % interval, over seeds "
        "where there are several; both learnt for as many steps. The verdict goes by the p-value after Holm's "
        f"adjustment over all rows, where there is one. Test split, {counted(results)}."
    )
    columns = [Cell(n) for n in ("Student", "Against", "Difference", "p", "p, Holm", "Distillation is")]
    return Table("Is distillation worth it here?", note, columns, rows, text_columns=2)


def seeds_table(results: Results) -> Table:
    """What each seed of a model scores."""
    several = [model for model in results["models"] if model.get("seeds")]
    numbers = list(dict.fromkeys(number for model in several for number in model["seeds"]["files"]))
    rows = []
    for model in several:
        seeds = model["seeds"]
        found = seeds["metrics"][results["task_metric"]]
        each = [percent(found["values"].get(number)) for number in numbers]
        rows.append([Cell(model["key"]), mean_cell(found), *each, Cell(str(seeds["ships"]))])
    note = (
        f"Test split, {counted(results)}: {metric_name(results)}, mean ± "
        "standard deviation of the seeds, with a 95 % interval over seeds and texts, and each seed. Of a student, the "
        "seed that is best on validation is the one to ship. All learnt from the data, the teacher and the soft labels "
        "of the first seed."
    )
    columns = [Cell("Model"), Cell("Mean", "%"), *(Cell(f"Seed {number}") for number in numbers), Cell("Best on val")]
    return Table("Several seeds", note, columns, rows)


def _pairs(results: Results, student: Model) -> list[tuple[Model, Model, str]]:
    """A student and each of its twins: FP32 against FP32 where that was measured."""
    models = {model["key"]: model for model in results["models"] if model["value"] is not None}
    files = [models.get(f"{student['name']}/{variant}") for variant in ("fp32", student["variant"])]
    first = next((file for file in files if file), None)
    found = [(how, models.get(f"{student['name']}-{how}/fp32")) for how in TWINS]
    return [(first, twin, how) for how, twin in found if first and twin]
