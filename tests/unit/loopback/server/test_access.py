"""Roles and bindings as the policy of a cluster."""

from __future__ import annotations

from typing import Any

import pytest

from forensics_loopback import AccessAttributes, LoopbackCluster, User

Obj = dict[str, Any]
OPERATOR = User("system:serviceaccount:ops:operator", ("system:serviceaccounts",))
PODS = {"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]}
NAMED = {
    "apiGroups": ["coordination.k8s.io"],
    "resources": ["leases"],
    "resourceNames": ["lead"],
    "verbs": ["*"],
}
METRICS = {"nonResourceURLs": ["/metrics"], "verbs": ["get"]}


def obj(kind: str, name: str, **more: Any) -> Obj:
    meta = {"name": name} if kind.startswith("Cluster") else {"name": name, "namespace": "default"}
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": meta, **more}


def binding(kind: str, name: str, role: str, *subjects: Obj) -> Obj:
    return obj(kind, name, roleRef={"kind": role, "name": "r"}, subjects=list(subjects))


@pytest.fixture
def cluster() -> LoopbackCluster:
    cluster = LoopbackCluster()
    cluster.enforce_rbac()
    cluster.create(obj("ClusterRole", "r", rules=[PODS, METRICS]))
    cluster.create(obj("Role", "r", rules=[NAMED]))
    account = {"kind": "ServiceAccount", "name": "operator", "namespace": "ops"}
    cluster.create(binding("ClusterRoleBinding", "b", "ClusterRole", account))
    local = {"kind": "ServiceAccount", "name": "default"}
    group = {"kind": "Group", "name": "system:serviceaccounts"}
    cluster.create(binding("RoleBinding", "b", "Role", local, group))
    cluster.create(binding("RoleBinding", "c", "ClusterRole", {"kind": "User", "name": "alice"}))
    cluster.create(binding("RoleBinding", "dangling", "Role"))
    return cluster


@pytest.mark.parametrize(
    ("user", "asked", "expected"),
    [
        (OPERATOR, AccessAttributes("get", "pods", namespace="default"), True),
        (OPERATOR, AccessAttributes("list", "pods"), True),
        (OPERATOR, AccessAttributes("get", "pods", subresource="log", namespace="x"), True),
        (OPERATOR, AccessAttributes("create", "pods", subresource="exec", namespace="x"), False),
        (OPERATOR, AccessAttributes("delete", "pods", namespace="default"), False),
        (OPERATOR, AccessAttributes("get", "pods", group="metrics.k8s.io"), False),
        (OPERATOR, AccessAttributes("get", "/metrics"), True),
        (OPERATOR, AccessAttributes("get", "/healthz"), False),
        (
            OPERATOR,
            AccessAttributes("update", "leases", "coordination.k8s.io", "", "default", "lead"),
            True,
        ),
        (
            OPERATOR,
            AccessAttributes("update", "leases", "coordination.k8s.io", "", "default", "x"),
            False,
        ),
        (
            OPERATOR,
            AccessAttributes("update", "leases", "coordination.k8s.io", "", "x", "lead"),
            False,
        ),
        (User("alice"), AccessAttributes("get", "pods", namespace="default"), True),
        (User("alice"), AccessAttributes("get", "pods", namespace="x"), False),
        (User("alice"), AccessAttributes("get", "pods"), False),
        (User("root", ("system:masters",)), AccessAttributes("delete", "nodes"), True),
    ],
)
def test_roles_and_bindings_say_who_may(
    cluster: LoopbackCluster, user: User, asked: AccessAttributes, expected: bool
) -> None:
    assert cluster.server.policy(user, asked) is expected


def test_a_role_that_does_not_exist_grants_nothing(cluster: LoopbackCluster) -> None:
    cluster.delete("clusterroles", "r")
    assert not cluster.server.policy(OPERATOR, AccessAttributes("list", "pods"))
