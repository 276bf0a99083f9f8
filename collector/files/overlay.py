r"""Which directories an overlay is made of, as the kernel or a runtime spells them.

The kernel spells options in four ways: absolute paths, paths relative to a folder it does not name,
one `lowerdir+=` a layer, and octal escapes for what is special in its table.

Source: Documentation/filesystems/overlayfs.rst, proc_pid_mountinfo(5)
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_OCTAL = re.compile(rb"\\([0-7]{3})")
_SEPARATOR = re.compile(rb"(?<!\\):+")
_DOUBLE = re.compile(rb"(?<!\\)::")
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class OverlayDirectories:
    """The directories of one overlay, by their paths on the runtime's machine."""

    upper: bytes
    """What the container wrote."""
    lower_layers: tuple[bytes, ...]
    """The image's layers, topmost first."""
    marks: bytes = b"trusted.overlay."
    """How the names of overlayfs's own attributes begin. Those that begin otherwise were set in the
    container and mean nothing."""
    data: tuple[bytes, ...] = ()
    """Layers that only hold content, for files of others: their own names are not in sight."""

    @property
    def complete(self) -> bool:
        """Whether every path is absolute: a relative one leads nowhere by itself."""
        return all(path.startswith(b"/") for path in (self.upper, *self.lower_layers, *self.data))


def parse_options(options: Iterable[bytes]) -> OverlayDirectories | None:
    """Return the layers that mount options, unescaped, name; None without upper or lower."""
    upper, lower_layers, data, marks = b"", list[bytes](), list[bytes](), b"trusted.overlay."
    for option in options:
        name, _, value = option.partition(b"=")
        if name == b"upperdir":
            upper = value
        elif name == b"lowerdir":
            lower_layers, data = _split(value)
        elif name in {b"lowerdir+", b"datadir+"}:
            (lower_layers if name == b"lowerdir+" else data).append(value)
        elif name == b"userxattr":
            marks = b"user.overlay."
    return (
        OverlayDirectories(upper, tuple(lower_layers), marks, tuple(data))
        if upper and lower_layers
        else None
    )


def _split(value: bytes) -> tuple[list[bytes], list[bytes]]:
    """Return the paths in `lowerdir`, those behind a double colon apart."""
    first, *rest = _DOUBLE.split(value)
    lower_layers, data = (
        [_ESCAPED.sub(rb"\1", path) for path in _SEPARATOR.split(part) if path]
        for part in (first, b":".join(rest))
    )
    return lower_layers, data


def parse_mountinfo(table: bytes, point: bytes = b"/") -> OverlayDirectories | None:
    """Return the layers of the overlay that is mounted on `point`; None if there is none."""
    found = None
    for line in table.split(b"\n"):
        mount, _, source = line.partition(b" - ")
        fields, kind = mount.split(b" "), source.split(b" ")
        if len(fields) > 4 and unescape(fields[4]) == point:
            # Split first: a comma within a path is escaped, too, as \054.
            options = [unescape(option) for option in kind[-1].split(b",")]
            # No break: of several mounts on one point the last hides the others.
            found = parse_options(options) if kind[0] == b"overlay" else None
    return found


def mount_points(table: bytes) -> list[bytes]:
    """Return where something is mounted, by a mountinfo table."""
    rows = (line.split(b" ") for line in table.split(b"\n"))
    return [unescape(row[4]) for row in rows if len(row) > 4]


def unescape(text: bytes) -> bytes:
    r"""Return a field of mountinfo as it was meant: `\040` is a space."""
    return _OCTAL.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), text)


def layers_beside(root: bytes, lower: bytes) -> OverlayDirectories:
    """Return the layers of a driver that keeps them as Docker's overlay2 and CRI-O do.

    `root` is the folder `merged`; `lower` the content of the file beside it, relative to the folder
    of all layers.
    """
    layer = root.rpartition(b"/")[0]
    folder = layer.rpartition(b"/")[0]
    # `l/ABC:l/DEF`: links with short names, as mount(2) takes one page of options.
    names = [name for name in lower.strip().split(b":") if name]
    return OverlayDirectories(layer + b"/diff", tuple(folder + b"/" + name for name in names))
