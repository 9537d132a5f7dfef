"""What the documents tell a reader to type exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from understudy import cli

HOME = Path(__file__).parents[1]


def commands(document: str) -> list[list[str]]:
    """The words of every `understudy` line in a block of shell."""
    blocks = re.findall(r"```sh\n(.*?)```", (HOME / document).read_text(encoding="utf-8"), re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("understudy ")]


@pytest.mark.parametrize("document", ["README.md", "docs/troubleshooting.md"])
def test_commands_and_flags_exist(document: str) -> None:
    group = cli.understudy
    assert commands(document)
    for name, *words in commands(document):
        command = group.get_command(click.Context(group), name)
        assert command is not None, name
        flags = {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= flags, (name, words)
        assert [word for word in words if word.startswith("recipes/") and not (HOME / word).is_file()] == []


def test_links_lead_somewhere() -> None:
    for document in ("README.md", "docs/troubleshooting.md"):
        targets = re.findall(r"\]\(([^)#:]+)\)", (HOME / document).read_text(encoding="utf-8"))
        assert [target for target in targets if not ((HOME / document).parent / target).exists()] == []


def test_quoted_messages_are_messages() -> None:
    code = " ".join(path.read_text(encoding="utf-8") for path in (HOME / "src" / "understudy").rglob("*.py"))
    code = re.sub(r'"\s*\n\s*f?"', "", code)
    page = (HOME / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    for message in (
        "the classifier's labels do not fit the task's: ", "cannot be used here:", "is not declared; expected ",
        "but label {task.labels.index(name)} of the task", "is not on this machine", "has only pickled weights",
        "calibrated on a CPU with VNNI, which this one lacks: INT8 sums may saturate here, so measure it here first",
        "no space left on the device; finished stages are kept: free space and run the same command again",
    ):  # fmt: skip
        quoted = message.partition("{")[0].strip()
        assert quoted in page, message
        assert quoted in code or quoted.removeprefix("has ") in code, message
