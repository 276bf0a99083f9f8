"""The `forensics` command, also known as `kubectl forensics`.

Subcommands are loaded when they are used. Other packages add theirs by an entry point of the group
`forensics.commands`, whose name is the subcommand's and whose value is a `click.Command`.
"""

from __future__ import annotations

import importlib
import logging
import sys
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points
from pathlib import Path
from typing import Any, NoReturn

import click

from forensics_core._internal.extras import how_to_install, needing
from forensics_core._internal.startup import leave_out_pydantic_plugins
from forensics_core.api.names import PLURAL, RULE_PLURAL
from forensics_core.cli.interrupt import ignore_sigint
from forensics_core.cli.program import exit_on_error, leave
from forensics_core.cli.render import print_json
from forensics_core.errors import ForensicsError
from forensics_core.version import __version__

PLUGINS = "forensics.commands"
DISTRIBUTION = "kube-forensics"

_CHATTY = ("botocore", "aiobotocore")
"""They log tracebacks of what they raise as well."""
_MODULES = {
    "cancel": "checkpoints",
    "cat": "files",
    "checkpoint": "request",
    "crd": "main",
    "get": "checkpoints",
    "list": "checkpoints",
    "release": "checkpoints",
    "watch": "watching",
}
"""Where a command is; the others have a module of their own name."""
_NAMES = (
    *_MODULES,
    "compare",
    "export",
    "fetch",
    "incident",
    "ls",
    "report",
    "scan",
    "timeline",
    "verify",
)
_COMMANDS = {
    name: f"forensics_core.cli.{_MODULES.get(name, name)}:{name}_command" for name in _NAMES
}


class Forensics(click.Group):
    """A group that finds its commands by name, and reports what fails in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, plugins included."""
        return sorted({*_COMMANDS, *plugins()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command; a plugin that cannot be loaded says so when it is used."""
        # Ours first: no plugin takes the place of `verify`.
        if cmd_name in _COMMANDS:
            module, _, attribute = _COMMANDS[cmd_name].partition(":")
            command: click.Command = getattr(importlib.import_module(module), attribute)
            return command
        plugin = own_plugin(cmd_name) or plugins().get(cmd_name)
        return _load(plugin) if plugin else None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and turn what it raises into a line and an exit code."""
        with exit_on_error(debug=ctx.params["debug"]):
            return super().invoke(ctx)


@click.group(
    cls=Forensics,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--debug", is_flag=True, envvar="FORENSICS_DEBUG", help="Show a traceback when something fails."
)
@click.version_option(__version__, prog_name="forensics", message="%(prog)s %(version)s")
def forensics(debug: bool) -> None:
    """Capture running containers as verifiable evidence, and read the evidence back.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 evidence does not verify, 4 captured in part.
    """
    if not debug:
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.CRITICAL)


@click.command("crd", short_help="Print the CustomResourceDefinition.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["yaml", "json"]),
    default="yaml",
    show_default=True,
    help="How to print it.",
)
@click.argument("resource", type=click.Choice([PLURAL, RULE_PLURAL]), default=PLURAL)
def crd_command(output: str, resource: str) -> None:
    """Print the CustomResourceDefinition of PodCheckpoint, as this release knows it.

    It is what `kubectl apply -k deploy` installs: forensics crd | kubectl apply -f -

    `forensics crd capturerules` prints that of CaptureRule.
    """
    with needing("operator", "Printing it"):
        from forensics_core.api.capturerule_crd import capturerule_crd, capturerule_crd_yaml
        from forensics_core.api.crd import crd, crd_yaml
    rules = resource == RULE_PLURAL
    if output == "json":
        print_json(capturerule_crd() if rules else crd())
    else:
        click.echo(capturerule_crd_yaml() if rules else crd_yaml(), nl=False)


def main() -> None:
    """Run the command line; called by the console scripts. It ends the process."""
    leave_out_pydantic_plugins()
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character is no reason to fail.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # TextIO lacks it
    try:
        forensics(prog_name=_program_name())
    except SystemExit as end:
        ignore_sigint()
        if isinstance(end.code, int):
            leave(end.code)
        raise
    finally:
        ignore_sigint()


def _program_name() -> str | None:
    """Return the name that people typed: kubectl finds its plugins by their files' names."""
    plugin = Path(sys.argv[0]).stem == "kubectl-forensics"
    return "kubectl forensics" if plugin else None


def own_plugin(name: str, installed: str = DISTRIBUTION) -> EntryPoint | None:
    """Return a command of one distribution, without a look at all others that are installed."""
    try:
        own = distribution(installed).entry_points
    except PackageNotFoundError:
        return None
    return next((each for each in own if (each.group, each.name) == (PLUGINS, name)), None)


@cache
def plugins() -> dict[str, EntryPoint]:
    """Return the commands that installed packages add, by name."""
    return {plugin.name: plugin for plugin in entry_points(group=PLUGINS)}


def _load(plugin: EntryPoint) -> click.Command:
    try:
        command = plugin.load()
    # Whatever it is that a plugin lacks: the other commands are to work.
    except Exception as error:
        return _broken(plugin.name, f"{type(error).__name__}: {error}")
    if isinstance(command, click.Command):
        return command
    return _broken(plugin.name, f"{plugin.value} is not a click command")


def _broken(name: str, why: str) -> click.Command:
    """Return a command that takes any arguments and only says why it cannot run."""

    def explain(rest: tuple[str, ...]) -> NoReturn:
        raise ForensicsError(
            f"The command '{name}' cannot be loaded ({why})",
            hint=how_to_install("all"),
        )

    return click.Command(
        name,
        callback=explain,
        params=[click.Argument(["rest"], nargs=-1, type=click.UNPROCESSED)],
        context_settings={"ignore_unknown_options": True},
        short_help="(cannot be loaded)",
        # Its help would be that of a command which takes anything; why it is broken helps more.
        add_help_option=False,
    )
