"""Capture containers of this host into a bundle, without any cluster::

    from forensics_core.capture import capture_container

    evidence = await capture_container("docker://web", to="file:///cases", incident="INC-7")
    print(evidence.location, evidence.partial)

It needs root on the host, and the extra `collector`: the package that reads containers announces
itself by an entry point of the group `forensics.capture`, so that readers of bundles do without it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import entry_points
from typing import Any, TypedDict, Unpack

from anyio import to_thread

from forensics_core._internal.arguments import checked_arguments
from forensics_core._internal.extras import how_to_install, needing
from forensics_core.errors import ForensicsError
from forensics_core.models import (
    ArtifactKind,
    Compression,
    Encryption,
    Evidence,
    Meter,
    Retention,
    S3Access,
)

__all__ = ["CaptureArguments", "capture_container"]

_GROUP = "forensics.capture"


class CaptureArguments(TypedDict, total=False):
    """How containers are captured: arguments of `capture_container`."""

    artifacts: Sequence[ArtifactKind | str]
    """All but volumes and memory unless given."""
    subpath: str
    """The folder that the bundle's own lies in; `forensics` unless given."""
    name: str
    """The bundle's own folder; made of time and container unless given."""
    incident: str
    reason: str
    pause: bool
    """Hold the containers still meanwhile, for a minute at most."""
    freeze: bool
    """Hold each process still while its memory is read, for 2 s at most; True unless given."""
    record: int
    """Seconds for which at least it is recorded what the containers do: as long as the capture
    takes, or longer."""
    volumes: Sequence[str]
    """Volumes that are captured with their content though it is secret, or though no others were
    asked for: by name, or by path in the container."""
    deleted_budget: int
    """Bytes of files that only processes still hold, of each container."""
    layer_seconds: float | None
    """For how long the images' layers on the node are compared with what the images promise: 0 is
    not at all, None a part of the time that the capture took."""
    deadline: int
    """Seconds for all of it, an hour unless given; what there is by then is kept."""
    compression: Compression
    retention: Retention | None
    """For S3, as is `encryption`."""
    encryption: Encryption | None


async def capture_container(
    *containers: str,
    to: str,
    access: S3Access | None = None,
    progress: Meter | None = None,
    **options: Unpack[CaptureArguments],
) -> Evidence:
    """Capture containers of this host, `docker://web` or `containerd://ID`, into one bundle.

    `to` is `s3://bucket[/prefix]`, `file:///folder` or a path; `access` says how to reach S3 where
    the AWS variables do not, and `progress` counts along. What else can be said of a capture is in
    `CaptureArguments`.

    Raises `ContainerNotFound`, `RuntimeUnavailable`, `UsageError`, or a `DestinationError` such as
    `AccessDenied`. There is a bundle only if it returns.
    """
    # In a thread: it looks through the installed packages, and loads one.
    capture = await to_thread.run_sync(_collector)
    # Nothing asked for is all that is asked for by default.
    given = {name: value for name, value in options.items() if name != "artifacts" or value}
    with checked_arguments({"activeDeadlineSeconds": "deadline"}, model="WorkOrder"):
        made = await capture(*containers, to=to, options=given, access=access, meter=progress)
    return _evidence(made)


def _collector(group: str = _GROUP) -> Callable[..., Awaitable[Any]]:
    """Return what captures, by the entry point of `group`.

    Raises `ForensicsError` that says what to install.
    """
    found = entry_points(group=group)
    if not found:
        raise ForensicsError(
            "Capturing needs the package 'collector', which is not installed",
            hint=how_to_install("collector"),
        )
    with needing("collector", "Capturing"):
        capture: Callable[..., Awaitable[Any]] = next(iter(found)).load()
    return capture


def _evidence(made: Any) -> Evidence:
    found = made.statement.predicate.artifacts
    return Evidence(
        location=made.location,
        manifest_sha256=made.manifest_sha256,
        partial=made.partial,
        artifacts=len(found),
        size=sum(each.size for each in found),
    )
