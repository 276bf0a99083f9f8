"""Which evidence this is: of which pod, for which request, captured where to.

A bundle that verifies is genuine, but it may be another one than the reader thinks: a folder that
was given the name of another, or a sealed bundle copied to the place of one that was lost. And
whether somebody wrote or deleted after the capture, as far as versions tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from forensics_core.api.order import PodRef
from forensics_core.bundle.layout import MANIFEST, SEAL
from forensics_core.bundle.manifest import Capture
from forensics_core.bundle.reader import BundleReader, LocatedBundle
from forensics_core.bundle.verification import Problem, ProblemKind
from forensics_core.errors import UsageError
from forensics_core.storage.locate import S3Location, parse_location


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
    pod = capture.order.pod or PodRef(namespace="", name="")
    uids = {pod.uid, str(capture.order.uid)}
    differing = (
        ("namespace", wanted.namespace, {pod.namespace}),
        ("pod", wanted.pod, {pod.name}),
        ("UID", wanted.uid.lower(), {uid.lower() for uid in uids}),
        ("incident", wanted.incident, {capture.order.incident}),
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


def _place(url: str) -> S3Location | Path | None:
    """Return where a URL leads; None for what is none, or relative to a folder of long ago."""
    if "://" not in url and not url.startswith("/"):
        return None
    try:
        return parse_location(url)
    except UsageError:
        return None


MAX_NOTES = 20
"""Names mentioned one by one; the rest are only counted."""
SEAL_REFUSED = "This identity may not read a seal: whether there is one is not known"


def notes_on(
    located: LocatedBundle, bundle: BundleReader | None, most: int = MAX_NOTES
) -> Iterator[str]:
    """Yield a line for each object that is not simply there in one version."""
    if bundle:
        yield from _elsewhere(bundle)
    if located.versions is None:
        yield (
            "What lies at the location may not be listed: "
            "objects that the manifest does not name, and newer versions, were not looked for"
        )
        return
    if located.crowded:
        yield f"{located.crowded}: those that the manifest does not name were not looked for"
    if bundle:
        yield from _copied(bundle)
    names = [MANIFEST, SEAL, *(bundle.objects if bundle else ())]
    changes = [change for name in names if (change := _change(located, name, bundle))]
    yield from changes[:most]
    if len(changes) > most:
        yield f"The same goes for {len(changes) - most} more objects"


def _change(located: LocatedBundle, name: str, bundle: BundleReader | None) -> str:
    expected = bundle.objects.get(name) if bundle else None
    there = (located.versions or {}).get(name, [])
    read = located.version_of(name, expected.version_id if expected else None)
    top = next((entry for entry in there if entry.latest), None)
    if top is None:
        return ""
    if name in located.chosen and located.chosen[name] != located.history(name)[0].version_id:
        return f"An older {name} is there than the one that was sealed, version {read}, and read"
    if top.version_id == read:
        return ""
    if top.deleted:
        return f"{name} was deleted after the capture; its version {read} is still there, and read"
    return (
        f"{name} was written again after the capture; its version {read} is still there, and read"
    )


def _elsewhere(bundle: BundleReader) -> Iterator[str]:
    """Yield a line if the bundle was captured to another location."""
    capture = bundle.statement.predicate
    if is_copy(capture, bundle.url):
        yield f"This is a copy: the evidence was captured to {signed_location(capture)}"


def _copied(bundle: BundleReader) -> Iterator[str]:
    """Yield a line if versions that the manifest recorded are not there, but others are."""
    elsewhere = 0
    for name, expected in bundle.objects.items():
        known = {entry.version_id for entry in bundle.history(name)}
        # Where nothing has a version, as in a folder, none can be expected.
        versioned = expected.version_id and known - {None}
        elsewhere += bool(versioned and expected.version_id not in known)
    if elsewhere:
        yield (
            f"{elsewhere} objects are not in the versions that the manifest recorded: "
            "this is a copy of the bundle, or they were written anew"
        )
