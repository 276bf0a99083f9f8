"""`forensics verify`: is the evidence what its manifest says? What `fetch` prints alike, too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from forensics_core.cli.options import (
    output_option,
    owner_option,
    print_traffic,
    run_reader,
    select_option,
    traffic_as_json,
)
from forensics_core.cli.render import clean, clean_message, print_json, print_text

if TYPE_CHECKING:
    from forensics_core.bundle.identity import EvidenceIdentity
    from forensics_core.bundle.manifest import Capture
    from forensics_core.bundle.verification import Problem, Verification
    from forensics_core.cli.options import BundleTraffic

_MAX_EXTRAS = 20
"""Objects that nobody named which have a line each."""
_MAX_NAMES = 10
"""Containers that are named where there is no pod."""


def _not_empty(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Refuse a value that would hold the evidence against nothing, as of a variable not set."""
    if value is not None and not value.rpartition("/")[2]:
        raise click.BadParameter("it is empty, so that any evidence would do")
    return value


@click.command("verify", short_help="Check that evidence is what its manifest says.")
@click.argument("location")
@click.option(
    "--key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The public key, in PEM, that the bundle's seal must hold for.",
)
@click.option("--pod", metavar="[NS/]NAME", callback=_not_empty, help="The pod that it must be of.")
@click.option(
    "--uid",
    metavar="UID",
    callback=_not_empty,
    help="The UID of that pod, or of the PodCheckpoint.",
)
@click.option(
    "--incident", metavar="ID", callback=_not_empty, help="The incident that it must be for."
)
@click.option("--strict", is_flag=True, help="Objects that nobody named are problems, too.")
@select_option
@owner_option
@output_option
def verify_command(
    location: str,
    key: Path | None,
    pod: str | None,
    uid: str | None,
    incident: str | None,
    strict: bool,
    select: tuple[str, ...],
    expected_bucket_owner: str | None,
    output: str,
) -> None:
    """Read all evidence at LOCATION again and compare it with its manifest.

    LOCATION is a bundle's folder, or s3://bucket/prefix. Every object is hashed as it is stored and
    as it was before compression; each mismatch and missing object is named. Ends with exit code 3
    if there is any, or if it is other evidence than --pod, --uid and --incident say.
    """
    from forensics_core.bundle.identity import EvidenceIdentity

    namespace, _, name = (pod or "").rpartition("/")
    wanted = EvidenceIdentity(namespace=namespace, pod=name, uid=uid or "", incident=incident or "")
    public_key = key.read_bytes() if key else None
    read = partial(_verify, location, public_key, wanted, expected_bucket_owner)
    options = {"strict": strict, "select": select, "quiet": output == "json"}
    _print_result(*run_reader(partial(read, **options)), output)


async def _verify(
    location: str,
    key: bytes | None,
    wanted: EvidenceIdentity,
    owner: str | None,
    *,
    strict: bool,
    select: Sequence[str],
    quiet: bool,
) -> tuple[Verification, BundleTraffic]:
    from forensics_core.bundle.verify import verify
    from forensics_core.cli.progress import progress
    from forensics_core.pipeline.meter import Meter
    from forensics_core.storage.objects import Traffic
    from forensics_core.storage.s3.client import S3Access

    meter, traffic = Meter(), Traffic()
    async with progress(meter, "Verifying", quiet=quiet):
        verification = await verify(
            location,
            key=key,
            wanted=wanted,
            strict=strict,
            select=select,
            progress=meter,
            access=S3Access(expected_bucket_owner=owner, traffic=traffic),
        )
    return verification, (traffic, meter.bytes_total)


def _print_result(verification: Verification, traffic: BundleTraffic, output: str) -> None:
    if output == "json":
        print_json({**_as_json(verification), "fetched": traffic_as_json(*traffic)})
    else:
        _print(verification)
        print_traffic(*traffic)
    # Last, so that all of it is printed: the error only counts them.
    verification.raise_for_problems()


def _print(verification: Verification) -> None:
    from forensics_core.bundle.verification import SealState

    print_problems(verification.problems, verification.notes)
    print_extras(verification.extras, verification.extras_total, intact=verification.ok)
    if verification.statement:
        for name, value in _facts(verification.statement.predicate).items():
            print_text(f"{name + ':':<9} {clean(value)}")
    if verification.seal is SealState.VALID:
        print_text("Seal: valid, made with the given key")
    if verification.ok:
        artifacts, size = verification.artifacts, verification.size
        print_text(summary("Verified", artifacts, size, verification.manifest_sha256))


def _facts(capture: Capture) -> dict[str, str]:
    """Return of what the evidence is, when it was captured, and for whom, as the manifest says."""
    order, pod = capture.order, capture.order.pod
    if pod:
        what = f"pod {pod.namespace}/{pod.name}, UID {pod.uid or 'unknown'}"
    else:
        names = [container.name for container in capture.containers]
        shown = ", ".join(names[:_MAX_NAMES]) + (", ..." if names[_MAX_NAMES:] else "")
        what = f"{shown or 'no container'} on {capture.node.hostname or 'an unknown node'}"
    began, ended = (_timestamp(time) for time in (capture.started_at, capture.finished_at))
    asker = order.requester
    request = [f"UID {order.uid}", f"attempt {order.attempt}"]
    request += [f"incident {order.incident}"] if order.incident else []
    request += [f"of {asker.name}{'' if asker.attested else ', not attested'}"] if asker else []
    return {"Evidence": what, "Captured": f"{began} to {ended}", "Request": ", ".join(request)}


def _timestamp(time: datetime) -> str:
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")


def _as_json(verification: Verification) -> dict[str, Any]:
    statement = verification.statement
    return {
        "location": verification.location,
        "verified": verification.ok,
        "manifestSha256": verification.manifest_sha256,
        "artifacts": verification.artifacts,
        "bytes": verification.size,
        "seal": verification.seal,
        "evidence": _identity(statement.predicate, verification.location) if statement else None,
        **problems_as_json(verification.problems, verification.notes),
        "extras": list(verification.extras),
        "extrasTotal": verification.extras_total,
    }


def _identity(capture: Capture, location: str) -> dict[str, Any]:
    from forensics_core.bundle.identity import is_copy, signed_location

    asked = {"pod", "requester", "reason", "incident"}
    times = {"started_at", "finished_at"}
    return {
        **capture.order.model_dump(mode="json", by_alias=True, include=asked),
        **capture.model_dump(mode="json", by_alias=True, include=times),
        "containers": [container.name for container in capture.containers],
        "request": {"uid": str(capture.order.uid), "attempt": capture.order.attempt},
        "location": signed_location(capture),
        "copy": is_copy(capture, location),
    }


def print_problems(problems: Iterable[Problem], notes: Iterable[str]) -> None:
    """Print a line for each problem, then one for each note."""
    for problem in problems:
        print_text(f"{problem.kind}: {clean(problem.name)}: {clean_message(problem.message)}")
    for note in notes:
        print_text(f"Note: {clean_message(note)}")


def problems_as_json(problems: Iterable[Problem], notes: Iterable[str]) -> dict[str, Any]:
    """Return the same for JSON."""
    return {"problems": [asdict(problem) for problem in problems], "notes": list(notes)}


def print_extras(extras: Sequence[str], total: int, *, intact: bool) -> None:
    """Print a line for each object that nobody named, the first of them."""
    what = "not part of the evidence" + (", which is intact" if intact else "")
    for name in extras[:_MAX_EXTRAS]:
        print_text(f"Extra: {clean(name)}: {what}")
    if total > _MAX_EXTRAS:
        print_text(f"Extra: {total - _MAX_EXTRAS} more: {what}")


def summary(verb: str, artifacts: int, size: int, manifest_sha256: str) -> str:
    """Return the last line: `Verified: 7 artifacts, 123 bytes, manifest sha256:...`."""
    what = "artifact" if artifacts == 1 else "artifacts"
    return f"{verb}: {artifacts} {what}, {size} bytes, manifest sha256:{manifest_sha256}"
