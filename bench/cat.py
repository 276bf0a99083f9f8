"""Reading one file out of a large archive: how long it takes, and how much is fetched for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import anyio

from bench.measure import measure
from bench.page import PartResult, measured, table
from bench.runs import environment
from bench.subjects import Contents, room, running_container
from lab.docker import DockerEngine
from lab.images import GiB, MiB
from lab.process import LabError
from lab.seaweed import S3Server, running_s3_server
from lab.tap import Tap, running_tap

CONTENTS = Contents(files=60_000, small=750 * MiB, noise=4 * GiB - 750 * MiB)
"""An archive of 4 GiB."""
COUNT, SIZE = 8, 500_000
"""Files that are read, and their bytes: noise, of which nothing can be saved."""
BUCKET = "bench"
COLLECT = f'forensics collect "docker://$CONTAINER" --to s3://{BUCKET} --name cat'
CAT = f'exec forensics cat s3://{BUCKET}/forensics/cat/ "$FILE"'


@dataclass(frozen=True, slots=True)
class CatReading:
    """One file read by one command."""

    wall: float
    """Seconds."""
    fetched: int
    """Bytes that the endpoint sent for it, whatever they were."""


@dataclass(frozen=True, slots=True)
class Readings:
    """Every file read once."""

    words: str
    """What the container held."""
    stored: int
    """Bytes of the archive, as it lies in S3."""
    each: tuple[CatReading, ...]


def measure_cat(
    engine: DockerEngine, contents: Contents, folder: Path, count: int = COUNT
) -> Readings | None:
    """Capture a container into a real S3 server and read files back; None if there is no room."""
    if room(engine) < 2 * contents.size + GiB:
        return None
    with running_container(engine, contents, folder) as container, _server() as (s3, tap):
        anyio.run(engine.exec, container, _wanted(count))
        name = str(anyio.run(engine.inspect, container)["Name"]).lstrip("/")
        env = {**environment(engine, s3.env()), "CONTAINER": container}
        _run(COLLECT, folder, env)
        files = [f"{name}:/wanted/{number}" for number in range(count)]
        each = tuple(_read(tap, folder, {**env, "FILE": file}) for file in files)
        return Readings(contents.words, anyio.run(_stored, s3), each)


def _wanted(count: int) -> str:
    return f"""mkdir /wanted
for i in $(seq 0 {count - 1}); do head -c {SIZE} /dev/urandom > /wanted/$i; done"""


@contextmanager
def _server() -> Iterator[tuple[S3Server, Tap]]:
    """Run a server for the block, the way to which leads through a tap."""
    with running_s3_server() as s3:
        anyio.run(_make_bucket, s3)
        with running_tap(urlsplit(s3.endpoint).port or 0) as tap:
            yield replace(s3, endpoint=f"http://127.0.0.1:{tap.port}"), tap


async def _make_bucket(s3: S3Server) -> None:
    await s3.create_bucket(BUCKET, policy={})


def _run(script: str, folder: Path, env: Mapping[str, str]) -> float:
    with TemporaryDirectory(dir=folder) as scratch:
        return measure(script, folder=Path(scratch), env={**env, "TMPDIR": scratch}).wall


def _read(tap: Tap, folder: Path, env: Mapping[str, str]) -> CatReading:
    before = tap.passed
    wall = _run(f"[ $({CAT} | wc -c) = {SIZE} ]", folder, env)
    return CatReading(wall, tap.passed - before)


async def _stored(s3: S3Server) -> int:
    async with s3.client() as client:
        listed = await client.list_objects_v2(Bucket=BUCKET)
    sizes = [row["Size"] for row in listed["Contents"] if row["Key"].endswith("/rootfs.tar.zst")]
    if len(sizes) != 1:
        raise LabError("The capture to read from has no archive")
    return sizes[0]


def finding(readings: Readings | None) -> PartResult:
    """Return the table of what reading one file costs."""
    if readings is None:
        return PartResult("cat", "Not measured: no room on the disk.")
    walls = [reading.wall for reading in readings.each]
    fetched = [reading.fetched / MiB for reading in readings.each]
    about = (
        f"{measured()} for each of {len(walls)} files of {SIZE // 1000} KB, in an archive of a "
        f"container with {readings.words}, of which {readings.stored / MiB:,.0f} MiB are stored."
    )
    rows = [_row("seconds", walls), _row("MiB fetched", fetched)]
    columns = ["for one file", "least", "median", "most"]
    goals = {"cat-fetched": max(fetched), "cat-wall": max(walls)}
    return PartResult("cat", f"{about}\n\n{table(columns, rows)}", goals)


def _row(what: str, values: list[float]) -> list[str]:
    return [what, *(f"{value:.2f}" for value in (min(values), median(values), max(values)))]
