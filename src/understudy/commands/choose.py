"""understudy choose"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ..budget_settings import Limits
from .options import directory, flags, settle

NOTHING_FITS = 3


@click.command("choose")
@click.argument("home", type=directory, metavar="DIR")
@flags(Limits)
@click.option("--json", "as_json", is_flag=True, help="print it as JSON")
def command(home: Path, as_json: bool, **given: Any) -> None:
    """Choose which file of DIR to ship: the best on validation that fits the limits.

    DIR is that of a run, or what `benchmark` wrote. The test split has no say in it: its figures are shown afterwards.
    Ends with 3, and the nearest misses, if nothing fits.

    \b
    understudy choose runs/demo --max-mb 1 --min-retention 0.98
    understudy choose runs/demo --max-latency-ms 1 --percentile p95
    """
    from ..choosing import choose

    found = choose(home, settle(Limits, {}, given)).to_dict()
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
    else:
        from ..reporting import print_choice

        print_choice(found)
    if found["choice"] is None:
        click.get_current_context().exit(NOTHING_FITS)
