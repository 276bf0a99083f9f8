"""One member of a layer's archive against what lies in the layer's directory under its name."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from posixpath import normpath
from typing import Any

from collector.files.entries import kind_of
from collector.files.hashing import HashingBudget
from collector.files.lower_layers import is_opaque, is_whiteout
from collector.files.safe_open import PLACE, attribute, open_in_root, open_strictly, opened
from forensics_core.tarindex import filecaps
from forensics_core.tarindex.member import Member

FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_WHITEOUT, _OPAQUE, _AUFS = b".wh.", b".wh..wh..opq", b".wh..wh."
_FOREIGN = {"directory": ("redirect",), "file": ("redirect", "metacopy", "whiteout")}
"""Attributes of overlayfs that no archive of a layer brings."""
_TYPES = {"char": "character", "hardlink": "file"}
"""Words of the index that are others in what `describe` says."""

MemberDifference = dict[str, Any]
"""`difference`: `missing`, `type`, `content`, `metadata`; of the others than the first `image` and
`node`, what either has."""


def plain_path(path: bytes) -> bytes:
    """Return an absolute path without what leads nowhere."""
    return b"/" + normpath(path).lstrip(b"/")


@dataclass(slots=True)
class LayerOpener:
    """Opens names in a layer's directory; that of the last one stays open. To be closed."""

    folder: int
    _parent: bytes | None = None
    _place: int = -1
    detour: bytes = field(default=b"", init=False)
    """Where the directory of the last one really is, if its path leads over a link."""

    def open(self, path: bytes) -> int:
        """Open what lies at an absolute path. Raises `OSError`."""
        parent, _, name = path.rpartition(b"/")
        if parent != self._parent:
            self.close()
            self._place = self._enter(parent.lstrip(b"/"))
            self._parent = parent
        return os.open(name or b".", PLACE, dir_fd=self._place)

    def _enter(self, parent: bytes) -> int:
        try:
            return open_strictly(self.folder, parent, FOLDER)
        except OSError:
            # Unpacked through a link, which leads to where it did then only within the layer.
            place = open_in_root(self.folder, parent, FOLDER)
            self.detour = _path(place).removeprefix(_path(self.folder).rstrip(b"/"))
            return place

    def close(self) -> None:
        """Close the directory of the last one."""
        if self._place >= 0:
            os.close(self._place)
        self._parent, self._place, self.detour = None, -1, b""


@dataclass(slots=True)
class MemberCheck:
    """Compares members; each comparison yields the bytes it has read, now and then."""

    places: LayerOpener
    marks: bytes
    hashing: HashingBudget
    content: bool
    """Whether content is compared, too."""
    bottom: bool
    shift: tuple[int, int] = (0, 0)
    unhashed: int = field(default=0, init=False)
    """Files whose content was not compared, because that is too much to hash."""

    def named(self, member: Member) -> bytes | None:
        """Return the path that the member makes something at; None where it makes nothing."""
        path = plain_path(member.path)
        name = path.rpartition(b"/")[2]
        if name == _OPAQUE:
            return path
        if name.startswith(_AUFS):
            return None
        return path[: -len(name)] + name.removeprefix(_WHITEOUT)

    def compare(self, member: Member) -> Iterator[int | MemberDifference]:
        """Yield a difference, if there is one."""
        path = plain_path(member.path)
        parent, _, name = path.rpartition(b"/")
        if name == _OPAQUE:
            yield from self._opaque(parent)
        elif name.startswith(_WHITEOUT) and not name.startswith(_AUFS):
            yield from self._whiteout(parent + b"/" + name.removeprefix(_WHITEOUT))
        elif name and not name.startswith(_AUFS):
            yield from self._file(member, path)

    def _opaque(self, parent: bytes) -> Iterator[MemberDifference]:
        """Expect a directory that hides what lower layers have there."""
        if self.bottom:
            return
        try:
            with opened(self.places.open(parent or b"/")) as place:
                if is_opaque(place, self.marks):
                    return
        except OSError:
            pass
        yield {"difference": "type", "image": "opaque directory", "node": "none"}

    def _whiteout(self, path: bytes) -> Iterator[MemberDifference]:
        """Expect what says that a name of lower layers is deleted."""
        try:
            with opened(self.places.open(path)) as place:
                status = os.fstat(place)
                if is_whiteout(status, place, self.marks):
                    return
                found = kind_of(status)
        except OSError:
            if self.bottom:
                return
            yield {"difference": "missing", "image": "whiteout"}
            return
        yield {"difference": "type", "image": "whiteout", "node": found}

    def _file(self, member: Member, path: bytes) -> Iterator[int | MemberDifference]:
        try:
            with opened(self.places.open(path)) as place:
                status = os.fstat(place)
                expected, found = _TYPES.get(member.kind, member.kind), kind_of(status)
                if expected != found:
                    yield {"difference": "type", "image": expected, "node": found}
                    return
                differing = self._metadata(member, place, status)
                if member.kind == "file" and self.content:
                    yield from self._content(member, place, status, differing)
                elif differing:
                    yield {"difference": "metadata", **differing}
        except (FileNotFoundError, NotADirectoryError):
            yield {"difference": "missing", "image": member.kind}

    def _content(
        self, member: Member, place: int, status: os.stat_result, differing: MemberDifference
    ) -> Iterator[int | MemberDifference]:
        digest = yield from self._digest(place, status.st_size)
        if digest and member.sha256 and digest != member.sha256:
            both = {"image": member.sha256, "node": digest}
            yield {"difference": "content", **differing, "sha256": both}
            return
        self.unhashed += not (digest and member.sha256)
        if differing:
            yield {"difference": "metadata", **differing}

    def _digest(self, place: int, size: int) -> Any:
        reading = self.hashing.digest(place, size)
        while True:
            try:
                next(reading)
            except StopIteration as end:
                return end.value
            yield min(size, 1024 * 1024)

    def _metadata(self, member: Member, place: int, status: os.stat_result) -> MemberDifference:
        """Return what differs, each with both values."""
        if member.kind == "hardlink":
            return self._link(member, status)
        image: dict[str, Any] = {
            "uid": member.uid + self.shift[0],
            "gid": member.gid + self.shift[1],
        }
        node: dict[str, Any] = {"uid": status.st_uid, "gid": status.st_gid}
        if member.kind == "symlink":
            image["target"], node["target"] = _text(member.target), _text(_target(place))
        else:
            image["mode"], node["mode"] = f"{member.mode:04o}", f"{status.st_mode & 0o7777:04o}"
        if member.kind == "file":
            image["size"], node["size"] = member.size, status.st_size
            seconds = int(member.mtime.partition(".")[0])
            if seconds > 0:  # others are kept as something else
                image["mtime"], node["mtime"] = seconds, status.st_mtime_ns // 10**9
            granted = (member.xattrs or {}).get(filecaps.ATTRIBUTE)
            image["capabilities"] = _granted(granted)
            node["capabilities"] = _granted(attribute(place, filecaps.ATTRIBUTE))
        for mark in _FOREIGN.get(member.kind, ()):
            # With one of these something else is shown than what lies there.
            image[mark], node[mark] = None, _shown(attribute(place, self.marks + mark.encode()))
        if member.device:
            image["device"] = "{}:{}".format(*member.device)
            node["device"] = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
        return {
            name: {"image": image[name], "node": node[name]}
            for name in image
            if image[name] != node[name]
        }

    def _link(self, member: Member, status: os.stat_result) -> MemberDifference:
        """Compare a hard link with what it is another name of."""
        try:
            with opened(self.places.open(plain_path(member.target))) as place:
                if stat.S_ISREG(status.st_mode) and os.path.samestat(os.fstat(place), status):
                    return {}
        except OSError:
            pass
        target = _text(member.target)
        return {"link": {"image": f"another name of {target}", "node": "a file of its own"}}


def _path(place: int) -> bytes:
    return os.fsencode(Path(f"/proc/self/fd/{place}").readlink())


def _shown(value: bytes | None) -> str | None:
    return None if value is None else _text(value) or "set"


def _granted(value: bytes | None) -> str | None:
    return None if value is None else filecaps.decode(value)


def _target(place: int) -> bytes:
    return os.readlink(b"", dir_fd=place)


def _text(data: bytes) -> str:
    return data.decode(errors="backslashreplace")
