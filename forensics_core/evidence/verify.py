"""Verifying a bundle: everything is read again and compared with the manifest::

verification = await verify("s3://cases/forensics/20260801T101112Z_shop_web_4f2a-1")
for problem in verification.problems:
    print(problem)
"""

from __future__ import annotations

from typing import NamedTuple

from anyio import to_thread

from forensics_core.errors import (
    AccessDenied,
    DestinationError,
    DestinationUnreachable,
    ObjectNotFound,
    VerificationError,
)
from forensics_core.evidence.history import SEAL_REFUSED, notes_on
from forensics_core.evidence.layout import MANIFEST, SEAL, SHA256SUMS
from forensics_core.evidence.problems import Problem, ProblemKind
from forensics_core.evidence.reader import (
    MANIFEST_LIMIT,
    BundleReader,
    Located,
    locate,
    understand,
)
from forensics_core.evidence.seal import verify_seal
from forensics_core.evidence.store import read_small
from forensics_core.evidence.verification import SealState, Verification
from forensics_core.evidence.verifier import Verifier
from forensics_core.export.meter import Meter
from forensics_core.export.s3.client import S3Access


async def verify(
    location: str,
    *,
    key: bytes | None = None,
    progress: Meter | None = None,
    access: S3Access | None = None,
) -> Verification:
    """Read everything at `location` again, and name each mismatch, missing and extra object.

    `key` is the public key, in PEM, that the seal must hold for; `progress` counts along. Raises
    `BundleNotFound` where there is no manifest, `DestinationError` where the place does not answer;
    wrong evidence raises nothing, it is in the result.
    """
    async with locate(location, access=access) as located:
        seal = await _check_seal(located, key)
        try:
            bundle = await understand(located)
        except VerificationError as error:
            problem = Problem(ProblemKind.UNREADABLE, MANIFEST, error.message)
            return _verification(located, None, seal, [problem], 0)
        meter = progress or Meter()
        problems = await Verifier(bundle, meter).problems()
        return _verification(located, bundle, seal, problems, meter.bytes_read)


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
        return _Seal(SealState.ABSENT, missing if key else None)
    if isinstance(error, AccessDenied) and key is None:
        return _Seal(SealState.UNCHECKED, note=SEAL_REFUSED)
    return _Seal(SealState.INVALID, Problem(ProblemKind.UNREADABLE, SEAL, error.message))


_UNCHECKED = "The bundle is sealed; the seal was not checked: give --key"


def _verification(
    located: Located,
    bundle: BundleReader | None,
    seal: _Seal,
    problems: list[Problem],
    size: int,
) -> Verification:
    notes = [*notes_on(located, bundle), *([seal.note] if seal.note else [])]
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
