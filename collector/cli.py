"""`forensics collect`: capture containers of this host, without a cluster.

With `--order` it is what the operator's Jobs run.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypedDict, Unpack

import click
from click.core import ParameterSource

from collector.limits import lower_priorities
from collector.options import record_option, requestable
from forensics_core._internal.allocator import use_one_arena
from forensics_core._internal.startup import load_aiohttp, without_garbage
from forensics_core.api.order import ArtifactKind, Compression, Encryption, Retention, RetentionMode
from forensics_core.cli.options import (
    object_lock_options,
    output_option,
    owner_option,
    size_type,
    volumes_option,
)
from forensics_core.cli.program import Terminated, run
from forensics_core.cli.progress import progress
from forensics_core.cli.render import clean_message, counted, print_json, print_text, size
from forensics_core.errors import UsageError

if TYPE_CHECKING:
    from collector.capture import CaptureResult
    from collector.local import CaptureOptions

PARTIAL = 4
"""The exit code where something that was asked for is missing."""

STOPPED = (
    "Stopped before the end: uploads were aborted, and what has no manifest.json is not a bundle. "
    "Capture again."
)


class _GivenOptions(TypedDict):
    """What `CaptureOptions` are made of."""

    name: str
    subpath: str
    artifacts: tuple[str, ...]
    compression: str
    reason: str
    incident: str
    retention_days: int | None
    retention_mode: str | None
    legal_hold: bool
    kms_key_id: str | None
    deadline: int
    volumes: tuple[str, ...]
    deleted_budget: int
    layer_seconds: float | None
    pause: bool
    freeze: bool
    record: int


@click.command(name="collect", short_help="Capture containers of this host.")
@click.argument("containers", metavar="RUNTIME://ID...", nargs=-1)
@click.option("--to", "to", metavar="URL", default="", help="s3://bucket[/prefix] or a folder.")
@click.option(
    "--order",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Carry out this work order, as in a Job; goes with nothing else.",
)
@click.option("--name", default="", help="The bundle's folder.  [default: made of the time]")
@click.option("--subpath", default="forensics", show_default=True, help="The folder it lies in.")
@click.option(
    "--artifact",
    "artifacts",
    multiple=True,
    type=click.Choice([kind.value for kind in ArtifactKind if kind is not ArtifactKind.CONTEXT]),
    help="Only this; may be repeated.  [default: all but volumes and memory]",
)
@click.option(
    "--compression",
    type=click.Choice([way.value for way in Compression]),
    default=Compression.AUTO.value,
    show_default=True,
    help="How the file system is stored.",
)
@click.option(
    "--reason",
    default="",
    callback=requestable,
    help="Why it is captured; goes into the manifest.",
)
@click.option(
    "--incident",
    default="",
    metavar="ID",
    callback=requestable,
    help="The incident it belongs to.",
)
@object_lock_options
@click.option(
    "--kms-key-id", metavar="K", callback=requestable, help="Encrypt with this key of the KMS."
)
@owner_option
@volumes_option
@click.option(
    "--deleted-budget",
    type=size_type,
    default="1GiB",
    show_default=True,
    metavar="SIZE",
    help="Of files that only processes still hold, so much of each container.",
)
@click.option(
    "--layer-seconds",
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="Compare the image's layers with its digests for so long.  [default: 2 s or more]",
)
@click.option("--pause", is_flag=True, help="Hold them still meanwhile, for a minute at most.")
@click.option(
    "--freeze/--no-freeze",
    default=True,
    show_default=True,
    help="With memory: hold each process still while it is read, for 2 s at most.",
)
@record_option
@click.option(
    "--runtime-endpoint",
    metavar="URL",
    envvar="FORENSICS_RUNTIME_ENDPOINT",
    help="The runtime's socket, unix:///PATH.  [default: looked for]",
)
@click.option(
    "--deadline",
    type=click.IntRange(1),
    default=3600,
    show_default=True,
    metavar="SECONDS",
    help="End by then with what there is.",
)
@click.option(
    "--gentle/--no-gentle",
    default=True,
    show_default=True,
    envvar="FORENSICS_GENTLE",
    help="Stay below the priority of what else runs here.",
)
@click.option(
    "--rate",
    type=size_type,
    default="0",
    envvar="FORENSICS_RATE",
    metavar="SIZE",
    help="Bytes a second that are read at most, such as 100MiB.  [default: all there is]",
)
@output_option
def collect(
    containers: tuple[str, ...],
    to: str,
    order: Path | None,
    expected_bucket_owner: str | None,
    runtime_endpoint: str | None,
    gentle: bool,
    rate: int,
    output: str,
    **given: Unpack[_GivenOptions],
) -> None:
    """Capture containers of this host into a bundle.

    They are named as docker://NAME, containerd://NAMESPACE/POD/NAME, cri-o://..., or by an ID in
    place of the names. `containerd://` alone lists what there is.

    Exits with 4 if something that was asked for could not be captured; what, and why, is printed
    and in the manifest.
    """
    use_one_arena()
    if gentle:
        lower_priorities()
    if order:
        _carry_out(order, rate)
    with without_garbage():
        load_aiohttp()
        import collector.local  # noqa: F401  # what is used further down is loaded here
    if runtime_endpoint:
        os.environ["FORENSICS_RUNTIME_ENDPOINT"] = runtime_endpoint
    if len(containers) == 1 and containers[0].endswith("://"):
        _list(containers[0].removesuffix("://"), output)
        return
    _require(containers=containers, to=to)
    options = _capture_options(given, rate)
    result = _capture(containers, to, options, expected_bucket_owner, quiet=output == "json")
    _show(result, output)
    if result.partial:
        raise click.exceptions.Exit(PARTIAL)


def _capture_options(given: _GivenOptions, rate: int) -> CaptureOptions:
    from collector.local import ARTIFACTS, CaptureOptions

    key = given["kms_key_id"]
    return CaptureOptions(
        artifacts=[ArtifactKind(kind) for kind in given["artifacts"]] or ARTIFACTS,
        compression=Compression(given["compression"]),
        name=given["name"],
        subpath=given["subpath"],
        reason=given["reason"],
        incident=given["incident"],
        retention=_retention(given["retention_days"], given["retention_mode"], given["legal_hold"]),
        encryption=Encryption(kms_key_id=key) if key else None,
        deadline=given["deadline"],
        pause=given["pause"],
        freeze=given["freeze"],
        record=given["record"],
        rate=rate,
        volumes=given["volumes"],
        deleted_budget=given["deleted_budget"],
        layer_seconds=given["layer_seconds"],
    )


def _carry_out(order: Path, rate: int) -> NoReturn:
    """Do what the operator ordered; everything is said in the order."""
    from collector.job.sigterm import SigtermLatch

    early = SigtermLatch()
    early.listen()
    with without_garbage():
        load_aiohttp()
        from collector.job.job import run_job

    context = click.get_current_context()
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        alone = parameter.name not in {"order", "gentle", "rate"}
        if source is ParameterSource.COMMANDLINE and alone:
            shown = parameter.get_error_hint(context)
            raise click.UsageError(f"--order goes with nothing else: leave out {shown}.", context)
    environ = {**os.environ, "FORENSICS_RATE": str(rate)}
    result = run_job(order, environ, early)
    raise click.exceptions.Exit(PARTIAL if result.partial else 0)


def _list(scheme: str, output: str) -> None:
    """Print the containers of a runtime, those of pods by pod and name."""
    from collector.runtimes.opening import open_runtime
    from collector.runtimes.runtime import ListedContainer

    async def work() -> list[ListedContainer]:
        async with open_runtime(scheme) as runtime:
            return sorted(await runtime.list(), key=lambda row: (row.pod, row.name))

    rows = run(work)
    if output == "json":
        names = ("containerID", "pod", "name", "image", "state")
        print_json({"containers": [dict(zip(names, row, strict=True)) for row in rows]})
        return
    for row in rows:
        where = f"{row.pod}/{row.name}" if row.pod else row.name
        print_text(clean_message(f"{row.container_id}  {row.state:8}  {where}  {row.image}"))
    print_text(f"{counted(len(rows), 'container')}")


def _require(**given: object) -> None:
    """Refuse a capture by hand that lacks an argument, in click's own words."""
    context = click.get_current_context()
    for parameter in context.command.params:
        if parameter.name in given and not given[parameter.name]:
            raise click.MissingParameter(ctx=context, param=parameter)


def _capture(
    containers: tuple[str, ...], to: str, options: CaptureOptions, owner: str | None, *, quiet: bool
) -> CaptureResult:
    from collector.local import prepared
    from forensics_core.pipeline.meter import Meter
    from forensics_core.storage.s3.client import S3Access

    finished: list[CaptureResult] = []

    async def work() -> None:
        meter, access = Meter(), S3Access(expected_bucket_owner=owner)
        async with (
            progress(meter, "Capturing", quiet=quiet),
            prepared(*containers, to=to, options=options, access=access) as go,
        ):
            finished.append(await go(meter))

    try:
        run(work)
    except (KeyboardInterrupt, Terminated) as stop:
        # A signal that came when all was stored changes nothing.
        if not finished:
            raise type(stop)(STOPPED) from None
    return finished[0]


def _show(result: CaptureResult, output: str) -> None:
    if output == "json":
        print_json(_summary(result))
        return
    for gap in result.statement.predicate.not_captured:
        title = "Missing" if gap.requested else "Note"
        of = f" of {gap.container}" if gap.container else ""
        print_text(clean_message(f"{title}: {gap.what}{of} ({gap.reason}): {gap.message}"))
    store = result.statement.predicate.store
    if store and not store.conditional_writes:
        print_text(
            "Note: the store does not refuse to replace an object: only unique names protect these"
        )
    artifacts = result.statement.predicate.artifacts
    stored = size(sum(artifact.size for artifact in artifacts))
    where = clean_message(result.location)
    how = "Captured in part" if result.partial else "Captured"
    print_text(f"{how}: {counted(len(artifacts), 'artifact')}, {stored}, in {where}")
    print_text(f"manifest sha256:{result.manifest_sha256}")


def _summary(result: CaptureResult) -> dict[str, object]:
    capture = result.statement.predicate.model_dump(mode="json", by_alias=True)
    return {
        "location": result.location,
        "manifestSHA256": result.manifest_sha256,
        "partial": result.partial,
        "containers": capture["containers"],
        "artifacts": capture["artifacts"],
        "notCaptured": capture["notCaptured"],
        "store": capture["store"],
    }


def _retention(days: int | None, mode: str | None, legal_hold: bool) -> Retention | None:
    if mode and not days:
        raise UsageError("--retention-mode needs --retention-days", hint="Say for how many days")
    if not days and not legal_hold:
        return None
    return Retention(
        mode=RetentionMode(mode or RetentionMode.GOVERNANCE), days=days, legal_hold=legal_hold
    )
