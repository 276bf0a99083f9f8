"""What a report tells, whatever its layout. Read once, bounded, and hostile until it is escaped."""

from __future__ import annotations

from dataclasses import dataclass, field

from forensics_core.bundle.layout import SEAL
from forensics_core.bundle.manifest import Capture
from forensics_core.bundle.reader import BundleReader
from forensics_core.bundle.verify import require_seal
from forensics_core.errors import ForensicsError, VerificationError
from forensics_core.readers.findings.find import find
from forensics_core.readers.findings.look import Findings
from forensics_core.readers.report.changes import Changes, PageBudget, read_changes
from forensics_core.readers.report.moments import TimelineExcerpt, read_moments
from forensics_core.readers.report.node import NodeReport, read_node
from forensics_core.readers.report.processes import MAX_PROCESSES, ProcessTree, read_processes
from forensics_core.readers.report.surroundings import Surroundings, read_surroundings


@dataclass(frozen=True, slots=True)
class ReportLimits:
    """How much of a bundle a report shows. All of it is counted."""

    changes: int = PageBudget().changes
    """Of all containers."""
    bytes: int = PageBudget().bytes
    """What these changes may take in a page, about."""
    processes: int = MAX_PROCESSES
    """Of one container."""


@dataclass(slots=True)
class ContainerReport:
    """One container: what changed in it, what runs in it."""

    name: str
    image: str
    state: str
    result: str
    changes: Changes = field(default_factory=Changes)
    tree: ProcessTree = field(default_factory=ProcessTree)


@dataclass(slots=True)
class ReportContent:
    """Everything that a report shows."""

    location: str
    manifest_sha256: str
    capture: Capture
    sealed: bool
    """Whether a seal lies beside the manifest."""
    seal_checked: bool
    """Whether it was checked with a key."""
    seal_problem: str
    """Why the seal does not hold for that key; empty where it does, or nobody checked."""
    findings: Findings
    containers: list[ContainerReport]
    moments: TimelineExcerpt
    surroundings: Surroundings
    node: NodeReport

    @property
    def not_genuine(self) -> bool:
        """Whether something is not what the manifest, or the seal, says."""
        return self.findings.not_genuine or bool(self.seal_problem)


async def read_content(
    bundle: BundleReader, key: bytes | None = None, limits: ReportLimits | None = None
) -> ReportContent:
    """Read what a report needs. What cannot be read is named in `findings.not_looked_at`.

    `key`: the public key, in PEM, that the seal is checked with. Raises `UsageError` for one that
    is none.
    """
    limits = limits or ReportLimits()
    findings = await find(bundle)
    room = PageBudget(limits.changes, limits.bytes)
    missed: list[ForensicsError] = []
    containers = [
        await _container(bundle, name, room, limits, missed) for name in bundle.containers
    ]
    moments = await read_moments(bundle, missed.append)
    surroundings = await read_surroundings(bundle, missed)
    node = await read_node(bundle, missed)
    for error in missed:
        if error.message not in findings.not_looked_at:
            findings.missed(error)
    return ReportContent(
        location=bundle.url,
        manifest_sha256=bundle.manifest_sha256,
        capture=bundle.statement.predicate,
        sealed=bool(bundle.history(SEAL)),
        seal_checked=key is not None,
        seal_problem=await _seal_problem(bundle, key) if key is not None else "",
        findings=findings,
        containers=containers,
        moments=moments,
        surroundings=surroundings,
        node=node,
    )


async def _seal_problem(bundle: BundleReader, key: bytes) -> str:
    try:
        await require_seal(bundle, key)
    except VerificationError as error:
        return error.message
    return ""


async def _container(
    bundle: BundleReader,
    name: str,
    room: PageBudget,
    limits: ReportLimits,
    missed: list[ForensicsError],
) -> ContainerReport:
    row = next(each for each in bundle.statement.predicate.containers if each.name == name)
    story = ContainerReport(name, row.image, row.state, row.result)
    try:
        await read_changes(bundle, name, room, story.changes)
    except ForensicsError as error:
        missed.append(error)
    try:
        story.tree = await read_processes(bundle, name, limits.processes)
    except ForensicsError as error:
        missed.append(error)
    return story
