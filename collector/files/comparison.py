"""One file against what the image has under its name: content, attributes, and what it may do."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator
from dataclasses import dataclass

from collector.documents import readable
from collector.files.entries import (
    MAX_XATTRS,
    Attributes,
    EntryRow,
    attributes,
    same_status,
    spell_attributes,
)
from collector.files.flags import Flags, read_flags
from collector.files.hashing import HashingBudget
from collector.files.lower_layers import LowerEntry, open_node
from collector.files.safe_open import attribute, open_data, opened
from forensics_core.tarindex import filecaps

ComparisonSteps = Generator[None, None, None]
"""Yields now and then, so that others have a turn."""


@dataclass(frozen=True, slots=True)
class FileComparer:
    """How files are compared; everything adds to a row, and raises `OSError`."""

    marks: bytes
    """How overlayfs's own attributes begin."""
    hashing: HashingBudget
    max_xattrs: int = MAX_XATTRS

    def compare(
        self, row: EntryRow, place: int, was: LowerEntry | None, below: LowerEntry | None
    ) -> ComparisonSteps:
        """Add hash, target and attributes of the file at `place`, and how they differ from `was`.

        `below` is the file of the image that has the content, where the layer itself has none.
        """
        same = self.note_attributes(row, place, was)
        if row["type"] == "symlink":
            row["target"] = readable(os.readlink(b"", dir_fd=place))
        elif row["type"] == "file":
            yield from self._hash(row, place, below)
        status, alike = os.fstat(place), None
        if was and _same_size_and_time(status, was.status):
            alike = yield from self._same_content(row, was)
            if alike is False:
                # Writing moves the time: somebody has put it back with utimensat(2).
                row["notes"].append("mtimeRestored")
            elif alike and same and same_status(status, was.status):
                row["notes"].append("identical")
        if row["type"] == "file":
            _note_set_id(row, status, was)
            alike = bool(alike) or (below is was and "metacopy" in row["notes"])
            self._note_program(row, place, was, below, alike)

    def _note_program(
        self,
        row: EntryRow,
        place: int,
        was: LowerEntry | None,
        below: LowerEntry | None,
        alike: bool,
    ) -> None:
        """Say what an executable file is, and whether the image has one there, of that content."""
        if not is_executable(os.fstat(place)):
            return
        found = self._format(row, place, below)
        if not found:
            return
        row["program"] = found
        if was is None or not is_executable(was.status):
            row["notes"].append("newExecutable")
        elif not alike:
            row["notes"].append("executableChanged")

    def _format(self, row: EntryRow, place: int, below: LowerEntry | None) -> str:
        if "metacopy" not in row["notes"]:
            return program_format(place)
        if below is None or not stat.S_ISREG(below.status.st_mode):
            return ""
        with opened(open_node(below)) as lower:
            return program_format(lower)

    def note_attributes(self, row: EntryRow, place: int, was: LowerEntry | None) -> bool:
        """Add its attributes, extended ones the image does not have so; return if all are alike."""
        now, before = attributes(place, self.marks), Attributes()
        flags, old = read_flags(place, self.marks), Flags()
        if was:
            with opened(open_node(was)) as lower:
                before, old = attributes(lower, self.marks), read_flags(lower, self.marks)
        row |= spell_attributes(now, before, self.max_xattrs) | flags.row()
        _note_capabilities(row, now, before)
        if was and now != before:
            row["notes"].append("xattrsChanged")
        if was and flags.differ(old):
            row["notes"].append("attributesChanged")
        return now == before and not flags.differ(old)

    def _hash(self, row: EntryRow, place: int, below: LowerEntry | None) -> ComparisonSteps:
        if "metacopy" not in row["notes"]:
            digest = yield from self.hashing.digest(place, row["size"])
        elif below and stat.S_ISREG(below.status.st_mode):
            digest = yield from self._digest_of(below)
        else:
            digest = None
        if digest is None:
            row["notes"].append("notHashed")
        else:
            row["sha256"] = digest

    def _digest_of(self, node: LowerEntry) -> Generator[None, None, str | None]:
        with opened(open_node(node)) as lower:
            if attribute(lower, self.marks + b"metacopy") is not None:
                return None  # the content is in a layer still further below
            return (yield from self.hashing.digest(lower, node.status.st_size))

    def _same_content(self, row: EntryRow, was: LowerEntry) -> Generator[None, None, bool | None]:
        """Return whether file or link hold what the image has; None where nobody knows."""
        if row["type"] == "symlink":
            with opened(open_node(was)) as lower:
                return bool(row["target"] == readable(os.readlink(b"", dir_fd=lower)))
        if row["type"] != "file":
            return True
        before = (yield from self._digest_of(was)) if "sha256" in row else None
        return bool(before == row["sha256"]) if before else None


def _note_capabilities(row: EntryRow, now: Attributes, before: Attributes) -> None:
    granted = now.get(filecaps.ATTRIBUTE)
    if granted is not None:
        row["capabilities"] = filecaps.decode(granted)
    if granted != before.get(filecaps.ATTRIBUTE):
        row["notes"].append("capabilitiesAdded" if granted else "capabilitiesRemoved")


def _note_set_id(row: EntryRow, status: os.stat_result, was: LowerEntry | None) -> None:
    """Note the bits that let a program run with its owner's or group's rights, where they are new,
    or where what is there is new."""
    before = was.status.st_mode if was and _same_owner(status, was.status) else 0
    row["notes"] += [
        word for bit, word in SET_ID.items() if status.st_mode & bit and not before & bit
    ]


def _same_owner(one: os.stat_result, other: os.stat_result) -> bool:
    return stat.S_ISREG(other.st_mode) and (one.st_uid, one.st_gid) == (other.st_uid, other.st_gid)


def _same_size_and_time(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)


SET_ID = {stat.S_ISUID: "setuid", stat.S_ISGID: "setgid"}
"""The bits that give a program its owner's or group's rights, with their words."""
_EXECUTE = 0o111
_FORMATS = ((b"\x7fELF", "ELF"), (b"#!", "script"))


def is_executable(status: os.stat_result) -> bool:
    """Return whether it is a regular file that somebody may execute."""
    return stat.S_ISREG(status.st_mode) and bool(status.st_mode & _EXECUTE)


def program_format(place: int) -> str:
    """Return `ELF` or `script` by what the file at `place` begins with; else nothing.

    Raises `OSError`.
    """
    with opened(open_data(place)) as data:
        beginning = os.pread(data, 4, 0)
    return next((word for magic, word in _FORMATS if beginning.startswith(magic)), "")
