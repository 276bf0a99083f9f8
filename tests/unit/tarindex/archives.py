"""Tar archives for tests, by Python's own writer, and the index of their bytes."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from typing import Any

from forensics_core.tarindex.rows import RowWriter
from forensics_core.tarindex.walk import TarWalk


def tar(members: Iterable[tuple[tarfile.TarInfo, bytes]], **options: Any) -> bytes:
    """Return an archive of members with their content; pax unless told otherwise."""
    buffer = io.BytesIO()
    options = {"format": tarfile.PAX_FORMAT, **options}
    with tarfile.open(fileobj=buffer, mode="w", errors="surrogateescape", **options) as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, **fields: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def index(archive: bytes, step: int = 4096) -> list[dict[str, Any]]:
    """Return the rows of an archive that passes in blocks of `step` bytes."""
    rows = RowWriter()
    walk = TarWalk(rows.add)
    for start in range(0, len(archive), step):
        walk.feed(archive[start : start + step])
    walk.finish()
    return [json.loads(line) for chunk in rows.take_rest() for line in chunk.data.splitlines()]
