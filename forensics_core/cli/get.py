"""`forensics get`: everything about one capture."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from forensics_core.cli.options import object_output_option
from forensics_core.cli.place import Place, place_options
from forensics_core.cli.running import run

if TYPE_CHECKING:
    from forensics_core.api.podcheckpoint import PodCheckpoint


@click.command("get", short_help="Show one capture.")
@click.argument("name")
@place_options
@object_output_option
def get_command(name: str, place: Place, output: str) -> None:
    """Show the capture NAME: how far it is, and where its evidence lies."""
    from forensics_core.cli.describing import say_checkpoint

    say_checkpoint(run(partial(_get, name, place)), output)


async def _get(name: str, place: Place) -> PodCheckpoint:
    async with place.checkpoints() as checkpoints:
        return await checkpoints.get(name)
