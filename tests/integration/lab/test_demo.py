"""The demo as a stranger runs it: in a pipe to its end, or interrupted in the middle."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from lab.docker import DockerEngine
from lab.tamper import HOSTS_LINE, LOOT

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "lab.demo"]

CHANGES = ("C /etc/passwd", "A /tmp/.x/backdoor", "D /var/log/auth.log")

pytestmark = [pytest.mark.s3, pytest.mark.timeout(240)]


def environment(folder: Path) -> dict[str, str]:
    """Return variables that lead its files to the folder, and foreign ones that must do no harm."""
    foreign = {
        "AWS_PROFILE": "nobody",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "FORENSICS_RUNTIME_ENDPOINT": "unix:///nowhere",
    }
    return {**os.environ, **foreign, "TMPDIR": str(folder), "KUBECONFIG": "/nowhere"}


def start(
    *arguments: str, env: dict[str, str], before: Sequence[str] = ()
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*before, *COMMAND, *arguments],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def story(*arguments: str, env: dict[str, str], before: Sequence[str] = ()) -> str:
    """Let the demo come to its end, and return what it says; `before` begins its command."""
    with start(*arguments, env=env, before=before) as demo:
        assert demo.stdout
        said = demo.stdout.read()
    assert demo.returncode == 0, said
    return said


def interrupted(*arguments: str, env: dict[str, str], moment: str) -> str:
    """Press Ctrl-C once a line says the moment, and return all that is said."""
    said = ""
    with start(*arguments, env=env) as demo:
        assert demo.stdout
        for line in demo.stdout:
            said += line
            if moment in line:
                break
        else:
            pytest.fail(f"the moment never came: {said}")
        demo.send_signal(signal.SIGINT)
        said += demo.stdout.read()
    assert demo.returncode == 128 + signal.SIGINT
    return said


def check_story(said: str) -> None:
    evidence, _, rest = said.partition("\n== 3. ")
    deleted, _, report = rest.partition("\n== 4. ")
    check_deleted_pod(deleted)
    sealed = r"Verified: \d+ artifacts, \d+ bytes, manifest sha256:[0-9a-f]{64}\n"
    assert re.search(r"\nSeal: valid, made with the given key\n" + sealed, evidence)
    assert re.search(r"\n\d+ findings, the first of them:\n  high: ", report)
    page = Path(report.splitlines()[-1].removeprefix("The page stays, as "))
    assert page.read_text().startswith("<!doctype html>")
    assert said.count("\nVerified: ") == 2
    for change in CHANGES:
        assert f"\n{change}\n" in said
    assert "\x1b" not in said
    assert re.search(r"/srv/data' (is|lies)", said), "the volume is told"


def check_deleted_pod(said: str) -> None:
    """The pod waits for its capture by the rule, goes, and the intruder's file is there."""
    pod = re.search(r"^pod/(shop-b-\w+) condition met$", said, re.M)
    assert pod, said
    before, deleted, after = said.partition(f'\npod "{pod[1]}" deleted')
    assert deleted and "hold: true" in before
    assert re.search(rf"^{pod[1]}-\S+ +{pod[1]} +default +Complete ", after, re.M)
    listed, _, file = after.partition("\n$ kubectl get pods ")[2].partition("\n$ forensics cat ")
    assert pod[1] not in listed
    assert "\n#!/bin/sh\nnc -l -p 4444 -e /bin/sh\n" in file


def check_traces_off_disk(said: str) -> None:
    """The demo shows what was written to memory and to the runtime's files, and tells the rest."""
    assert f"\n{HOSTS_LINE}\n" in said and f"\n{LOOT}\n" in said
    assert re.search(r"mount /srv/data +NotRequested|mount /srv/data ", said)
    assert "/tmp/.cache/sleep" in said


def check_nothing_stays(folder: Path) -> None:
    assert running_in(folder) == []
    assert f"{folder}/" not in Path("/proc/self/mountinfo").read_text()
    assert list(folder.iterdir()) == []


async def leftovers(docker: DockerEngine, said: str) -> list[str]:
    """Return the demo's own containers that are still there: other tests may use the engine too."""
    names = {f"/{name}" for name in re.findall(r"\bshop-(?:b-)?[0-9a-f]{8}\b", said)}
    assert names, "the demo names its container"
    async with docker.client() as client:
        there = await client.containers.list(all=1)
    return [name for each in there for name in each["Names"] if name in names]


def running_in(folder: Path) -> list[bytes]:
    """Return the command lines of processes that speak of the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            found.append(path.read_bytes())
    return [line for line in found if os.fsencode(folder) in line]


async def test_it_ends_with_verified_evidence_and_leaves_nothing(
    docker: DockerEngine, tmp_path: Path
) -> None:
    said = story(env=environment(tmp_path) | docker.env)
    check_story(said)
    check_traces_off_disk(said)
    check_nothing_stays(tmp_path)
    assert await leftovers(docker, said) == []


@pytest.mark.skipif(
    subprocess.run(["unshare", "--user", "true"], capture_output=True).returncode != 0,
    reason="nobody may make a user namespace here",
)
async def test_without_root_it_says_what_is_missing_and_comes_to_its_end(
    docker: DockerEngine, tmp_path: Path
) -> None:
    """In a namespace without a root, everybody has only the rights of a file's owner."""
    rootless = ("unshare", "--user")
    said = story(env=environment(tmp_path) | docker.env, before=rootless)
    assert "\nYou are not root, so nobody may look" in said
    assert "\nMissing: processes of shop-" in said and "\nCaptured in part: " in said
    check_story(said)
    check_nothing_stays(tmp_path)


@pytest.mark.parametrize("moment", ["$ forensics collect", "$ kubectl delete"])
async def test_it_can_be_interrupted(docker: DockerEngine, tmp_path: Path, moment: str) -> None:
    said = interrupted(env=environment(tmp_path) | docker.env, moment=moment)
    assert "Stopping, and cleaning up" in said
    assert "Traceback" not in said
    check_nothing_stays(tmp_path)
    assert await leftovers(docker, said) == []


@pytest.mark.containerd
def test_it_tells_the_same_of_a_pod_on_containerd(tmp_path: Path) -> None:
    said = story("containerd", env=environment(tmp_path))
    assert re.search(r"^\$ forensics collect containerd://shop/shop-\w+/shop --to ", said, re.M)
    check_story(said)
    check_traces_off_disk(said)
    check_nothing_stays(tmp_path)


@pytest.mark.containerd
def test_it_can_be_interrupted_on_containerd(tmp_path: Path) -> None:
    said = interrupted("containerd", env=environment(tmp_path), moment="Capturing   ")
    assert "Stopping, and cleaning up" in said
    assert "Traceback" not in said
    check_nothing_stays(tmp_path)


def test_another_runtime_is_refused_in_a_line(tmp_path: Path) -> None:
    with start("podman", env=environment(tmp_path)) as demo:
        said, _ = demo.communicate()
    assert demo.returncode == 1
    line = (
        "Error: The demo knows no runtime 'podman'. Write RUNTIME=docker or RUNTIME=containerd.\n"
    )
    assert said == line
