"""Open a bundle of kube-forensics with dissect.target, compressed as it is::

    target-query --plugin-path=integrations/dissect -f users,processes cases/42/containers/web

A target is one container: its file system, what was mounted on it, what a removed container had
written, `/proc` as it was, and in `/(deleted)` the files that only processes still held. Nothing is
unpacked: the index says where a file lies, and only the frames that hold it are read.

What is read is held against `manifest.json`: an index or an archive's file that is not as promised
is left out, and named in the log. Whether the manifest itself is genuine says `forensics verify`.

Needs dissect.target 3.25 and zstandard. Licence of this file: Apache-2.0, as the rest of
kube-forensics. It runs inside dissect.target, which is AGPL-3.0: whoever passes on both together,
or offers them over a network, has to keep to the AGPL's terms. kube-forensics itself neither
imports nor installs any of it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import stat
import struct
from array import array
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import zstandard
from dissect.target.exceptions import FilesystemError, NotASymlinkError
from dissect.target.filesystem import (
    VirtualDirectory,
    VirtualDirEntry,
    VirtualFile,
    VirtualFilesystem,
)
from dissect.target.helpers import fsutil
from dissect.target.helpers.logging import get_logger
from dissect.target.loader import LOADERS, LOADERS_BY_SCHEME, Loader
from dissect.util.stream import AlignedStream, MappingStream, RangeStream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dissect.target.target import Target

log = get_logger(__name__)

PREDICATE = "https://forensics.orkaproj.io/capture/v1"
LAYERS = ("rootfs", "upper", "mounts", "proc", "deleted")
"""The archives of a container, the lowest first."""
DELETED = "(deleted)"
MAX_MANIFEST = 256 * 1024 * 1024
MAX_FRAME = 64 * 1024 * 1024
"""Bytes that a frame may unpack to; those of kube-forensics have 4 MiB."""
MAX_LINE = 16 * 1024 * 1024
_TIME = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,9}))?")
_SECOND = 1_000_000_000
_PACKED = struct.Struct("<BB7QqIqIqIqI")
_TABLE, _FOOTER = 0x184D2A5E, 0x8F92EAB1
_KINDS = {
    "file": stat.S_IFREG,
    "symlink": stat.S_IFLNK,
    "char": stat.S_IFCHR,
    "block": stat.S_IFBLK,
    "fifo": stat.S_IFIFO,
    "socket": stat.S_IFSOCK,
}


class NotGenuine(FilesystemError):
    """Something is not what the manifest promises."""


class Row(NamedTuple):
    """What the index says of one file."""

    mode: int
    uid: int
    gid: int
    size: int
    times: tuple[int, int, int, int]
    """Accessed, modified, changed, made: nanoseconds since 1970."""
    inode: int
    target: str
    sha256: str
    data: int
    stored: int
    """Bytes in the archive; of a sparse file its map and its data, else 0."""
    layer: int
    """Which archive has it, by its place in `LAYERS`."""

    def pack(self) -> bytes:
        """Return it in as few bytes as can be: there may be millions. Raises `ValueError`."""
        times = [part for each in self.times for part in divmod(each, _SECOND)]
        digest = bytes.fromhex(self.sha256)
        numbers = (self.mode, self.uid, self.gid, self.size, self.inode, self.data, self.stored)
        try:
            head = _PACKED.pack(self.layer, len(digest), *numbers, *times)
        except struct.error as error:
            raise ValueError(f"a number does not fit: {error}") from error
        return head + digest + self.target.encode(errors="surrogateescape")

    @classmethod
    def unpack(cls, data: bytes) -> Row:
        """Return what was packed."""
        layer, length, mode, uid, gid, size, inode, at, stored, *times = _PACKED.unpack_from(data)
        a, m, c, b = (
            each * _SECOND + rest for each, rest in zip(times[::2], times[1::2], strict=True)
        )
        digest = data[_PACKED.size : _PACKED.size + length].hex()
        target = data[_PACKED.size + length :].decode(errors="surrogateescape")
        return cls(mode, uid, gid, size, (a, m, c, b), inode, target, digest, at, stored, layer)


class Archive:
    """One archive of a container."""

    def __init__(self, folder: Path, layer: str, promised: dict[str, str]):
        self.layer = layer
        names = [f"{layer}.tar.zst", f"{layer}.tar"]
        self.path = next((folder / name for name in names if name in promised), folder / names[0])
        self.index = folder / f"{layer}.index.jsonl.zst"
        self.promised = promised
        self._plain: BinaryIO | None = None

    @property
    def there(self) -> bool:
        """Whether the manifest names it, and it is a file."""
        return self.path.name in self.promised and _is_file(self.path)

    @property
    def plain(self) -> BinaryIO:
        """The archive as it was before compression; only what is asked for is read."""
        if self._plain is None:
            compressed = self.path.suffix == ".zst"
            self._plain = Frames(self.path) if compressed else self.path.open("rb")
        return self._plain

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the index's rows. Raises `NotGenuine`."""
        if not _is_file(self.index):
            raise NotGenuine(f"{self.index} is missing")
        with self.index.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != self.promised.get(self.index.name):
                raise NotGenuine(f"{self.index} is not what the manifest says")
            file.seek(0)
            unpacked = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            lines = io.BufferedReader(unpacked, 1024 * 1024)
            while line := lines.readline(MAX_LINE):
                row = json.loads(line)
                if isinstance(row, dict):
                    yield row


class Frames(AlignedStream):
    """The content of an archive of zstd frames, by the seek table at its end."""

    def __init__(self, path: Path):
        self._file = path.open("rb")
        self._stored, self._starts = self._table()
        self._kept: tuple[int, bytes] = (-1, b"")
        super().__init__(size=self._starts[-1])

    def _table(self) -> tuple[array[int], array[int]]:
        """Return where each frame begins, in the file and in what it unpacks to."""
        end = self._file.seek(-9, io.SEEK_END) + 9
        count, flags, magic = struct.unpack("<IBI", self._file.read(9))
        length = 8 + 8 * count + 9
        if magic != _FOOTER or flags or length > end:
            raise NotGenuine(f"{self._file.name} has no seek table")
        self._file.seek(end - length)
        if struct.unpack("<II", self._file.read(8)) != (_TABLE, length - 8):
            raise NotGenuine(f"{self._file.name} has no seek table")
        sizes = array("I", self._file.read(8 * count))
        return array("Q", accumulate(sizes[::2], initial=0)), array(
            "Q", accumulate(sizes[1::2], initial=0)
        )

    def _read(self, offset: int, length: int) -> bytes:
        found, end = [], min(offset + length, self._starts[-1])
        while offset < end:
            number = bisect_right(self._starts, offset) - 1
            piece = self._frame(number)[offset - self._starts[number] :][: end - offset]
            found.append(piece)
            offset += len(piece)
        return b"".join(found)

    def _frame(self, number: int) -> bytes:
        if self._kept[0] != number:
            size = self._starts[number + 1] - self._starts[number]
            if size > MAX_FRAME:
                raise NotGenuine(f"{self._file.name} has a frame of {size} bytes")
            self._file.seek(self._stored[number])
            packed = self._file.read(self._stored[number + 1] - self._stored[number])
            try:
                data = zstandard.ZstdDecompressor().decompress(packed, max_output_size=size)
            except zstandard.ZstdError as error:
                raise NotGenuine(f"{self._file.name} is damaged: {error}") from error
            if len(data) != size:
                raise NotGenuine(f"{self._file.name} is not as long as its table says")
            self._kept = (number, data)
        return self._kept[1]


class BundleEntry(VirtualFile):
    """A file of the container that is no directory."""

    def __init__(self, fs: BundleFilesystem, path: str, row: Row):
        super().__init__(fs, path, row)
        self.archive = fs.archives[row.layer]

    def open(self) -> BinaryIO:
        """Return the content, which has been held against its SHA-256. Raises `NotGenuine`."""
        entry = self._resolve()
        if entry is not self:
            return entry.open()
        if not stat.S_ISREG(self.entry.mode):
            raise FilesystemError(f"{self.path} is no regular file")
        try:
            return self._verified(self.entry)
        except (NotGenuine, ValueError, OSError) as error:
            log.error("Not relied on: %s of %s: %s", self.path, self.archive.path, error)
            raise NotGenuine(f"{self.path}: {error}") from error

    def _verified(self, row: Row) -> BinaryIO:
        plain = self.archive.plain
        if row.data + (row.stored or row.size) > plain.seek(0, io.SEEK_END):
            raise NotGenuine("the archive ends before it")
        stream: Any = _sparse(plain, row) if row.stored else RangeStream(plain, row.data, row.size)
        if not row.sha256:
            log.warning("Not verified, for the index has no hash: %s", self.path)
        elif hashlib.file_digest(stream, "sha256").hexdigest() != row.sha256:
            raise NotGenuine("it is not what the index says")
        stream.seek(0)
        return stream

    def get(self, path: str) -> Any:
        """Return what lies below, where this is a link to a directory."""
        return self.fs.get(path, relentry=self) if self.is_symlink() else super().get(path)

    def scandir(self) -> Any:
        """List the directory that this is a link to."""
        return self._resolve().scandir() if self.is_dir() else super().scandir()

    def is_dir(self, follow_symlinks: bool = True) -> bool:
        """Whether it is a link to a directory."""
        found = self._leads_to(follow_symlinks)
        return found is not None and found is not self and found.is_dir()

    def is_file(self, follow_symlinks: bool = True) -> bool:
        """Whether it is a regular file, or a link to one."""
        found = self._leads_to(follow_symlinks)
        return found is not None and (
            stat.S_ISREG(self.entry.mode) if found is self else found.is_file()
        )

    def _leads_to(self, follow: bool) -> Any:
        try:
            return self._resolve(follow_symlinks=follow)
        except FilesystemError:
            return None

    def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.entry.mode)

    def readlink(self) -> str:
        """Return what the link says."""
        if not self.is_symlink():
            raise NotASymlinkError(self.path)
        return str(self.entry.target)

    def readlink_ext(self) -> Any:
        """Return what the link leads to, inside the container."""
        return fsutil.resolve_link(self.fs, self.readlink(), self.path)

    def stat(self, follow_symlinks: bool = True) -> fsutil.stat_result:
        """Return what the index says."""
        found = self._resolve(follow_symlinks=follow_symlinks)
        return self.lstat() if found is self else found.stat()

    def lstat(self) -> fsutil.stat_result:
        """Return what the index says of the link itself."""
        return _stat(self.entry, id(self.fs))


class BundleDirectory(VirtualDirectory):
    """A directory of the container; one that the archive does not have, where `row` is None.

    What lies in it are directories, and packed rows, of which entries are made when asked for.
    """

    row: Row | None = None

    def __getitem__(self, item: str) -> Any:
        found = self.entries[item]
        if not isinstance(found, bytes):
            return found
        path = f"{self.path.strip('/')}/{item}".lstrip("/")
        return BundleEntry(self.fs, path, Row.unpack(found))

    def scandir(self) -> Iterator[VirtualDirEntry]:
        """Yield what lies in it."""
        for name in self.entries:
            yield VirtualDirEntry(self.fs, self.path, name, self[name])

    def stat(self, follow_symlinks: bool = True) -> fsutil.stat_result:
        """Return what the index says."""
        return self.lstat()

    def lstat(self) -> fsutil.stat_result:
        """Return what the index says."""
        return self._stat() if self.row is None else _stat(self.row, id(self.fs))


class BundleFilesystem(VirtualFilesystem):
    """One tree of all archives of a container."""

    __type__ = "kube-forensics"

    def __init__(self, archives: list[Archive]) -> None:
        super().__init__()
        self.archives = archives
        self.root = BundleDirectory(self, "/")

    def add_layer(self, archive: Archive) -> None:
        """Lay an archive's files over what is there."""
        below = DELETED if archive.layer == "deleted" else ""
        try:
            for document in archive.rows():
                self._add(document, archive, below)
        except (NotGenuine, ValueError, OSError, zstandard.ZstdError) as error:
            log.error("Not relied on: %s", error)

    def _add(self, document: dict[str, Any], archive: Archive, below: str) -> None:
        try:
            path = _text(document["path"])
            parts = [part for part in f"{below}/{path}".split("/") if part not in ("", ".")]
            if not path or ".." in parts:
                raise FilesystemError("leads out of the container")
            self._place(parts, document, archive, below)
        except (FilesystemError, LookupError, TypeError, ValueError) as error:
            shown = f"{document.get('path')!r:.400}"
            log.warning("Left out of %s: %s: %s", archive.path, shown, error)

    def _place(
        self, parts: list[str], document: dict[str, Any], archive: Archive, below: str
    ) -> None:
        kind = document.get("type")
        if kind == "directory":
            self.directory(parts).row = _row(document, stat.S_IFDIR, archive.layer)
            return
        parent, name = self.directory(parts[:-1]), parts[-1]
        beneath = parent.entries.get(name)
        if isinstance(beneath, BundleDirectory) and beneath.entries and archive.layer != "upper":
            raise FilesystemError("a directory with files is there")
        if archive.layer == "upper" and kind == "char" and document.get("device") == [0, 0]:
            parent.entries.pop(name, None)  # the overlay's mark of a deleted name
        elif kind == "hardlink":
            other = self.get(f"{below}/{_text(document.get('target'))}")
            if not isinstance(other, BundleEntry):
                raise FilesystemError("is a hard link to a directory")
            parent.add(name, other.entry.pack())
        else:
            row = _row(document, _KINDS.get(str(kind), stat.S_IFREG), archive.layer)
            parent.add(name, row.pack())

    def directory(self, parts: list[str]) -> BundleDirectory:
        """Return the directory, which is made if it is not there. Raises where a file is."""
        found = self.root
        for number, part in enumerate(parts, 1):
            if part not in found:
                made = BundleDirectory(self, "/".join(parts[:number]))
                made.up = found
                found.add(part, made)
            found = found[part]
            if not isinstance(found, BundleDirectory):
                raise FilesystemError(f"lies below /{'/'.join(parts[:number])}, no directory")
        return found

    def cover(self, mount: dict[str, Any]) -> None:
        """Hide what lies beneath a mount."""
        path, state = _text(mount["path"]), mount.get("state")
        if state in ("root", "kernel") or PurePosixPath(path) == PurePosixPath("/"):
            return
        if state not in ("captured", "partial"):
            log.warning("Mounted on %s, and not captured: %s", path, mount.get("reason") or state)
        try:
            entry = self.get(path)
        except FilesystemError:
            return
        if isinstance(entry, BundleDirectory):
            entry.entries.clear()


class BundleLoader(Loader):
    """Load a container of a bundle, or all containers of it."""

    @staticmethod
    def detect(path: Path) -> bool:
        """Whether `path` is a bundle, or the folder of a container in one."""
        if not path.is_dir():
            return False
        return _is_bundle(path) or (path.parent.name == "containers" and _is_bundle(_bundle(path)))

    @staticmethod
    def find_all(path: Path, parsed_path: Any = None) -> Iterator[Path]:
        """Yield the containers' folders."""
        if _is_bundle(path):
            yield from sorted(each for each in (path / "containers").iterdir() if each.is_dir())
        else:
            yield path

    def map(self, target: Target) -> None:
        """Give the target one file system, of all archives of the container."""
        folder = self.absolute_path
        try:
            promised = _promised(_bundle(folder), f"containers/{folder.name}/")
        except (NotGenuine, OSError, ValueError, LookupError, TypeError) as error:
            log.error("Not relied on: the manifest of %s: %s", _bundle(folder), error)
            raise
        archives = [Archive(folder, layer, promised) for layer in LAYERS]
        fs = BundleFilesystem(archives)
        for archive in archives:
            if archive.layer == "mounts":
                for mount in _mounts(folder / "mounts.json", promised):
                    fs.cover(mount)
            if archive.there:
                fs.add_layer(archive)
            elif archive.path.name in promised:
                log.error("%s is missing", archive.path)
        target.filesystems.add(fs)


def _bundle(folder: Path) -> Path:
    return folder.absolute().parent.parent


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _is_bundle(path: Path) -> bool:
    manifest = path / "manifest.json"
    return _is_file(manifest) and (path / "containers").is_dir()


def _promised(bundle: Path, prefix: str) -> dict[str, str]:
    """Return the SHA-256 of each file of the container, by its name."""
    document = json.loads(_read(bundle / "manifest.json"))
    if document["predicateType"] != PREDICATE:
        raise NotGenuine("it is of another kind")
    return {
        row["name"].removeprefix(prefix): row["digest"]["sha256"]
        for row in document["subject"]
        if row["name"].startswith(prefix)
    }


def _read(path: Path) -> bytes:
    if path.stat().st_size > MAX_MANIFEST:
        raise NotGenuine(f"{path} is too large")
    return path.read_bytes()


def _mounts(path: Path, promised: dict[str, str]) -> list[dict[str, Any]]:
    if path.name not in promised:
        return []
    data = _read(path) if _is_file(path) else b""
    if hashlib.sha256(data).hexdigest() != promised[path.name]:
        log.error("Not relied on: %s is not what the manifest says", path)
        return []
    try:
        return sorted(json.loads(data)["mounts"], key=lambda row: len(_text(row["path"])))
    except (LookupError, TypeError, ValueError) as error:
        log.error("Not relied on: %s: %s", path, error)
        return []


def _text(value: Any) -> str:
    """Return a name of the index, with bytes that are no UTF-8 as Python's file names have them."""
    if isinstance(value, dict):
        return base64.b64decode(value["base64"]).decode(errors="surrogateescape")
    return value if isinstance(value, str) else ""


def _row(document: dict[str, Any], kind: int, layer: str) -> Row:
    sparse = bool(document.get("sparse"))
    times = [_nanoseconds(document.get(f"{each}time")) for each in ("a", "m", "c", "b")]
    return Row(
        mode=kind | int(document.get("mode") or "0", 8),
        uid=_whole(document.get("uid")),
        gid=_whole(document.get("gid")),
        size=_whole(document.get("size")),
        times=(times[0], times[1], times[2], times[3]),
        inode=_whole(document.get("inode")),
        target=_text(document.get("target")),
        sha256=_text(document.get("sha256")),
        data=_whole(document.get("data")),
        stored=_whole(document.get("stored")) if sparse else 0,
        layer=LAYERS.index(layer),
    )


def _whole(value: Any) -> int:
    """Return a number of the index; 0 where there is none. Raises `ValueError`."""
    if value is not None and (type(value) is not int or not 0 <= value < 1 << 64):
        raise ValueError(f"{value!r:.40} is no number")
    return value or 0


def _nanoseconds(value: Any) -> int:
    """Return a time of the index, `1795812294.923573798`. Raises `ValueError`."""
    if not value:
        return 0
    found = _TIME.fullmatch(value)
    if not found:
        raise ValueError(f"{value!r:.40} is no time")
    rest = int((found[3] or "").ljust(9, "0"))
    total = int(found[2]) * _SECOND + rest
    return -total if found[1] else total


def _stat(row: Row, device: int) -> fsutil.stat_result:
    accessed, modified, changed, made = row.times
    seconds = [each / 1e9 for each in (accessed, modified, changed)]
    result = fsutil.stat_result(
        [row.mode, row.inode or row.data, device, 1, row.uid, row.gid, row.size, *seconds]
    )
    result.st_atime_ns, result.st_mtime_ns, result.st_ctime_ns = accessed, modified, changed
    result.st_birthtime, result.st_birthtime_ns = made / 1e9, made
    return result


def _sparse(plain: BinaryIO, row: Row) -> BinaryIO:
    """Return a sparse file with its holes, by the map before its data (GNU's format 1.0)."""
    head = RangeStream(plain, row.data, row.stored)
    numbers = [int(head.readline(32)) for _ in range(2 * int(head.readline(32)))]
    begin = row.data + -(-head.tell() // 512) * 512
    stream, filled = MappingStream(row.size), 0
    for offset, size in zip(numbers[::2], numbers[1::2], strict=True):
        if offset > filled:
            stream.add(filled, offset - filled, Zeros(offset - filled))
        if size:
            stream.add(offset, size, plain, begin)
        filled, begin = offset + size, begin + size
    if filled < row.size:
        stream.add(filled, row.size - filled, Zeros(row.size - filled))
    return stream


class Zeros(AlignedStream):
    """A hole."""

    def _read(self, offset: int, length: int) -> bytes:
        return bytes(length)


LOADERS.insert(0, BundleLoader)
LOADERS_BY_SCHEME["kube-forensics"] = BundleLoader
