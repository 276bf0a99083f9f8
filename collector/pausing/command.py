"""`forensics thaw`: let containers go on that a capture left standing still.

A capture resumes what it paused, and its supervisor does when it is killed. Only where both are
killed at once, as with a whole pod, somebody else has to: the operator's thaw Job, or a person.
"""

from __future__ import annotations

import sys

import anyio
import click

from forensics_core.cli.render import clean_message, counted, print_text
from forensics_core.errors import ContainerGone, ContainerNotFound


@click.command(name="thaw", short_help="Resume containers that a killed capture left paused.")
@click.argument("containers", metavar="RUNTIME://ID...", nargs=-1, required=True)
def thaw_command(containers: tuple[str, ...]) -> None:
    """Resume those of the containers that are paused; the others are left as they are.

    Containers that are gone need nothing. Exits with 1 if one could not be resumed.
    """
    stuck = anyio.run(_thaw, containers)
    for container, why in stuck.items():
        print_text(clean_message(f"Still paused: {container}: {why}"))
    if stuck:
        sys.exit(1)
    print_text(f"Nothing stands still any more: {counted(len(containers), 'container')} looked at.")


async def _thaw(references: tuple[str, ...]) -> dict[str, str]:
    from collector.local import single_scheme
    from collector.pausing.thaw import thaw
    from collector.runtimes.opening import open_runtime

    async with open_runtime(single_scheme(references), references[0]) as runtime:
        found = []
        for reference in references:
            try:
                found.append(await runtime.find(reference))
            except (ContainerGone, ContainerNotFound):
                continue
        return await thaw(runtime, found)
