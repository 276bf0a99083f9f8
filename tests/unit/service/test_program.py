"""A program that runs until a signal stops it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import anyio
import click
import pytest
from click.testing import CliRunner

from forensics_core.errors import ForensicsError, UsageError
from forensics_core.service.program import exit_on_error, run_until_stopped, service_command


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_cancels_the_work_and_lets_it_clean_up(stop: signal.Signals) -> None:
    seen: list[str] = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), stop)
            await anyio.sleep_forever()
        finally:
            seen.append("cleaned up")

    run_until_stopped(work)
    assert seen == ["cleaned up"]


def test_work_that_ends_by_itself_ends_the_program() -> None:
    seen: list[str] = []

    async def work() -> None:
        seen.append("done")

    run_until_stopped(work)
    assert seen == ["done"]


@pytest.mark.parametrize(("error", "code"), [(ForensicsError("No"), 1), (UsageError("No"), 2)])
def test_an_error_is_one_line_and_an_exit_code(
    error: ForensicsError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async def work() -> None:
        raise error

    with pytest.raises(SystemExit) as caught, exit_on_error():
        run_until_stopped(work)
    assert caught.value.code == code
    assert capsys.readouterr().err == "Error: No.\n"


def test_options_come_from_the_environment_too(tmp_path: Path) -> None:
    @service_command("EXAMPLE_CONFIG")
    def main(config: Path | None, kubeconfig: str | None, log_level: str) -> None:
        click.echo(f"{config} {kubeconfig} {log_level}")

    path = tmp_path / "config.yaml"
    path.touch()
    env = {"EXAMPLE_CONFIG": str(path), "KUBECONFIG": "k", "FORENSICS_LOG_LEVEL": "debug"}
    assert CliRunner().invoke(main, [], env=env).output == f"{path} k debug\n"
    assert CliRunner().invoke(main, ["--log-level", "loud"]).exit_code == 2
