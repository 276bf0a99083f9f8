"""Reading single files and folders out of a large archive: how long that takes, and how much is
fetched for it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import anyio

from bench.goals import bounds
from bench.measure import measure
from bench.page import Bound, PartResult, measured, number, table
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
LS = f"exec forensics ls s3://{BUCKET}/forensics/cat/"
START = '"$PYTHON" -c "import asyncio"'
"""As little of Python as a program with an event loop can do with."""


@dataclass(frozen=True, slots=True)
class CatReading:
    """One command."""

    wall: float
    """Seconds."""
    fetched: int
    """Bytes that the endpoint sent for it, whatever they were."""
    requests: int = 0


@dataclass(frozen=True, slots=True)
class Readings:
    """Every file read once."""

    words: str
    """What the container held."""
    stored: int
    """Bytes of the archive, as it lies in S3."""
    each: tuple[CatReading, ...]
    listings: tuple[CatReading, ...] = ()
    """Of what the bundle holds."""
    folders: tuple[CatReading, ...] = ()
    """Of one folder of the container."""
    start: float = 0
    """Seconds that Python's start takes."""


def measure_cat(
    engine: DockerEngine, contents: Contents, folder: Path, count: int = COUNT
) -> Readings | None:
    """Capture a container into a real S3 server and read files back; None if there is no room."""
    if room(engine) < 2 * contents.size + GiB:
        return None
    with running_container(engine, contents, folder) as container, s3_through_tap() as (s3, tap):
        anyio.run(engine.exec, container, _wanted(count))
        name = str(anyio.run(engine.inspect, container)["Name"]).lstrip("/")
        env = {**environment(engine, s3.env()), "CONTAINER": container}
        _run(COLLECT, folder, env)
        files = [f"{name}:/wanted/{number}" for number in range(count)]
        size, wanted = f"[ $({CAT} | wc -c) = {SIZE} ]", f'{LS} "{name}:/wanted"'
        return Readings(
            contents.words,
            anyio.run(_stored, s3),
            tuple(_read(size, tap, folder, {**env, "FILE": file}) for file in files),
            tuple(_read(LS, tap, folder, env) for _ in files),
            tuple(_read(wanted, tap, folder, env) for _ in files),
            median(_run(START, folder, {**env, "PYTHON": sys.executable}) for _ in files),
        )


def _wanted(count: int) -> str:
    return f"""mkdir /wanted
for i in $(seq 0 {count - 1}); do head -c {SIZE} /dev/urandom > /wanted/$i; done"""


@contextmanager
def s3_through_tap() -> Iterator[tuple[S3Server, Tap]]:
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


def _read(script: str, tap: Tap, folder: Path, env: Mapping[str, str]) -> CatReading:
    before = (tap.passed, tap.requests)
    wall = _run(script, folder, env)
    return CatReading(wall, tap.passed - before[0], tap.requests - before[1])


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
    commands = {
        "`forensics cat` of a file": readings.each,
        "`forensics ls` of the bundle": readings.listings,
        "`forensics ls` of a folder in it": readings.folders,
    }
    rows = [_row(name, each) for name, each in commands.items() if each]
    goals = {
        "cat-fetched": max(fetched),
        "cat-wall": median(walls),
        "cat-requests": max(each.requests for each in readings.each),
    }
    if readings.listings:
        goals["ls-wall"] = median(each.wall for each in readings.listings)
        goals["ls-requests"] = max(each.requests for each in readings.listings)
    return PartResult("cat", f"{about}\n\n{table(_COLUMNS, rows)}", goals, _bounds(readings.start))


_COLUMNS = ("", "median s", "most s", "median MiB fetched", "most MiB fetched", "requests at most")


def _row(name: str, each: Sequence[CatReading]) -> list[str]:
    walls, fetched = [one.wall for one in each], [one.fetched / MiB for one in each]
    numbers = (median(walls), max(walls), median(fetched), max(fetched))
    return [name, *map(number, numbers), str(max(one.requests for one in each))]


def _bounds(start: float) -> dict[str, Bound]:
    return {
        **bounds({"cat-wall": start, "ls-wall": start}, "Python's start, with `asyncio`"),
        **bounds({"cat-requests": 2, "ls-requests": 1}, "all tables in one object; the file"),
        "cat-fetched": Bound(SIZE / MiB, "the file itself, which is noise"),
    }
