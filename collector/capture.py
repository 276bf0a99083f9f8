"""A work order, carried out: containers become a bundle.

The most volatile evidence comes first, of all containers, then the next kind (RFC 3227). What
fails at the source is recorded and the rest goes on; what fails at the destination ends it all::

    async with open_destination(bundle_url(order)) as destination:
        result = await capture(order, runtime, destination)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from collector.artifacts.kinds import KINDS, KindCapture
from collector.attempt import Attempt
from collector.limits import RateLimit, Stop
from collector.node.host import describe_node, describe_tool
from collector.runtimes.runtime import Runtime
from forensics_core.api.order import ArtifactKind, WorkOrder
from forensics_core.bundle.layout import ORDER
from forensics_core.bundle.manifest import Capture, OrderFacts, Statement
from forensics_core.bundle.writer import CLOSING, ArtifactSpec, BundleWriter
from forensics_core.errors import UsageError
from forensics_core.pipeline.meter import Meter
from forensics_core.storage.blocks import one
from forensics_core.storage.storage import Storage


@dataclass(frozen=True, slots=True)
class CaptureResult:
    """A finished bundle."""

    location: str
    """Its URL, ending in `/`."""
    statement: Statement
    manifest_sha256: str

    @property
    def partial(self) -> bool:
        """Whether something that was asked for is missing."""
        return self.statement.predicate.partial


def bundle_url(order: WorkOrder) -> str:
    """Return the URL of the folder that the order's bundle goes to."""
    return f"{order.destination.rstrip('/')}/{order.bundle}"


async def capture(
    order: WorkOrder,
    runtime: Runtime,
    destination: Storage,
    meter: Meter | None = None,
    *,
    order_document: bytes | None = None,
    stop: Stop | None = None,
    at_once: int = 1,
    rate: int = 0,
    closing: float = CLOSING,
    kinds: Mapping[ArtifactKind, KindCapture] = KINDS,
) -> CaptureResult:
    """Capture the order's containers into `destination`, the bundle's own folder.

    `order_document` is the order as it was read, where it was read; `stop` ends it early with what
    there is; `at_once` containers are read at the same time, at `rate` bytes a second all together,
    or, if that is 0, as fast as it goes; a manifest that is under way when all is cancelled has
    `closing` seconds to arrive; `kinds` is how each kind of evidence is captured.

    Raises `UsageError` for an order that this release cannot carry out, a `DestinationError` if
    nothing more can be stored, and `ContainerNotFound` if there is none of the containers. There is
    a manifest only if it returns.
    """
    _require_possible(order)
    document = order_document or order.model_dump_json(by_alias=True).encode()
    bundle = BundleWriter(destination, meter, closing=closing)
    rate_limit = RateLimit(rate)
    attempt = Attempt(order, runtime, bundle, stop or Stop(), at_once, rate_limit, kinds=kinds)
    await destination.check()
    node = await describe_node(await runtime.version())
    async with attempt.opened():
        await _claim(attempt.bundle, document)
        await attempt.capture_all()
    finished = await attempt.bundle.finish(
        Capture(
            order=OrderFacts.of(order, hashlib.sha256(document).hexdigest()),
            tool=describe_tool(),
            node=node,
            clocks=attempt.clocks(),
            started_at=attempt.started,
            finished_at=attempt.started,
            containers=tuple(attempt.containers()),
        ),
        order.context,
    )
    return CaptureResult(destination.url, finished.statement, finished.manifest_sha256)


def _require_possible(order: WorkOrder) -> None:
    if not order.targets:
        raise UsageError("The order names no container", hint="Name at least one")
    folders = [target.name for target in order.targets]
    if len(set(folders)) != len(folders):
        raise UsageError(
            "Two containers of the order have the same name", hint="Name each of them once"
        )


async def _claim(bundle: BundleWriter, document: bytes) -> None:
    """Store the order first of all: whose bundle this is can then be said, and taken, only once."""
    bundle.meter.artifacts_total += 1
    await bundle.add(
        ArtifactSpec(ORDER, ArtifactKind.CONTEXT, None, "application/json"), one(document)
    )
    await bundle.probe(document)
