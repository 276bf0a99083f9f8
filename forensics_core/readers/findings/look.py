"""The rules' look at the rows of one container, wherever those were read from, and what they found.

No I/O: `find` reads a bundle's documents as streams, the operator holds small ones in memory.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from forensics_core.errors import ForensicsError, VerificationError
from forensics_core.readers.findings import changes, processes
from forensics_core.readers.findings.documents import DocumentRow, number, text
from forensics_core.readers.findings.finding import Finding, Rule
from forensics_core.readers.findings.mounted import as_change
from forensics_core.readers.findings.ports import PortSet
from forensics_core.readers.findings.removed import RemovedLogs
from forensics_core.tarindex.row import Row as IndexRow

MAX_FINDINGS = 500
"""Findings of one rule in one container that are kept; all are counted."""

MAX_SOCKETS = 100_000
"""Open sockets of a container that are remembered."""
MAX_MOUNTS = 10_000
"""Mounts of a container that are looked at."""


@dataclass(slots=True)
class Findings:
    """What the rules found, and what they could not look at."""

    findings: list[Finding] = field(default_factory=list)
    """Those to look at first in front."""
    totals: Counter[tuple[str, Rule]] = field(default_factory=Counter)
    """How many there are, by container and rule."""
    not_looked_at: list[str] = field(default_factory=list)
    """What could not be read, each with its reason: there the rules say nothing."""
    not_genuine: bool = False
    """Whether something was not what the manifest says."""
    most: int = field(default=MAX_FINDINGS, kw_only=True)
    """Of one rule in one container that are kept."""

    def add(self, finding: Finding) -> None:
        """Keep a finding, if there are not too many of its kind."""
        kind = finding.container, finding.rule
        self.totals[kind] += 1
        if self.totals[kind] <= self.most:
            self.findings.append(finding)

    def missed(self, error: ForensicsError) -> None:
        """Note what could not be looked at."""
        self.not_genuine = self.not_genuine or isinstance(error, VerificationError)
        if error.message not in self.not_looked_at:
            self.not_looked_at.append(error.message)


class ContainerRules:
    """The rules, and what they have to remember of one container from row to row.

    Changes come first: whether a program is in the image shows there.
    """

    def __init__(self, container: str, found: Findings) -> None:
        self._container = container
        self._found = found
        self._added: set[str] = set()
        """Executables that the image does not have so."""
        self._mounted: set[str] = set()
        """Where something is mounted that the image does not have."""
        self._secrets: set[str] = set()
        self._sockets: set[int] = set()
        """Those that its processes have open, by number."""
        self._key_files: list[re.Pattern[str]] = []
        self._removed = RemovedLogs()

    def note_key_files(self, patterns: Iterable[re.Pattern[str]]) -> None:
        """Note the paths at which the container's own SSH server takes keys."""
        self._key_files += patterns

    def look_at_change(self, row: DocumentRow, artifact: str) -> None:
        """Look at a row of `diff.json`."""
        path = text(row.get("path"))
        self._removed.note(row)
        for rule, detail in changes.look(row, self._key_files):
            self._found.add(Finding(rule, self._container, path, detail, artifact, path))
            if rule in {Rule.NEW_EXECUTABLE, Rule.PROGRAM_CHANGED}:
                self._added.add(path)

    def end_changes(self, artifact: str) -> None:
        """Tell what only the whole of the changes shows, once all their rows were looked at."""
        for path, detail in self._removed.found():
            rule = Rule.LOG_REMOVED
            self._found.add(Finding(rule, self._container, path, detail, artifact, path))

    def look_at_layer(self, row: DocumentRow, artifact: str) -> None:
        """Look at a row of `layers.json`."""
        for path, detail in changes.look_at_layer(row):
            subject = path or f"layer {text(row.get('diffId'))[:80]}"
            rule = Rule.LAYER_DIFFERS
            self._found.add(Finding(rule, self._container, subject, detail, artifact, path))

    def look_at_mounts(self, document: Any) -> None:
        """Note what is mounted, as `mounts.json` has it: a program there is not the image's."""
        mounts = document.get("mounts") if isinstance(document, dict) else None
        for row in mounts[:MAX_MOUNTS] if isinstance(mounts, list) else ():
            if isinstance(row, dict) and row.get("state") not in {"root", "kernel"}:
                self._mounted.add(text(row.get("path")).rstrip("/"))
        self._mounted.discard("")

    def look_at_mounted(self, row: IndexRow, artifact: str) -> None:
        """Look at a row of the index of what was mounted."""
        change = as_change(row)
        path = text(change["path"])
        for rule, detail in changes.look(change, self._key_files):
            on = f"{detail}, on a mount"
            self._found.add(Finding(rule, self._container, path, on, artifact, path))

    def look_at_process(self, row: DocumentRow, artifact: str) -> None:
        """Look at a row of `processes.json`."""
        pid = number(row.get("pid"))
        if len(self._sockets) < MAX_SOCKETS:
            self._sockets.update(processes.sockets_of(row))
        for rule, detail in processes.look_at_process(row, self._added, self._mounted):
            if rule is Rule.SECRET:
                if detail in self._secrets:
                    continue  # a child has what its parent had
                self._secrets.add(detail)
            subject = f"process {pid} {text(row.get('comm'))}"
            self._found.add(Finding(rule, self._container, subject, detail, artifact, pid=pid))

    def look_at_namespace(self, row: DocumentRow, artifact: str, declared: PortSet | None) -> None:
        """Look at a network namespace of `network.json`; `declared` as `declared_by` has it."""
        for seen in processes.look_at_sockets(row, declared, self._sockets):
            self._found.add(Finding(container=self._container, artifact=artifact, **seen))
