"""Verifying a bundle: everything is read again and compared with the manifest::

verification = await verify("s3://cases/forensics/20260801T101112Z_shop_web_4f2a-1")
for problem in verification.problems:
    print(problem)
"""

from __future__ import annotations

from anyio import to_thread

from forensics_core.errors import DestinationError, ObjectNotFound, VerificationError
from forensics_core.evidence.history import notes_on
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
        seal, problems = await _check_seal(located, key)
        try:
            bundle = await understand(located)
        except VerificationError as error:
            problems.append(Problem(ProblemKind.UNREADABLE, MANIFEST, error.message))
            return _verification(located, None, seal, problems, 0)
        meter = progress or Meter()
        problems += await Verifier(bundle, meter).problems()
        return _verification(located, bundle, seal, problems, meter.bytes_read)


async def _check_seal(located: Located, key: bytes | None) -> tuple[SealState, list[Problem]]:
    version = located.version_of(SEAL, None)
    try:
        # The seal holds the manifest, in base64.
        seal = await read_small(located.store, SEAL, version, limit=2 * MANIFEST_LIMIT)
    except ObjectNotFound:
        missing = Problem(ProblemKind.MISSING, SEAL, "there is no seal that the key could check")
        return SealState.ABSENT, [missing] if key else []
    except (DestinationError, VerificationError) as error:
        return SealState.INVALID, [Problem(ProblemKind.UNREADABLE, SEAL, error.message)]
    if key is None:
        return SealState.UNCHECKED, []
    try:
        await to_thread.run_sync(verify_seal, seal, located.manifest, key)
    except VerificationError as error:
        return SealState.INVALID, [Problem(ProblemKind.MISMATCH, SEAL, error.message)]
    return SealState.VALID, []


def _verification(
    located: Located,
    bundle: BundleReader | None,
    seal: SealState,
    problems: list[Problem],
    size: int,
) -> Verification:
    notes = list(notes_on(located, bundle))
    if seal is SealState.UNCHECKED:
        notes.append("The bundle is sealed; the seal was not checked: give --key")
    names = bundle.expectations if bundle else {}
    return Verification(
        location=located.store.url,
        manifest_sha256=located.manifest_sha256,
        statement=bundle.statement if bundle else None,
        artifacts=len(names) - (SHA256SUMS in names),
        size=size,
        seal=seal,
        problems=tuple(sorted(problems, key=lambda problem: (problem.name, problem.kind))),
        notes=tuple(notes),
    )
