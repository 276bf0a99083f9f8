"""`forensics watch`: follow a capture to its end."""

from __future__ import annotations

import click

from forensics_core.cli.durations import duration
from forensics_core.cli.options import object_output_option
from forensics_core.cli.place import Place, place_options


@click.command("watch", short_help="Follow a capture to its end.")
@click.argument("name")
@click.option("--timeout", type=duration, metavar="TIME", help="Stop watching after that.")
@place_options
@object_output_option
def watch_command(name: str, timeout: int | None, place: Place, output: str) -> None:
    """Follow the capture NAME to its end, as `checkpoint --wait` does.

    Says when the pod may be killed. Ends with 0 once everything is stored, and sealed if the
    operator has a key, 1 if the capture failed, 4 if something that was asked for is missing.
    Ctrl-C stops the watching only.
    """
    from forensics_core.cli.following import follow

    follow(name, place, output, timeout)
