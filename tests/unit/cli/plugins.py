"""Subcommands as other packages add them, good and bad."""

from __future__ import annotations

import anyio
import click

from forensics_core.cli.program import run
from forensics_core.errors import BundleNotFound

wrong = "no command"


@click.command()
def hello() -> None:
    """Say hello."""
    click.echo("hello")


@click.command()
def fail() -> None:
    """Fail on purpose."""
    raise BundleNotFound("No bundle at \x1b[2Jx\n", hint="Look elsewhere")


@click.command()
def crash() -> None:
    """Fail by mistake."""
    _ = 1 / 0


@click.command()
def flood() -> None:
    """Print for ever."""
    while True:
        click.echo("flood")


@click.command()
def wait() -> None:
    """Wait until a signal comes."""

    async def work() -> None:
        click.echo("waiting")
        try:
            await anyio.sleep_forever()
        finally:
            click.echo("cleaned up")

    run(work)
