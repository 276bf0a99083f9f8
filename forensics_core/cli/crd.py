"""`forensics crd`: the CustomResourceDefinition of PodCheckpoint."""

from __future__ import annotations

import click

from forensics_core._internal.extras import needing
from forensics_core.cli.render import say_json


@click.command("crd", short_help="Print the CustomResourceDefinition.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["yaml", "json"]),
    default="yaml",
    show_default=True,
    help="How to print it.",
)
def crd_command(output: str) -> None:
    """Print the CustomResourceDefinition of PodCheckpoint, as this release knows it.

    It is what `kubectl apply -k deploy` installs: forensics crd | kubectl apply -f -
    """
    with needing("operator", "Printing it"):
        from forensics_core.api.crd import crd, crd_yaml
    if output == "json":
        say_json(crd())
    else:
        click.echo(crd_yaml(), nl=False)
