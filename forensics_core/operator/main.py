"""`forensics-operator`: the entrypoint."""

from __future__ import annotations

import gc
import os
import secrets
import signal
import socket
import sys
from pathlib import Path

import anyio
import click

from forensics_core.allocator import use_one_arena
from forensics_core.errors import ForensicsError, UsageError
from forensics_core.kube.connection import Cluster, connect
from forensics_core.kube.lease import LeaseName, LeaseTiming, lead
from forensics_core.kube.models import forget_models
from forensics_core.operator.controller import Controller
from forensics_core.operator.health import Contact, health_server
from forensics_core.operator.jsonlog import log_as_json
from forensics_core.operator.metrics import CONTROLLER, Metrics
from forensics_core.operator.settings import Settings, load_settings
from forensics_core.operator.signing import check_key
from forensics_core.tasks import task_group


async def operate(
    cluster: Cluster,
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
    me = f"{socket.gethostname()}-{secrets.token_hex(4)}"
    leaders: list[Controller] = []
    contact = Contact()

    def ready() -> bool:
        return contact.recent and all(controller.ready for controller in leaders)

    async def work() -> None:
        controller = Controller(cluster, settings, metrics, me)
        leaders.append(controller)
        metrics.leading.labels(name=CONTROLLER).set(1)
        await controller.run()

    lease = LeaseName(settings.lease_name, settings.lease_namespace)
    metrics.leading.labels(name=CONTROLLER).set(0)
    async with (
        health_server(settings.health_port, metrics, ready) as port,
        cluster.apart() as own,
    ):
        if port_file is not None:
            await _write_port(anyio.Path(port_file), port)
        await lead(own, lease, me, work, timing=timing, heard=contact.heard)


async def _write_port(file: anyio.Path, port: int) -> None:
    try:
        await file.write_text(str(port))
    except OSError as error:
        raise UsageError(
            f"{file} cannot be written: {error.strerror}", hint="Name another --port-file"
        ) from error


async def _main(settings: Settings, kubeconfig: str | None, port_file: Path | None) -> None:
    await check_key(settings)
    async with connect(kubeconfig) as cluster, task_group() as tasks:
        tasks.start_soon(_until_told, tasks.cancel_scope)
        await operate(cluster, settings, port_file=port_file)


async def _until_told(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()
            return


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="FORENSICS_CONFIG",
    help="The settings, a YAML file.",
)
@click.option("--kubeconfig", envvar="KUBECONFIG", help="Default: the pod's own account.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    default="info",
    envvar="FORENSICS_LOG_LEVEL",
    show_default=True,
)
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
    forget_models()
    log_as_json(log_level)
    # What was imported stays: nobody has to look through it for garbage again and again.
    gc.freeze()
    try:
        settings = load_settings(config, dict(os.environ))
        anyio.run(_main, settings, kubeconfig, port_file)
    except ForensicsError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)
