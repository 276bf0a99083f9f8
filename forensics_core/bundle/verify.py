"""Verifying a bundle: everything is read again and compared with the manifest::

verification = await verify("s3://cases/forensics/20260801T101112Z_shop_web_4f2a-1")
for problem in verification.problems:
    print(problem)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from anyio import to_thread

from forensics_core.bundle.expected import ExpectedObject, contradictions, selected
from forensics_core.bundle.identity import SEAL_REFUSED, EvidenceIdentity, mismatches, notes_on
from forensics_core.bundle.layout import MANIFEST, SEAL, SHA256SUMS, WRITTEN_AFTER_MANIFEST
from forensics_core.bundle.object_checks import check_each, check_object
from forensics_core.bundle.parts import reading
from forensics_core.bundle.reader import (
    MANIFEST_LIMIT,
    BundleReader,
    LocatedBundle,
    locate,
    read_located,
)
from forensics_core.bundle.seal import key_hint, verify_seal
from forensics_core.bundle.verification import Problem, ProblemKind, SealState, Verification
from forensics_core.errors import (
    AccessDenied,
    DestinationError,
    DestinationUnreachable,
    ObjectNotFound,
    VerificationError,
)
from forensics_core.pipeline.meter import Meter
from forensics_core.storage.s3.client import S3Access
from forensics_core.storage.storage import read_small


async def verify(
    location: str,
    *,
    key: bytes | None = None,
    wanted: EvidenceIdentity | None = None,
    strict: bool = False,
    select: Sequence[str] = (),
    progress: Meter | None = None,
    access: S3Access | None = None,
) -> Verification:
    """Read everything at `location` again, and name each mismatch and missing object.

    `key` is the public key, in PEM, that the seal must hold for; `wanted` is the evidence that it
    has to be; `progress` counts along. Objects that nobody named are no part of the evidence, and
    a problem only if `strict`. `select`: globs, of which an object's name must match one to be
    looked at, as of what `fetch` was told to bring.

    Raises `BundleNotFound` where there is no manifest, `DestinationError` where the place does not
    answer, `UsageError` for a key that is none, or a glob that nothing matches; wrong evidence
    raises nothing, it is in the result.
    """
    wanted = wanted or EvidenceIdentity()
    if key is not None:
        # First: an empty file in place of a key would otherwise ask for no seal at all.
        await to_thread.run_sync(key_hint, key)
    sha256 = wanted.manifest_sha256
    async with locate(location, sha256=sha256, key=key, access=access) as located:
        seal = await _check_seal(located, key)
        try:
            bundle = await read_located(located)
        except VerificationError as error:
            problems = [Problem(ProblemKind.UNREADABLE, MANIFEST, error.message)]
            problems += mismatches(wanted, None, located.manifest_sha256)
            return _verification(located, None, seal, problems, 0, ())
        meter = progress or Meter()
        chosen = selected(bundle.objects, select)
        verifier = Verifier(bundle, meter, chosen, strict=strict)
        problems = await verifier.problems()
        problems += mismatches(wanted, bundle.statement.predicate, bundle.manifest_sha256)
        made = _verification(located, bundle, seal, problems, meter.bytes_read, chosen)
        return replace(made, extras=tuple(verifier.extras), extras_total=verifier.extras_total)


async def require_seal(located: LocatedBundle, key: bytes) -> None:
    """Return if the bundle's seal holds for the public key, in PEM.

    Raises `VerificationError` that says why not, `UsageError` for a key that is none, and
    `DestinationUnreachable`.
    """
    await to_thread.run_sync(key_hint, key)
    problem = (await _check_seal(located, key)).problem
    if problem is not None:
        raise VerificationError(
            f"{located.store.url} does not verify: {problem}",
            hint="Check the key; if it is right, do not trust this",
        )


class _Seal(NamedTuple):
    """What was found of the seal."""

    state: SealState
    problem: Problem | None = None
    note: str = ""


async def _check_seal(located: LocatedBundle, key: bytes | None) -> _Seal:
    """Read the seal, and check it if there is a key. Raises `DestinationUnreachable`."""
    version = located.version_of(SEAL, None)
    try:
        # The seal holds the manifest, in base64.
        seal = await read_small(located.store, SEAL, version, limit=2 * MANIFEST_LIMIT)
    except (DestinationError, VerificationError) as error:
        return _without(error, key)
    if key is None:
        return _Seal(SealState.UNCHECKED, note=_UNCHECKED)
    try:
        await to_thread.run_sync(verify_seal, seal, located.manifest, key)
    except VerificationError as error:
        return _Seal(SealState.INVALID, Problem(ProblemKind.MISMATCH, SEAL, error.message))
    return _Seal(SealState.VALID)


def _without(error: DestinationError | VerificationError, key: bytes | None) -> _Seal:
    """Judge a seal that could not be read; a network that fails says nothing about evidence."""
    if isinstance(error, DestinationUnreachable):
        raise error
    if isinstance(error, ObjectNotFound):
        missing = Problem(ProblemKind.MISSING, SEAL, "there is no seal that the key could check")
        return _Seal(SealState.ABSENT, None if key is None else missing)
    if isinstance(error, AccessDenied) and key is None:
        return _Seal(SealState.UNCHECKED, note=SEAL_REFUSED)
    return _Seal(SealState.INVALID, Problem(ProblemKind.UNREADABLE, SEAL, error.message))


_UNCHECKED = "The bundle is sealed; the seal was not checked: give --key"


def _unproven(located: LocatedBundle, seal: _Seal) -> Iterator[str]:
    """Yield a line if nothing tells which version of the manifest is the one that was sealed."""
    there = len(located.history(MANIFEST))
    if there > 1 and seal.state is not SealState.VALID:
        yield (
            f"{MANIFEST} is there in {there} versions, and no seal was checked that tells which of "
            "them is the evidence: this is the one that was written first"
        )


def _verification(
    located: LocatedBundle,
    bundle: BundleReader | None,
    seal: _Seal,
    problems: list[Problem],
    size: int,
    chosen: Sequence[ExpectedObject],
) -> Verification:
    notes = [*notes_on(located, bundle), *_unproven(located, seal)]
    if bundle and len(chosen) < len(bundle.objects):
        notes.append(f"Only {len(chosen)} of {len(bundle.objects)} objects were looked at")
    if seal.note:
        notes.append(seal.note)
    if seal.problem:
        problems = [*problems, seal.problem]
    return Verification(
        location=located.store.url,
        manifest_sha256=located.manifest_sha256,
        statement=bundle.statement if bundle else None,
        artifacts=sum(each.name != SHA256SUMS for each in chosen),
        size=size,
        seal=seal.state,
        problems=tuple(sorted(problems, key=lambda problem: (problem.name, problem.kind))),
        notes=tuple(notes),
    )


WORKERS = 2
"""Objects read at once."""
MAX_EXTRAS = 200
"""Names of objects that nobody named; whoever may add objects may add any number."""


class Verifier:
    """One verification under way."""

    def __init__(
        self,
        bundle: BundleReader,
        meter: Meter,
        chosen: Sequence[ExpectedObject],
        *,
        strict: bool = False,
    ) -> None:
        self._bundle = bundle
        self._chosen = chosen
        self._meter = meter
        self._problems: list[Problem] = []
        self._checksums = bytearray()
        self._checksums_read = False
        self._strict = strict
        self.extras: list[str] = []
        """The first of the objects that nobody named, after `problems`."""
        self.extras_total = 0

    async def problems(self) -> list[Problem]:
        """Check everything but the seal, and return what is wrong."""
        copies = list(self._plain_copies())
        expected = [*self._chosen, *copies]
        self._meter.artifacts_total = len(expected)
        self._meter.bytes_total = sum(map(self._bundle.stored_size, expected))
        self._problems += contradictions(self._bundle.statement)
        self._look_for_extras({*self._bundle.objects, *(each.name for each in copies)})
        self._problems += await check_each(expected, self._checked, at_once=WORKERS)
        self._problems += self._compare_checksums()
        return self._problems

    def _plain_copies(self) -> Iterator[ExpectedObject]:
        """Yield decompressed copies beside the archives: `fetch` puts some, into folders.

        In a bucket nobody of ours does, and whoever may add an object could otherwise keep the
        bundle from ever verifying again.
        """
        if not self._bundle.store.url.startswith("file:"):
            return
        there, promised = self._bundle.versions or {}, self._bundle.objects
        for each in self._chosen:
            if each.compressed and each.plain_name in there and each.plain_name not in promised:
                yield each.plain()

    def _look_for_extras(self, expected: set[str]) -> None:
        """Note what nobody named. It is no problem: the seal covers what is named, and whoever may
        add an object could otherwise keep a bundle from ever verifying again."""
        for name in sorted(self._bundle.versions or {}):
            ours = name in expected or name == MANIFEST or name in WRITTEN_AFTER_MANIFEST
            if ours or not self._bundle.history(name):
                continue
            self.extras_total += 1
            if len(self.extras) < MAX_EXTRAS:
                self.extras.append(name)
                if self._strict:
                    message = "the manifest does not name it"
                    self._problems.append(Problem(ProblemKind.EXTRA, name, message))

    async def _checked(self, expected: ExpectedObject) -> list[Problem]:
        self._meter.current = expected.name
        problem = await self._check(expected)
        self._meter.artifacts_done += 1
        return [problem] if problem else []

    async def _check(self, expected: ExpectedObject) -> Problem | None:
        checksums = expected.name == SHA256SUMS
        async with reading(self._bundle, expected) as blocks:
            problem = await check_object(blocks, expected, self._keep if checksums else self._count)
        if checksums:
            self._checksums_read = problem is None or problem.kind is ProblemKind.MISMATCH
        return problem

    async def _count(self, block: bytes) -> None:
        self._meter.bytes_read += len(block)

    async def _keep(self, block: bytes) -> None:
        self._checksums += block[: MANIFEST_LIMIT - len(self._checksums)]
        await self._count(block)

    def _compare_checksums(self) -> Iterator[Problem]:
        """Compare `SHA256SUMS` with the subjects, if it could be read."""
        if SHA256SUMS not in self._bundle.objects:
            message = "the manifest does not name it"
            yield Problem(ProblemKind.INCONSISTENT, SHA256SUMS, message)
        elif self._checksums_read:
            promised = {name: each.sha256 for name, each in self._bundle.objects.items()}
            del promised[SHA256SUMS]
            yield from _disagreements(bytes(self._checksums), promised)


def _disagreements(listing: bytes, promised: dict[str, str]) -> Iterator[Problem]:
    listed = {}
    for line in listing.decode(errors="surrogateescape").splitlines():
        digest, _, name = line.partition("  ")
        listed[name] = digest
    for name in sorted({*listed, *promised}):
        if name not in promised:
            message = f"it lists {name}, which the manifest does not name"
        elif name not in listed:
            message = f"it does not list {name}"
        elif listed[name] != promised[name]:
            message = f"it names another SHA-256 of {name} than the manifest"
        else:
            continue
        yield Problem(ProblemKind.INCONSISTENT, SHA256SUMS, message)
