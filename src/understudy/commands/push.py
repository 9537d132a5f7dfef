"""understudy push"""

from __future__ import annotations

from pathlib import Path

import click


@click.command("push")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.argument("repository")
@click.option("--private", is_flag=True, help="make a new repository that only its owner sees")
@click.option("--license", default="", help="the hub's name of a licence, for the card; left out unless you say it")
@click.option("--dry-run", is_flag=True, help="check the artifact and list its files, publish nothing")
def command(artifact: Path, repository: str, private: bool, license: str, dry_run: bool) -> None:
    """Publish ARTIFACT and its card as REPOSITORY (OWNER/NAME) on the Hugging Face hub, in one commit.

    The token is that of `hf auth login`, or HF_TOKEN. `understudy fetch OWNER/NAME --out DIR` brings the artifact back.
    """
    from ..pushing import push

    done = push(artifact, repository, private=private, license=license, dry_run=dry_run)
    for name, size in done.files.items():
        click.echo(f"{size / 1e6:10.3f} MB  {name}", err=True)
    if dry_run:
        click.echo(f"nothing was published; it would be {sum(done.files.values()) / 1e6:.1f} MB", err=True)
    click.echo(done.url)
