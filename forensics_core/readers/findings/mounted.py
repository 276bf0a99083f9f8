"""Files on mounts, as the rules over changes look at them: none of them is of the image."""

from __future__ import annotations

from forensics_core.readers.findings.documents import DocumentRow
from forensics_core.tarindex.row import Row as IndexRow

_KINDS = {"char": "character", "hardlink": "file"}
"""What the changes of a container call what the index calls otherwise."""


def as_change(row: IndexRow) -> DocumentRow:
    """Return a row of the index of mounts as a row of `diff.json` would have it."""
    return {
        "kind": "A",
        "path": row.path.decode(errors="backslashreplace"),
        "type": _KINDS.get(row.kind, row.kind),
        "mode": f"{row.mode:04o}",
        "uid": row.uid,
        "size": row.size,
        "target": row.target.decode(errors="backslashreplace"),
        "sha256": row.sha256,
        "xattrs": row.document.get("xattrs"),
        "notes": [],
    }
