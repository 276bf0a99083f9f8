"""An image's layers, read from the highest down, as one tree.

Source: https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator

from forensics_core.errors import UsageError
from forensics_core.readers.compare.files import ComparedFile, own_attributes
from forensics_core.readers.digests import DigestTable
from forensics_core.tarindex.member import Member
from forensics_core.tarindex.sparse import SparseMap

MAX_WHITEOUTS = 1_000_000
"""Of all layers together."""
_WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"
_DIRECTORY, _OTHER = b"d", b"f"
_NUMBER = 2
"""Bytes of a layer's number."""
_MANY = 10_000
"""Directories whose verdict is remembered."""


class LayerMerge:
    """What is in sight of a layer beneath those that came before it."""

    def __init__(self, most: int = MAX_WHITEOUTS) -> None:
        self._most = most
        self._seen = DigestTable(1 + _NUMBER)
        self._layer = 0
        self._gone: set[bytes] = set()
        self._opaque: set[bytes] = set()
        self._gone_next: set[bytes] = set()
        self._opaque_next: set[bytes] = set()
        self._verdicts: dict[bytes, bool] = {}

    def take(self, path: bytes, *, directory: bool) -> bool:
        """Take a path of this layer; return whether it is in sight, and was not there before."""
        folder, _, name = path.rpartition(b"/")
        if name.startswith(_WHITEOUT):
            self._note(folder, name)
            return False
        if path in self._gone or not self._in_sight(folder):
            return False
        kind = _DIRECTORY if directory else _OTHER
        return self._seen.add(path, kind + self._layer.to_bytes(_NUMBER))

    def end_layer(self) -> None:
        """Go on to the layer beneath: all that was taken lies above it."""
        self._layer += 1
        self._gone |= self._gone_next
        self._opaque |= self._opaque_next
        self._gone_next, self._opaque_next, self._verdicts = set(), set(), {}

    def _note(self, folder: bytes, name: bytes) -> None:
        if name == _OPAQUE:
            self._opaque_next.add(folder)
        elif not name.startswith(_WHITEOUT * 2):
            self._gone_next.add(folder + b"/" + name.removeprefix(_WHITEOUT))
        if len(self._gone_next) + len(self._gone) > self._most:
            raise UsageError(f"The image has more than {self._most:,} whiteouts")

    def _in_sight(self, folder: bytes) -> bool:
        """Whether what lies in a directory is covered by nothing of the layers above."""
        known = self._verdicts.get(folder)
        if known is None:
            known = all(map(self._open, _with_parents(folder)))
            if len(self._verdicts) > _MANY:
                self._verdicts.clear()
            self._verdicts[folder] = known
        return known

    def _open(self, folder: bytes) -> bool:
        if folder in self._gone or folder in self._opaque:
            return False
        kind = self._seen.get(folder) or _DIRECTORY
        # What is no directory covers what lies beneath it in the layers below, not in its own.
        return kind[:1] == _DIRECTORY or int.from_bytes(kind[1:]) == self._layer


def _with_parents(folder: bytes) -> Iterator[bytes]:
    while folder:
        yield folder
        folder = folder.rpartition(b"/")[0]
    yield b""


class LayerReader:
    """Takes one layer's members as they pass; see `TarWalk`.

    The content of what `wanted` names is kept, up to `limit` bytes each.
    """

    def __init__(self, merge: LayerMerge, wanted: Callable[[bytes], bool], limit: int) -> None:
        self._merge = merge
        self._wanted = wanted
        self._limit = limit
        self._files: list[ComparedFile] = []
        self._content: bytearray | None = None
        self.kept: dict[bytes, bytes] = {}

    def take(self) -> list[ComparedFile]:
        """Return the files since the last time."""
        files, self._files = self._files, []
        return files

    def begin(self, member: Member, places: SparseMap | None) -> None:
        """Expect a member's data."""
        fits = member.stored <= self._limit and not member.sparse
        self._content = bytearray() if fits and self._wanted(member.path) else None

    def data(self, piece: memoryview) -> None:
        """Take some of it."""
        if self._content is not None:
            self._content += piece

    def __call__(self, member: Member) -> None:
        """Take a member."""
        content, self._content = self._content, None
        if not self._merge.take(member.path, directory=member.kind == "directory"):
            return
        if content is not None:
            self.kept[member.path] = bytes(content)
        self._files.append(_file(member))


def _file(member: Member) -> ComparedFile:
    named = {
        name.decode(errors="backslashreplace"): base64.b64encode(value).decode()
        for name, value in (member.xattrs or {}).items()
    }
    return ComparedFile(
        member.path,
        member.kind,
        member.mode,
        member.uid,
        member.gid,
        member.size,
        member.sha256 or member.stored_sha256,
        member.target,
        member.mtime,
        member.device or (),
        own_attributes(named),
    )
