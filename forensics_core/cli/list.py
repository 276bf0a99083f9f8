"""`forensics list`: the captures that were asked for."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from forensics_core.cli.options import object_output_option
from forensics_core.cli.place import Place, place_options
from forensics_core.cli.render import say
from forensics_core.cli.running import run

if TYPE_CHECKING:
    from forensics_core.api.podcheckpoint import PodCheckpoint


@click.command("list", short_help="List the captures of the cluster.")
@click.option("-n", "--namespace", help="Only those of pods in this namespace.")
@click.option("--incident", metavar="ID", help="Only those of this incident.")
@click.option("-l", "--selector", default="", help="Only those with these labels, as in kubectl.")
@place_options
@object_output_option
def list_command(
    namespace: str | None, incident: str | None, selector: str, place: Place, output: str
) -> None:
    """List the captures that were asked for, the oldest first."""
    wanted = _selector(incident, selector)
    _say(_narrowed(run(partial(_list, wanted, place)), namespace), output)


def _selector(incident: str | None, selector: str) -> str:
    from forensics_core.api.names import INCIDENT_LABEL

    parts = [selector, f"{INCIDENT_LABEL}={incident}" if incident else ""]
    return ",".join(part for part in parts if part)


async def _list(selector: str, place: Place) -> list[PodCheckpoint]:
    async with place.checkpoints() as checkpoints:
        return await checkpoints.list(label_selector=selector)


def _narrowed(found: list[PodCheckpoint], namespace: str | None) -> list[PodCheckpoint]:
    wanted = [one for one in found if namespace in (None, one.target_namespace)]
    return sorted(wanted, key=_order)


def _order(checkpoint: PodCheckpoint) -> tuple[str, str]:
    return str(checkpoint.metadata.creation_timestamp or ""), checkpoint.metadata.name


def _say(found: list[PodCheckpoint], output: str) -> None:
    from forensics_core.cli.describing import rows, say_data

    if output != "text":
        items = [one.to_dict() for one in found]
        say_data({"apiVersion": "v1", "kind": "List", "items": items}, output)
    elif found:
        say(rows(found))
    else:
        say("There are none.")
