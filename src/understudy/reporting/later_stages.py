"""What became of the stages before and after a training: masked tokens, gold labels alone, INT8 simulated."""

from __future__ import annotations

from collections.abc import Iterator

from .formats import NONE, Cell
from .tables import Table
from .view import Results

_LATER = {  # by their name in a training's record: as a table has it, and as a sentence does
    "gold_stage": ("gold labels alone", "from gold labels alone"),
    "quantized_stage": ("INT8 simulated", "with INT8 simulated"),
}


def stages_table(results: Results) -> Table:
    """Every such stage: the validation NLL before and after it, and whether its weights stayed."""
    rows = [[Cell(run["name"]), *cells] for run in results["training"] for cells in _stages(run)]
    note = (
        "Validation split. Of later stages: NLL of the labels, at the temperature that fits it best; a stage that does "
        "not lower it is taken back. With INT8 simulated, both are of the simulated file. Of masked tokens: NLL of a "
        "hidden token, before with a head that has learnt nothing; the epoch of the least is kept."
    )
    note += " Of several seeds, the first." if results["recipe"].get("seeds", 1) > 1 else ""
    columns = [Cell(name) for name in ("Model", "Stage", "NLL before", "NLL after", "Outcome")]
    return Table("Stages before and after a training", note, columns, rows, text_columns=2)


def later_stages(results: Results, name: str) -> list[str]:
    """What became of a model's later stages, in sentences."""
    runs = [run for run in results["training"] if run["name"] == name]
    return [
        f"It then learned on {how}: its validation NLL went from {_nll(found['val_nll_before'])} to "
        f"{_nll(found['val_nll_after'])}, and the stage was {_outcome(found)}."
        for run in runs
        for stage, (_, how) in _LATER.items()
        if (found := run.get(stage))
    ]


def _stages(run: Results) -> Iterator[list[Cell]]:
    if masked := run.get("mlm"):
        epochs = masked["history"]
        best = min(epochs, key=lambda epoch: epoch["val_nll"])
        losses = [Cell(_nll(loss)) for loss in (masked.get("val_nll_before"), best["val_nll"])]
        kept = Cell(f"epoch {best['epoch']:.0f} of {len(epochs)} kept")
        yield [Cell(f"masked tokens of {masked['texts']:,} texts"), *losses, kept]
    for stage, (what, _) in _LATER.items():
        if found := run.get(stage):
            losses = [Cell(_nll(found[f"val_nll_{when}"])) for when in ("before", "after")]
            yield [Cell(what), *losses, Cell(_outcome(found))]


def _outcome(found: Results) -> str:
    return "kept" if found["kept"] else "taken back"


def _nll(loss: float | None) -> str:
    return NONE if loss is None else f"{loss:.4f}"
