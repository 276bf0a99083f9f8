"""All findings of a bundle, ranked::

async with open_bundle("cases/42") as bundle:
    result = await find(bundle)
    for finding in result.findings: ...
"""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from forensics_core.bundle.content import find_file, read_file
from forensics_core.bundle.files import open_index
from forensics_core.bundle.layout import LAYERS, container_file
from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import ForensicsError, VerificationError
from forensics_core.readers.context import declared_ports, load_pod
from forensics_core.readers.documents import load
from forensics_core.readers.findings import changes, processes
from forensics_core.readers.findings.documents import Row, number, rows, text
from forensics_core.readers.findings.finding import Finding, Rule
from forensics_core.readers.findings.layers import look_at_layer
from forensics_core.readers.findings.node import KERNEL, look_at_kernel

MOST = 500
"""Findings of one rule in one container that are kept; all are counted."""
MAX_PASSWD = 1024 * 1024


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

    def add(self, finding: Finding) -> None:
        """Keep a finding, if there are not too many of its kind."""
        kind = finding.container, finding.rule
        self.totals[kind] += 1
        if self.totals[kind] <= MOST:
            self.findings.append(finding)

    def missed(self, error: ForensicsError) -> None:
        """Note what could not be looked at."""
        self.not_genuine = self.not_genuine or isinstance(error, VerificationError)
        self.not_looked_at.append(error.message)


async def find(bundle: BundleReader) -> Findings:
    """Let every rule look at every container. What cannot be read is noted."""
    found = Findings()
    ports = await _of_the_pod(bundle, found)
    for container in bundle.containers:
        look = _Look(bundle, container, found, ports)
        parts = (look.at_changes, look.at_layers, look.at_users, look.at_processes, look.at_sockets)
        for part in parts:
            try:
                await part()
            except ForensicsError as error:
                found.missed(error)
    found.findings.sort(key=lambda finding: finding.order)
    return found


async def _of_the_pod(bundle: BundleReader, found: Findings) -> set[int]:
    """Look at what is of no container; return the ports that the pod's specification declares."""
    try:
        for finding in look_at_kernel(await load(bundle, KERNEL)):
            found.add(finding)
    except ForensicsError as error:
        found.missed(error)
    try:
        return declared_ports(await load_pod(bundle))
    except ForensicsError as error:
        found.missed(error)
    return set()


class _Look:
    """The rules' look at one container."""

    def __init__(
        self, bundle: BundleReader, container: str, found: Findings, ports: set[int]
    ) -> None:
        self._bundle = bundle
        self._container = container
        self._found = found
        self._ports = ports
        self._added: set[str] = set()
        """Executables that the image does not have so."""
        self._secrets: set[str] = set()

    async def at_changes(self) -> None:
        name = self._require("diff.json")
        async with aclosing(rows(self._bundle, name)) as batches:
            async for batch in batches:
                for row in batch:
                    self._change(row, name)

    def _change(self, row: Row, name: str) -> None:
        path = text(row.get("path"))
        for rule, detail in changes.look(row):
            self._found.add(Finding(rule, self._container, path, detail, name, path))
            if rule in {Rule.NEW_EXECUTABLE, Rule.PROGRAM_CHANGED}:
                self._added.add(path)

    async def at_layers(self) -> None:
        """Read what the image's layers on the node were found to be, where that was captured."""
        name = container_file(self._container, LAYERS)
        async with aclosing(rows(self._bundle, name)) as batches:
            async for batch in batches:
                for row in batch:
                    for path, detail in look_at_layer(row):
                        subject = path or f"layer {text(row.get('diffId'))[:80]}"
                        rule = Rule.LAYER_DIFFERS
                        self._found.add(Finding(rule, self._container, subject, detail, name, path))

    async def at_users(self) -> None:
        """Read /etc/passwd: who has the number 0 beside root."""
        index = await open_index(self._bundle, self._container)
        if await index.find(b"/etc/passwd") is None:
            return
        row = await find_file(index, b"/etc/passwd")
        if row.size > MAX_PASSWD:
            raise ForensicsError(f"/etc/passwd of '{self._container}' is too large to be a list")
        async with aclosing(read_file(self._bundle, index, row)) as blocks:
            content = b"".join([block async for block in blocks])
        for user in changes.root_users(content):
            self._file(Rule.ROOT_USER, "/etc/passwd", f"the user {user[:200]} has the uid 0")

    def _file(self, rule: Rule, path: str, detail: str) -> None:
        archive = container_file(self._container, "rootfs.tar.zst")
        self._found.add(Finding(rule, self._container, path, detail, archive, path))

    async def at_processes(self) -> None:
        name = self._require("processes.json")
        async with aclosing(rows(self._bundle, name)) as batches:
            async for batch in batches:
                for row in batch:
                    self._process(row, name)

    def _process(self, row: Row, name: str) -> None:
        pid = number(row.get("pid"))
        for rule, detail in processes.look_at_process(row, self._added):
            if rule is Rule.SECRET:
                if detail in self._secrets:
                    continue  # a child has what its parent had
                self._secrets.add(detail)
            subject = f"process {pid} {text(row.get('comm'))}"
            self._found.add(Finding(rule, self._container, subject, detail, name, pid=pid))

    async def at_sockets(self) -> None:
        name = self._require("network.json")
        declared = await self._declared_ports()
        async with aclosing(rows(self._bundle, name)) as batches:
            async for batch in batches:
                for space in batch:
                    for seen in processes.look_at_sockets(space, declared):
                        self._found.add(Finding(container=self._container, artifact=name, **seen))

    async def _declared_ports(self) -> set[int] | None:
        """Return the ports that image or pod declare; None where neither declares any."""
        document = await load(self._bundle, container_file(self._container, "inspect.json"))
        config = document.get("Config") if isinstance(document, dict) else None
        ports: Any = config.get("ExposedPorts") if isinstance(config, dict) else None
        if not isinstance(ports, dict):
            return self._ports or None
        told = {each.partition("/")[0][:5] for each in ports}
        return self._ports | {int(port) for port in told if port.isdecimal()}

    def _require(self, file: str) -> str:
        name = container_file(self._container, file)
        if name not in self._bundle.objects:
            raise ForensicsError(f"{name} was not captured")
        return name
