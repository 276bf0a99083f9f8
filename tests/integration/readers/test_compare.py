"""A suspect that an intruder visited, compared with a replica and with its image, from Docker."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import anyio
import pytest

from lab.docker import DockerEngine
from lab.tamper import LOOT, Tampering, tamper, tamper_off_disk
from tests.programs import Ended, program, start

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="read from the node by root only")

LISTEN = """cp /bin/busybox /tmp/busybox
/tmp/busybox nc -l -p 4444 >/dev/null 2>&1 &
LD_PRELOAD=/tmp/x.so /bin/sleep 600 >/dev/null 2>&1 &
until grep -q 115C /proc/net/tcp*; do :; done"""
VOLUME = "/srv/data"


SLEEP = "/bin/busybox: /bin/sleep 600"


class Scene(NamedTuple):
    suspect: Path
    suspect_name: str
    replica: Path
    image: Path
    done: Tampering


async def forensics(*arguments: str | Path, **env: str) -> Ended:
    ended = await start([program("forensics"), *map(str, arguments)], **env)
    assert ended.code == 0, ended.err
    return ended


async def save(engine: DockerEngine, image: str, path: Path) -> Path:
    async with (
        engine.client() as client,
        client.images.export_image(image) as stream,
        await anyio.open_file(path, "wb") as file,
    ):
        async for chunk in stream.iter_chunked(1024 * 1024):
            await file.write(chunk)
    return path


async def play(docker: DockerEngine, image: str, folder: Path) -> Scene:
    names = f"shop-{uuid4().hex[:8]}", f"shop-{uuid4().hex[:8]}"
    options: dict[str, Any] = {"Env": ["MODE=shop"], "tmpfs": {VOLUME: ""}}
    async with (
        docker.container(image, name=names[0], **options) as suspect,
        docker.container(image, name=names[1], **options) as replica,
    ):
        done = await tamper(docker, suspect)
        await tamper_off_disk(docker, suspect)
        await docker.exec(suspect, LISTEN)
        for name, container in (("suspect", suspect), ("replica", replica)):
            to = ["--to", str(folder), "--subpath", "", "--name", name]
            await forensics("collect", f"docker://{container}", *to, **docker.env)
    saved = await save(docker, image, folder / "image.tar")
    return Scene(folder / "suspect", names[0], folder / "replica", saved, done)


@pytest.fixture(scope="module")
def scene(docker: DockerEngine, image: str, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return anyio.run(play, docker, image, tmp_path_factory.mktemp("compare"))


async def compared(*arguments: str | Path) -> dict[str, Any]:
    said = json.loads((await forensics("compare", *arguments, "-o", "json")).out)
    assert said["genuine"] and not said["missing"]
    (container,) = said["containers"]
    found: dict[str, Any] = container
    # What the containers' own loop runs, now and then.
    passing = "/bin/busybox: sleep 1"
    found["differences"] = [row for row in found["differences"] if row["subject"] != passing]
    return found


def subjects(found: dict[str, Any], area: str, kind: str) -> set[str]:
    rows = found["differences"]
    return {row["subject"] for row in rows if (row["area"], row["kind"]) == (area, kind)}


def traces(found: dict[str, Any]) -> dict[str, set[str]]:
    rows = [row for row in found["differences"] if row["area"] == "file"]
    return {
        kind: {row["subject"] for row in rows if row["kind"] == kind}
        for kind in ("only", "different", "missing")
    }


def planted(done: Tampering) -> dict[str, set[str]]:
    """Return what the intruder did. What a folder gained or lost is not a change of the folder."""
    paths = {
        "only": {*done.added, b"/tmp/.cache", b"/tmp/busybox", b"/dev/shm/.loot"}
        | {b"/srv/data/.wallet"},
        "different": {*done.changed} - {b"/srv/app/plugins"},
        "missing": {*done.deleted},
    }
    return {kind: {*map(os.fsdecode, several)} for kind, several in paths.items()}


RANKED = [
    ("file", "/tmp/.x/backdoor", "setuid-added"),
    ("file", "/tmp/.x/hardlink", "setuid-added"),
    ("environment variable", "LD_PRELOAD", "preload-in-environment"),
    ("file", "/etc/passwd", "uid-0-user"),
    ("file", "/etc/app.conf", "time-put-back"),
    ("process", "/tmp/busybox: /tmp/busybox nc -l -p 4444", "running-program-not-in-image"),
    ("process", "/tmp/.cache/sleep (deleted): /tmp/.cache/sleep 86400", "deleted-program-running"),
    ("file", "/tmp/busybox", "new-executable"),
    ("listening socket", "tcp6 :::4444", "undeclared-listening-socket"),
]


async def test_a_replica_lacks_every_trace_and_differs_in_nothing_else(scene: Scene) -> None:
    found = await compared(scene.suspect, scene.replica)
    assert traces(found) == planted(scene.done)
    ranked = [(row["area"], row["subject"], row.get("rule")) for row in found["differences"][:9]]
    assert ranked == RANKED
    assert not any("rule" in row for row in found["differences"][9:])
    assert subjects(found, "process", "only") == {RANKED[5][1], RANKED[6][1], SLEEP}
    assert {row["area"] for row in found["differences"]} == {row[0] for row in RANKED}
    assert not found["notes"]


async def test_two_replicas_do_not_differ(scene: Scene) -> None:
    found = await compared(scene.replica, scene.replica)
    assert not found["differences"] and not found["totals"]


async def test_the_image_lacks_every_trace_that_is_on_the_disk(scene: Scene) -> None:
    found = await compared(scene.suspect, "--baseline", scene.image)
    assert traces(found) == planted(scene.done)
    rules = [row.get("rule") for row in found["differences"]]
    assert rules[:5] == [rule for area, _, rule in RANKED if area == "file"]
    assert found["notes"] == [
        "An image has no processes, sockets and mounts: those are not compared"
    ]


async def test_a_healthy_container_is_as_its_image(scene: Scene) -> None:
    assert not (await compared(scene.replica, "--baseline", scene.image))["differences"]


async def test_lines_for_people_are_ranked_and_steer_no_terminal(scene: Scene) -> None:
    ended = await forensics("compare", scene.suspect, scene.replica)
    head, first, *_, last = ended.out.splitlines()[1:]
    assert head.split()[:2] == ["SEVERITY", "HOW"]
    assert first.split()[0] == "high" and "setuid-added" in first
    assert last.endswith(" differences")
    assert ended.out.replace("\n", "").isprintable() and r"/tmp/.x/line\nbreak" in ended.out


async def test_what_an_intruder_left_in_memory_and_in_mounts_is_scanned(
    scene: Scene, tmp_path: Path
) -> None:
    rules = tmp_path / "traces.yar"
    rules.write_text(
        f'rule Loot {{ strings: $a = "{LOOT}" condition: $a }}\n'
        'rule Backdoor { strings: $a = "nc -l -p 4444 -e /bin/sh" condition: $a }\n'
        'rule Preload { strings: $a = "LD_PRELOAD=/tmp/" condition: $a }\n'
    )
    said = json.loads((await forensics("scan", scene.suspect, rules, "-o", "json")).out)
    web = f"containers/{scene.suspect_name}/"
    found = {
        (row["artifact"].removeprefix(web), row["kind"], row["rule"]) for row in said["results"]
    }
    assert found == {
        ("mounts.tar.zst", "file", "Loot"),
        ("rootfs.tar.zst", "file", "Backdoor"),
        ("processes.json", "environment", "Preload"),
        ("proc.tar.zst", "file", "Preload"),
    }
    clean = json.loads((await forensics("scan", scene.replica, rules, "-o", "json")).out)
    assert not clean["results"] and clean["genuine"]
