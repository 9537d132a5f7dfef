"""The command line: a table of commands, each loaded when it is called, and the one place that ends the process."""

from __future__ import annotations

import errno
import importlib
import sys
from collections.abc import Sequence

import click

from .errors import UnderstudyError

COMMANDS = {  # name: (what it does, the module in `commands` that holds it)
    "run": ("Do everything a recipe asks for, from data to report", "run"),
    "predict": ("Label texts or a file with an artifact", "predict"),
    "inspect": ("Say what an artifact is and check its files", "inspect"),
    "fetch": ("Download models, data sets and files for work offline", "fetch"),
    "push": ("Publish an artifact on the hub", "push"),
    "prepare": ("Check, cut and de-duplicate a recipe's data", "stages"),
    "train": ("Fine-tune the teacher", "stages"),
    "label": ("Write the teacher's soft labels", "stages"),
    "annotate": ("Write texts with the teacher's answers as CSV and Parquet", "stages"),
    "pseudo-label": ("Give texts without gold labels the teacher's", "stages"),
    "distill": ("Train a student on the soft labels", "stages"),
    "tune": ("Search the settings of a student", "tune"),
    "export": ("Turn a trained model into ONNX", "stages"),
    "quantize": ("Turn ONNX FP32 into INT8 or FP16", "stages"),
    "calibrate": ("Fit the temperature of an ONNX artifact", "stages"),
    "cascade": ("Let a large model answer only where small ones are unsure", "cascade"),
    "operate": ("Find the threshold of a label for a precision or a recall", "operate"),
    "benchmark": ("Measure and compare models on a labelled file", "benchmark"),
    "choose": ("Say which measured file to ship, by limits of size, speed and quality", "choose"),
    "report": ("Write the report of a benchmark", "stages"),
}


class _Commands(click.Group):
    """Loads a command's module only when the command is called, so that help and completion are instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f".commands.{COMMANDS[cmd_name][1]}", __package__)
        command: click.Command = getattr(module, "command", None) or getattr(module, cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (summary, _) in COMMANDS.items()])


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="understudy")
def understudy() -> None:
    """Turn a large text classifier into a small, fast one that can take its place, and prove what was kept.

    \b
    understudy run recipes/demo.toml --out runs/demo
    understudy predict runs/demo/students/cut3/int8 "please kalke submit koro"
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: one line for what a user can mend; 0 done, 1 failed, 2 bad usage or input, 3 rejected rows."""
    try:
        sys.exit(understudy.main(arguments and list(arguments), prog_name="understudy", standalone_mode=False) or 0)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.exceptions.Abort:
        _end("interrupted; nothing half-written is left, and `run` goes on from here", 130)
    except UnderstudyError as error:
        _end(str(error), error.exit_code)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _end("no space left on the device; finished stages are kept: free space and run the same command again", 2)


def _end(message: str, code: int) -> None:
    sys.stderr.write(f"understudy: {' '.join(message.split())}\n")
    sys.exit(code)
