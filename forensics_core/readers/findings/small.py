"""The rules over documents that are in memory: no archive is opened, and nothing is waited for.

For whoever must not spend more than a moment, the operator above all. It sees what changed, what
lies on mounts, what runs and who talks to whom; what is written in the container's files
(`/etc/passwd`, `sshd_config`) it does not, and names them if they were changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from forensics_core._internal import strict_json
from forensics_core._internal.flaws import Flaws
from forensics_core._internal.text import printable
from forensics_core.bundle.layout import LAYERS, MOUNTS, MOUNTS_INDEX, container_file
from forensics_core.errors import ForensicsError, VerificationError
from forensics_core.readers.context import POD, parse_pod
from forensics_core.readers.findings.documents import DocumentRow, rows_in, text, words
from forensics_core.readers.findings.look import ContainerRules, Findings
from forensics_core.readers.findings.node import KERNEL, look_at_kernel
from forensics_core.readers.findings.ports import PortSet, declared_by, of_the_pod
from forensics_core.tarindex.row import read_rows

FILES = (
    *("diff.json", "processes.json", "network.json", "inspect.json"),
    *(MOUNTS, MOUNTS_INDEX, LAYERS),
)
"""The documents of a container that rules look into."""
_READ_ELSEWHERE = re.compile(r"/etc/passwd|/etc/ssh/sshd_config(?:\.d/[^/]+\.conf)?")
"""Files whose content only `find` looks into."""


def find_in(
    documents: Mapping[str, bytes], containers: Sequence[str], tick: Callable[[], None]
) -> Findings:
    """Let the rules look at verified documents, by their names in the bundle.

    `tick` is called for each row: what it raises ends the look. What cannot be read is noted.
    Blocks: run it in a thread.
    """
    found = Findings()
    ports = _of_the_pod(documents, found)
    for container in containers:
        look = _SmallLook(documents, container, found, tick)
        files = (look.at_changes, look.at_mounted, look.at_layers)
        for part in (*files, look.at_processes, lambda it=look: it.at_sockets(ports)):
            try:
                part()
            except ForensicsError as error:
                found.missed(error)
    found.findings.sort(key=lambda finding: finding.order)
    return found


def _of_the_pod(documents: Mapping[str, bytes], found: Findings) -> PortSet:
    """Look at what is of no container; return the ports that the pod's specification declares."""
    ports = PortSet()
    try:
        if KERNEL in documents:
            for finding in look_at_kernel(_document(documents, KERNEL)):
                found.add(finding)
        if POD in documents:
            ports = of_the_pod(parse_pod(documents[POD]))
    except VerificationError as error:
        found.missed(error)
    return ports


class _SmallLook:
    def __init__(
        self,
        documents: Mapping[str, bytes],
        container: str,
        found: Findings,
        tick: Callable[[], None],
    ) -> None:
        self._documents = documents
        self._container = container
        self._found = found
        self._rules = ContainerRules(container, found)
        self._tick = tick

    def at_changes(self) -> None:
        try:
            for row, name in self._rows("diff.json"):
                self._rules.look_at_change(row, name)
                self._note_unread(row)
        finally:
            self._rules.end_changes(container_file(self._container, "diff.json"))

    def _note_unread(self, row: DocumentRow) -> None:
        path, notes = text(row.get("path")), words(row.get("notes"))
        if row.get("kind") not in {"A", "C"} or {"identical", "mountPlaceholder"} & set(notes):
            return
        if _READ_ELSEWHERE.fullmatch(path):
            shown = f"{printable(path, 100)} of '{self._container}'"
            self._found.missed(ForensicsError(f"{shown} was changed, and is not read here"))

    def at_mounted(self) -> None:
        """Look at the index of what was mounted, where there is one."""
        name = container_file(self._container, MOUNTS_INDEX)
        flaws = Flaws(f"The index {name}", "holds a row that is not valid")
        for batch in read_rows(self._documents.get(name, b""), flaws):
            for row in batch:
                self._tick()
                self._rules.look_at_mounted(row, name)
        flaws.check()

    def at_layers(self) -> None:
        """Look at what the image's layers were found to be, where that was captured."""
        if container_file(self._container, LAYERS) in self._documents:
            for row, name in self._rows(LAYERS):
                self._rules.look_at_layer(row, name)

    def at_processes(self) -> None:
        mounts = container_file(self._container, MOUNTS)
        if mounts in self._documents:
            self._rules.look_at_mounts(_document(self._documents, mounts))
        for row, name in self._rows("processes.json"):
            self._rules.look_at_process(row, name)

    def at_sockets(self, pod: PortSet) -> None:
        inspect = container_file(self._container, "inspect.json")
        told = _document(self._documents, inspect) if inspect in self._documents else None
        declared = declared_by(told, pod)
        for row, name in self._rows("network.json"):
            self._rules.look_at_namespace(row, name, declared)

    def _rows(self, file: str) -> Iterator[tuple[DocumentRow, str]]:
        name = container_file(self._container, file)
        if name not in self._documents:
            raise ForensicsError(f"{name} was not captured, or is not small")
        flaws = Flaws(name, "is not written as a collector does")
        for row in rows_in(self._documents[name], flaws):
            self._tick()
            yield row, name
        flaws.check()


def _document(documents: Mapping[str, bytes], name: str) -> Any:
    try:
        return strict_json.loads_document(documents[name])
    except ValueError as error:
        raise VerificationError(f"{name} is not JSON: {error}") from error
