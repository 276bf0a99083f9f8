r"""What GNU tar says on its standard error, turned into notes.

With `--quoting-style=c` a line names one member unmistakably, whatever its name holds:
`tar: "./so\nck": socket ignored`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from collector.documents import MAX_NAMES, BoundedNames, readable
from forensics_core.bundle.manifest import Flag
from forensics_core.bundle.writer import SourceNotes, shortened
from forensics_core.errors import SourceError

MAX_LINE = 64 * 1024
"""Bytes of a line; a longer one is only counted."""

_PROGRAM = re.compile(rb"\A(?:\S*/)?tar: ")
_NAMED = re.compile(rb'"((?:[^"\\]|\\.)*)": (.*)', re.DOTALL)
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)
_LETTERS = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_LETTERS |= {b"v": b"\v"}
_NO_SUCH_THING = re.compile(rb"Warning: Cannot .*: Operation not supported")
"""The file system has no lists of access, or no extended attributes."""
_CHANGED = re.compile(
    rb"file changed as we read it|[Ff]ile removed before we read it|File shrank by \d+ bytes?.*"
    rb"|[Dd]irectory .*(changed|removed|renamed).*|.*: No such file or directory"
)
_UNREADABLE = re.compile(
    rb"Cannot .*|Read error at byte.*|.* too long .*; not dumped|Unknown file.*"
)
_BARE = re.compile(rb"Warning: Cannot .*")
"""The member itself is there."""
_HARMLESS = b"Exiting with failure status due to previous errors"


@dataclass(slots=True)
class TarStderr:
    """Everything that one run of tar complained about."""

    notes: SourceNotes = field(default_factory=SourceNotes)
    sockets: BoundedNames = field(default_factory=BoundedNames)
    """Which a tar archive cannot hold."""
    unreadable: BoundedNames = field(default_factory=BoundedNames)
    """Members that are missing, or cut and padded with zeros, though they should be there."""
    bare: BoundedNames = field(default_factory=BoundedNames)
    """Members whose extended attributes or lists of access are missing."""
    unheard: int = 0
    """Lines that were too long to be looked at."""
    fatal: list[str] = field(default_factory=list)
    """Lines about no member: why tar gave up."""

    def add_line(self, line: bytes) -> None:
        """Take in one line, without its end."""
        said = _PROGRAM.sub(b"", line)
        named = _NAMED.fullmatch(said)
        if named:
            self._about(unquote(named[1]), named[2])
        elif said != _HARMLESS and len(self.fatal) < MAX_NAMES:
            self.fatal.append(shortened(readable(said)))

    def _about(self, member: bytes, said: bytes) -> None:
        path, message = readable(member), readable(said)
        if said == b"socket ignored":
            self.sockets.add(path)
            return
        self.notes.remark(path, message)
        for pattern, act in self._meanings():
            if pattern.fullmatch(said):
                act(path)
                return

    def _meanings(self) -> list[tuple[re.Pattern[bytes], Callable[[str], None]]]:
        return [
            (_CHANGED, self._changed),
            (_UNREADABLE, self.unreadable.add),
            (_NO_SUCH_THING, lambda _: None),
            (_BARE, self.bare.add),
        ]

    def _changed(self, _: str) -> None:
        self.notes.flags.add(Flag.CHANGED_WHILE_READ)

    @property
    def _about_members(self) -> int:
        return self.notes.remarks_total + self.unheard

    def judge(self, code: int) -> None:
        """Decide about tar's exit code, once it has said everything.

        0 and 1 are fine, and 2 if every complaint was about a member. Raises `SourceError`.
        """
        if code in {0, 1} or (code == 2 and not self.fatal and self._about_members):
            return
        why = "; ".join(self.fatal[:3]) or f"it ended with {code}"
        raise SourceError(
            f"tar could not read the file system: {why}", hint="Check the node's disk and memory"
        )


class Lines:
    """Cuts what arrives into lines, and drops those longer than `most` as a whole.

    A part of a line would name another member than the one that it is about.
    """

    def __init__(self, most: int = MAX_LINE) -> None:
        self._most = most
        self._rest = b""
        self._dropping = False
        self.dropped = 0
        """Lines that were too long."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that end in `chunk`, without their ends."""
        *lines, rest = (self._rest + chunk).split(b"\n")
        if self._dropping:
            if not lines:
                return []
            del lines[0]
        self._dropping = len(rest) > self._most
        self._rest = b"" if self._dropping else rest
        short = [line for line in lines if len(line) <= self._most]
        self.dropped += len(lines) - len(short) + self._dropping
        return short


def unquote(name: bytes) -> bytes:
    """Return the name that tar spelled in the manner of a C string."""
    return _ESCAPE.sub(_unescape, name)


def _unescape(match: re.Match[bytes]) -> bytes:
    sign = match[1]
    if len(sign) == 3:
        return bytes([int(sign, 8) & 0xFF])
    return _LETTERS.get(sign, sign)
