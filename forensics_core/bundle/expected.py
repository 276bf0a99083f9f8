"""What the manifest promises of every object, and whether it contradicts itself."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from forensics_core.api.order import Compression
from forensics_core.bundle.layout import CONTEXT, MANIFEST, SEAL, SHA256SUMS, UNVERIFIED
from forensics_core.bundle.manifest import Artifact, Statement
from forensics_core.bundle.verification import Problem, ProblemKind
from forensics_core.errors import UsageError, VerificationError
from forensics_core.storage.local import UNFINISHED
from forensics_core.storage.objects import check_name

_RESERVED = (UNFINISHED, UNVERIFIED)
"""Endings that say something about a file in a folder, so that no object may have them."""


UNSIZED_LIMIT = 256 * 1024 * 1024
"""Bytes that an object may have whose size the manifest does not say: what the cluster said, and
the checksums."""


@dataclass(frozen=True, slots=True)
class ExpectedObject:
    """One object as it should be; None where the manifest does not say."""

    name: str
    sha256: str
    """Of the bytes as stored."""
    size: int | None = None
    """Bytes, as stored."""
    version_id: str | None = None
    compressed: bool = False
    original_sha256: str = ""
    """Of the bytes before compression, where there was one."""
    original_size: int = 0
    described: bool = False
    """Whether a row of the capture describes it: all but the context and the checksums."""
    crc64nvme: str | None = None
    """As in S3, of the bytes as stored."""
    etag: str | None = None
    """S3's entity tag, where the order tells it."""

    @property
    def most(self) -> int:
        """How many bytes, as stored, there can be at most."""
        return UNSIZED_LIMIT if self.size is None else self.size

    @property
    def plain_name(self) -> str:
        """The name without the ending of its compression: `rootfs.tar` of `rootfs.tar.zst`."""
        return self.name.removesuffix(".zst") if self.compressed else self.name

    def plain(self) -> ExpectedObject:
        """Return what is promised of the decompressed copy."""
        return ExpectedObject(self.plain_name, self.original_sha256, self.original_size)


def expected_objects(statement: Statement) -> list[ExpectedObject]:
    """Return one for each subject whose name can be trusted, in the manifest's order."""
    artifacts = {artifact.name: artifact for artifact in statement.predicate.artifacts}
    promised: dict[str, ExpectedObject] = {}
    for subject in statement.subject:
        if _safe(subject.name) and subject.name not in promised:
            artifact = artifacts.get(subject.name)
            promised[subject.name] = _expectation(subject.name, subject.digest.sha256, artifact)
    return list(promised.values())


def selected(objects: Mapping[str, ExpectedObject], globs: Sequence[str]) -> list[ExpectedObject]:
    """Return the objects whose names match one of the globs, all of them if there are none.

    `*` matches slashes too: `*/rootfs.*`, `containers/web/*`. Raises `UsageError` for a glob that
    no name matches.
    """
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in objects):
            raise UsageError(
                f"No object of the bundle has a name like {glob!r}",
                hint="'forensics ls LOCATION' shows the names; '*' stands for slashes too",
            )
    wanted = (each for each in objects.values() if any(fnmatchcase(each.name, g) for g in globs))
    return list(wanted) if globs else list(objects.values())


def contradictions(statement: Statement) -> Iterator[Problem]:
    """Yield what is inconsistent within the manifest itself."""
    names = [subject.name for subject in statement.subject]
    rows = [artifact.name for artifact in statement.predicate.artifacts]
    unsafe = {name for name in [*names, *rows] if not _safe(name)}
    for name in sorted(unsafe):
        yield _inconsistent(name, "the name leads out of the bundle, or is another's")
    yield from _repeated("a subject", names)
    yield from _repeated("an artifact", rows)
    yield from _alike(names)
    digests = {subject.name: subject.digest.sha256 for subject in statement.subject}
    for artifact in statement.predicate.artifacts:
        yield from _contradiction(artifact, digests.get(artifact.name))
    for name in sorted(set(names) - set(rows) - unsafe - {SHA256SUMS}):
        if not name.startswith(CONTEXT):
            yield _inconsistent(name, "it is a subject, but the capture does not describe it")


def _repeated(what: str, names: list[str]) -> Iterator[Problem]:
    for name, times in Counter(names).items():
        if times > 1:
            yield _inconsistent(name, f"it is {what} {times} times")


def _alike(names: Iterable[str]) -> Iterator[Problem]:
    """Yield names that some file systems take for another's: one file would replace the other."""
    first: dict[str, str] = {}
    for name in sorted(set(names)):
        other = first.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            yield _inconsistent(name, f"some file systems take it for {other}")


def _contradiction(artifact: Artifact, subject_sha256: str | None) -> Iterator[Problem]:
    if subject_sha256 is None:
        yield _inconsistent(artifact.name, "the capture describes it, but it is not a subject")
    elif subject_sha256 != artifact.sha256:
        yield _inconsistent(artifact.name, "its subject and the capture name different SHA-256s")
    stored = (artifact.sha256, artifact.size)
    original = (artifact.original_sha256, artifact.original_size)
    if artifact.compression is Compression.NONE and stored != original:
        yield _inconsistent(artifact.name, "it is not compressed, yet differs from its original")


def _expectation(name: str, sha256: str, artifact: Artifact | None) -> ExpectedObject:
    if artifact is None:
        return ExpectedObject(name, sha256)
    return ExpectedObject(
        name=name,
        sha256=sha256,
        size=artifact.size,
        version_id=artifact.version_id,
        compressed=artifact.compression.compresses,
        original_sha256=artifact.original_sha256,
        original_size=artifact.original_size,
        described=True,
        crc64nvme=artifact.crc64nvme,
    )


def _safe(name: str) -> bool:
    """Whether an object may be called so, and its decompressed copy, which lacks the `.zst`."""
    try:
        plain = check_name(name).removesuffix(".zst")
    except VerificationError:
        return False
    # A backslash parts folders for some stores and systems; control characters steer terminals.
    odd = "\\" in name or any(unicodedata.category(one) == "Cc" for one in name)
    return not odd and plain not in {MANIFEST, SEAL} and not plain.endswith(_RESERVED)


def _inconsistent(name: str, message: str) -> Problem:
    return Problem(ProblemKind.INCONSISTENT, name, message)
