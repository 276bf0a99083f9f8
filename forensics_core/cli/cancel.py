"""`forensics cancel`: stop a capture, and keep what there is."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from forensics_core.cli.options import object_output_option
from forensics_core.cli.place import Place, place_options
from forensics_core.cli.render import clean, say
from forensics_core.cli.running import run

if TYPE_CHECKING:
    from forensics_core.api.podcheckpoint import PodCheckpoint


@click.command("cancel", short_help="Stop a capture, and keep what there is.")
@click.argument("name")
@place_options
@object_output_option
def cancel_command(name: str, place: Place, output: str) -> None:
    """Ask the capture NAME to stop. What was captured by then is kept; this cannot be taken back.

    The evidence of a capture that has ended already stays as it is.
    """
    _say(run(partial(_cancel, name, place)), output)


async def _cancel(name: str, place: Place) -> PodCheckpoint:
    async with place.checkpoints() as checkpoints:
        return await checkpoints.cancel(name)


def _say(checkpoint: PodCheckpoint, output: str) -> None:
    from forensics_core.cli.describing import say_checkpoint

    if output == "text":
        say(_told(checkpoint))
    else:
        say_checkpoint(checkpoint, output)


def _told(checkpoint: PodCheckpoint) -> str:
    from forensics_core.cli.following import called

    name = clean(checkpoint.metadata.name)
    if checkpoint.finished:
        return f"The checkpoint {name} had ended before: {checkpoint.status.phase}"
    return f"The checkpoint {name} is told to stop. Follow it with: {called()} watch {name}"
