"""All findings of a bundle, ranked::

async with open_bundle("cases/42") as bundle:
    result = await find(bundle)
    for finding in result.findings: ...
"""

from __future__ import annotations

from contextlib import aclosing

from forensics_core._internal.text import printable
from forensics_core.bundle.content import find_file, read_file
from forensics_core.bundle.files import FileIndex, open_index
from forensics_core.bundle.layer import MOUNTS as MOUNTED
from forensics_core.bundle.layer import open_layer
from forensics_core.bundle.layout import LAYERS, MOUNTS, MOUNTS_INDEX, container_file
from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import ForensicsError
from forensics_core.readers.context import load_pod
from forensics_core.readers.documents import load
from forensics_core.readers.findings import changes
from forensics_core.readers.findings.documents import rows
from forensics_core.readers.findings.finding import Finding, Rule
from forensics_core.readers.findings.look import MAX_FINDINGS, ContainerRules, Findings
from forensics_core.readers.findings.node import KERNEL, look_at_kernel
from forensics_core.readers.findings.ports import PortSet, declared_by, of_the_pod
from forensics_core.readers.findings.ssh import (
    MAX_SETTINGS,
    SETTINGS,
    SETTINGS_FOLDER,
    key_files,
)

MAX_PASSWD = 1024 * 1024
_MAX_SETTINGS_FILES = 100
"""Files of an SSH server's settings that are read."""


async def find(bundle: BundleReader, *, most: int = MAX_FINDINGS) -> Findings:
    """Let every rule look at every container. What cannot be read is noted.

    Of one rule in one container `most` findings are kept, and all are counted.
    """
    found = Findings(most=most)
    ports = await _of_the_pod(bundle, found)
    for container in bundle.containers:
        look = _ContainerDocuments(bundle, container, found, ports)
        files = (look.at_ssh, look.at_changes, look.at_mounts, look.at_layers, look.at_users)
        for part in (*files, look.at_processes, look.at_sockets):
            try:
                await part()
            except ForensicsError as error:
                found.missed(error)
    found.findings.sort(key=lambda finding: finding.order)
    return found


async def _of_the_pod(bundle: BundleReader, found: Findings) -> PortSet:
    """Look at what is of no container; return the ports that the pod's specification declares."""
    try:
        for finding in look_at_kernel(await load(bundle, KERNEL)):
            found.add(finding)
    except ForensicsError as error:
        found.missed(error)
    try:
        return of_the_pod(await load_pod(bundle))
    except ForensicsError as error:
        found.missed(error)
    return PortSet()


class _ContainerDocuments:
    """Hands the documents of one container to its rules."""

    def __init__(
        self, bundle: BundleReader, container: str, found: Findings, ports: PortSet
    ) -> None:
        self._bundle = bundle
        self._container = container
        self._found = found
        self._ports = ports
        self._rules = ContainerRules(container, found)

    async def at_changes(self) -> None:
        name = self._require("diff.json")
        try:
            async with aclosing(rows(self._bundle, name)) as batches:
                async for batch in batches:
                    for row in batch:
                        self._rules.look_at_change(row, name)
        finally:
            self._rules.end_changes(name)

    async def at_layers(self) -> None:
        """Read what the image's layers on the node were found to be, where that was captured."""
        name = container_file(self._container, LAYERS)
        async with aclosing(rows(self._bundle, name)) as batches:
            async for batch in batches:
                for row in batch:
                    self._rules.look_at_layer(row, name)

    async def at_users(self) -> None:
        """Read /etc/passwd: who has the number 0 beside root."""
        index = await open_index(self._bundle, self._container)
        content = await self._read(index, b"/etc/passwd", MAX_PASSWD)
        for user in changes.root_users(content):
            self._file(Rule.ROOT_USER, "/etc/passwd", f"the user {user[:200]} has the uid 0")

    async def at_ssh(self) -> None:
        """Read where the container's SSH server takes keys: its changes are looked at next."""
        index = await open_index(self._bundle, self._container)
        several = [SETTINGS]
        if row := await index.find(SETTINGS_FOLDER):
            rows = await index.list(SETTINGS_FOLDER) if row.kind == "directory" else []
            several += [each.path for each in rows if each.path.endswith(b".conf")][
                :_MAX_SETTINGS_FILES
            ]
        for path in several:
            self._rules.note_key_files(key_files(await self._read(index, path, MAX_SETTINGS)))

    async def at_mounts(self) -> None:
        """Look at the index of what was mounted, where that was captured."""
        layer = await open_layer(self._bundle, self._container, MOUNTED)
        if layer is None:
            return
        artifact = container_file(self._container, MOUNTS_INDEX)
        async with aclosing(layer.batches()) as batches:
            async for batch in batches:
                for row in batch:
                    self._rules.look_at_mounted(row, artifact)
        layer.check()

    async def _read(self, index: FileIndex, path: bytes, most: int) -> bytes:
        """Return the content of a regular file; nothing where there is none of that path."""
        if await index.find(path) is None:
            return b""
        row = await find_file(index, path)
        if row.size > most:
            name = printable(path.decode(errors="backslashreplace"))
            raise ForensicsError(f"{name} of '{self._container}' is too large to be read")
        async with aclosing(read_file(self._bundle, index, row)) as blocks:
            return b"".join([block async for block in blocks])

    def _file(self, rule: Rule, path: str, detail: str) -> None:
        archive = container_file(self._container, "rootfs.tar.zst")
        self._found.add(Finding(rule, self._container, path, detail, archive, path))

    async def at_processes(self) -> None:
        mounts = container_file(self._container, MOUNTS)
        if mounts in self._bundle.objects:
            self._rules.look_at_mounts(await load(self._bundle, mounts))
        name = self._require("processes.json")
        async with aclosing(rows(self._bundle, name)) as batches:
            async for batch in batches:
                for row in batch:
                    self._rules.look_at_process(row, name)

    async def at_sockets(self) -> None:
        name = self._require("network.json")
        declared = await self._declared_ports()
        async with aclosing(rows(self._bundle, name)) as batches:
            async for batch in batches:
                for space in batch:
                    self._rules.look_at_namespace(space, name, declared)

    async def _declared_ports(self) -> PortSet | None:
        """Return the ports that image or pod declare; None where neither declares any."""
        document = await load(self._bundle, container_file(self._container, "inspect.json"))
        return declared_by(document, self._ports)

    def _require(self, file: str) -> str:
        name = container_file(self._container, file)
        if name not in self._bundle.objects:
            raise ForensicsError(f"{name} was not captured")
        return name
