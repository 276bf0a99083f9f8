"""Which mount of a container a path lies on, and whether its files are in the bundle::

    flaws = Flaws("containers/web/mounts.json", "is not legible")
    mounts = await read_mounts(bundle, "web", flaws)
    mount = mounts.holder(b"/dev/shm/notes")

The table is from the node, which may lie; it decides only where a reader looks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anyio import to_thread

from forensics_core._internal import strict_json
from forensics_core._internal.flaws import Flaws
from forensics_core.bundle.documents import read_verified
from forensics_core.bundle.layout import MOUNTS, container_file
from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import VerificationError
from forensics_core.tarindex.row import exact_bytes

LIMIT = 32 * 1024 * 1024
"""Bytes that the table may have."""
MAX_HOPS = 8
"""Mounts of mounts that are followed."""
PLACEHOLDERS = frozenset({b"/etc/hosts", b"/etc/hostname", b"/etc/resolv.conf"})
"""Files that a runtime mounts into every container: what lies beneath is an empty stub."""


@dataclass(frozen=True, slots=True)
class Mounted:
    """One mount of a container."""

    path: bytes
    kind: str
    """The file system's type."""
    source: str
    state: str
    """`root`, `kernel`, `captured`, `partial`, `listed`, `missing`."""
    same_as: bytes
    """Where in the container the same files are; empty if only here."""

    @property
    def archived(self) -> bool:
        """Whether files of it are in the archive of mounts."""
        return self.state in {"captured", "partial"}

    def why_not_archived(self, path: bytes) -> str:
        """Return why a path on it is in no archive."""
        which = repr(self.path.decode(errors="surrogateescape"))
        what = f"{which} is a mount ({self.kind}) that was not captured"
        if self.state == "kernel":
            what = (
                f"{which} is a mount ({self.kind}), a view of the kernel without files of its own"
            )
        if self.state == "listed":
            what = (
                f"{which} is a volume of which {MOUNTS} has the names and keyed digests; its "
                "content is captured where it is asked for by name"
            )
        if self.same_as:
            rest = self.same_as + path[len(self.path) :]
            what += f"; the same files are at {rest.decode(errors='surrogateescape')!r}"
        return what


class Mounts:
    """All mounts of one container."""

    def __init__(self, mounts: Sequence[Mounted], known: bool) -> None:
        self.known = known
        """Whether the bundle says what was mounted; older ones do not."""
        self._by_path: dict[bytes, Mounted] = {}
        for mount in mounts:
            # Of several at one point the last lies on top; but the root is never covered here.
            if mount.path != b"/" or mount.state == "root":
                self._by_path[mount.path] = mount
        self._lengths = sorted({len(path) for path in self._by_path}, reverse=True)

    def at(self, path: bytes) -> Mounted | None:
        """Return the mount whose mount point a path is; None for the root."""
        return self._by_path.get(path) if path != b"/" else None

    def holder(self, path: bytes) -> Mounted | None:
        """Return the mount that a path lies on; None for the container's own file system."""
        # Not by the directories above it: a path can have thousands.
        for length in self._lengths:
            ends = path[length : length + 1] in {b"", b"/"} and path[:length] != b"/"
            if ends and (mount := self._by_path.get(path[:length])):
                return mount
        return None

    def within(self, folder: bytes) -> list[Mounted]:
        """Return the mounts whose mount points lie beneath a directory, by path."""
        prefix = folder.rstrip(b"/") + b"/"
        found = (one for one in self._by_path.values() if one.path.startswith(prefix))
        return sorted((one for one in found if one.path != b"/"), key=lambda one: one.path)

    def resolve(self, path: bytes) -> bytes:
        """Return where the files of `path` are archived, where that is under another path."""
        for _ in range(MAX_HOPS):
            mount = self.holder(path)
            if not mount or not mount.archived or not mount.same_as:
                break
            path = mount.same_as + path[len(mount.path) :]
        return path


async def read_mounts(bundle: BundleReader, container: str, flaws: Flaws) -> Mounts:
    """Read the table of a container; an empty one where the bundle has none.

    What is not genuine, or no table, goes to `flaws`.
    """
    name = container_file(container, MOUNTS)
    if name not in bundle.objects:
        return Mounts([], known=False)
    found = list[Mounted]()
    with flaws.passing():
        data = await read_verified(bundle, bundle.objects[name], limit=LIMIT)
        found = await to_thread.run_sync(_parse, data, name, flaws)
    return Mounts(found, known=True)


def _parse(data: bytes, name: str, flaws: Flaws) -> list[Mounted]:
    try:
        rows = list(strict_json.loads_document(data)["mounts"])
    except (ValueError, TypeError, LookupError) as error:
        raise VerificationError(f"{name} is not a table of mounts: {error}") from error
    found = list[Mounted]()
    for row in rows:
        with flaws.passing():
            found += [_mounted(row)] if _is_ours(row) else []
    return found


def _is_ours(row: Mapping[str, Any]) -> bool:
    """Whether a mount is in sight for all; those of other mount namespaces hide nothing."""
    return row.get("reason") not in {"OtherNamespace", "Stacked"}


def _mounted(row: Mapping[str, Any]) -> Mounted:
    return Mounted(
        exact_bytes(row["path"]),
        str(row["type"]),
        exact_bytes(row["source"]).decode(errors="backslashreplace"),
        str(row["state"]),
        exact_bytes(row.get("sameAs", "")),
    )
