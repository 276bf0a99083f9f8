"""Join a cluster as a node whose pods are processes of this machine.

    python -m forensics_loopback --kubeconfig FILE --node NAME [--controllers] [-- ENTRYPOINT...]

It runs the pods of Jobs that are bound to the node. With `--controllers` a scheduler and a Job
controller run beside it, for a `LoopbackCluster(workers=False)`; other clusters have their own.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import anyio
import click

from forensics_core.errors import ForensicsError
from forensics_core.kube.connection import connect
from forensics_loopback.client.remote import RemoteApi
from forensics_loopback.controllers.jobs import JobController
from forensics_loopback.controllers.scheduler import Scheduler
from forensics_loopback.kubelet.node import join
from forensics_loopback.kubelet.process import ProcessRunner


@click.command(help=__doc__)
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="By default as kubectl does.")
@click.option("--node", default="loopback", show_default=True, help="The node's name.")
@click.option("--controllers", is_flag=True, help="Run a scheduler and a Job controller too.")
@click.argument("entrypoint", nargs=-1)
def main(kubeconfig: Path | None, node: str, controllers: bool, entrypoint: Sequence[str]) -> None:
    """Run until interrupted."""
    logging.basicConfig(level=logging.WARNING)
    try:
        anyio.run(_run, kubeconfig, node, controllers, entrypoint)
    except ForensicsError as error:
        raise click.ClickException(str(error)) from error


async def _run(
    kubeconfig: Path | None, node: str, controllers: bool, entrypoint: Sequence[str]
) -> None:
    async with connect(kubeconfig) as cluster:
        api = RemoteApi(cluster)
        workers = (JobController(api), Scheduler(api)) if controllers else ()
        await join(api, node, ProcessRunner(entrypoint=entrypoint), *workers)


main()
