"""Access reviews carry the groups, and only a plain yes is a yes."""

from __future__ import annotations

from typing import Any

import pytest

from forensics_core.kube.access import AccessRequest, AccessVerdict, allowed, allowed_to_me
from forensics_core.kube.connection import ClusterConnection
from forensics_core.kube.resources import PODCHECKPOINTS, PODS
from tests.integration.kube.scripted import ScriptedApi, answer

PATH = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


async def test_the_review_says_who_and_what(api: ScriptedApi, cluster: ClusterConnection) -> None:
    api.on("POST", PATH, answer({"status": {"allowed": True, "reason": "RBAC"}}, 201))
    action = AccessRequest("create", PODS, "prod", "exec", "web-0")
    verdict = await allowed(
        cluster, "alice", ["ir", "system:authenticated"], action, extra={"scopes": ("a",)}
    )
    assert verdict == AccessVerdict(True, "RBAC")
    assert api.seen[0].body == {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "metadata": {},
        "spec": {
            "user": "alice",
            "groups": ["ir", "system:authenticated"],
            "extra": {"scopes": ["a"]},
            "resourceAttributes": {
                "verb": "create",
                "resource": "pods",
                "namespace": "prod",
                "subresource": "exec",
                "name": "web-0",
            },
        },
    }


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        ({"allowed": False}, AccessVerdict(False)),
        ({"allowed": False, "evaluationError": "no role"}, AccessVerdict(False, "no role")),
        ({"allowed": True, "denied": True}, AccessVerdict(False)),
        ({"allowed": "yes"}, AccessVerdict(False)),
        ({}, AccessVerdict(False)),
    ],
)
async def test_anything_else_is_a_no(
    api: ScriptedApi, cluster: ClusterConnection, status: dict[str, Any], verdict: AccessVerdict
) -> None:
    api.on("POST", PATH, answer({"status": status}, 201))
    assert await allowed(cluster, "bob", [], AccessRequest("get", PODS)) == verdict


async def test_may_i(api: ScriptedApi, cluster: ClusterConnection) -> None:
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    api.on("POST", path, answer({"status": {"allowed": True}}, 201))
    assert (await allowed_to_me(cluster, AccessRequest("create", PODCHECKPOINTS, "x"))).allowed
    attributes = api.seen[0].body["spec"]["resourceAttributes"]
    assert attributes["group"] == "forensics.orkaproj.io"
