"""A program that runs until a signal stops it: its options, and how it ends.

::

    @service_command("FORENSICS_CONFIG")
    def main(config: Path | None, kubeconfig: str | None, log_level: str) -> None:
        log_as_json(log_level)
        with exit_on_error():
            run_until_stopped(partial(serve, load_settings(config), kubeconfig))
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import click
from anyio.abc import TaskStatus

from forensics_core._internal.tasks import task_group
from forensics_core.errors import ForensicsError

Main = Callable[..., None]


def service_command(config_variable: str) -> Callable[[Main], click.Command]:
    """Make a command that takes `--config`, `--kubeconfig` and `--log-level`.

    `config_variable` is the environment variable that may name the settings instead.
    """
    options = (
        click.option(
            "--config",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            envvar=config_variable,
            help="The settings, a YAML file.",
        ),
        click.option("--kubeconfig", envvar="KUBECONFIG", help="Default: the pod's own account."),
        click.option(
            "--log-level",
            type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
            default="info",
            envvar="FORENSICS_LOG_LEVEL",
            show_default=True,
        ),
    )

    def make(main: Main) -> click.Command:
        for option in reversed(options):  # click lists the last one first
            main = option(main)
        return click.command(context_settings={"help_option_names": ["-h", "--help"]})(main)

    return make


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Print an error on one line and end the process with its exit code."""
    try:
        yield
    except ForensicsError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)


def run_until_stopped(work: Callable[[], Awaitable[object]]) -> None:
    """Run `work` to its end, or until SIGTERM or SIGINT: then it is cancelled, and cleans up."""
    anyio.run(_run, work)


async def _run(work: Callable[[], Awaitable[object]]) -> None:
    async with task_group() as tasks:
        await tasks.start(_cancel_at_signal, tasks.cancel_scope)
        await work()
        tasks.cancel_scope.cancel()


async def _cancel_at_signal(scope: anyio.CancelScope, *, task_status: TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()
            return
