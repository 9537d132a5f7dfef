"""Train the students of a finished run again with other seeds, and measure them: the noise of a single figure.

    python benchmarks/seeds.py recipes/emotion.toml --run runs/emotion --seeds 14 15

The teacher, its soft labels and the data stay those of the run; everything that a student's seed moves (initial
weights, order, dropout, INT8 sample) is done again under RUN/seeds/SEED. Speed is measured in the run alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from understudy.benchmarking import Entry, benchmark
from understudy.calibration import calibrate
from understudy.config import Recipe, load_recipe
from understudy.display import terminal_progress
from understudy.quantization import GateRefusedError, quantize
from understudy.training import distill, export


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    arguments = parser.parse_args()
    recipe = load_recipe(arguments.recipe)
    for seed in arguments.seeds:
        repeat(recipe, arguments.run, arguments.run / "seeds" / str(seed), seed)


def repeat(recipe: Recipe, run: Path, out: Path, seed: int) -> None:
    """All students with one other seed."""
    progress = terminal_progress()
    data, teacher, labels = run / "data", run / "teacher", run / "labels"
    entries = [Entry("teacher", "teacher", run / "teacher-fp32", timed=False)]
    for student in recipe.students:
        home = out / "students" / student.name
        distill(teacher, labels, data, home / "torch", student, seed=seed, progress=progress)
        export(home / "torch", data, home / "fp32", recipe.export, seed=seed, progress=progress)
        for variant in ("fp32", "int8"):
            try:
                if variant == "int8":
                    quantize(home / "fp32", data, home / variant, recipe.quantize, seed=seed, progress=progress)
            except GateRefusedError as refusal:
                progress.note(f"warning: {refusal}")
                continue
            calibrate(home / variant, data, progress=progress)
            entries.append(Entry(student.name, "student", home / variant, timed=False))
    config = recipe.benchmark.model_copy(
        update={"pipeline": False, "predictions": False, "repeats": 1, "speed_texts": 8}
    )
    notes = {"recipe": recipe.model_dump(), "training": []}
    benchmark(entries, data, out / "benchmark", config, teacher=teacher, notes=notes, seed=seed, progress=progress)


if __name__ == "__main__":
    main()
