"""An image in a content store: from the digest that it is known by to its layers' blobs.

Everything there is named by its digest, and compared with it: where it is read from does not
matter.

Source: https://github.com/opencontainers/image-spec/blob/main/manifest.md
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from collector.layers.blob import PackedSource
from collector.layers.promised import MissingArchive, PromisedLayer, paired
from collector.node.host import Host
from collector.runtimes.runtime import Unavailable

MAX_DOCUMENT = 8 * 1024 * 1024
"""Bytes of an index, a manifest or a configuration."""
MAX_MANIFESTS = 200
"""Manifests that are looked at, of one index and those in it."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ImageContent:
    """What the content store has of an image."""

    manifest: str
    config: str
    diff_ids: tuple[str, ...]
    blobs: tuple[tuple[str, int], ...]
    """Digest and size of each layer's blob, the lowest first."""


@dataclass(frozen=True, slots=True)
class ContentStore:
    """A folder of blobs, as containerd keeps them."""

    host: Host
    root: str

    def path(self, digest: str) -> str:
        """Return where a blob is, if it is there."""
        return f"{self.root}/blobs/{digest.replace(':', '/')}"

    def find(self, target: str, wanted: Callable[[ImageContent], bool]) -> ImageContent:
        """Return the image that is `wanted`, of those beneath the digest `target`.

        Raises `Unavailable`.
        """
        obstacle: Unavailable | None = None
        for digest in self._manifests(target):
            try:
                image = self._image(digest)
            except Unavailable as error:  # of other platforms, which nobody pulled
                obstacle = error
                continue
            if wanted(image):
                return image
        raise obstacle or Unavailable(f"{target} is not the container's image", reason="NotFound")

    def layers(self, image: ImageContent, folders: Sequence[bytes]) -> tuple[PromisedLayer, ...]:
        """Return the image's layers, with their directories, the lowest first."""
        if len(folders) != len(image.diff_ids):
            raise Unavailable(
                f"The image has {len(image.diff_ids)} layers, the container's overlay "
                f"{len(folders)}",
                reason="NotTheLayers",
            )

        def make(number: int, diff_id: str, folder: bytes) -> PromisedLayer:
            digest, size = image.blobs[number]
            source = self._source(digest)
            return PromisedLayer(diff_id, folder, source, size, digest, bottom=number == 0)

        return paired(image.diff_ids, folders, make)

    def _source(self, digest: str) -> PackedSource | MissingArchive:
        path = self.path(digest)
        try:
            os.close(self.host.open(path))
        except FileNotFoundError:
            return MissingArchive(
                "NotFound", "The content store has no longer what it was unpacked from"
            )
        except OSError as error:
            return MissingArchive("Unreadable", f"The content store cannot be read: {error}")
        return PackedSource(self.host, path, digest)

    def _manifests(self, target: str) -> Iterator[str]:
        waiting, seen = [target], 0
        while waiting and seen < MAX_MANIFESTS:
            digest = waiting.pop(0)
            seen += 1
            try:
                inside = self._document(digest).get("manifests")
            except Unavailable:
                if digest == target:
                    raise
                continue
            if inside is None:
                yield digest
            else:
                waiting += [str(each["digest"]) for each in inside]

    def _image(self, digest: str) -> ImageContent:
        manifest = self._document(digest)
        try:
            config = str(manifest["config"]["digest"])
            blobs = tuple((str(each["digest"]), int(each["size"])) for each in manifest["layers"])
            ids = self._document(config)["rootfs"]["diff_ids"]
            if not all(_DIGEST.fullmatch(each) for each in [*ids, *(blob for blob, _ in blobs)]):
                raise ValueError("a digest is not valid")
            if len(ids) != len(blobs):
                raise ValueError("it has another number of layers than its configuration")
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise Unavailable(
                f"{digest} is not a manifest: {error}", reason="NotSupported"
            ) from error
        return ImageContent(digest, config, tuple(ids), blobs)

    def _document(self, digest: str) -> dict[str, Any]:
        """Return a document of JSON that has this digest. Raises `Unavailable`."""
        if not _DIGEST.fullmatch(digest):
            raise Unavailable(f"'{digest[:100]}' is not a SHA-256", reason="NotSupported")
        try:
            with os.fdopen(self.host.open_data(self.path(digest)), "rb") as file:
                data = file.read(MAX_DOCUMENT)
        except FileNotFoundError as error:
            message = f"The content store has no {digest} any more"
            raise Unavailable(message, reason="NotFound") from error
        except OSError as error:
            raise Unavailable(f"{digest} cannot be read: {error}", reason="Unreadable") from error
        return parsed(data, digest)


def parsed(data: bytes, digest: str) -> dict[str, Any]:
    """Return an object of JSON whose SHA-256 is as promised. Raises `Unavailable`."""
    found = f"sha256:{hashlib.sha256(data).hexdigest()}"
    if found != digest:
        raise Unavailable(f"{digest} has the digest {found} on the node", reason="BlobDiffers")
    try:
        said = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Unavailable(f"{digest} is not JSON", reason="NotSupported") from error
    if not isinstance(said, dict):
        raise Unavailable(f"{digest} is not a JSON object", reason="NotSupported")
    return said
