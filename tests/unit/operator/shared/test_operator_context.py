"""What reconcilers share is bounded, however many checkpoints there are."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any, cast

from forensics_core.operator.observed import StoredOrder
from forensics_core.operator.shared.operator_context import ORDERS, OperatorContext
from tests.unit.operator.samples import checkpoint


def context() -> OperatorContext:
    """Return one without a cluster: only what it remembers is looked at."""
    needed = [each.name for each in fields(OperatorContext) if each.default_factory is MISSING]
    return OperatorContext(**cast(Any, dict.fromkeys(needed)))


async def test_of_orders_the_latest_are_remembered() -> None:
    shared = context()
    orders = [StoredOrder(cast(Any, None), str(number)) for number in range(ORDERS + 1)]
    them = [checkpoint("Capturing", metadata={"uid": str(number)}) for number in range(ORDERS + 1)]
    for it, ordered in zip(them, orders, strict=True):
        shared.remember_order(it, ordered)
    assert len(shared.orders) == ORDERS
    for number in (1, ORDERS):
        assert await shared.order(them[number]) is orders[number]
    assert ("0", them[0].status.attempt) not in shared.orders
