"""The process in which rules look at evidence: `python -m forensics_core.readers.scan.engine`.

YARA-X holds Python's lock while it scans, and what it parses is hostile: here it keeps nobody from
decompressing and hashing meanwhile, and takes nobody with it where it fails.

Its arguments are the seconds that the rules may take over one window, and the files of rules. It
answers with a line of JSON, `{}` or `{"error": ..., "hint": ..., "usage": ...}`. After that come
messages, each with a head of a letter and a number: see `HEAD`. It answers each `END` with a line:
an empty one where nothing was found, else `{"found": [...], "timedOut": ...}`.
"""

from __future__ import annotations

import dataclasses
import json
import struct
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from forensics_core.errors import ForensicsError, UsageError
from forensics_core.readers.scan.rules import Hit, Matcher, RuleMatch, TimedOut, compile_rules
from forensics_core.readers.scan.windows import Windows

HEAD = struct.Struct("<cQ")
DATA = b"D"
"""So many bytes of the file follow."""
SKIP = b"S"
"""What follows lies so many bytes from the file's beginning."""
END = b"E"
"""The file is whole: answer."""
DROP = b"X"
"""Forget the file; there is no answer."""


def serve(source: BinaryIO, answers: BinaryIO, matcher: Matcher) -> None:
    """Scan what comes until `source` ends."""
    file = _PassingFile(Windows(matcher))
    while len(head := source.read(HEAD.size)) == HEAD.size:
        kind, value = HEAD.unpack(head)
        if kind == DATA:
            data = source.read(value)
            file.step(partial(file.windows.feed, data))
        elif kind == SKIP:
            file.step(partial(file.windows.skip_to, value))
        else:
            found, timed_out = file.end(scan=kind == END)
            if kind == END:
                _answer(answers, found, timed_out=timed_out)


class _PassingFile:
    """The file that is passing."""

    def __init__(self, windows: Windows) -> None:
        self.windows = windows
        self._timed_out = False

    def step(self, step: Callable[[], object]) -> None:
        """Do one thing with it, unless the rules took too long over it already."""
        if self._timed_out:
            return
        try:
            step()
        except TimedOut:
            self._timed_out = True

    def end(self, *, scan: bool) -> tuple[list[RuleMatch], bool]:
        """Return what was found, and whether the rules took too long; the next file may come."""
        if scan:
            self.step(self.windows.scan_rest)
        timed_out, self._timed_out = self._timed_out, False
        return self.windows.drop(), timed_out


def _answer(answers: BinaryIO, found: list[RuleMatch], *, timed_out: bool) -> None:
    line: dict[str, Any] = {"timedOut": timed_out}
    line["found"] = [
        [*one.name, one.tags, one.total, [dataclasses.astuple(hit) for hit in one.hits]]
        for one in found
    ]
    answers.write(json.dumps(line).encode() + b"\n" if found or timed_out else b"\n")
    answers.flush()


def parse_answer(line: bytes) -> tuple[list[RuleMatch], bool]:
    """Return what was found, and whether the rules took too long.

    Raises `ValueError` and its like for a line that is no answer.
    """
    if not line:
        return [], False
    said = json.loads(line)
    return [_found(*one) for one in said["found"]], bool(said["timedOut"])


def _found(
    namespace: str, rule: str, tags: Sequence[str], total: int, hits: Sequence[Sequence[Any]]
) -> RuleMatch:
    kept = [Hit(str(hit[0]), int(hit[1]), int(hit[2]), str(hit[3])) for hit in hits]
    return RuleMatch((str(namespace), str(rule)), tuple(map(str, tags)), kept, int(total))


def main(arguments: Sequence[str], source: BinaryIO, answers: BinaryIO) -> None:
    """Compile the rules, say whether that went well, and serve."""
    seconds, *files = arguments
    try:
        matcher = compile_rules([Path(file) for file in files], int(seconds))
    except (ForensicsError, OSError) as error:
        hint = error.hint if isinstance(error, ForensicsError) else ""
        message = error.message if isinstance(error, ForensicsError) else str(error)
        said = {"error": message, "hint": hint, "usage": isinstance(error, UsageError)}
        answers.write(json.dumps(said).encode() + b"\n")
        answers.flush()
        return
    answers.write(b"{}\n")
    answers.flush()
    serve(source, answers, matcher)


if __name__ == "__main__":
    main(sys.argv[1:], sys.stdin.buffer, sys.stdout.buffer)
