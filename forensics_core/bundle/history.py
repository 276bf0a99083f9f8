"""What the versions in a bucket tell: whether somebody wrote or deleted after the capture."""

from __future__ import annotations

from collections.abc import Iterator

from forensics_core.bundle.identity import is_copy, signed_location
from forensics_core.bundle.layout import MANIFEST, SEAL
from forensics_core.bundle.reader import BundleReader, Located

MAX_NOTES = 20
"""Names mentioned one by one; the rest are only counted."""
SEAL_REFUSED = "This identity may not read a seal: whether there is one is not known"


def notes_on(located: Located, bundle: BundleReader | None) -> Iterator[str]:
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
    names = [MANIFEST, SEAL, *(bundle.expectations if bundle else ())]
    changes = [change for name in names if (change := _change(located, name, bundle))]
    yield from changes[:MAX_NOTES]
    if len(changes) > MAX_NOTES:
        yield f"The same goes for {len(changes) - MAX_NOTES} more objects"


def _change(located: Located, name: str, bundle: BundleReader | None) -> str:
    expected = bundle.expectations.get(name) if bundle else None
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
    for name, expected in bundle.expectations.items():
        known = {entry.version_id for entry in bundle.history(name)}
        # Where nothing has a version, as in a folder, none can be expected.
        versioned = expected.version_id and known - {None}
        elsewhere += bool(versioned and expected.version_id not in known)
    if elsewhere:
        yield (
            f"{elsewhere} objects are not in the versions that the manifest recorded: "
            "this is a copy of the bundle, or they were written anew"
        )
