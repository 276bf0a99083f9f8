"""What an image promises of its layers, and where the node has them.

A layer is known by its diff ID: the SHA-256 of the tar archive that it was unpacked from. That
archive comes from a `LayerSource`: the content store still has it, or it can be put together again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from collector.node.host import Host


class LayerSource(Protocol):
    """Where a layer's archive comes from. Everything here blocks, and raises `OSError`."""

    @property
    def word(self) -> str:
        """What it is called in the bundle: `blob`, `tar-split`."""
        ...

    @property
    def independent(self) -> bool:
        """Whether the files' content in the archive is another one than that in the directory."""
        ...

    def read(self, folder: int) -> Iterator[bytes]:
        """Yield the plain archive, in blocks; `folder` is the layer's directory.

        Raises `DamagedSource`.
        """
        ...

    def flaw(self) -> str:
        """Return, once all was read, why the source is not what it should be; else nothing."""
        ...

    @property
    def unlooked(self) -> int:
        """How many files that may have been changed `suspects` does not look at."""
        ...

    def suspects(self, folder: int) -> Iterator[bytes]:
        """Yield files whose content is not that of the image, now and then nothing, after the
        archive was found to be another one; those that changed last come first."""
        ...


class DamagedSource(Exception):
    """A source that cannot be understood any further."""


@dataclass(frozen=True, slots=True)
class MissingArchive:
    """Why a layer's archive cannot be had."""

    reason: str
    """The manifest's word for it."""
    message: str


@dataclass(frozen=True, slots=True)
class PromisedLayer:
    """One layer."""

    diff_id: str
    """`sha256:...`; empty of the directory that Docker puts between image and container."""
    folder: bytes
    """Where it is unpacked, on the runtime's machine."""
    source: LayerSource | MissingArchive
    size: int = 0
    """Bytes to read, as far as that is known."""
    blob: str = ""
    """The digest of the blob that the manifest names."""
    placeholders: frozenset[bytes] = frozenset()
    """Paths, with the slash in front, that the runtime itself makes there, without content."""
    bottom: bool = False
    """Whether there is none below it: then there is nothing that it could hide."""


@dataclass(frozen=True, slots=True)
class ImageLayers:
    """All layers of an image, the lowest first."""

    image: str
    """The digest of its configuration, which has the diff IDs."""
    layers: tuple[PromisedLayer, ...]
    host: Host
    marks: bytes
    """How the names of overlayfs's own attributes begin."""
    manifest: str = ""
    """The digest of the manifest that names the blobs, where there is one."""
    shift: tuple[int, int] = (0, 0)
    """What is added to users' and groups' numbers when a layer is unpacked."""


def paired(
    diff_ids: Iterable[str],
    folders: Iterable[bytes],
    make: Callable[[int, str, bytes], PromisedLayer],
) -> tuple[PromisedLayer, ...]:
    """Return a layer for each diff ID and the directory of the same place, the lowest first."""
    both = zip(diff_ids, folders, strict=True)
    return tuple(make(number, diff_id, folder) for number, (diff_id, folder) in enumerate(both))
