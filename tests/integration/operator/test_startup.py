"""`forensics-operator` that cannot start, or not do its work yet: one clear line."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from forensics_loopback import LoopbackCluster, User
from tests.programs import kubeconfig, program, start, until, write_keys

OPERATOR = program("forensics-operator")


def operator(folder: Path, config: Path, *options: str, **settings: object) -> list[str]:
    """Return the command line of an operator with these settings."""
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump({"healthPort": 0, **settings}))
    return [OPERATOR, "--config", str(path), "--kubeconfig", str(config), *options]


IMAGE = {"FORENSICS_COLLECTOR_IMAGE": "collector"}


@pytest.fixture
async def cluster() -> AsyncIterator[LoopbackCluster]:
    async with LoopbackCluster() as running:
        yield running


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is missing, or empty"),
        ("", "is missing, or empty"),
        ("{", "cannot be read"),
        ("[]", "kubeconfig"),
        ("current-context: a", "kubeconfig"),
    ],
)
async def test_a_kubeconfig_that_is_none(tmp_path: Path, content: str | None, said: str) -> None:
    config = tmp_path / "kubeconfig"
    if content is not None:
        config.write_text(content)
    (await start(operator(tmp_path, config), **IMAGE)).assert_one_line(1, said)


async def test_a_kubeconfig_whose_ca_file_is_missing(tmp_path: Path) -> None:
    options = {"certificate-authority": "/nowhere/ca.pem"}
    config = kubeconfig(tmp_path / "kubeconfig", **options)
    (await start(operator(tmp_path, config), **IMAGE)).assert_one_line(1, "/nowhere/ca.pem")


async def test_without_a_kubeconfig_outside_of_a_cluster(tmp_path: Path) -> None:
    command = [OPERATOR, "--config", os.devnull]
    ended = await start(command, HOME=str(tmp_path), **IMAGE)
    ended.assert_one_line(1, "KUBECONFIG")


@pytest.mark.parametrize("key", ["empty", "text", "rsa", "p384", "locked", "public"])
async def test_a_signing_key_of_a_wrong_kind(tmp_path: Path, key: str) -> None:
    write_keys(tmp_path)
    command = operator(tmp_path, kubeconfig(tmp_path / "config"), signingKey=str(tmp_path / key))
    ended = await start(command, **IMAGE)
    ended.assert_one_line(2, f"{tmp_path / key}: This is not a private key for seals")


async def test_a_signing_key_that_cannot_be_read(tmp_path: Path) -> None:
    command = operator(tmp_path, kubeconfig(tmp_path / "config"), signingKey=str(tmp_path))
    ended = await start(command, **IMAGE)
    ended.assert_one_line(2, f"The signing key {tmp_path} cannot be read: Is a directory")


async def test_a_port_file_that_cannot_be_written(tmp_path: Path) -> None:
    config = kubeconfig(tmp_path / "config")
    port_file = str(tmp_path / "none" / "port")
    ended = await start(operator(tmp_path, config, "--port-file", port_file), **IMAGE)
    ended.assert_one_line(2, f"{port_file} cannot be written: No such file")


async def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        command = operator(tmp_path, kubeconfig(tmp_path / "config"), healthPort=port)
        ended = await start(command, **IMAGE)
    ended.assert_one_line(2, f"Cannot listen on port {port}")


async def test_settings_that_are_missing(tmp_path: Path) -> None:
    ended = await start([OPERATOR, "--config", str(tmp_path / "none")])
    ended.assert_one_line(2, "does not exist")


def assert_log_lines(printed: str) -> None:
    """All that was printed is one line of JSON each, without a traceback."""
    assert "Traceback" not in printed
    assert all("message" in json.loads(line) for line in printed.splitlines())


async def test_a_cluster_that_is_away_is_waited_for(tmp_path: Path) -> None:
    command = operator(tmp_path, kubeconfig(tmp_path / "config"))
    ended = await until(command, "See whether the API server is up", **IMAGE)
    assert ended.code == 0
    assert_log_lines(ended.out)


async def test_a_token_that_the_cluster_does_not_know(
    tmp_path: Path, cluster: LoopbackCluster
) -> None:
    command = operator(tmp_path, kubeconfig(tmp_path / "config", cluster.url))
    ended = await until(command, "Log in to the cluster again", **IMAGE)
    assert ended.code == 0
    assert_log_lines(ended.out)


async def test_an_account_without_rights(tmp_path: Path, cluster: LoopbackCluster) -> None:
    cluster.enforce_rbac()
    config = await cluster.kubeconfig(tmp_path / "config", user=User("nobody"))
    ended = await until(operator(tmp_path, config), "Ask for the right", **IMAGE)
    assert ended.code == 0
    assert_log_lines(ended.out)


async def test_a_cluster_without_the_resource(tmp_path: Path, cluster: LoopbackCluster) -> None:
    name = {"name": "forensics-operator"}
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": name})
    config = await cluster.kubeconfig(tmp_path / "config")
    ended = await start(operator(tmp_path, config), **IMAGE)
    ended.assert_one_line(1, "podcheckpoints")
