"""`forensics collect` as it is typed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import anyio
import pytest
from anyio.abc import Process

from forensics_core.bundle.layout import is_of_attempt
from lab.docker import DockerEngine
from lab.faults import Misbehaviour, StoreFault
from lab.seaweed import S3Identity, S3Server
from lab.sink import StoreSink
from tests.integration.collector.conftest import Bundle

FORENSICS = str(Path(sys.executable).with_name("forensics"))
NOISE = "dd if=/dev/urandom of=/noise bs=1M count=48 2>/dev/null"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="read from the node by root only")


async def forensics(*arguments: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[bytes]:
    command = [FORENSICS, "collect", *arguments]
    return await anyio.run_process(command, check=False, env={**os.environ, **env})


async def test_a_capture_says_where_it_is(docker: DockerEngine, image: str, tmp_path: Path) -> None:
    async with docker.container(image, name="kf-lab-web") as container:
        run = await forensics("docker://kf-lab-web", "--to", str(tmp_path), env=docker.env)
    assert run.returncode == 0, run.stderr
    *_, captured, digest = run.stdout.decode().splitlines()
    (folder,) = (tmp_path / "forensics").iterdir()
    assert "_docker_kf-lab-web_" in folder.name and is_of_attempt(folder.name, 1)
    assert captured.startswith("Captured: 24 artifacts") and folder.as_uri() in captured
    assert digest.startswith("manifest sha256:")
    capture = Bundle(folder).capture
    assert capture.containers[0].container_id == f"docker://{container}"
    assert b"Capturing: 24/24 artifacts" in run.stderr


async def test_what_is_missing_makes_it_partial_in_json_too(
    docker: DockerEngine, image: str, tmp_path: Path
) -> None:
    async with docker.container(image) as container:
        options = [
            "--artifact",
            "inspect",
            "--artifact",
            "volumes",
            "--volume",
            "none",
            "-o",
            "json",
        ]
        options += ["--name", "case", "--subpath", "", "--reason", "test", "--incident", "INC-1"]
        run = await forensics(
            f"docker://{container}", "--to", tmp_path.as_uri(), *options, env=docker.env
        )
    assert run.returncode == 4 and run.stderr == b""
    said = json.loads(run.stdout)
    assert said["partial"] is True and said["location"] == f"{tmp_path.as_uri()}/case/"
    assert [gap["what"] for gap in said["notCaptured"] if gap["requested"]] == ["volume none"]
    assert Bundle(tmp_path / "case").capture.order.incident == "INC-1"


@pytest.mark.skipif(os.geteuid() != 0, reason="read from the node by root only")
@pytest.mark.parametrize(("option", "held"), [("--freeze", "ptrace"), ("--no-freeze", "nothing")])
async def test_memory_on_request(
    option: str, held: str, docker: DockerEngine, image: str, tmp_path: Path
) -> None:
    async with docker.container(image) as container:
        options = ["--artifact", "memory", option, "--name", "case", "--subpath", ""]
        run = await forensics(
            f"docker://{container}", "--to", str(tmp_path), *options, env=docker.env
        )
    assert run.returncode == 0, run.stdout
    (document,) = (tmp_path / "case").rglob("memory.json")
    rows = json.loads(document.read_bytes())["processes"]
    assert rows and {row["held"]["how"] for row in rows} == {held}
    assert all((document.parent / row["core"]).exists() for row in rows)


async def test_what_is_missing_is_printed(docker: DockerEngine, image: str, tmp_path: Path) -> None:
    async with docker.container(image) as container:
        run = await forensics(
            *(f"docker://{container}", "--to", str(tmp_path), "--artifact", "volumes"),
            *("--volume", "nowhere"),
            env=docker.env,
        )
    assert run.returncode == 4
    first, *_, last = run.stdout.decode().splitlines()
    assert first.startswith("Missing: volume nowhere of ") and "(NotFound)" in first
    assert "Captured in part: " in run.stdout.decode() and "sha256:" in last


async def test_a_budget_and_a_volume_by_name(
    docker: DockerEngine, image: str, tmp_path: Path
) -> None:
    script = """
        exec 7> /tmp/large; head -c 9000 /dev/urandom >&7; rm /tmp/large; echo inside > /data/in
        touch /ready; sleep 1000
    """
    command = ("/bin/sh", "-c", script)
    async with docker.container(image, command, Volumes={"/data": {}}) as container:
        await docker.exec(container, "while ! [ -e /ready ]; do sleep 0.1; done")
        run = await forensics(
            *(f"docker://{container}", "--to", str(tmp_path), "--name", "case", "--subpath", ""),
            *("--volume", "/data", "--deleted-budget", "4KiB"),
            env=docker.env,
        )
    assert run.returncode == 0
    bundle = Bundle(tmp_path / "case")
    assert bundle.gaps()["deleted file /tmp/large"] == "TooLarge"
    assert "mount /data" not in bundle.gaps()


async def test_into_a_locked_bucket(
    docker: DockerEngine, image: str, s3: S3Server, locked_bucket: str
) -> None:
    options = ["--retention-days", "1", "--retention-mode", "governance", "--legal-hold"]
    async with docker.container(image) as container:
        run = await forensics(
            f"docker://{container}",
            *("--to", f"s3://{locked_bucket}/a", *options),
            env={**docker.env, **s3.env(S3Identity.COLLECTOR)},
        )
    assert run.returncode == 0, run.stderr
    assert f"s3://{locked_bucket}/a/forensics/" in run.stdout.decode()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["docker://no-such-container", "--to", "TMP"], 1, "knows no container"),
        (["web", "--to", "TMP"], 2, "docker://NAME"),
        (["podman://web", "--to", "TMP"], 2, "not a container runtime"),
        (["docker://web", "docker2://web", "--to", "TMP"], 2, "of one runtime"),
        (["docker://web", "--to", "ftp://x"], 2, "s3://bucket"),
        (["docker://web", "--to", "TMP", "--retention-mode", "Compliance"], 2, "--retention-days"),
        (["docker://CONTAINER", "--to", "TMP", "--name", "../up"], 2, "cannot be part"),
        (["docker://CONTAINER", "--to", "TMP", "--legal-hold"], 2, "neither Object Lock"),
    ],
)
async def test_mistakes_are_explained_in_one_line(
    arguments: list[str], code: int, said: str, docker: DockerEngine, image: str, tmp_path: Path
) -> None:
    container = await docker.create(image)
    filled = [a.replace("TMP", str(tmp_path)).replace("CONTAINER", container) for a in arguments]
    run = await forensics(*filled, env=docker.env)
    await docker.remove(container)
    *_, line = run.stderr.decode().splitlines()
    assert (run.returncode, line.startswith("Error: ")) == (code, True), run.stderr
    assert said in line and "Traceback" not in run.stderr.decode()
    assert not list(tmp_path.iterdir())


async def test_no_engine(tmp_path: Path) -> None:
    env = {"DOCKER_HOST": f"unix://{tmp_path}/none"}
    run = await forensics("docker://web", "--to", str(tmp_path), env=env)
    assert run.returncode == 1
    assert b"Start it, or set DOCKER_HOST" in run.stderr.splitlines()[-1]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_in_the_middle_of_an_upload(
    number: signal.Signals, code: int, docker: DockerEngine, image: str, sink: StoreSink
) -> None:
    sink.faults.add(StoreFault(Misbehaviour.SLOW, "UploadPart", rate=200_000, times=None))
    async with docker.container(image, ("/bin/sh", "-c", f"{NOISE}; exec sleep 999")) as container:
        await docker.exec(
            container, "until [ $(stat -c %s /noise) = 50331648 ]; do sleep 0.1; done"
        )
        command = [FORENSICS, "collect", f"docker://{container}", "--to", "s3://cases"]
        environment = {**os.environ, **docker.env, **sink.env}
        async with await anyio.open_process(command, env=environment) as process:
            while not sink.count("UploadPart"):  # noqa: ASYNC110  # another process's doing
                await anyio.sleep(0.05)
            (tar,) = _descendants(process)
            process.send_signal(number)
            assert process.stderr and process.stdout
            said = b"".join([chunk async for chunk in process.stderr]).decode()
            await process.wait()
    assert process.returncode == code
    assert "uploads were aborted" in said.splitlines()[-1] and "Traceback" not in said
    assert not sink.uploads
    assert not [key for key in sink.objects if "manifest" in key or "rootfs" in key]
    with pytest.raises(ProcessLookupError):
        os.kill(tar, 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_while_the_manifest_is_being_stored_comes_too_late(
    number: signal.Signals, docker: DockerEngine, image: str, sink: StoreSink
) -> None:
    sink.faults.add(StoreFault(Misbehaviour.LATE, "PutObject", key="manifest.json", delay=2.0))
    async with docker.container(image) as container:
        options = ["--to", "s3://cases", "--name", "case", "--artifact", "inspect"]
        command = [FORENSICS, "collect", f"docker://{container}", *options]
        environment = {**os.environ, **docker.env, **sink.env}
        async with await anyio.open_process(command, env=environment) as process:
            while not sink.count("PutObject", "manifest.json"):  # noqa: ASYNC110  # another's doing
                await anyio.sleep(0.05)
            process.send_signal(number)
            assert process.stderr and process.stdout
            said = b"".join([chunk async for chunk in process.stdout]).decode()
            await process.wait()
    assert process.returncode == 0
    assert "in s3://cases/forensics/case/\nmanifest sha256:" in said
    assert "cases/forensics/case/manifest.json" in sink.objects


def _descendants(process: Process) -> list[int]:
    found = []
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        with suppress(FileNotFoundError):
            found += [int(number) for number in (task / "children").read_text().split()]
    return found
