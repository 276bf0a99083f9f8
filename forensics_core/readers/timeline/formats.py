"""Timelines as other tools read them.

`bodyfile` is mactime's (and plaso's), one line a file; `timesketch` JSON lines, one an entry; `csv`
for spreadsheets; the table is for people.

Sources: https://wiki.sleuthkit.org/index.php?title=Body_file,
https://timesketch.org/guides/user/import-from-json-csv/
"""

from __future__ import annotations

import json
import stat

from forensics_core._internal.text import printable
from forensics_core.readers.timeline.entry import SECOND, TimelineEntry, to_stamp
from forensics_core.readers.timeline.files import FileTimes

CSV_HEAD = ("datetime", "timestamp_desc", "source", "container", "message", "path", "sha256")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""
_TYPES = {"file": "r", "hardlink": "r", "directory": "d", "symlink": "l", "fifo": "p"}
_DEVICES = {"char": "c", "block": "b", "socket": "h"}
_YEARS = (-62_135_596_800, 253_402_300_800)
"""Seconds since 1970 at which the years that Timesketch's datetime can hold begin and end."""


def bodyfile_row(each: FileTimes | TimelineEntry, container: str) -> str:
    """Return the line of a file, or of what is none."""
    return (
        bodyfile_entry(each) if isinstance(each, TimelineEntry) else bodyfile_line(each, container)
    )


def bodyfile_line(file: FileTimes, container: str) -> str:
    """Return `MD5|name|inode|mode|uid|gid|size|atime|mtime|ctime|crtime`, times in seconds.

    There is no MD5: 0. A `|` or control character in a name is escaped, so that no name can add a
    field or a line.
    """
    row = file.row
    kind = {**_TYPES, **_DEVICES}.get(row.kind, "-")
    mode = f"{kind}/{kind}{stat.filemode(stat.S_IFREG | row.mode)[1:]}"
    target = f" -> {printable(row.target.decode(errors='surrogateescape'), 4096)}"
    name = _field(f"[{container}] {file.path}") + (target if row.kind == "symlink" else "")
    numbers = [file.number("inode"), mode, row.uid, row.gid, row.size]
    times = [file.times.get(letter, 0) // SECOND for letter in "amcb"]
    return "|".join(["0", name.replace("|", "\\x7c"), *(str(each) for each in [*numbers, *times])])


def bodyfile_entry(entry: TimelineEntry) -> str:
    """Return the same for what is no file: all of its times are the one that it has."""
    name = _field(f"[{entry.container or 'pod'}] ({entry.source}) {entry.message}")
    moment = str(entry.time // SECOND)
    return "|".join(
        ["0", name.replace("|", "\\x7c"), "0", "-/----------", "0", "0", "0"] + 4 * [moment]
    )


def timesketch_line(entry: TimelineEntry, ahead: int = 0) -> str:
    """Return what `as_json` does as a line."""
    return json.dumps(as_json(entry, ahead))


def as_json(entry: TimelineEntry, ahead: int = 0) -> dict[str, object]:
    """Return one object with `message`, `datetime`, `timestamp` (microseconds), and more.

    `ahead`: nanoseconds by which times that the node's clock gave were moved back.
    """
    return {
        "message": _portable(entry.message),
        "datetime": _iso(entry.time),
        "timestamp": entry.time // 1000,
        "timestamp_desc": entry.what,
        "data_type": f"kube_forensics:{entry.source}",
        "container": entry.container,
        **({"filename": _portable(entry.path)} if entry.path else {}),
        **({"node_clock_ahead_seconds": ahead // SECOND} if ahead else {}),
        **({"sha256_hash": entry.sha256} if entry.sha256 else {}),
    }


def _iso(time: int) -> str:
    """Return ISO 8601 to the microsecond; the nearest there is of a time that no calendar has."""
    begin, end = _YEARS
    seconds = min(max(time // SECOND, begin), end - 1)
    rest = time % SECOND if seconds == time // SECOND else 0
    return f"{to_stamp(seconds * SECOND + rest)[:26]}+00:00"


def csv_line(cells: tuple[str, ...]) -> str:
    """Return a row of a CSV file; nothing in it is a formula to a spreadsheet."""
    return ",".join([_quoted(_cell(cell)) for cell in cells])


def _quoted(cell: str) -> str:
    """Return a cell as RFC 4180 has it; `csv.writer` takes twice as long for a single row."""
    return '"' + cell.replace('"', '""') + '"' if '"' in cell or "," in cell else cell


def csv_cells(entry: TimelineEntry) -> tuple[str, ...]:
    """Return an entry's cells, in the order of `CSV_HEAD`."""
    moment = to_stamp(entry.time)
    return (
        moment,
        entry.what,
        entry.source,
        entry.container,
        entry.message,
        entry.path,
        entry.sha256,
    )


def _cell(text: str) -> str:
    text = printable(text, 32_000)
    return f"'{text}" if text.startswith(_FORMULA) else text


def table_line(entry: TimelineEntry) -> str:
    """Return a line for people, safe on a terminal."""
    kind = entry.marks or entry.source
    return (
        f"{to_stamp(entry.time)}  {kind:9}  {entry.container or '-':12}  {printable(entry.message)}"
    )


def _field(text: str) -> str:
    return printable(text, 8192)


def _portable(text: str) -> str:
    r"""Return text as UTF-8 can hold it: a byte that is none is spelled `\xNN`."""
    if text.isascii():
        return text
    return text.encode(errors="surrogateescape").decode(errors="backslashreplace")
