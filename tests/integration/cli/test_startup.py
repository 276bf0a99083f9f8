"""`forensics` and its collector where they cannot begin: one clear line, the right exit code."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from forensics_core.api.crd import crd
from forensics_loopback import LoopbackCluster, User
from tests.bundles import write_bundle
from tests.programs import environment, kubeconfig, program, start, write_keys

FORENSICS = program("forensics")
NO_METADATA = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null"}
KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}


@pytest.fixture
async def bundle(tmp_path: Path) -> Path:
    await write_bundle(str(tmp_path / "bundle"))
    return tmp_path / "bundle"


@pytest.mark.parametrize("key", ["empty", "text", "rsa", "p384", "good"])
async def test_a_public_key_that_is_none(bundle: Path, tmp_path: Path, key: str) -> None:
    """Also where there is no seal: an empty file must not mean that none is asked for."""
    write_keys(tmp_path)
    ended = await start(
        [FORENSICS, "verify", str(bundle), "--key", str(tmp_path / key), "-o", "json"]
    )
    ended.assert_one_line(2, "This is not a public key")


@pytest.mark.parametrize(
    "command",
    [
        ["report", "BUNDLE", "-o", "/proc/none/report.html"],
        ["export", "BUNDLE", "--tar", "/proc/none/web.tar"],
        ["export", "BUNDLE", "--oci", "/proc/none"],
        ["export", "BUNDLE", "--seed", "/proc/none"],
        ["fetch", "BUNDLE", "/proc/none"],
        ["collect", "--order", "/proc/none/order.json"],
    ],
)
async def test_a_place_that_cannot_be_used(bundle: Path, command: list[str]) -> None:
    filled = [str(bundle) if word == "BUNDLE" else word for word in command]
    ended = await start([FORENSICS, *filled])
    assert "Traceback" not in ended.err and ended.code in {1, 2}
    *_, last = ended.err.splitlines()
    assert last.startswith("Error: ") and "/proc/none" in last and "Unexpected" not in last


@pytest.mark.parametrize(
    ("env", "code", "said"),
    [
        ({}, 1, "There are no credentials"),
        ({**KEYS, "AWS_ENDPOINT_URL": "ftp:/x"}, 2, "Check AWS_ENDPOINT_URL"),
        ({**KEYS, "AWS_ENDPOINT_URL": "http://h:99999"}, 1, "Check AWS_ENDPOINT_URL"),
        ({**KEYS, "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, 1, "cannot be reached"),
        ({"AWS_PROFILE": "nobody"}, 2, "nobody"),
    ],
)
async def test_storage_that_cannot_be_used(env: dict[str, str], code: int, said: str) -> None:
    ended = await start([FORENSICS, "ls", "s3://cases/x"], **NO_METADATA, **env)
    ended.assert_one_line(code, said)


@pytest.mark.parametrize(
    ("content", "said"), [("", "is missing, or empty"), ("{", "cannot be read")]
)
async def test_a_kubeconfig_that_is_none(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "config").write_text(content)
    ended = await start([FORENSICS, "list", "--kubeconfig", str(tmp_path / "config")])
    ended.assert_one_line(1, said)


async def test_a_cluster_that_cannot_be_used(tmp_path: Path) -> None:
    async def listing(config: Path, said: str) -> None:
        (await start([FORENSICS, "list", "--kubeconfig", str(config)])).assert_one_line(1, said)

    options = {"certificate-authority": "/nowhere/ca.pem"}
    await listing(kubeconfig(tmp_path / "ca", **options), "/nowhere/ca.pem")
    await listing(kubeconfig(tmp_path / "away"), "See whether the API server is up")
    async with LoopbackCluster() as cluster:
        await listing(kubeconfig(tmp_path / "wrong", cluster.url), "Log in to the cluster again")
        config = await cluster.kubeconfig(tmp_path / "right")
        await listing(config, "The cluster knows no PodCheckpoints")
        nobody = await cluster.kubeconfig(tmp_path / "nobody", user=User("nobody"))
        cluster.create(crd())
        cluster.enforce_rbac()
        await listing(nobody, "Ask for the right")


async def test_a_reader_that_has_seen_enough(bundle: Path) -> None:
    """As in `forensics ls | head -0`."""
    async with await anyio.open_process([FORENSICS, "ls", str(bundle)], env=environment({})) as ls:
        assert ls.stdout and ls.stderr
        await ls.stdout.aclose()
        said = b"".join([chunk async for chunk in ls.stderr])
        await ls.wait()
    assert b"Traceback" not in said and b"Exception ignored" not in said


async def test_ctrl_c_in_the_middle(tmp_path: Path) -> None:
    """The cluster is away in a way that takes long: its port is open, and nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = kubeconfig(tmp_path / "config", f"http://127.0.0.1:{silent.getsockname()[1]}")
        command = [FORENSICS, "list", "--kubeconfig", str(config)]
        async with await anyio.open_process(
            command, env=environment({}), stdin=subprocess.DEVNULL
        ) as process:
            asked, _ = await to_thread.run_sync(silent.accept)
            with asked:
                process.send_signal(signal.SIGINT)
                assert process.stderr
                said = b"".join([chunk async for chunk in process.stderr])
                await process.wait()
    assert process.returncode == 130
    assert said.decode().splitlines() == ["Error: Interrupted."]
