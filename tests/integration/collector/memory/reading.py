"""Containers that have something in memory, and their cores, as other people's readers see them."""

from __future__ import annotations

import io
import re
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import zstandard
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import NoteSegment

from collector.local import CaptureOptions, capture_container
from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.manifest import Artifact
from lab.docker import DockerEngine
from tests.integration.collector.conftest import Bundle

SUBJECT = Path(__file__).with_name("subject.py")
PYTHON = str(Path(sys.executable).resolve())
_FOLDERS = ("/usr/lib", "/lib", "/lib64", sys.base_prefix)
BINDS = [
    *(f"{folder}:{folder}:ro" for folder in dict.fromkeys(_FOLDERS) if Path(folder).exists()),
    f"{PYTHON}:{PYTHON}:ro",
    f"{SUBJECT}:/subject.py:ro",
]


def word(name: str) -> bytes:
    """Return what the subject keeps somewhere."""
    return b"-".join([b"canary", b"4711", name.encode()])


@asynccontextmanager
async def running(
    docker: DockerEngine, image: str, *arguments: str, script: str = "", **options: Any
) -> AsyncIterator[str]:
    """Run the subject, or a script of Python, in a container until it is ready."""
    program = ("-c", script) if script else ("/subject.py", *arguments)
    command = (PYTHON, *program)
    async with docker.container(image, command, binds=BINDS, **options) as container:
        await docker.exec(container, "while ! [ -e /ready ]; do sleep 0.1; done")
        yield container


async def collect(bundle: Bundle, container: str, **options: Any) -> None:
    """Capture a container's memory."""
    chosen = CaptureOptions(
        [ArtifactKind.MEMORY], name="case", subpath="", layer_seconds=60, **options
    )
    to = str(bundle.folder.parent)
    await capture_container(f"docker://{container}", to=to, options=chosen)


@dataclass(frozen=True)
class Read:
    """A core, and what the bundle says of it."""

    data: bytes
    row: dict[str, Any]
    artifact: Artifact

    @cached_property
    def elf(self) -> ELFFile:
        return ELFFile(io.BytesIO(self.data))

    def notes(self, kind: str) -> list[Any]:
        (segment,) = self.elf.iter_segments("PT_NOTE")
        assert isinstance(segment, NoteSegment)
        return [note for note in segment.iter_notes() if note["n_type"] == kind]

    @cached_property
    def segments(self) -> list[dict[str, int]]:
        return [dict(each.header) for each in self.elf.iter_segments("PT_LOAD")]

    def segments_with(self, found: bytes) -> list[dict[str, int]]:
        """Return the segments in which some bytes are."""
        places = [match.start() for match in re.finditer(re.escape(found), self.data)]
        return [
            each
            for each in self.segments
            if any(0 <= place - each["p_offset"] < each["p_filesz"] for place in places)
        ]

    def pointers(self) -> list[tuple[int, int, int]]:
        """Return number, program counter and stack pointer of each thread, on x86_64."""
        bodies = [note["n_descdata"] for note in self.notes("NT_PRSTATUS")]
        return [
            (
                struct.unpack_from("<i", body, 32)[0],
                *(struct.unpack_from("<Q", body, 112 + 8 * at)[0] for at in (16, 19)),
            )
            for body in bodies
        ]

    def holds(self, address: int) -> bool:
        return any(
            each["p_vaddr"] <= address < each["p_vaddr"] + each["p_memsz"] for each in self.segments
        )


def cores(bundle: Bundle) -> dict[int, Read]:
    """Return the cores of a bundle's only container, by process."""
    (name,) = (each.name for each in bundle.capture.containers)
    folder = f"containers/{name}/memory"
    rows = bundle.json(f"{folder}/memory.json")["processes"]
    artifacts = {each.name: each for each in bundle.capture.artifacts}
    found = {}
    for row in rows:
        path = f"{folder}/{row['core']}"
        packed = (bundle.folder / path).read_bytes()
        reader = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
        found[row["pid"]] = Read(reader.read(), row, artifacts[path])
    return found


def files(bundle: Bundle) -> dict[str, Any]:
    """Return what is said of the files that are mapped, by path."""
    (name,) = (each.name for each in bundle.capture.containers)
    document = bundle.json(f"containers/{name}/memory/memory.json")
    return {row["path"]: row for row in document["files"]}
