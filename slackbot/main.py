"""`forensics-slackbot`: the entrypoint."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import anyio
import click

from forensics_core.errors import ForensicsError
from forensics_core.kube.connection import connect
from forensics_core.operator.jsonlog import log_as_json
from forensics_core.tasks import task_group
from slackbot.app import serve
from slackbot.evidence import read_key
from slackbot.settings import Settings, load_settings


async def _main(settings: Settings, kubeconfig: str | None) -> None:
    await read_key(settings.reader)
    async with connect(kubeconfig) as cluster, task_group() as tasks:
        tasks.start_soon(_until_told, tasks.cancel_scope)
        await serve(cluster, settings)


async def _until_told(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()
            return


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="SLACKBOT_CONFIG",
    help="The settings, a YAML file; docs/slack.md lists them.",
)
@click.option("--kubeconfig", envvar="KUBECONFIG", help="Default: the pod's own account.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    default="info",
    envvar="FORENSICS_LOG_LEVEL",
    show_default=True,
)
def main(config: Path | None, kubeconfig: str | None, log_level: str) -> None:
    """Answer /checkpoint in Slack, and report PodCheckpoints there."""
    log_as_json(log_level)
    try:
        settings = load_settings(config, dict(os.environ))
        anyio.run(_main, settings, kubeconfig)
    except ForensicsError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)
