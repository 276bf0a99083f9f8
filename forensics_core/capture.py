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
from typing import Any

from anyio import to_thread

from forensics_core._internal.arguments import checked_arguments
from forensics_core._internal.extras import how_to_install, needing
from forensics_core.api.order import DELETED_BUDGET
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

__all__ = ["capture_container"]

_GROUP = "forensics.capture"


async def capture_container(
    *containers: str,
    to: str,
    artifacts: Sequence[ArtifactKind | str] = (),
    subpath: str = "forensics",
    name: str = "",
    incident: str = "",
    reason: str = "",
    pause: bool = False,
    freeze: bool = True,
    record: int = 0,
    volumes: Sequence[str] = (),
    deleted_budget: int = DELETED_BUDGET,
    layer_seconds: float | None = None,
    deadline: int = 3600,
    compression: Compression = Compression.AUTO,
    retention: Retention | None = None,
    encryption: Encryption | None = None,
    access: S3Access | None = None,
    progress: Meter | None = None,
) -> Evidence:
    """Capture containers of this host, `docker://web` or `containerd://ID`, into one bundle.

    `to` is `s3://bucket[/prefix]`, `file:///folder` or a path; the bundle is in its folder
    `subpath/name`, where `name` is made of time and container unless given. `artifacts`: all but
    volumes and memory. `volumes` are captured with their content though it is secret, or though no
    others were asked for: by name, or by path in the container. Of files that only processes still
    hold, `deleted_budget` bytes of each container are. For `layer_seconds` the images' layers on
    the node are compared with what the images promise: 0 is not at all, None a part of the time
    that the capture took. `pause` holds the containers still, for a minute at most; `freeze` each
    process while its memory is read, for 2 s at most. For `record` seconds at least, and as long as
    the capture takes, it is recorded what they do. `deadline`:
    seconds for all of it; what there is by then is kept. `retention` and `encryption` are for S3,
    and `access` says how to reach it where the AWS variables do not. `progress` counts along.

    Raises `ContainerNotFound`, `RuntimeUnavailable`, `UsageError`, or a `DestinationError` such as
    `AccessDenied`. There is a bundle only if it returns.
    """
    # In a thread: it looks through the installed packages, and loads one.
    capture = await to_thread.run_sync(_collector)
    options: dict[str, Any] = {
        "subpath": subpath,
        "name": name,
        "incident": incident,
        "reason": reason,
        "pause": pause,
        "freeze": freeze,
        "record": record,
        "volumes": volumes,
        "deleted_budget": deleted_budget,
        "layer_seconds": layer_seconds,
        "deadline": deadline,
        "compression": compression,
        "retention": retention,
        "encryption": encryption,
    }
    if artifacts:
        options["artifacts"] = artifacts
    with checked_arguments({"activeDeadlineSeconds": "deadline"}, model="WorkOrder"):
        made = await capture(*containers, to=to, options=options, access=access, meter=progress)
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
