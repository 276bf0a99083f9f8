"""A collector's stand-in that captures nothing: the order that it was given, and what it says."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from forensics_core.api.order import WorkOrder
from forensics_core.bundle.manifest import Capture, Container, Node, OrderFacts, Tool
from forensics_loopback import RunningPod


def order_of(pod: RunningPod) -> tuple[WorkOrder, str]:
    """Return the order that a collector's pod mounts, and its digest."""
    volumes = pod.pod["spec"]["volumes"]
    name = next(volume["secret"]["secretName"] for volume in volumes if volume["name"] == "order")
    data = pod.read("secrets", name)
    if data is None:
        raise LookupError(f"the order's Secret {name} is not there")
    document = data["order.json"]
    return WorkOrder.model_validate_json(document), hashlib.sha256(document).hexdigest()


def idle_capture(order: WorkOrder, sha256: str) -> Capture:
    """Return the predicate that fulfils an order, without artifacts and gaps."""
    now = datetime.now(UTC)
    return Capture(
        order=OrderFacts.of(order, sha256),
        tool=Tool(version="lab"),
        node=Node(hostname="node1"),
        started_at=now,
        finished_at=now,
        containers=tuple(
            Container(name=target.name, container_id=target.container_id)
            for target in order.targets
        ),
    )
