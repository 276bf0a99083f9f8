r"""What GNU tar says on its standard error, turned into findings.

With `--quoting-style=c` a line names one member unmistakably, whatever its name holds:
`tar: "./so\nck": socket ignored`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from collector.names import MAX_NAMES, Names
from collector.text import readable
from forensics_core.errors import SourceError
from forensics_core.evidence.bundle import Findings
from forensics_core.evidence.manifest import Flag

_PROGRAM = re.compile(rb"\A(?:\S*/)?tar: ")
_NAMED = re.compile(rb'"((?:[^"\\]|\\.)*)": (.*)', re.DOTALL)
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)
_LETTERS = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_LETTERS |= {b"v": b"\v"}
_CHANGED = re.compile(
    rb"file changed as we read it|[Ff]ile removed before we read it|File shrank by \d+ bytes?.*"
    rb"|[Dd]irectory .*(changed|removed|renamed).*|.*: No such file or directory"
)
_UNREADABLE = re.compile(
    rb"Cannot .*|Read error at byte.*|.* too long .*; not dumped|Unknown file.*"
)
_HARMLESS = b"Exiting with failure status due to previous errors"


@dataclass(slots=True)
class Complaints:
    """Everything that one run of tar complained about."""

    findings: Findings = field(default_factory=Findings)
    sockets: Names = field(default_factory=Names)
    """Which a tar archive cannot hold."""
    unreadable: Names = field(default_factory=Names)
    """Members that are missing, or cut and padded with zeros, though they should be there."""
    fatal: list[str] = field(default_factory=list)
    """Lines about no member: why tar gave up."""

    def hear(self, line: bytes) -> None:
        """Take in one line, without its end."""
        said = _PROGRAM.sub(b"", line)
        named = _NAMED.fullmatch(said)
        if named:
            self._about(unquote(named[1]), named[2])
        elif said != _HARMLESS and len(self.fatal) < MAX_NAMES:
            self.fatal.append(readable(said))

    def _about(self, member: bytes, said: bytes) -> None:
        path, message = readable(member), readable(said)
        if said == b"socket ignored":
            self.sockets.add(path)
            return
        self.findings.remark(path, message)
        for pattern, act in self._meanings():
            if pattern.fullmatch(said):
                act(path)
                return

    def _meanings(self) -> list[tuple[re.Pattern[bytes], Callable[[str], None]]]:
        return [(_CHANGED, self._changed), (_UNREADABLE, self.unreadable.add)]

    def _changed(self, _: str) -> None:
        self.findings.flags.add(Flag.CHANGED_WHILE_READ)

    def judge(self, code: int) -> None:
        """Decide about tar's exit code, once it has said everything.

        0 and 1 are fine, and 2 if every complaint was about a member. Raises `SourceError`.
        """
        if code in {0, 1} or (code == 2 and not self.fatal and self.findings.remarks_total):
            return
        why = "; ".join(self.fatal[:3]) or f"it ended with {code}"
        raise SourceError(
            f"tar could not read the file system: {why}", hint="Check the node's disk and memory"
        )


def unquote(name: bytes) -> bytes:
    """Return the name that tar spelled in the manner of a C string."""
    return _ESCAPE.sub(_unescape, name)


def _unescape(match: re.Match[bytes]) -> bytes:
    sign = match[1]
    if len(sign) == 3:
        return bytes([int(sign, 8) & 0xFF])
    return _LETTERS.get(sign, sign)
