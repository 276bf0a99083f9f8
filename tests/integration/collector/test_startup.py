"""`forensics collect` where it cannot begin: one clear line, an exit code, nothing stored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.docker import DockerEngine
from lab.seaweed import S3Identity, S3Server
from tests.programs import UNREACHABLE, program, start

COLLECT = (program("forensics"), "collect", "--no-gentle")
NO_METADATA = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null"}
KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
TO = ("--to", "TMP/cases")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*TO], "Missing argument 'RUNTIME://ID...'"),
        (["docker://web"], "Missing option '--to'"),
        (["docker://web", "--to", ""], "Missing option '--to'"),
        (["docker://web", "--to", "ftp://x/y"], "is not a location that evidence can go to"),
        (["docker://web", "--to", "s3://"], "names no S3 bucket"),
        (["docker://web", "--to", "s3://cases/../x"], "no '.' or '..'"),
        (["docker://web", "--to", "s3://cases/a\nb"], "has a prefix that cannot be used"),
        (["web", *TO], "does not say which container of which runtime"),
        (["podman://web", *TO], "is not a container runtime that this release can read"),
        (["docker://a", "containerd://b", *TO], "must be of one runtime"),
        (["docker://a", *TO, "--rate", "fast"], "'fast' is not a valid size"),
        (["docker://a", *TO, "--rate", "-1"], "'-1' is not a valid size"),
        (["docker://a", *TO, "--deadline", "0"], "0 is not in the range"),
        (["docker://a", *TO, "--deadline", "soon"], "'soon' is not a valid integer"),
        (["docker://a", *TO, "--artifact", "context"], "'context' is not one of"),
        (["docker://a", *TO, "--compression", "gzip"], "'gzip' is not one of"),
        (["docker://a", *TO, "--retention-days", "0"], "0 is not in the range"),
        (["docker://a", *TO, "--retention-mode", "Compliance"], "needs --retention-days"),
        (["docker://a", *TO, "--kms-key-id", "a\r\nX: y"], "Invalid value for '--kms-key-id'"),
        (["docker://a", *TO, "--incident", "a\nb"], "Invalid value for '--incident'"),
        (["docker://a", *TO, "--reason", "x" * 1025], "Invalid value for '--reason'"),
        (["docker://a", *TO, "--expected-bucket-owner", "a\r\nX: y"], "is not an account of AWS"),
        (["docker://a", *TO, "-o", "xml"], "'xml' is not one of"),
        (["docker://a", *TO, "--order", "x"], "--order goes with nothing else"),
        (
            ["docker://a", *TO, "--runtime-endpoint", "tcp://127.0.0.1:1"],
            "='tcp://127.0.0.1:1' is not a Unix socket",
        ),
    ],
)
async def test_wrong_usage(tmp_path: Path, arguments: list[str], said: str) -> None:
    filled = [word.replace("TMP", str(tmp_path)) for word in arguments]
    (await start([*COLLECT, *filled])).assert_one_line(2, said)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("scheme", ["docker", "containerd", "cri-o"])
async def test_a_runtime_that_does_not_run(tmp_path: Path, scheme: str) -> None:
    """Each is asked by its socket: what else runs on this machine is nothing to this test."""
    socket = f"unix://{tmp_path}/none.sock"
    variable = "DOCKER_HOST" if scheme == "docker" else "FORENSICS_RUNTIME_ENDPOINT"
    command = [*COLLECT, f"{scheme}://web", "--to", str(tmp_path / "cases")]
    (await start(command, **{variable: socket})).assert_one_line(1, "none.sock")
    assert not list(tmp_path.iterdir())


async def test_a_container_that_the_engine_does_not_know(
    docker: DockerEngine, tmp_path: Path
) -> None:
    command = [*COLLECT, "docker://nobody", "--to", str(tmp_path)]
    (await start(command, **docker.env)).assert_one_line(1, "knows no container")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("/proc/none", "Check the disk and the path"),
        ("TMP/file", "is not a folder"),
        ("TMP/file/below", "is not a folder"),
    ],
)
async def test_a_folder_that_cannot_be_written(
    docker: DockerEngine, image: str, tmp_path: Path, folder: str, said: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    command = [*COLLECT, "docker://CONTAINER", "--to", folder.replace("TMP", str(tmp_path))]
    await refused(docker, image, command, 1, said)
    assert (tmp_path / "file").read_text() == "in the way"


async def test_a_name_that_is_no_path(docker: DockerEngine, image: str, tmp_path: Path) -> None:
    command = [*COLLECT, "docker://CONTAINER", "--to", str(tmp_path), "--name", "../x"]
    await refused(docker, image, command, 2, "cannot be part of a bundle's path")


async def test_a_lock_that_a_folder_does_not_have(
    docker: DockerEngine, image: str, tmp_path: Path
) -> None:
    command = [*COLLECT, "docker://CONTAINER", "--to", str(tmp_path), "--legal-hold"]
    await refused(docker, image, command, 2, "it has neither Object Lock nor KMS")


@pytest.mark.parametrize(
    ("env", "code", "said"),
    [
        ({}, 1, "There are no credentials"),
        ({"AWS_PROFILE": "nobody"}, 2, "nobody"),
        ({**KEYS, "AWS_ENDPOINT_URL": "ftp:/x"}, 2, "Check AWS_ENDPOINT_URL"),
        ({**KEYS, "AWS_ENDPOINT_URL": UNREACHABLE}, 1, "cannot be reached"),
    ],
)
async def test_a_store_that_cannot_be_used(
    docker: DockerEngine, image: str, env: dict[str, str], code: int, said: str
) -> None:
    command = [*COLLECT, "docker://CONTAINER", "--to", "s3://cases"]
    await refused(docker, image, command, code, said, **NO_METADATA, **env)


async def test_a_bucket_that_does_not_exist(docker: DockerEngine, image: str, s3: S3Server) -> None:
    command = [*COLLECT, "docker://CONTAINER", "--to", "s3://no-such-bucket"]
    await refused(docker, image, command, 1, "no-such-bucket", **s3.env(S3Identity.COLLECTOR))


async def test_a_name_that_is_taken(docker: DockerEngine, image: str, tmp_path: Path) -> None:
    command = [*COLLECT, "docker://CONTAINER", "--to", str(tmp_path), "--name", "case"]
    command += ["--artifact", "inspect", "-o", "json"]
    container = await docker.create(image)
    filled = [word.replace("CONTAINER", container) for word in command]
    first = await start(filled, **docker.env)
    assert first.code == 0, first.err
    (manifest,) = tmp_path.rglob("manifest.json")
    before = manifest.read_bytes()
    (await start(filled, **docker.env)).assert_one_line(1, "exists")
    await docker.remove(container)
    assert manifest.read_bytes() == before and json.loads(first.out)["partial"] is False


async def refused(
    docker: DockerEngine, image: str, command: list[str], code: int, said: str, **env: str
) -> None:
    """See that a capture of a container that exists is refused in one line."""
    container = await docker.create(image)
    try:
        filled = [word.replace("CONTAINER", container) for word in command]
        ended = await start([*filled, "-o", "json"], **{**docker.env, **env})
    finally:
        await docker.remove(container)
    ended.assert_one_line(code, said)
    assert ended.out == ""
