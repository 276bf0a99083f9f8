"""Whether a manifest accounts for all that was ordered: each part is there, or it is said why not.

A part that is silently left out would make a capture look complete. Pure: data in, data out.
"""

from __future__ import annotations

from collections.abc import Iterator

from forensics_core.api.order import ArtifactKind, Target, WorkOrder
from forensics_core.bundle.layout import MAIN_ARTIFACTS, container_file
from forensics_core.bundle.manifest import Artifact, Capture, NotCaptured

NOTHING_THERE = {
    "NotRunning": frozenset({ArtifactKind.PROCESSES, ArtifactKind.NETWORK, ArtifactKind.MEMORY}),
    "NoLog": frozenset({ArtifactKind.LOGS}),
}
"""Reasons of gaps by which nothing that was asked for is missing, and of which kinds of evidence
they can be true: there was nothing to capture."""
NOTHING = "it has nothing of any container"
WHOLE = "container"
"""What a gap names in which everything of a container is missing."""


def omissions(capture: Capture, order: WorkOrder) -> Iterator[str]:
    """Yield what was ordered of which the manifest says neither where it is nor why it is not."""
    if capture.requested != order.artifacts:
        yield "requested differs from the order"
    told = {gap.message for gap in capture.not_captured if gap.requested}
    for line in order.not_captured:
        if line not in told:
            yield f"it does not say what the operator could not gather: {line}"
    there: _Parts = {(one.kind, one.container) for one in capture.artifacts if is_main(one)}
    missing = {_part(gap) for gap in capture.not_captured if _counts(gap)}
    for target in order.targets:
        for kind in order.artifacts:
            if kind is not ArtifactKind.CONTEXT and not _told(kind, target, there, missing):
                yield f"it says nothing of the {kind} of the container {target.name}"


_Parts = set[tuple[str, str | None]]
"""Kinds of evidence, each with its container; without one: of all containers."""


def _told(kind: ArtifactKind, target: Target, there: _Parts, missing: _Parts) -> bool:
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


def refusal(wrong: list[str], *, cancelled: bool) -> str:
    """Return the reason of a checkpoint whose evidence is not taken for what is `wrong`."""
    if not wrong[0].startswith(NOTHING):
        return "NotSealed"
    return "Cancelled" if cancelled else "NothingCaptured"


def nothing_of(capture: Capture, order: WorkOrder) -> list[str]:
    """Return why a bundle has nothing of its pod, though it says why: that is no capture."""
    targets = {target.name for target in order.targets}
    lacking = [gap for gap in capture.not_captured if gap.requested and gap.what != "context"]
    if not lacking or any(artifact.container in targets for artifact in capture.artifacts):
        return []
    return [f"{NOTHING}: {lacking[0].what} ({lacking[0].message})"]
