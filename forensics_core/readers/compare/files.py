"""Files of both sides, by path: type, mode, owner, content, target, device, attributes.

Indexes are in the order of their archives, which nobody promises to be the same. So each side is
read as a stream into a table of fingerprints, some twenty bytes a path, and the healthy one once
more for what is missing. Times differ between two replicas, and are no difference.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Container, Iterator, Mapping, Sequence
from contextlib import aclosing
from hashlib import blake2b
from secrets import token_bytes
from typing import NamedTuple, Protocol

from anyio import to_thread

from forensics_core.bundle.layout import DELETED_FOLDER
from forensics_core.readers.compare.difference import Area, Difference, DifferenceKind, Differences
from forensics_core.readers.digests import DigestTable
from forensics_core.readers.findings import changes
from forensics_core.readers.findings.finding import Rule
from forensics_core.readers.timeline.entry import from_decimal

PASSWD = b"/etc/passwd"
MAX_CHANGED = 50_000
"""Files that differ whose both sides are shown; of more only the suspect's."""
MAX_PROGRAMS = 200_000
"""Executable files that only the suspect has so, which processes are held against."""
_EXECUTE = 0o111
_PROGRAMS = frozenset({"file", "hardlink"})
_WIDTH = 8
"""Bytes of a fingerprint."""
_MADE_BY_RUNTIMES = frozenset(
    {
        *(b"/", b"/.dockerenv", b"/run/.containerenv", b"/dev", b"/proc", b"/sys"),
        *(b"/etc/hostname", b"/etc/hosts", b"/etc/resolv.conf", b"/etc/mtab"),
        *(b"/dev/console", b"/dev/core", b"/dev/fd", b"/dev/full", b"/dev/mqueue", b"/dev/null"),
        *(b"/dev/ptmx", b"/dev/pts", b"/dev/random", b"/dev/shm", b"/dev/stderr", b"/dev/stdin"),
        *(b"/dev/stdout", b"/dev/tty", b"/dev/urandom", b"/dev/zero"),
    }
)
"""Paths that a runtime makes anew for each container."""
_KERNEL = (b"/proc/", b"/sys/")
"""What lies beneath is the kernel's, or a place to mount something of its."""
_KINDS = {"char": "character", "hardlink": "file"}
"""What the changes of a container call what the index calls otherwise."""


class ComparedFile(NamedTuple):
    """One file of one side."""

    path: bytes
    kind: str
    """As in the index: see `tarindex.row.Row`."""
    mode: int
    uid: int
    gid: int
    size: int
    sha256: str
    """Of its content, or of what is stored of it where it has too many holes."""
    target: bytes
    mtime: str
    device: tuple[int, ...] = ()
    xattrs: Mapping[str, str] = {}
    """Those that are the file's own: see `own_attributes`."""


class FileSource(Protocol):
    """One side."""

    def files(self) -> AsyncGenerator[Sequence[ComparedFile], None]:
        """Yield its files, in batches; each time from the beginning."""
        ...


def own_attributes(names: Mapping[str, str]) -> dict[str, str]:
    """Return the extended attributes that no node gives a file by itself."""
    by_node = ("security.selinux", "trusted.")
    return {name: names[name] for name in sorted(names) if not name.startswith(by_node)}


async def compare_files(
    suspect: FileSource,
    healthy: FileSource,
    found: Differences,
    mounted: Container[bytes] = (),
    most_changed: int = MAX_CHANGED,
) -> set[str]:
    """Add what differs; return the paths of programs that only the suspect has so.

    Directories that something is `mounted` on are the runtime's, and no difference. Of more changed
    files than `most_changed` only the suspect's side is told.
    """
    comparison = _FileComparison(found, mounted, most_changed)
    for source, step in (
        (healthy, comparison.remember),
        (suspect, comparison.compare),
        (healthy, comparison.look_back),
    ):
        async with aclosing(source.files()) as batches:
            async for batch in batches:
                await to_thread.run_sync(step, batch)
    comparison.end()
    return comparison.added


class _FileComparison:
    """The three passes."""

    def __init__(self, found: Differences, mounted: Container[bytes], most_changed: int) -> None:
        self._found = found
        self._most_changed = most_changed
        self._mounted = mounted
        self._secret = token_bytes(16)
        self._healthy = DigestTable(_WIDTH)
        self._suspect = DigestTable(_WIDTH)
        self._changed: dict[bytes, ComparedFile] = {}
        self.added: set[str] = set()

    def remember(self, batch: Sequence[ComparedFile]) -> None:
        for file in self._wanted(batch):
            self._healthy.put(_key(file), self._fingerprint(file, self._healthy))

    def compare(self, batch: Sequence[ComparedFile]) -> None:
        for file in self._wanted(batch):
            mark = self._fingerprint(file, self._suspect)
            if not self._suspect.add(_key(file), mark):
                continue
            other = self._healthy.get(_key(file))
            if other is None:
                self._add(file, None, DifferenceKind.ONLY)
            elif other != mark and len(self._changed) < self._most_changed:
                self._changed[file.path] = file
            elif other != mark:
                self._add(file, None, DifferenceKind.DIFFERENT)

    def look_back(self, batch: Sequence[ComparedFile]) -> None:
        for file in self._wanted(batch):
            changed = self._changed.pop(file.path, None)
            if changed:
                self._add(changed, file, DifferenceKind.DIFFERENT)
            elif file.path not in self._suspect and not _is_deleted(file):
                detail = _described(file)
                self._found.add(
                    Difference(Area.FILE, DifferenceKind.MISSING, _text(file.path), detail)
                )

    def end(self) -> None:
        """Tell of those whose other side did not come a second time."""
        for file in self._changed.values():
            self._add(file, None, DifferenceKind.DIFFERENT)

    def _add(self, file: ComparedFile, other: ComparedFile | None, kind: DifferenceKind) -> None:
        detail = "; ".join(_contrasts(file, other)) if other else _described(file)
        rule = _rule(file, other, kind)
        program = file.kind in _PROGRAMS and file.mode & _EXECUTE
        if program and len(self.added) < MAX_PROGRAMS:
            self.added.add(_text(file.path))
        self._found.add(Difference(Area.FILE, kind, _text(file.path), detail, rule))

    def _wanted(self, batch: Sequence[ComparedFile]) -> Iterator[ComparedFile]:
        for file in batch:
            by_runtime = file.path in _MADE_BY_RUNTIMES or file.path.startswith(_KERNEL)
            mounted = file.kind == "directory" and file.path in self._mounted
            nameless = _is_deleted(file) and not file.sha256
            if not by_runtime and not mounted and not nameless:
                yield file

    def _fingerprint(self, file: ComparedFile, side: DigestTable) -> bytes:
        """Return what tells two files apart. A hard link is what it is another name of: which name
        comes first in an archive is up to whoever wrote it."""
        if _is_deleted(file):
            return bytes(_WIDTH)
        if file.kind == "hardlink" and (known := side.get(file.target)):
            return known
        size = file.size if file.kind == "file" else 0
        facts = (file.kind, file.mode, file.uid, file.gid, size, file.sha256, file.target)
        data = repr((facts, file.device, file.xattrs)).encode(errors="surrogatepass")
        return blake2b(data, digest_size=_WIDTH, key=self._secret).digest()


def _is_deleted(file: ComparedFile) -> bool:
    """Whether only a process still held it."""
    return file.path == DELETED_FOLDER or file.path.startswith(DELETED_FOLDER + b"/")


def _key(file: ComparedFile) -> bytes:
    """Return what makes files comparable: the path, or the content of one that has none any more,
    whose path in the bundle has the number of a process."""
    return b"deleted " + file.sha256.encode() if _is_deleted(file) else file.path


def _text(path: bytes) -> str:
    return os.fsdecode(path)


def _rule(file: ComparedFile, other: ComparedFile | None, kind: DifferenceKind) -> Rule | None:
    """Return the most severe rule that sees something in the file."""
    notes = []
    same_content = other is not None and (file.kind, file.sha256) == (other.kind, other.sha256)
    if same_content:
        notes.append("metacopy")
    elif other and file.kind == "file" and same_moment(file.mtime, other.mtime):
        notes.append("mtimeRestored")
    row = {
        "kind": "A" if kind is DifferenceKind.ONLY else "C",
        "path": _text(file.path),
        "type": _KINDS.get(file.kind, file.kind),
        "mode": f"{file.mode:04o}",
        "uid": file.uid,
        "size": file.size,
        "mtime": file.mtime,
        "target": _text(file.target),
        "sha256": file.sha256,
        "xattrs": dict(file.xattrs),
        "notes": notes,
    }
    seen = [rule for rule, _ in changes.look(row)]
    return min(seen, key=lambda rule: (rule.severity, [*Rule].index(rule)), default=None)


def same_moment(one: str, other: str) -> bool:
    """Whether two times are equal, as far as both are known: some archives have whole seconds."""
    first, second = from_decimal(one), from_decimal(other)
    if first is None or second is None:
        return False
    whole = 0 in {first % 10**9, second % 10**9}
    return first // 10**9 == second // 10**9 if whole else first == second


def _described(file: ComparedFile) -> str:
    what = f"{file.kind}, mode {file.mode:04o}, owner {file.uid}:{file.gid}"
    if file.kind == "file":
        what += f", {file.size} bytes" + (f", SHA-256 {file.sha256}" if file.sha256 else "")
    return what + (f", to {_text(file.target)}" if file.target else "")


def _contrasts(file: ComparedFile, other: ComparedFile) -> Iterator[str]:
    """Yield what differs, the suspect's first."""
    if file.kind != other.kind:
        yield f"{_described(file)}; was {_described(other)}"
        return
    if (file.sha256, file.size) != (other.sha256, other.size):
        yield (
            f"content: {file.size} bytes, SHA-256 {file.sha256 or 'unknown'}; "
            f"was {other.size} bytes, {other.sha256 or 'unknown'}"
        )
    if file.mode != other.mode:
        yield f"mode {file.mode:04o}, was {other.mode:04o}"
    if (file.uid, file.gid) != (other.uid, other.gid):
        yield f"owner {file.uid}:{file.gid}, was {other.uid}:{other.gid}"
    if file.target != other.target:
        yield f"to {_text(file.target)}, was {_text(other.target)}"
    if file.device != other.device:
        yield f"device {file.device}, was {other.device}"
    if file.xattrs != other.xattrs:
        yield f"attributes {sorted(file.xattrs)}, were {sorted(other.xattrs)}"
