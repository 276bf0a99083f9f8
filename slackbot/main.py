"""`forensics-slackbot`: the entrypoint."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from forensics_core.kube.connection import connect
from forensics_core.service.logs import log_as_json
from forensics_core.service.program import exit_on_error, run_until_stopped, service_command
from slackbot.app import serve
from slackbot.settings import Settings, load_settings


async def _main(settings: Settings, kubeconfig: str | None) -> None:
    async with connect(kubeconfig) as cluster:
        await serve(cluster, settings)


@service_command("SLACKBOT_CONFIG")
def main(config: Path | None, kubeconfig: str | None, log_level: str) -> None:
    """Answer /checkpoint in Slack, and report PodCheckpoints there."""
    log_as_json(log_level)
    with exit_on_error():
        settings = load_settings(config, dict(os.environ))
        run_until_stopped(partial(_main, settings, kubeconfig))
