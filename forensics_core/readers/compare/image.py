"""An image in a tar, as one side of a comparison: `docker save`, or an OCI image layout.

Nothing is extracted. Layers are read from the highest down, so that each path is met first as the
image has it; what a layer's whiteouts hide is left out of the layers beneath.

Source: https://github.com/opencontainers/image-spec/blob/main/layer.md
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
import zlib
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import zstandard
from anyio import to_thread

from forensics_core._internal import strict_json
from forensics_core.errors import UsageError, VerificationError
from forensics_core.readers.compare import packages
from forensics_core.readers.compare.files import PASSWD, ComparedFile
from forensics_core.readers.compare.layers import LayerMerge, LayerReader
from forensics_core.tarindex.archive import MAX_FRAME
from forensics_core.tarindex.member import Member
from forensics_core.tarindex.walk import TarWalk

MAX_MEMBERS = 100_000
"""Members of the outer archive."""
MAX_DOCUMENT = 16 * 1024 * 1024
"""Bytes of a manifest or configuration."""
_BLOCK = 1024 * 1024
_GZIP = 16 + zlib.MAX_WBITS
_HINT = "Make it with 'docker save IMAGE -o FILE', or 'skopeo copy ... oci-archive:FILE'"


@dataclass(frozen=True, slots=True)
class ImageBlob:
    """A file in the outer archive."""

    offset: int
    size: int
    sha256: str


class ImageSide:
    """The files and packages of an image; made by `open_image`."""

    gap = ""
    """An image has all its files."""

    def __init__(self, path: Path, layers: Sequence[tuple[ImageBlob, str]], name: str) -> None:
        self._path = path
        self._layers = layers
        self.name = name
        """What it is called in the archive, or its configuration's digest."""
        self._lists: dict[bytes, bytes] = {}

    async def files(self) -> AsyncGenerator[Sequence[ComparedFile], None]:
        """Yield its files. Raises `VerificationError` for layers that are not the image's."""
        batches = self._batches()
        while (batch := await to_thread.run_sync(next, batches, None)) is not None:
            yield batch

    async def packages(self) -> dict[str, str]:
        """Return the packages' versions by name, once `files` came to its end."""
        found: dict[str, str] = {}
        for path in filter(packages.is_list, self._lists):
            found |= packages.packages_in(path, self._lists[path])
        return found

    async def read(self, path: bytes) -> bytes | None:
        """Return one of the lists of users and packages, once `files` came to its end."""
        return self._lists.get(path)

    def _batches(self) -> Iterator[list[ComparedFile]]:
        merge, self._lists = LayerMerge(), {}
        with self._path.open("rb") as file:
            for blob, digest in reversed(self._layers):
                layer = LayerReader(merge, _is_kept, packages.MAX_LIST)
                yield from _read_layer(file, blob, digest, layer, self._path)
                self._lists = {**layer.kept, **self._lists}
                merge.end_layer()


def _is_kept(path: bytes) -> bool:
    return packages.is_list(path) or path == PASSWD


def _read_layer(
    file: BinaryIO, blob: ImageBlob, digest: str, layer: LayerReader, path: Path
) -> Iterator[list[ComparedFile]]:
    walk, sha256 = TarWalk(layer, layer), hashlib.sha256()
    try:
        for piece in _plain(file, blob):
            sha256.update(piece)
            walk.feed(piece)
            yield layer.take()
        walk.finish()
    except (ValueError, zlib.error, zstandard.ZstdError) as error:
        raise UsageError(f"{path} has a layer that cannot be read: {error}", hint=_HINT) from error
    yield layer.take()
    if digest and f"sha256:{sha256.hexdigest()}" != digest:
        raise VerificationError(
            f"{path} has a layer that is not what the image says: its SHA-256 is not {digest}",
            hint="Fetch the image again; do not compare with this one",
        )


def _plain(file: BinaryIO, blob: ImageBlob) -> Iterator[bytes]:
    """Yield what is in a layer, decompressed, in pieces of bounded size."""
    stored = _stored(file, blob)
    first = next(stored, b"")
    # By what it is: `docker save` names no media types, and other programs wrong ones.
    if first.startswith(b"\x1f\x8b"):
        yield from _gunzipped(first, stored)
    elif first.startswith(b"\x28\xb5\x2f\xfd"):
        yield from _unzstd(file, blob)
    else:
        yield first
        yield from stored


def _stored(file: BinaryIO, blob: ImageBlob) -> Iterator[bytes]:
    # Sought anew for each: whoever takes them may read elsewhere meanwhile.
    for start in range(0, blob.size, _BLOCK):
        file.seek(blob.offset + start)
        yield file.read(min(_BLOCK, blob.size - start))


def _gunzipped(first: bytes, stored: Iterator[bytes]) -> Iterator[bytes]:
    inflate = zlib.decompressobj(_GZIP)
    block: bytes | None = first
    while block is not None:
        while block:
            yield inflate.decompress(block, _BLOCK)
            block = inflate.unconsumed_tail
            if inflate.eof:
                # A gzip file may have several members, one after the other, as eStargz has one a
                # file.
                block, inflate = inflate.unused_data, zlib.decompressobj(_GZIP)
        block = next(stored, None)


def _unzstd(file: BinaryIO, blob: ImageBlob) -> Iterator[bytes]:
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_FRAME)
    source = _Stored(_stored(file, blob))
    stream = decompressor.stream_reader(source, read_across_frames=True)  # type: ignore[arg-type]
    yield from iter(lambda: stream.read(_BLOCK), b"")


class _Stored:
    """What zstd reads from."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes, none at the end."""
        data = self._rest or next(self._blocks, b"")
        self._rest = data[size:]
        return data[:size]


async def open_image(path: Path, image_id: str = "", most: int = MAX_MEMBERS) -> ImageSide:
    """Open an image's archive, of at most so many members.

    Of several images in it the one with `image_id` is taken. Raises `UsageError` for what is none,
    or where it has several and none is that one.
    """
    return await to_thread.run_sync(_open, path, image_id, most)


def _open(path: Path, image_id: str, most: int) -> ImageSide:
    with path.open("rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise UsageError(f"{path} is not a regular file", hint=_HINT)
        outer = _Outer(path, file, most)
        config_name, layer_names, name = outer.choose(image_id)
        config = outer.document(config_name)
        layers = [outer.blob(each) for each in layer_names]
    digests = config.get("rootfs", {}) if isinstance(config, dict) else {}
    diff_ids = digests.get("diff_ids") if isinstance(digests, dict) else None
    if not isinstance(diff_ids, list) or len(diff_ids) != len(layers):
        raise UsageError(f"{path}: the image's layers do not fit its configuration", hint=_HINT)
    return ImageSide(path, list(zip(layers, map(str, diff_ids), strict=True)), name)


class _Outer:
    """The outer archive: its members by name, and which of them are an image."""

    def __init__(self, path: Path, file: BinaryIO, most: int) -> None:
        self._path = path
        self._most = most
        self._file = file
        self._members: dict[str, Member] = {}
        walk = TarWalk(self._found)
        if file.read(2) == b"\x1f\x8b":
            raise UsageError(f"{path} is compressed as a whole", hint="Decompress it: gunzip FILE")
        file.seek(0)
        try:
            while not walk.ended and (block := file.read(_BLOCK)):
                walk.feed(block)
        except ValueError as error:
            raise UsageError(f"{path} is not a tar archive: {error}", hint=_HINT) from error

    def _found(self, member: Member) -> None:
        if len(self._members) >= self._most:
            raise ValueError(f"it has more than {self._most} members")
        self._members[member.path.decode(errors="surrogateescape").lstrip("/")] = member

    def blob(self, name: str) -> ImageBlob:
        """Return where a member lies. One that is named for its digest has it."""
        member = self._members.get(name)
        if member and member.kind == "symlink":
            # Older engines store a layer that several images share once.
            beside = posixpath.join(posixpath.dirname(name), member.target.decode(errors="replace"))
            member = self._members.get(posixpath.normpath(beside))
        if member is None or member.kind != "file" or member.sparse or member.truncated:
            raise UsageError(f"{self._path} lacks {name[:200]!r}", hint=_HINT)
        if name.startswith("blobs/sha256/") and name != f"blobs/sha256/{member.sha256}":
            raise VerificationError(
                f"{self._path}: {name[:200]!r} has the SHA-256 {member.sha256}",
                hint="Fetch the image again; do not compare with this one",
            )
        return ImageBlob(member.data, member.stored, member.sha256)

    def document(self, name: str) -> Any:
        """Return a JSON document."""
        blob = self.blob(name)
        self._file.seek(blob.offset)
        if blob.size > MAX_DOCUMENT:
            raise UsageError(f"{self._path}: {name[:200]!r} is too large", hint=_HINT)
        try:
            return strict_json.loads_document(self._file.read(blob.size))
        except ValueError as error:
            raise UsageError(f"{self._path}: {name[:200]!r}: {error}", hint=_HINT) from error

    def choose(self, image_id: str) -> tuple[str, list[str], str]:
        """Return the names of an image's configuration and layers, and its own."""
        try:
            if "manifest.json" in self._members:
                images = [self._saved(row) for row in self.document("manifest.json")]
            else:
                index = self.document("index.json")
                images = [*self._laid_out(index["manifests"])]
        except (TypeError, LookupError, AttributeError) as error:
            raise UsageError(f"{self._path} is not an image: {error}", hint=_HINT) from error
        wanted = image_id.rpartition(":")[2]
        those = [one for one in images if wanted and wanted in one[0]] or images
        if len(those) != 1:
            names = ", ".join(name for _, _, name in images[:10]) or "none"
            raise UsageError(
                f"{self._path} has {len(images)} images, and none is known to be the container's: "
                f"{names}",
                hint="Save the one image",
            )
        return those[0]

    def _saved(self, row: Any) -> tuple[str, list[str], str]:
        tags = row.get("RepoTags") or [row["Config"]]
        return str(row["Config"]), [str(each) for each in row["Layers"]], str(tags[0])

    def _laid_out(self, rows: Any, depth: int = 0) -> Iterator[tuple[str, list[str], str]]:
        for row in rows[:1000]:
            name = _blob_name(row)
            document = self.document(name)
            if "manifests" in document and depth < 2:
                yield from self._laid_out(document["manifests"], depth + 1)
            elif document.get("layers") and "config" in document:
                layers = [_blob_name(each) for each in document["layers"]]
                reference = (row.get("annotations") or {}).get("org.opencontainers.image.ref.name")
                yield _blob_name(document["config"]), layers, str(reference or name)


def _blob_name(descriptor: Any) -> str:
    algorithm, _, digest = str(descriptor["digest"]).partition(":")
    return f"blobs/{algorithm}/{digest}"
