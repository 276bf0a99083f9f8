"""Where things lie in a bundle, and how names are made fit for a path.

<destination>/<subpath>/<UTC time>_<namespace>_<pod>_<first 8 of the UID>-<attempt>/
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from uuid import UUID

MANIFEST = "manifest.json"
SEAL = "manifest.sigstore.json"
SHA256SUMS = "SHA256SUMS"
ORDER = "order.json"
"""The work order, byte for byte: a bundle's first object, so that its name is taken only once."""
CONTEXT = "context/"
"""Where the operator puts what the cluster said; the collector names these files unread."""

UNVERIFIED = ".unverified"
"""The ending of a fetched file that is not, or not yet, known to be what the manifest says."""

WRITTEN_AFTER_MANIFEST = frozenset({SEAL})
"""Objects that the manifest cannot name, because they are written after it."""

ROOTFS_ARCHIVES = ("rootfs.tar.zst", "rootfs.tar")
"""What a file system's archive can be called, by its compression."""
ROOTFS_INDEX = "rootfs.index.jsonl.zst"
"""One line of JSON a member of the file system's archive, in independent frames."""
ROOTFS_LOOKUP = "rootfs.lookup.jsonl.zst"
"""One line of JSON a frame of the index: its SHA-256, and which paths can be in it."""

MOUNTS = "mounts.json"
"""What was mounted in a container, and where each mount's files are in the bundle."""
MOUNTS_ARCHIVES = ("mounts.tar.zst", "mounts.tar")
"""What the archive of mounts can be called; the paths in it are those of the container."""
MOUNTS_INDEX = "mounts.index.jsonl.zst"
MOUNTS_LOOKUP = "mounts.lookup.jsonl.zst"
"""As those of the file system."""

_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")


def fit(name: str) -> str:
    """Return `name` with only characters that are safe in an object key and a file name."""
    return _UNFIT.sub("-", name).strip(".-") or "unnamed"


def bundle_name(when: datetime, namespace: str, pod: str, uid: UUID, attempt: int) -> str:
    """Return a bundle's folder name; `when` must be aware."""
    stamp = when.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"{stamp}_{fit(namespace)}_{fit(pod)}_{uid.hex[:8]}-{attempt}"


def container_file(container: str, name: str) -> str:
    """Return the path of a container's artifact: `containers/web/inspect.json`."""
    return f"containers/{fit(container)}/{name}"
