"""`forensics incident INC`: many pods of one incident as one thing; its subcommands."""

from __future__ import annotations

import importlib
import re

import click

from forensics_core.cli.options import INCIDENT_ID
from forensics_core.errors import UsageError

_ID = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
"""What a label may be, as the id is put on one."""
_SUBCOMMANDS = {
    "checkpoint": "incident_checkpoint:incident_checkpoint_command",
    "report": "incident_report:incident_report_command",
    "status": "incident_status:incident_status_command",
}
"""Where each is; loaded when it is used."""


class _IncidentGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _SUBCOMMANDS:
            return None
        module, _, attribute = _SUBCOMMANDS[cmd_name].partition(":")
        loaded = importlib.import_module(f"forensics_core.cli.{module}")
        command: click.Command = getattr(loaded, attribute)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # Whoever types `incident status INC-7` means the same, and has other things to think of.
        if len(args) > 1 and args[0] in _SUBCOMMANDS and args[1] not in (*_SUBCOMMANDS, "--help"):
            args = [args[1], args[0], *args[2:]]
        return super().parse_args(ctx, args)


@click.group(
    "incident",
    cls=_IncidentGroup,
    invoke_without_command=True,
    subcommand_metavar="[checkpoint | status | report] [OPTIONS]",
    short_help="Capture many pods of one incident, and see how they stand.",
)
@click.argument("incident")
@click.pass_context
def incident_command(ctx: click.Context, incident: str) -> None:
    """Capture the pods of INCIDENT, see which may be killed, and report on all evidence of it.

    \b
    forensics incident INC-7 checkpoint -n shop -l app=web
    forensics incident INC-7 status --watch
    forensics incident INC-7 report -o report/

    Without a subcommand it is `status`.
    """
    if not _ID.fullmatch(incident):
        raise UsageError(f"{incident!a} is not {INCIDENT_ID}", hint="Such as INC-4711")
    ctx.obj = incident
    if ctx.invoked_subcommand is None:
        from forensics_core.cli.incident_status import incident_status_command

        with incident_status_command.make_context("status", [], parent=ctx) as status:
            incident_status_command.invoke(status)
