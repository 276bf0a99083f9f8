"""Which evidence this is: of which pod, for which request, captured where to.

A bundle that verifies is genuine, but it may be another one than the reader thinks: a folder that
was given the name of another, or a sealed bundle copied to the place of one that was lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from forensics_core.api.order import PodRef
from forensics_core.bundle.layout import MANIFEST
from forensics_core.bundle.manifest import Capture
from forensics_core.bundle.problems import Problem, ProblemKind
from forensics_core.errors import UsageError
from forensics_core.storage.locate import parse_location
from forensics_core.storage.s3.destination import S3Place


@dataclass(frozen=True, slots=True)
class EvidenceIdentity:
    """The evidence that a reader wants; what is empty may be anything.

    >>> EvidenceIdentity(namespace="shop", pod="web-0", incident="INC-4711")
    """

    namespace: str = ""
    pod: str = ""
    uid: str = ""
    """Of the pod, or of the request: the PodCheckpoint's."""
    incident: str = ""
    manifest_sha256: str = ""
    """As in the PodCheckpoint's `status.manifestSHA256`."""


def mismatches(wanted: EvidenceIdentity, capture: Capture | None, sha256: str) -> Iterator[Problem]:
    """Yield each way in which evidence is not the wanted one; `sha256` is its manifest's."""
    if wanted.manifest_sha256 not in {"", sha256}:
        message = f"its SHA-256 is {sha256}, not {wanted.manifest_sha256} as was captured"
        yield Problem(ProblemKind.OTHER_EVIDENCE, MANIFEST, message)
    if capture is None:
        return
    pod = capture.pod or PodRef(namespace="", name="")
    uids = {pod.uid, str(capture.order.uid)}
    differing = (
        ("namespace", wanted.namespace, {pod.namespace}),
        ("pod", wanted.pod, {pod.name}),
        ("UID", wanted.uid.lower(), {uid.lower() for uid in uids}),
        ("incident", wanted.incident, {capture.incident}),
    )
    for what, value, said in differing:
        if value and value not in said:
            shown = " or ".join(sorted(map(repr, said - {""}))) or "none"
            message = f"it is evidence of another {what}: {shown}, not {value!r}"
            yield Problem(ProblemKind.OTHER_EVIDENCE, MANIFEST, message)


def signed_location(capture: Capture) -> str:
    """Return the URL that the bundle was captured to, as the manifest says. Hostile: escape it."""
    return f"{capture.order.destination.rstrip('/')}/{capture.order.bundle}/"


def is_copy(capture: Capture, url: str) -> bool:
    """Whether a bundle lies elsewhere than it was captured to, as far as that can be told."""
    signed = _place(signed_location(capture))
    return signed is not None and signed != _place(url)


def _place(url: str) -> S3Place | Path | None:
    """Return where a URL leads; None for what is none, or relative to a folder of long ago."""
    if "://" not in url and not url.startswith("/"):
        return None
    try:
        return parse_location(url)
    except UsageError:
        return None
