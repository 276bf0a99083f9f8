from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio.lowlevel
import click
import pytest
import yaml
from click.testing import CliRunner

from forensics_core import __version__
from forensics_core.cli import main as cli
from forensics_core.cli.program import run
from forensics_core.errors import BundleNotFound

MINE = "tests.unit.cli.plugins"
Plug = Callable[..., None]


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Plug]:
    """Install a distribution that adds commands: its metadata, as pip writes them."""

    def install(**values: str) -> None:
        metadata = tmp_path / "plugins-1.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: plugins\nVersion: 1\n")
        rows = "\n".join(f"{name} = {value}" for name, value in values.items())
        (metadata / "entry_points.txt").write_text(f"[{cli.PLUGINS}]\n{rows}\n")
        monkeypatch.syspath_prepend(tmp_path)
        cli.plugins.cache_clear()

    yield install
    cli.plugins.cache_clear()


def invoke(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.forensics, arguments)
    return result.exit_code, result.stdout, result.stderr


def test_the_version() -> None:
    assert invoke("--version") == (0, f"forensics {__version__}\n", "")


def test_help_names_every_command(plug: Plug) -> None:
    plug(hello=f"{MINE}:hello", broken=f"{MINE}:nothing", wrong=f"{MINE}:wrong")
    code, out, _ = invoke("--help")
    assert code == 0
    shown = [" ".join(line.split()) for line in out.splitlines()]
    for command in ("checkpoint", "crd", "list", "get", "watch", "cancel", "fetch", "ls"):
        assert [line for line in shown if line.startswith(f"{command} ")]
    for line in ("verify Check that", "hello Say hello", "broken (cannot be loaded)"):
        assert [each for each in shown if each.startswith(line)]


def test_the_resource_definition_is_the_one_that_is_installed() -> None:
    installed = (Path(__file__).parents[3] / "deploy" / "crd.yaml").read_text()
    code, out, _ = invoke("crd")
    assert (code, yaml.safe_load(out)) == (0, yaml.safe_load(installed))
    assert out.startswith("apiVersion: ")
    code, out, _ = invoke("crd", "-o", "json")
    assert (code, json.loads(out)) == (0, yaml.safe_load(installed))


def test_a_plugin_runs(plug: Plug) -> None:
    plug(hello=f"{MINE}:hello")
    assert invoke("hello") == (0, "hello\n", "")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (f"{MINE}:nothing", "has no attribute 'nothing'"),
        ("no.such.module:x", "No module named"),
        (f"{MINE}:wrong", "is not a click command"),
    ],
)
def test_a_broken_plugin_says_why(plug: Plug, value: str, why: str) -> None:
    plug(broken=value, hello=f"{MINE}:hello")
    code, out, err = invoke("broken", "--some", "option", "--help")
    assert (code, out) == (1, "")
    assert err.startswith("Error: The command 'broken' cannot be loaded")
    assert why in err
    assert len(err.splitlines()) == 1
    assert invoke("hello")[0] == 0


def test_a_plugin_cannot_replace_a_command_of_ours(plug: Plug) -> None:
    plug(verify=f"{MINE}:hello")
    assert "Read all evidence" in invoke("verify", "--help")[1]


def test_an_unknown_command_is_wrong_usage() -> None:
    code, _, err = invoke("nothing")
    assert code == 2
    assert "No such command 'nothing'" in err


def test_what_we_raise_is_one_line_without_control_characters(plug: Plug) -> None:
    plug(fail=f"{MINE}:fail")
    code, _, err = invoke("fail")
    assert code == BundleNotFound.exit_code
    assert err == "Error: No bundle at \\x1b[2Jx\\n. Look elsewhere.\n"


def test_the_unexpected_is_one_line_and_says_how_to_see_more(plug: Plug) -> None:
    plug(crash=f"{MINE}:crash")
    code, _, err = invoke("crash")
    assert code == 1
    assert err.startswith("Error: Unexpected ZeroDivisionError: division by zero.")
    assert "forensics --debug" in err
    assert len(err.splitlines()) == 1


def test_debug_shows_the_traceback(plug: Plug) -> None:
    plug(crash=f"{MINE}:crash")
    _, _, err = invoke("--debug", "crash")
    assert "Traceback" in err
    assert "in crash" in err


def test_run_returns_what_the_work_returns() -> None:
    async def work() -> int:
        await anyio.lowlevel.checkpoint()
        return 7

    assert run(work) == 7


def in_a_process(program: str, plugins: Path | str = "") -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": f".:{plugins}"}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[3],
    )


@pytest.mark.parametrize(
    ("number", "code", "message"),
    [
        (signal.SIGINT, 130, "Error: Interrupted.\n"),
        (signal.SIGTERM, 143, "Error: Terminated by a signal.\n"),
    ],
)
def test_a_signal_cancels_and_lets_the_work_clean_up(
    number: signal.Signals, code: int, message: str, plug: Plug, tmp_path: Path
) -> None:
    plug(wait=f"{MINE}:wait")
    process = in_a_process(
        'from forensics_core.cli import main; main.forensics(["wait"])', tmp_path
    )
    assert process.stdout
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert out == "cleaned up\n"
    assert err == message


def test_help_imports_nothing_heavy() -> None:
    process = in_a_process(
        """
        import importlib.metadata, sys
        importlib.metadata.entry_points = lambda **_: ()  # nothing else is installed
        from forensics_core.cli import main
        try:
            main.forensics(["--help"])
        finally:
            heavy = {"aioboto3", "botocore", "aiohttp", "cryptography", "pydantic", "rich"}
            assert not heavy & set(sys.modules), heavy & set(sys.modules)
        """
    )
    out, err = process.communicate(timeout=20)
    assert err == ""
    assert "verify" in out


@pytest.mark.parametrize(("program", "rarely"), [("forensics", True), ("python3", False)])
def test_only_the_command_looks_for_garbage_rarely(program: str, rarely: bool) -> None:
    process = in_a_process(
        f"""
        import gc, sys
        usual = gc.get_threshold()[0]
        sys.argv[0] = "/usr/bin/{program}"
        import forensics_core.cli
        print(gc.get_threshold()[0] > usual)
        """
    )
    out, err = process.communicate(timeout=20)
    assert (out, err) == (f"{rarely}\n", "")


def test_a_reader_that_leaves_early_is_no_crash(plug: Plug, tmp_path: Path) -> None:
    plug(flood=f"{MINE}:flood")
    process = in_a_process(
        'from forensics_core.cli import main; main.forensics(["flood"])', tmp_path
    )
    assert process.stdout
    assert process.stdout.readline() == "flood\n"
    process.stdout.close()
    assert process.stderr
    assert process.stderr.read() == ""
    process.wait(20)
    process.stderr.close()


def test_main_survives_a_terminal_that_cannot_show_a_character() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    script = Path(sys.executable).with_name("forensics")
    done = subprocess.run(
        [script, "ls", "/nonexistent/é"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: There is nothing at file:///nonexistent/")


PROFILES = """
[profile process]
credential_process = /bin/false
[profile sso]
sso_start_url = https://127.0.0.1:9/start
sso_region = us-east-1
sso_account_id = 123456789012
sso_role_name = reader
[profile token]
role_arn = arn:aws:iam::123456789012:role/reader
web_identity_token_file = /nonexistent/token
"""


@pytest.mark.parametrize("profile", ["process", "sso", "token"])
def test_credentials_that_cannot_be_had_are_one_line(profile: str, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(PROFILES)
    aws = {"AWS_PROFILE": profile, "AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_REGION": "x"}
    command = [str(Path(sys.executable).with_name("forensics")), "ls", "s3://cases/x"]
    environment = {**os.environ, **aws, "HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: The credentials for ")
    assert "aws sso login" in done.stderr and len(done.stderr.splitlines()) == 1


def test_plugins_are_found_by_their_entry_points() -> None:
    context = click.Context(cli.forensics)
    assert "collect" in cli.forensics.list_commands(context)


def test_an_own_command_is_found_without_a_look_at_other_packages() -> None:
    cli.plugins.cache_clear()
    command = cli.forensics.get_command(click.Context(cli.forensics), "collect")
    assert command is not None and command.name == "collect"
    assert cli.plugins.cache_info().misses == 0, "all packages were looked at"


def test_a_copy_that_is_not_installed_looks_at_all_packages() -> None:
    assert cli.own_plugin("collect") is not None
    assert cli.own_plugin("collect", "no-such-distribution") is None
    assert "collect" in cli.plugins()
