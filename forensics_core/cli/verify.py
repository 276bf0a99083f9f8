"""`forensics verify`: is the evidence what its manifest says?"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from forensics_core.cli.options import output_option, owner_option
from forensics_core.cli.render import say, say_json
from forensics_core.cli.running import run

if TYPE_CHECKING:
    from forensics_core.evidence.verification import Verification


@click.command("verify", short_help="Check that evidence is what its manifest says.")
@click.argument("location")
@click.option(
    "--key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The public key, in PEM, that the bundle's seal must hold for.",
)
@owner_option
@output_option
def verify_command(
    location: str, key: Path | None, expected_bucket_owner: str | None, output: str
) -> None:
    """Read all evidence at LOCATION again and compare it with its manifest.

    LOCATION is a bundle's folder, or s3://bucket/prefix. Every object is hashed as it is stored and
    as it was before compression; each mismatch, missing and extra object is named. Ends with exit
    code 3 if there is any.
    """
    public_key = key.read_bytes() if key else None
    read = partial(_verify, location, public_key, expected_bucket_owner, quiet=output == "json")
    _report(run(read), output)


async def _verify(
    location: str, key: bytes | None, owner: str | None, *, quiet: bool
) -> Verification:
    from forensics_core.cli.progress import progress
    from forensics_core.evidence.verify import verify
    from forensics_core.export.meter import Meter
    from forensics_core.export.s3.client import S3Access

    meter, access = Meter(), S3Access(expected_bucket_owner=owner)
    async with progress(meter, "Verifying", quiet=quiet):
        return await verify(location, key=key, progress=meter, access=access)


def _report(verification: Verification, output: str) -> None:
    if output == "json":
        say_json(_as_json(verification))
    else:
        _show(verification)
    verification.raise_for_problems()


def _show(verification: Verification) -> None:
    from forensics_core.cli.findings import say_findings, summary
    from forensics_core.evidence.verification import SealState

    say_findings(verification.problems, verification.notes)
    if verification.seal is SealState.VALID:
        say("Seal: valid, made with the given key")
    if verification.ok:
        artifacts, size = verification.artifacts, verification.size
        say(summary("Verified", artifacts, size, verification.manifest_sha256))


def _as_json(verification: Verification) -> dict[str, Any]:
    from forensics_core.cli.findings import findings

    return {
        "location": verification.location,
        "verified": verification.ok,
        "manifestSha256": verification.manifest_sha256,
        "artifacts": verification.artifacts,
        "bytes": verification.size,
        "seal": verification.seal,
        **findings(verification.problems, verification.notes),
    }
