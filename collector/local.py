"""A capture by hand: somebody at the container's host, no cluster, no operator::

result = await capture_container("docker://web", to="s3://cases")
print(result.location, result.manifest_sha256)
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from collector.capture import CaptureResult, bundle_url, capture
from collector.runtimes.opening import open_runtime
from collector.runtimes.runtime import Runtime, split_reference
from forensics_core.api.order import (
    DEFAULT_ARTIFACTS,
    DELETED_BUDGET,
    ArtifactKind,
    Compression,
    ContainerTarget,
    Encryption,
    Retention,
    WorkOrder,
)
from forensics_core.bundle.layout import bundle_name, fit
from forensics_core.errors import UsageError
from forensics_core.pipeline.meter import Meter
from forensics_core.storage.locate import parse_location
from forensics_core.storage.s3.client import S3Access
from forensics_core.storage.storage import open_destination

ARTIFACTS = tuple(kind for kind in DEFAULT_ARTIFACTS if kind is not ArtifactKind.CONTEXT)
"""What is captured unless told otherwise: there is no cluster to take a context from."""

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class CaptureOptions:
    """What a capture by hand is to be like."""

    artifacts: Sequence[ArtifactKind] = ARTIFACTS
    compression: Compression = Compression.AUTO
    name: str = ""
    """The bundle's folder; made of time, container and a random number if empty."""
    subpath: str = "forensics"
    """The folder beneath the destination that the bundle lies in."""
    reason: str = ""
    incident: str = ""
    retention: Retention | None = None
    encryption: Encryption | None = None
    deadline: int = 3600
    """Seconds for all of it."""
    deleted_budget: int = DELETED_BUDGET
    """Bytes of files without a name, which processes still hold, that are captured of each
    container."""
    volumes: Sequence[str] = ()
    """Volumes whose content is captured though it is secret, or though no others were asked for:
    by name, or by path in the container."""
    pause: bool = False
    """Hold running containers still meanwhile, for a minute at most."""
    freeze: bool = True
    """Hold each process still while its memory is read, for two seconds at most."""
    record: int = 0
    """Seconds for which at least it is recorded what the containers do: as long as the capture
    takes, or longer. 0 is not at all."""
    layer_seconds: float | None = None
    """For how long the images' layers are compared with what the images promise; 0 is not at all,
    None a part of the time that the capture took."""
    rate: int = 0
    """Bytes that are read a second at most, on average; 0 is as fast as it goes."""


async def capture_container(
    *references: str,
    to: str,
    options: CaptureOptions | None = None,
    access: S3Access | None = None,
    meter: Meter | None = None,
) -> CaptureResult:
    """Capture the containers that `references` name (`docker://web`) to the URL `to`.

    `access` is how to reach S3 where the standard AWS variables do not say it, `meter` counts what
    passes. Raises a `ForensicsError` that says what to do: `UsageError`, `ContainerNotFound`,
    `RuntimeUnavailable` or a `DestinationError`. There is a manifest only if it returns.
    """
    async with prepared(*references, to=to, options=options, access=access) as go:
        return await go(meter)


@asynccontextmanager
async def prepared(
    *references: str, to: str, options: CaptureOptions | None = None, access: S3Access | None = None
) -> AsyncIterator[Callable[[Meter | None], Awaitable[CaptureResult]]]:
    """Look the containers up and open the destination; yield what captures the ones to the other.

    For callers that must know of a whole bundle even where leaving the block fails or is cancelled.
    """
    parse_location(to)
    options = options or CaptureOptions()
    async with open_runtime(single_scheme(references), references[0]) as runtime:
        order = await make_order(runtime, references, to, options)
        async with open_destination(
            bundle_url(order),
            access=access,
            retention=order.retention,
            encryption=order.encryption,
        ) as destination:
            yield partial(capture, order, runtime, destination, rate=options.rate)


async def make_order(
    runtime: Runtime, references: Sequence[str], to: str, options: CaptureOptions
) -> WorkOrder:
    """Look the containers up and return the order to capture them."""
    if options.volumes and {ArtifactKind.FILESYSTEM, ArtifactKind.VOLUMES}.isdisjoint(
        options.artifacts
    ):
        raise UsageError(
            "Volumes are named, and are not captured with what was asked for",
            hint="Ask for 'volumes', or for 'filesystem'",
        )
    targets = [await _target(runtime, reference) for reference in references]
    uid = uuid4()
    return WorkOrder(
        destination=to,
        bundle=_bundle(options, targets, uid),
        uid=uid,
        targets=tuple(targets),
        artifacts=tuple(dict.fromkeys(options.artifacts)),
        compression=options.compression,
        reason=options.reason,
        incident=options.incident,
        retention=options.retention,
        encryption=options.encryption,
        active_deadline_seconds=options.deadline,
        pause=options.pause,
        deleted_budget=options.deleted_budget,
        volumes=tuple(options.volumes),
        freeze=options.freeze,
        record=options.record,
        layer_seconds=options.layer_seconds,
    )


async def _target(runtime: Runtime, reference: str) -> ContainerTarget:
    found = await runtime.find(reference)
    return ContainerTarget(name=fit(found.name), container_id=found.container_id, image=found.image)


def single_scheme(references: Sequence[str]) -> str:
    """Return the one runtime's scheme that all of them have. Raises `UsageError`."""
    schemes = {split_reference(reference)[0] for reference in references}
    if len(schemes) != 1:
        raise UsageError(
            "The containers must be of one runtime, and at least one must be named",
            hint="Name them as docker://NAME",
        )
    return schemes.pop()


def _bundle(options: CaptureOptions, targets: Sequence[ContainerTarget], uid: UUID) -> str:
    scheme = split_reference(targets[0].container_id)[0]
    named = options.name or bundle_name(datetime.now(UTC), scheme, targets[0].name, uid, 1)
    parts = [*(part for part in options.subpath.split("/") if part), named]
    for part in parts:
        if not _PART.fullmatch(part):
            raise UsageError(
                f"'{part}' cannot be part of a bundle's path",
                hint="Use letters, digits, '.', '_' and '-', and begin with a letter or digit",
            )
    return "/".join(parts)


async def capture_for_library(
    *references: str,
    to: str,
    options: Mapping[str, Any],
    access: S3Access | None = None,
    meter: Meter | None = None,
) -> CaptureResult:
    """Capture as `forensics_core.capture` asks for it, which finds this by its entry point.

    `options` are fields of `CaptureOptions`.
    """
    chosen = CaptureOptions(**options)
    return await capture_container(*references, to=to, options=chosen, access=access, meter=meter)
