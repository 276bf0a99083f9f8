"""`forensics-operator`: the entrypoint."""

from __future__ import annotations

import gc
import os
import secrets
import socket
from functools import partial
from pathlib import Path

import anyio
import click

from forensics_core._internal.allocator import use_one_arena
from forensics_core.errors import UsageError
from forensics_core.kube.connection import ClusterConnection, connect
from forensics_core.kube.lease import LeaseName, LeaseTiming, lead
from forensics_core.operator.controller import Controller
from forensics_core.operator.settings import Settings, load_settings
from forensics_core.operator.shared.metrics import CONTROLLER, Metrics
from forensics_core.operator.shared.operator_context import check_key
from forensics_core.service.health import Contact, health_server
from forensics_core.service.logs import log_as_json
from forensics_core.service.program import exit_on_error, run_until_stopped, service_command

RECENT_SECONDS = 15.0
"""Seconds for which an answer of the API server shows that it can be reached."""


async def operate(
    cluster: ClusterConnection,
    settings: Settings,
    *,
    port_file: Path | None = None,
    timing: LeaseTiming | None = None,
) -> None:
    """Run one replica until cancelled: wait for the Lease, then work while holding it.

    `port_file` gets the health server's port, for callers that let it choose. Raises `LeaseLost`
    when another replica may have taken over; starting again is right then.
    """
    metrics = Metrics()
    identity = f"{socket.gethostname()}-{secrets.token_hex(4)}"
    leaders: list[Controller] = []
    contact = Contact(RECENT_SECONDS)

    async def ready() -> bool:
        return contact.recent and all(controller.ready for controller in leaders)

    async def work() -> None:
        controller = Controller(cluster, settings, metrics, identity)
        leaders.append(controller)
        metrics.leading.labels(name=CONTROLLER).set(1)
        await controller.run()

    lease = LeaseName(settings.lease_name, settings.lease_namespace)
    metrics.leading.labels(name=CONTROLLER).set(0)
    async with (
        health_server(settings.health_port, ready=ready, metrics=metrics.exposition) as port,
        cluster.apart() as own,
    ):
        if port_file is not None:
            await _write_port(anyio.Path(port_file), port)
        await lead(own, lease, identity, work, timing=timing, heard=contact.heard)


async def _write_port(file: anyio.Path, port: int) -> None:
    try:
        await file.write_text(str(port))
    except OSError as error:
        raise UsageError(
            f"{file} cannot be written: {error.strerror}", hint="Name another --port-file"
        ) from error


async def _main(settings: Settings, kubeconfig: str | None, port_file: Path | None) -> None:
    await check_key(settings)
    async with connect(kubeconfig) as cluster:
        await operate(cluster, settings, port_file=port_file)


@service_command("FORENSICS_CONFIG")
@click.option(
    "--port-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the health server's port here.",
)
def main(
    config: Path | None, kubeconfig: str | None, log_level: str, port_file: Path | None
) -> None:
    """Watch PodCheckpoints and capture what they ask for."""
    use_one_arena()
    log_as_json(log_level)
    # What was imported stays: nobody has to look through it for garbage again and again.
    gc.freeze()
    with exit_on_error():
        settings = load_settings(config, dict(os.environ))
        run_until_stopped(partial(_main, settings, kubeconfig, port_file))
