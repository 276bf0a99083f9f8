"""All findings of a bundle, ranked::

async with open_bundle("cases/42") as bundle:
    result = await find(bundle)
    for finding in result.findings: ...
"""

from __future__ import annotations

from contextlib import aclosing

from forensics_core.bundle.content import find_file, read_file
from forensics_core.bundle.files import open_index
from forensics_core.bundle.layout import LAYERS, MOUNTS, container_file
from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import ForensicsError
from forensics_core.readers.context import declared_ports, load_pod
from forensics_core.readers.documents import load
from forensics_core.readers.findings import changes
from forensics_core.readers.findings.documents import rows, text
from forensics_core.readers.findings.finding import Finding, Rule
from forensics_core.readers.findings.layers import look_at_layer
from forensics_core.readers.findings.look import MOST, ContainerRules, Findings, exposed_ports
from forensics_core.readers.findings.node import KERNEL, look_at_kernel

MAX_PASSWD = 1024 * 1024


async def find(bundle: BundleReader, *, most: int = MOST) -> Findings:
    """Let every rule look at every container. What cannot be read is noted.

    Of one rule in one container `most` findings are kept, and all are counted.
    """
    found = Findings(most=most)
    ports = await _of_the_pod(bundle, found)
    for container in bundle.containers:
        look = _ContainerDocuments(bundle, container, found, ports)
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


class _ContainerDocuments:
    """Hands the documents of one container to its rules."""

    def __init__(
        self, bundle: BundleReader, container: str, found: Findings, ports: set[int]
    ) -> None:
        self._bundle = bundle
        self._container = container
        self._found = found
        self._ports = ports
        self._rules = ContainerRules(container, found)

    async def at_changes(self) -> None:
        name = self._require("diff.json")
        async with aclosing(rows(self._bundle, name)) as batches:
            async for batch in batches:
                for row in batch:
                    self._rules.look_at_change(row, name)

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

    async def _declared_ports(self) -> set[int] | None:
        """Return the ports that image or pod declare; None where neither declares any."""
        document = await load(self._bundle, container_file(self._container, "inspect.json"))
        return exposed_ports(document, self._ports)

    def _require(self, file: str) -> str:
        name = container_file(self._container, file)
        if name not in self._bundle.objects:
            raise ForensicsError(f"{name} was not captured")
        return name
