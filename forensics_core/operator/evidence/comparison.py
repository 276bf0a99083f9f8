"""A manifest that a node wrote, held against the order that the operator wrote.

It is sealed only if it is of this very order, and if it accounts for all that was ordered: each
part is there, or it is said why not. A part that is silently left out would make a capture look
complete. Pure: data in, data out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime

from forensics_core.api.order import ArtifactKind, ContainerTarget, WorkOrder
from forensics_core.bundle.expected import contradictions
from forensics_core.bundle.layout import (
    CONTAINERS,
    CONTEXT,
    MAIN_ARTIFACTS,
    ORDER,
    SHA256SUMS,
    container_file,
)
from forensics_core.bundle.manifest import Artifact, Capture, NotCaptured, OrderFacts, Statement
from forensics_core.bundle.writer import checksums
from forensics_core.operator.evidence.manifest import NOTHING

NOTHING_THERE = {
    "NotRunning": frozenset({ArtifactKind.PROCESSES, ArtifactKind.NETWORK, ArtifactKind.MEMORY}),
    "NoLog": frozenset({ArtifactKind.LOGS}),
    "NoVolume": frozenset({ArtifactKind.VOLUMES}),
    "Withheld": frozenset({ArtifactKind.VOLUMES}),
}
"""Reasons of gaps by which nothing that was asked for is missing, and of which kinds of evidence
they can be true: there was nothing to capture, or nothing but what stays out by rule."""
WHOLE = "container"
"""What a gap names in which everything of a container is missing."""


def disagreements(statement: Statement, order: WorkOrder, order_sha256: str) -> Iterator[str]:
    """Yield each way in which a manifest is not the one that was ordered."""
    capture = statement.predicate
    told, wanted = capture.order, OrderFacts.of(order, order_sha256)
    for name in OrderFacts.model_fields:
        if getattr(told, name) != getattr(wanted, name):
            yield f"order.{name} differs from the order"
    yield from (f"{problem.name}: {problem.message}" for problem in contradictions(statement))
    yield from foreign_parts(statement, order, order_sha256)
    yield from misplaced(capture, order)
    ordered = {(target.name, target.container_id) for target in order.targets}
    named = {(container.name, container.container_id) for container in capture.containers}
    for name, container_id in sorted(named - ordered):
        yield f"the container {name}, {container_id}, was not ordered"
    for name, _ in sorted(ordered - named):
        yield f"nothing is said of the container {name}"
    yield from omissions(capture, order)


def foreign_parts(statement: Statement, order: WorkOrder, order_sha256: str) -> Iterator[str]:
    """Yield each subject that is not the collector's to name, or not what the operator knows of it.

    What the cluster said is told by the operator alone: a node that could add a file to it, in the
    place of one that could not be gathered, would speak with the operator's voice.
    """
    subjects = {subject.name: subject.digest.sha256 for subject in statement.subject}
    stored = {file.name: file.sha256 for file in order.context}
    for name in sorted(name for name in subjects if name.startswith(CONTEXT)):
        if name not in stored:
            yield f"{name} was not stored by the operator"
    for name, sha256 in stored.items():
        if subjects.get(name) != sha256:
            yield f"{name} differs from what the operator stored"
    if subjects.get(ORDER, order_sha256) != order_sha256:
        yield f"{ORDER} is not the order"
    listed = subjects.pop(SHA256SUMS, None)
    if listed is None:
        yield f"{SHA256SUMS} is not among the subjects"
    elif listed != hashlib.sha256(checksums(subjects)).hexdigest():
        yield f"{SHA256SUMS} does not list the subjects"


def misplaced(capture: Capture, order: WorkOrder) -> Iterator[str]:
    """Yield each artifact of a container that was not ordered, or outside its container's folder.

    Readers go by both, and would show it as that container's.
    """
    folders = {target.name: container_file(target.name, "") for target in order.targets}
    for artifact in capture.artifacts:
        folder = folders.get(artifact.container or "", CONTAINERS)
        if artifact.container is not None and artifact.container not in folders:
            yield f"{artifact.name} is of the container {artifact.container}, which was not ordered"
        elif artifact.name.startswith(folder) == (artifact.container is None):
            yield f"{artifact.name} is not in the folder of the container that it is of"


def untimely(capture: Capture, begin: datetime, end: datetime) -> Iterator[str]:
    """Yield each time of a capture that does not lie between `begin` and `end`."""
    times = {"startedAt": capture.started_at, "finishedAt": capture.finished_at}
    for artifact in capture.artifacts:
        times[f"{artifact.name}, startedAt"] = artifact.started_at
        times[f"{artifact.name}, finishedAt"] = artifact.finished_at
    for name, time in times.items():
        if not begin <= _aware(time) <= end:
            yield f"{name} is {time.isoformat()}, not within the attempt"


def _aware(time: datetime) -> datetime:
    """Return a time that can be compared; one without a zone says nothing, and counts as none."""
    return time if time.tzinfo else datetime.min.replace(tzinfo=UTC)


def omissions(capture: Capture, order: WorkOrder) -> Iterator[str]:
    """Yield what was ordered of which the manifest says neither where it is nor why it is not."""
    told = {gap.message for gap in capture.not_captured if gap.requested}
    for line in order.not_captured:
        if line not in told:
            yield f"it does not say what the operator could not gather: {line}"
    there: _Parts = {(one.kind, one.container) for one in capture.artifacts if is_main(one)}
    missing = {_part(gap) for gap in capture.not_captured if _counts(gap)}
    for target in order.targets:
        for kind in order.artifacts:
            if kind is not ArtifactKind.CONTEXT and not _is_accounted_for(
                kind, target, there, missing
            ):
                yield f"it says nothing of the {kind} of the container {target.name}"


_Parts = set[tuple[str, str | None]]
"""Kinds of evidence, each with its container; without one: of all containers."""


def _is_accounted_for(
    kind: ArtifactKind, target: ContainerTarget, there: _Parts, missing: _Parts
) -> bool:
    gaps = {(kind, target.name), (WHOLE, target.name), (kind, None)}
    return (kind, target.name) in there or not missing.isdisjoint(gaps)


def is_main(artifact: Artifact) -> bool:
    """Whether it is what its kind of evidence is called by, in its container's folder.

    An index without its archive, or an empty list, accounts for nothing; only a log may be empty.
    """
    folder = container_file(artifact.container or "", "")
    names = MAIN_ARTIFACTS.get(artifact.kind, ())
    file = artifact.name.removeprefix(folder)
    known = any(file.startswith(name) if name.endswith("/") else file == name for name in names)
    filled = artifact.original_size > 0 or artifact.kind is ArtifactKind.LOGS
    return artifact.name.startswith(folder) and known and filled


def _part(gap: NotCaptured) -> tuple[str, str | None]:
    """Return what a gap is of: `logs, stdout` is one of the logs."""
    return gap.what.partition(", ")[0], gap.container


def _counts(gap: NotCaptured) -> bool:
    """Whether a gap explains that something ordered is not there."""
    return gap.requested or _part(gap)[0] in NOTHING_THERE.get(gap.reason, ())


def nothing_of(capture: Capture, order: WorkOrder) -> list[str]:
    """Return why a bundle has nothing of its pod, though it says why: that is no capture."""
    targets = {target.name for target in order.targets}
    lacking = [gap for gap in capture.not_captured if gap.requested and gap.what != "context"]
    if not lacking or any(artifact.container in targets for artifact in capture.artifacts):
        return []
    return [f"{NOTHING}: {lacking[0].what} ({lacking[0].message})"]
