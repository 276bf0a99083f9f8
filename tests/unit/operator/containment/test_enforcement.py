"""What is taken for a sign that network policies are enforced, and what is not."""

from __future__ import annotations

from typing import Any

import pytest

from forensics_core.operator.containment.enforcement import KNOWN, UNKNOWN, judge


def daemon_set(name: str, ready: int = 3, wanted: int = 3, *arguments: str) -> dict[str, Any]:
    container = {"name": "agent", "args": list(arguments)}
    return {
        "metadata": {"name": name, "namespace": "kube-system"},
        "spec": {"template": {"spec": {"containers": [{"name": "plain"}, container]}}},
        "status": {"desiredNumberScheduled": wanted, "numberReady": ready},
    }


def test_a_plugin_that_is_ready_everywhere_enforces() -> None:
    found = judge([daemon_set("calico-node")])
    assert found.enforced
    assert found.message.startswith("calico-node in kube-system (3 of 3 ready)")


@pytest.mark.parametrize("ready", [0, 2])
def test_one_that_is_not_ready_everywhere_may_leave_the_pods_node_out(ready: int) -> None:
    found = judge([daemon_set("calico-node", ready)])
    assert (found.enforced, f"({ready} of 3 ready)" in found.message) == (False, True)


def test_one_that_runs_nowhere_enforces_nothing() -> None:
    assert not judge([daemon_set("cilium", 0, 0)]).enforced
    bare = {"metadata": {"name": "cilium", "namespace": "kube-system"}}
    assert not judge([bare]).enforced


def test_amazons_enforces_where_it_is_told_to() -> None:
    assert not judge([daemon_set("aws-node")]).enforced
    assert "not told to" in judge([daemon_set("aws-node")]).message
    assert judge([daemon_set("aws-node", 3, 3, "--enable-network-policy=true")]).enforced
    assert not judge([{"metadata": {"name": "aws-node", "namespace": "kube-system"}}]).enforced


def test_of_several_one_that_enforces_is_enough() -> None:
    found = judge([daemon_set("aws-node"), daemon_set("cilium", 1), daemon_set("calico-node")])
    assert found.enforced


def test_where_there_is_none_nobody_knows() -> None:
    assert judge([]) is UNKNOWN
    assert len(set(KNOWN)) == len(KNOWN)
