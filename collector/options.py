"""Options of `forensics collect` whose values are more than a word or a number."""

from __future__ import annotations

import click

MAX_RECORD = 86400
"""Seconds of a recording that may be asked for: a day."""


def requestable(_: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Hold an option to what a PodCheckpoint may say in its place."""
    if not value:
        return value
    # Loaded only where an option needs it: all of the resource takes a while.
    from pydantic import ValidationError

    from forensics_core.api.podcheckpoint import PodCheckpointSpec

    name = str(parameter.name)
    field = {"encryption": {"kmsKeyId": value}} if name == "kms_key_id" else {name: value}
    try:
        PodCheckpointSpec.model_validate({"pod": "any", **field})
    except ValidationError as error:
        raise click.BadParameter(error.errors()[0]["msg"]) from error
    return value


record_option = click.option(
    "--record",
    type=click.IntRange(0, MAX_RECORD),
    default=0,
    metavar="SECONDS",
    help="Record execs, writes, connections, packets: so long, or as the capture takes.",
)
