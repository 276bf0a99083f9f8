"""Verifying a bundle: everything is read again and compared with the manifest::

verification = await verify("s3://cases/forensics/20260801T101112Z_shop_web_4f2a-1")
for problem in verification.problems:
    print(problem)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from anyio import to_thread

from forensics_core.bundle.history import SEAL_REFUSED, notes_on
from forensics_core.bundle.identity import EvidenceIdentity, mismatches
from forensics_core.bundle.layout import MANIFEST, SEAL, SHA256SUMS
from forensics_core.bundle.problems import Problem, ProblemKind
from forensics_core.bundle.reader import (
    MANIFEST_LIMIT,
    BundleReader,
    Located,
    locate,
    understand,
)
from forensics_core.bundle.seal import key_hint, verify_seal
from forensics_core.bundle.verification import SealState, Verification
from forensics_core.bundle.verifier import Verifier
from forensics_core.errors import (
    AccessDenied,
    DestinationError,
    DestinationUnreachable,
    ObjectNotFound,
    VerificationError,
)
from forensics_core.pipeline.meter import Meter
from forensics_core.storage.s3.client import S3Access
from forensics_core.storage.store import read_small


async def verify(
    location: str,
    *,
    key: bytes | None = None,
    wanted: EvidenceIdentity | None = None,
    strict: bool = False,
    progress: Meter | None = None,
    access: S3Access | None = None,
) -> Verification:
    """Read everything at `location` again, and name each mismatch and missing object.

    `key` is the public key, in PEM, that the seal must hold for; `wanted` is the evidence that it
    has to be; `progress` counts along. Objects that nobody named are no part of the evidence, and
    a problem only if `strict`. Raises
    `BundleNotFound` where there is no manifest, `DestinationError` where the place does not answer,
    `UsageError` for a key that is none;
    wrong evidence raises nothing, it is in the result.
    """
    wanted = wanted or EvidenceIdentity()
    if key is not None:
        # First: an empty file in place of a key would otherwise ask for no seal at all.
        await to_thread.run_sync(key_hint, key)
    sha256 = wanted.manifest_sha256
    async with locate(location, sha256=sha256, key=key, access=access) as located:
        seal = await _check_seal(located, key)
        try:
            bundle = await understand(located)
        except VerificationError as error:
            problems = [Problem(ProblemKind.UNREADABLE, MANIFEST, error.message)]
            problems += mismatches(wanted, None, located.manifest_sha256)
            return _verification(located, None, seal, problems, 0)
        meter = progress or Meter()
        verifier = Verifier(bundle, meter, strict=strict)
        problems = await verifier.problems()
        problems += mismatches(wanted, bundle.statement.predicate, bundle.manifest_sha256)
        made = _verification(located, bundle, seal, problems, meter.bytes_read)
        return replace(made, extras=tuple(verifier.extras), extras_total=verifier.extras_total)


class _Seal(NamedTuple):
    """What was found of the seal."""

    state: SealState
    problem: Problem | None = None
    note: str = ""


async def _check_seal(located: Located, key: bytes | None) -> _Seal:
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


def _unproven(located: Located, seal: _Seal) -> Iterator[str]:
    """Yield a line if nothing tells which version of the manifest is the one that was sealed."""
    there = len(located.history(MANIFEST))
    if there > 1 and seal.state is not SealState.VALID:
        yield (
            f"{MANIFEST} is there in {there} versions, and no seal was checked that tells which of "
            "them is the evidence: this is the one that was written first"
        )


def _verification(
    located: Located,
    bundle: BundleReader | None,
    seal: _Seal,
    problems: list[Problem],
    size: int,
) -> Verification:
    notes = [*notes_on(located, bundle), *_unproven(located, seal)]
    if seal.note:
        notes.append(seal.note)
    if seal.problem:
        problems = [*problems, seal.problem]
    names = bundle.expectations if bundle else {}
    return Verification(
        location=located.store.url,
        manifest_sha256=located.manifest_sha256,
        statement=bundle.statement if bundle else None,
        artifacts=len(names) - (SHA256SUMS in names),
        size=size,
        seal=seal.state,
        problems=tuple(sorted(problems, key=lambda problem: (problem.name, problem.kind))),
        notes=tuple(notes),
    )
