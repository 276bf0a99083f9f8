"""Images in a tar, as Docker and others write them, and wrong ones."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import zstandard

Entry = bytes | str | None
"""A file's content, `-> target` of a link, `=> target` of a hard link; None is a directory."""


def layer(entries: Mapping[str, Entry], **facts: int) -> bytes:
    """Return a layer, or any tar; `facts` go into each member."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, entry in entries.items():
            tar.addfile(*_member(name, entry, facts))
    return packed.getvalue()


def _member(name: str, entry: Entry, facts: dict[str, int]) -> tuple[tarfile.TarInfo, io.BytesIO]:
    member = tarfile.TarInfo(name)
    member.mode = 0o755 if entry is None else 0o644
    content = entry if isinstance(entry, bytes) else b""
    member.size = len(content)
    if entry is None:
        member.type = tarfile.DIRTYPE
    elif isinstance(entry, str):
        member.type = tarfile.SYMTYPE if entry.startswith("-> ") else tarfile.LNKTYPE
        member.linkname = entry[3:]
    for fact, value in facts.items():
        setattr(member, fact, value)
    return member, io.BytesIO(content)


def saved(
    path: Path,
    *layers: bytes,
    tags: Sequence[str] = ("shop/web:1",),
    pack: Callable[[bytes], bytes] = bytes,
    diff_ids: Sequence[str] | None = None,
) -> Path:
    """Write an image as `docker save` does, the lowest layer first."""
    ids = diff_ids if diff_ids is not None else [f"sha256:{digest(one)}" for one in layers]
    config = json.dumps({"rootfs": {"type": "layers", "diff_ids": list(ids)}}).encode()
    names = [f"{number}/layer.tar" for number, _ in enumerate(layers)]
    manifest = [{"Config": "config.json", "RepoTags": list(tags), "Layers": names}]
    files = dict(zip(names, map(pack, layers), strict=True))
    files |= {"config.json": config, "manifest.json": json.dumps(manifest).encode()}
    path.write_bytes(layer(files))
    return path


def laid_out(path: Path, *layers: bytes, nested: bool = False) -> Path:
    """Write an image as an OCI layout, its layers in gzip and zstd by turns."""
    blobs = dict[str, bytes]()

    def put(data: bytes) -> dict[str, str]:
        blobs[f"blobs/sha256/{digest(data)}"] = data
        return {"digest": f"sha256:{digest(data)}"}

    packers = (gzip.compress, zstandard.compress)
    packed = [put(packers[number % 2](one)) for number, one in enumerate(layers)]
    ids = [f"sha256:{digest(one)}" for one in layers]
    config = put(json.dumps({"rootfs": {"diff_ids": ids}}).encode())
    row = put(json.dumps({"config": config, "layers": packed}).encode())
    if nested:
        row = put(json.dumps({"manifests": [row]}).encode())
    blobs["index.json"] = json.dumps({"manifests": [row]}).encode()
    path.write_bytes(layer(blobs))
    return path


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
