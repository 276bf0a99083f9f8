"""Readers fetch only what they need out of a bucket, and say how much that was."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import pytest

from forensics_core.storage.s3.client import S3Access
from forensics_core.storage.storage import open_destination
from lab.seaweed import REGION, S3Identity, S3Server
from lab.tap import Tap, running_tap
from tests.unit.readers.evidence import change, process, socket, write_evidence

MiB = 2**20
FILES = 48
"""Of 1 MiB each, that no compression makes smaller."""
NEEDED = 9 * MiB
"""Two frames of the archive at most, an index, and small documents."""
FORENSICS = Path(sys.executable).with_name("forensics")


@dataclass(frozen=True)
class Stored:
    """A bundle in a bucket, and the way to it, which counts."""

    url: str
    tap: Tap
    env: dict[str, str]
    size: int


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with an archive that nobody wants to fetch."""
    place = tmp_path_factory.mktemp("traffic")
    tree, mounted = place / "tree", place / "mounted"
    (tree / "etc/ssh").mkdir(parents=True)
    (tree / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    (tree / "etc/ssh/sshd_config").write_text("AuthorizedKeysFile /etc/keys\n")
    noise = random.Random(7)  # noqa: S311 - the same every time
    for number in range(FILES):
        (tree / f"noise-{number:02}").write_bytes(noise.randbytes(MiB))
    mounted.mkdir()
    (mounted / "large").write_bytes(noise.randbytes(16 * MiB))
    rows = [change("/etc/keys"), change("/tmp/x", mode="0755")]
    sockets = [socket("ESTABLISHED", ("10.0.0.5", 40000), ("8.8.8.8", 443), 7)]
    several = [process(7, "/tmp/x")]

    async def write() -> None:
        await write_evidence(
            place / "bundle", rows, several, sockets, tree=tree, mounted=mounted, mounts=[]
        )

    anyio.run(write)
    return place / "bundle"


@pytest.fixture(scope="module")
def url(folder: Path, s3: S3Server) -> str:
    return anyio.run(_upload, s3, folder)


async def _upload(s3: S3Server, folder: Path) -> str:
    url = f"s3://{await s3.create_bucket(f'traffic-{secrets.token_hex(4)}')}/cases/one"
    access = S3Access(
        endpoint_url=s3.endpoint,
        region=REGION,
        access_key_id=S3Identity.ADMIN.access_key,
        secret_access_key=S3Identity.ADMIN.secret_key,
    )
    async with open_destination(url, access=access) as destination:
        for path in sorted(files_of(folder), key=lambda path: path.name == "manifest.json"):
            async with destination.create(str(path.relative_to(folder))) as writer:
                await writer.write(path.read_bytes())
                await writer.commit()
    return url


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def stored(folder: Path, url: str, s3: S3Server) -> Iterator[Stored]:
    with running_tap(urlsplit(s3.endpoint).port or 0) as tap:
        env = {**os.environ, **replace(s3, endpoint=f"http://127.0.0.1:{tap.port}").env()}
        yield Stored(url, tap, env, sum(path.stat().st_size for path in files_of(folder)))


def run(stored: Stored, *arguments: str | Path) -> tuple[int, subprocess.CompletedProcess[str]]:
    """Run a command; return the bytes that came from the server, and what it said."""
    before = stored.tap.passed
    command = [str(each) for each in (FORENSICS, *arguments)]
    done = subprocess.run(command, env=stored.env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return stored.tap.passed - before, done


READERS = {
    "ls": ("ls", "URL"),
    "ls of a folder": ("ls", "URL", "web:/etc"),
    "ls of changes": ("ls", "URL", "--changes"),
    "cat": ("cat", "URL", "web:/etc/passwd"),
    "timeline": ("timeline", "URL"),
    "bodyfile": ("timeline", "URL", "--format", "bodyfile"),
    "report": ("report", "URL", "-o", "OUT/report.html"),
    "report as JSON": ("report", "URL", "-o", "json"),
    "compare": ("compare", "URL", "URL"),
    "scan for hashes": ("scan", "URL", "--known", "OUT/known"),
    "fetch a part": ("fetch", "URL", "OUT/part", "--select", "*/diff.json"),
}


MOST = {"ls": 2, "ls of a folder": 3, "cat": 4}
"""Requests: the listing that tells versions apart, and the manifest; where the rows of the index
are, its table of paths, and the mounts; of the archive where its frames are, and one of them."""


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_fetches_only_what_it_needs_and_says_how_much(
    stored: Stored, tmp_path: Path, reader: str
) -> None:
    (tmp_path / "known").write_text(hashlib.sha256(b"root:x:0:0::/:/bin/sh\n").hexdigest())
    words = [
        word.replace("URL", stored.url).replace("OUT", str(tmp_path)) for word in READERS[reader]
    ]
    passed, done = run(stored, *words)
    assert passed < NEEDED * (2 if reader == "compare" else 1) < stored.size
    if reader == "report as JSON":
        told = json.loads(done.stdout)["fetched"]
        size, requests = told["bytes"], told["requests"]
        assert stored.size - told["of"] < MiB and "Fetched" not in done.stderr
    else:
        found = re.search(
            r"Fetched ([\d.]+) (B|KiB|MiB) in (\d+) requests?; the artifacts have [\d.]+ [KM]?i?B",
            done.stderr,
        )
        assert found, done.stderr
        size = float(found[1]) * {"B": 1, "KiB": 1024, "MiB": MiB}[found[2]]
        requests = int(found[3])
    # What passes the tap has headers, and what was asked for and given up; the size is rounded.
    assert 0 < requests <= MOST.get(reader, 100) and 0 < size <= passed * 1.01


@pytest.mark.parametrize("reader", ["verify", "scan"])
def test_a_reader_that_needs_all_says_so_in_json(
    stored: Stored, tmp_path: Path, reader: str
) -> None:
    (tmp_path / "known").write_text(hashlib.md5(b"x", usedforsecurity=False).hexdigest())
    more = ["--known", str(tmp_path / "known")] if reader == "scan" else []
    passed, done = run(stored, reader, stored.url, *more, "-o", "json")
    told = json.loads(done.stdout)["fetched"]
    assert stored.size - MiB < told["of"] <= stored.size
    assert told["of"] - MiB < told["bytes"] <= passed and told["requests"] > 1
    assert "Fetched" not in done.stderr


def test_of_a_folder_nothing_is_fetched(folder: Path) -> None:
    command = [str(FORENSICS), "ls", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Fetched" not in done.stderr
    done = subprocess.run([*command, "-o", "json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["fetched"] is None
