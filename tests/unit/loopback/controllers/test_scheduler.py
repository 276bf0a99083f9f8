"""Which nodes a pod may run on."""

from __future__ import annotations

from typing import Any

import pytest

from forensics_loopback.controllers.scheduler import fits, place

NODE: dict[str, Any] = {
    "metadata": {"name": "n1", "labels": {"zone": "a", "cores": "4"}},
    "spec": {"taints": [{"key": "soft", "effect": "PreferNoSchedule"}]},
}


def affine(*expressions: tuple[str, str, list[str]], fields: bool = False) -> dict[str, Any]:
    wanted = [{"key": k, "operator": o, "values": v} for k, o, v in expressions]
    term = {"matchFields" if fields else "matchExpressions": wanted}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {"spec": {"affinity": {"nodeAffinity": required}}}


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        ({"spec": {}}, True),
        ({"spec": {"nodeSelector": {"zone": "a"}}}, True),
        ({"spec": {"nodeSelector": {"zone": "b"}}}, False),
        (affine(("zone", "In", ["a", "b"]), ("cores", "Gt", ["2"])), True),
        (affine(("zone", "NotIn", ["a"])), False),
        (affine(("zone", "Exists", []), ("none", "DoesNotExist", [])), True),
        (affine(("cores", "Lt", ["4"])), False),
        (affine(("metadata.name", "In", ["n1"]), fields=True), True),
        (affine(("metadata.name", "In", ["n2"]), fields=True), False),
        (affine(), False),
    ],
)
def test_selection(pod: dict[str, Any], expected: bool) -> None:
    assert fits(pod, NODE) is expected


@pytest.mark.parametrize(
    ("tolerations", "expected"),
    [
        ([], False),
        ([{"operator": "Exists"}], True),
        ([{"key": "gpu", "value": "yes", "effect": "NoSchedule"}], True),
        ([{"key": "gpu", "value": "no"}], False),
        ([{"key": "gpu", "operator": "Exists", "effect": "NoExecute"}], False),
    ],
)
def test_a_pod_goes_only_where_it_tolerates_the_taints(
    tolerations: list[dict[str, Any]], expected: bool
) -> None:
    taint = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}
    node = {"metadata": {"name": "n"}, "spec": {"taints": [taint]}}
    assert fits({"spec": {"tolerations": tolerations}}, node) is expected


def test_a_pod_goes_to_the_first_node_that_fits() -> None:
    other = {"metadata": {"name": "n0", "labels": {}}}
    assert place({"spec": {"nodeSelector": {"zone": "a"}}}, [other, NODE]) is NODE
    assert place({"spec": {}}, []) is None
