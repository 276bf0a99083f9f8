"""Where things lie in a bundle, and how names are made fit for a path.

<destination>/<subpath>/<UTC time>_<namespace>_<pod>_<first 8 of the UID>-<attempt>-<random>/
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from secrets import token_hex
from uuid import UUID

from forensics_core.api.order import ArtifactKind

MANIFEST = "manifest.json"
SEAL = "manifest.sigstore.json"
SHA256SUMS = "SHA256SUMS"
ORDER = "order.json"
"""The work order, byte for byte: a bundle's first object, so that its name is taken only once."""
CONTEXT = "context/"
"""Where the operator puts what the cluster said; the collector names these files unread."""

CONTAINERS = "containers/"
"""Where the collector puts what it captured of each container."""

NODE = "node/"
"""Where the collector puts what the node says of itself and of the pod's network; these files are
of no container."""

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

LAYERS = "layers.json"
"""Whether the layers of a container's image are on the node as the image promises."""

MOUNTS = "mounts.json"
"""What was mounted in a container, and where each mount's files are in the bundle."""
MOUNTS_ARCHIVES = ("mounts.tar.zst", "mounts.tar")
"""What the archive of mounts can be called; the paths in it are those of the container."""
MOUNTS_INDEX = "mounts.index.jsonl.zst"
MOUNTS_LOOKUP = "mounts.lookup.jsonl.zst"
"""As those of the file system."""

PROC_ARCHIVES = ("proc.tar.zst", "proc.tar")
"""What the archive of /proc can be called; the paths in it begin with `/proc`."""
PROC_INDEX = "proc.index.jsonl.zst"
PROC_LOOKUP = "proc.lookup.jsonl.zst"
"""As those of the file system."""
EXECS = "execs.json"
"""What the runtime says of what was started in a container from outside."""

UPPER_ARCHIVES = ("upper.tar.zst", "upper.tar")
"""What the archive of what a removed container had written can be called."""
UPPER_INDEX = "upper.index.jsonl.zst"
UPPER_LOOKUP = "upper.lookup.jsonl.zst"
"""As those of the file system."""

RECORDING = "recording.jsonl.zst"
"""What a container did while it was captured, one line of JSON an event."""
PACKETS = "packets.pcapng.zst"
"""The packets of its network namespace meanwhile."""

DELETED_ARCHIVES = ("deleted.tar.zst", "deleted.tar")
"""What the archive of files that only processes still hold can be called; the names in it are those
of /proc: `1234/exe`."""
DELETED_FOLDER = b"/(deleted)"
"""Where readers show what is in it, among a container's files."""
KEPT_FOLDER = b"/(kept)"
"""Where the archive of mounts has what only some processes see: `/(kept)/1234/cwd`."""
DELETED_INDEX = "deleted.index.jsonl.zst"
DELETED_LOOKUP = "deleted.lookup.jsonl.zst"
"""As those of the file system."""

MAIN_ARTIFACTS: dict[ArtifactKind, tuple[str, ...]] = {
    ArtifactKind.INSPECT: ("inspect.json",),
    ArtifactKind.DIFF: ("diff.json",),
    ArtifactKind.FILESYSTEM: ROOTFS_ARCHIVES,
    ArtifactKind.LOGS: ("logs/",),
    ArtifactKind.PROCESSES: ("processes.json",),
    ArtifactKind.NETWORK: ("network.json",),
    ArtifactKind.VOLUMES: MOUNTS_ARCHIVES,
    ArtifactKind.MEMORY: ("memory/",),
}
"""What each kind of a container's evidence is called by; a name that ends in `/` is a folder."""

_RANDOM = 8
"""Bytes of the random part of a bundle's name."""
BUNDLE_NAME_ROOM = 64
"""Characters that a bundle's name has at most, beside the namespace's and the pod's."""
_BUNDLE = re.compile(r"\d{8}T\d{6}Z_.+_[0-9a-f]{8}-(?P<attempt>\d{1,10})(-[0-9a-f]{16})?")
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")


def fit(name: str) -> str:
    """Return `name` with only characters that are safe in an object key and a file name."""
    return _UNFIT.sub("-", name).strip(".-") or "unnamed"


def bundle_name(when: datetime, namespace: str, pod: str, uid: UUID, attempt: int) -> str:
    """Return a new name for a bundle's folder; `when` must be aware.

    It ends in a random part: a node that knows all the rest could otherwise write to the place of
    the next attempt before anybody else does.
    """
    stamp = when.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"{stamp}_{fit(namespace)}_{fit(pod)}_{uid.hex[:8]}-{attempt}-{token_hex(_RANDOM)}"


def is_of_attempt(location: str, attempt: int) -> bool:
    """Whether a bundle's URL is of this attempt; before the first release it had no random part."""
    found = _BUNDLE.fullmatch(location.rstrip("/").rpartition("/")[2])
    return found is not None and int(found["attempt"]) == attempt


def inside_a_bundle(path: str) -> bool:
    """Whether a folder of `path`, a URL or a key, is called as only bundles are."""
    return any(_BUNDLE.fullmatch(part) for part in path.split("/"))


def container_file(container: str, name: str) -> str:
    """Return the path of a container's artifact: `containers/web/inspect.json`."""
    return f"{CONTAINERS}{fit(container)}/{name}"
