"""Rules over the changes of a container's file system: `diff.json`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from forensics_core._internal.text import printable
from forensics_core.readers.findings import removed
from forensics_core.readers.findings.documents import DocumentRow, number, text, words
from forensics_core.readers.findings.finding import Rule
from forensics_core.readers.findings.paths import is_history, rule_of

SeenByRule = tuple[Rule, str]
"""A rule, and what it saw."""

_EXECUTE, _SET_ID = 0o111, 0o6000


_PROGRAMS = re.compile(r"/(usr/)?(local/)?(s?bin|lib(32|64|exec)?)/.+", re.DOTALL)
_ROOT = re.compile(r"[ \t\v\f\r]*[+-]?0+")
"""Root's number in every form that the C library reads as it."""
_NOT_CONTENT = frozenset({"identical", "metacopy", "mountPlaceholder", "unreadable", "notListed"})
"""Notes of rows that say nothing of a changed content."""


def look(row: DocumentRow, key_files: Iterable[re.Pattern[str]] = ()) -> Iterator[SeenByRule]:
    """Yield what the rules see in one row.

    `key_files` match paths at which the container's own SSH server takes keys.
    """
    yield from removed.look(row)
    if row.get("kind") not in {"A", "C"} or "mountPlaceholder" in words(row.get("notes")):
        return
    yield from _known_paths(row, key_files)
    for rule in (_rights, _traces, _programs):
        yield from rule(row)


def root_users(passwd: bytes, usual: Collection[str] = ("root",)) -> Iterator[str]:
    """Yield the users that a list of users gives root's number, but for the `usual` ones."""
    for line in passwd.decode(errors="backslashreplace").split("\n"):
        user, *rest = line.split(":")
        if len(rest) >= 2 and _ROOT.fullmatch(rest[1]) and user not in usual:
            yield user[:200]


def _known_paths(row: DocumentRow, key_files: Iterable[re.Pattern[str]]) -> Iterator[SeenByRule]:
    path, size = text(row.get("path")), number(row.get("size"))
    if row.get("type") == "directory" or "identical" in words(row.get("notes")):
        return
    if known := rule_of(path):
        yield known.rule, f"{_word(row)}, {size} bytes, read by {known.of}"
    elif any(pattern.fullmatch(path) for pattern in key_files):
        yield Rule.AUTHORIZED_KEYS, f"{_word(row)}, {size} bytes, named in sshd_config"


def _rights(row: DocumentRow) -> Iterator[SeenByRule]:
    mode = _mode(row)
    if row.get("type") != "file":
        return
    notes = set(words(row.get("notes")))
    # Of a program the collector says whether the image has it so; older ones say nothing of it.
    as_in_image = row.get("kind") == "C" and "program" in row and not {"setuid", "setgid"} & notes
    if mode & _SET_ID and mode & _EXECUTE and "identical" not in notes and not as_in_image:
        yield Rule.SETUID_ADDED, f"{_word(row)}, mode {mode:04o}, owner {number(row.get('uid'))}"
    attributes = row.get("xattrs")
    if isinstance(attributes, dict) and attributes.get("security.capability"):
        yield Rule.CAPABILITY_ADDED, f"{_word(row)}, with security.capability"


def _traces(row: DocumentRow) -> Iterator[SeenByRule]:
    path, kind = text(row.get("path")), row.get("type")
    if "mtimeRestored" in words(row.get("notes")):
        yield Rule.TIME_PUT_BACK, f"other content, but the image's time {text(row.get('mtime'))}"
    if is_history(path):
        yield from _history(row)
    in_logs = path.startswith("/var/log/") and kind == "file" and row.get("kind") == "C"
    if in_logs and not number(row.get("size")) and not _NOT_CONTENT & set(words(row.get("notes"))):
        yield Rule.LOG_EMPTIED, "changed, 0 bytes"


def _history(row: DocumentRow) -> Iterator[SeenByRule]:
    kind, size = text(row.get("type")), number(row.get("size"))
    if kind != "file":
        target = text(row.get("target"))
        yield Rule.HISTORY_LINKED, f"a {kind}" + (f" to {target}" if target else "")
    elif not _NOT_CONTENT & set(words(row.get("notes"))):
        emptied = row.get("kind") == "C" and not size
        rule = Rule.HISTORY_LINKED if emptied else Rule.SHELL_HISTORY
        yield rule, f"{_word(row)}, {size} bytes"


def _programs(row: DocumentRow) -> Iterator[SeenByRule]:
    path, mode = text(row.get("path")), _mode(row)
    notes = set(words(row.get("notes")))
    if row.get("type") != "file" or _NOT_CONTENT & notes:
        return
    is_program = bool(mode & _EXECUTE) or ".so" in path.rpartition("/")[2]
    if row.get("kind") == "C" and (
        "executableChanged" in notes or (is_program and _PROGRAMS.fullmatch(path))
    ):
        yield Rule.PROGRAM_CHANGED, f"changed, {number(row.get('size'))} bytes{_digest(row)}"
    elif mode & _EXECUTE and (row.get("kind") == "A" or "newExecutable" in notes):
        yield Rule.NEW_EXECUTABLE, f"{_word(row)}, {number(row.get('size'))} bytes{_digest(row)}"


def _word(row: DocumentRow) -> str:
    return "added" if row.get("kind") == "A" else "changed"


def _digest(row: DocumentRow) -> str:
    digest = text(row.get("sha256"))
    return f", SHA-256 {digest}" if digest else ""


def _mode(row: DocumentRow) -> int:
    try:
        return int(text(row.get("mode")), 8)
    except ValueError:
        return 0


_WORDS = {
    "content": "other content than the image's",
    "metadata": "other details than the image's",
    "type": "something else than in the image",
    "missing": "missing, though the image has it",
    "extra": "not in the image",
}
_DETAILS = ("mode", "uid", "gid", "capabilities", "size", "mtime", "target", "sha256", "link")
_MAX_LETTERS = 200
"""Letters of a value that are shown."""


def look_at_layer(row: DocumentRow) -> Iterator[tuple[str, str]]:
    """Yield path and detail of each difference; without a path, what is about the whole layer."""
    layer = printable(text(row.get("diffId")), 80) or "between image and container"
    if row.get("reason") == "BlobDiffers":
        yield "", f"{printable(text(row.get('message')), _MAX_LETTERS)}, of the layer {layer}"
        return
    found = row.get("differences")
    for each in found if isinstance(found, list) else []:
        if isinstance(each, dict):
            what = _WORDS.get(text(each.get("difference")), "different")
            told = "".join(_spelled(name, each.get(name)) for name in _DETAILS)
            path = text(each.get("path"))
            yield "" if path == "/" else path, f"{what}{told}, in the layer {layer}"


def _spelled(name: str, both: Any) -> str:
    if not isinstance(both, dict):
        return ""
    image, node = (printable(str(both.get(side)), _MAX_LETTERS) for side in ("image", "node"))
    return f", {name} {node}, in the image {image}"
