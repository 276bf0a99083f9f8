"""The operator's rights: enough for what it does, and not one more."""

from __future__ import annotations

from collections.abc import Iterator

import kubernetes_validate
import pytest

from forensics_core.kube import resources
from forensics_core.kube.resources import Resource
from forensics_core.operator.attempt import context
from tests.unit.deploy.manifests import CHECKPOINTS, DEPLOY, Manifest, called, manifests, one

CLUSTER = "ClusterRole forensics-operator"
WORK = "Role forensics-system/forensics-operator"
HOME = "Role forensics-operator/forensics-operator"


def roles() -> list[Manifest]:
    return [manifest for manifest in manifests() if manifest["kind"] in {"Role", "ClusterRole"}]


def rights(role: str) -> Iterator[tuple[str, str, str]]:
    """Yield every (group, resource, verb) that a role grants."""
    for rule in one(role)["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                yield from ((group, resource, verb) for verb in rule["verbs"])


def on(role: str, resource: Resource, subresource: str = "") -> set[str]:
    """Return the verbs that a role grants on a kind, or on a part of it."""
    name = f"{resource.plural}/{subresource}" if subresource else resource.plural
    return {
        verb for group, plural, verb in rights(role) if (group, plural) == (resource.group, name)
    }


@pytest.mark.parametrize("role", roles(), ids=called)
def test_no_wildcards(role: Manifest) -> None:
    assert role["rules"]
    for rule in role["rules"]:
        granted = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        assert not any("*" in word for word in granted)


def test_across_the_cluster_the_operator_only_reads() -> None:
    assert {verb for _, _, verb in rights(CLUSTER)} <= {"get", "list", "watch"}


@pytest.mark.parametrize("role", [CLUSTER, WORK, HOME])
def test_nothing_that_leads_to_more_rights(role: str) -> None:
    granted = set(rights(role))
    assert not {verb for _, _, verb in granted} & {"bind", "delegate", "escalate", "impersonate"}
    assert not {resource for _, resource, _ in granted} & {
        "nodes/proxy",
        "pods/attach",
        "pods/exec",
        "pods/ephemeralcontainers",
        "serviceaccounts/token",
    }
    assert "create" not in on(role, resources.PODS)


def test_the_overlay_for_checkpoints_grants_checkpoints_and_the_token_for_them() -> None:
    granted = {
        (resource, verb, *rule.get("resourceNames", ()))
        for role in manifests(CHECKPOINTS)
        if role["kind"] in {"Role", "ClusterRole"}
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert granted == {
        ("nodes/checkpoint", "create"),
        ("serviceaccounts/token", "create", "forensics-kubelet-checkpoint"),
    }


def test_secrets_are_out_of_reach_but_where_the_work_orders_are() -> None:
    assert on(CLUSTER, resources.SECRETS) == set()
    assert on(HOME, resources.SECRETS) == set()
    assert on(WORK, resources.SECRETS) == {"create", "get", "delete"}


@pytest.mark.parametrize(
    "resource",
    [
        resources.PODS,
        resources.NODES,
        *context.OWNERS.values(),
        resources.SERVICE_ACCOUNTS,
        resources.ROLES,
        resources.CLUSTER_ROLES,
        resources.VOLUME_CLAIMS,
        resources.VOLUMES,
    ],
    ids=lambda resource: resource.plural,
)
def test_what_the_context_names_can_be_read_in_every_namespace(resource: Resource) -> None:
    assert on(CLUSTER, resource) == {"get"}


@pytest.mark.parametrize(
    "resource",
    [
        resources.ROLE_BINDINGS,
        resources.CLUSTER_ROLE_BINDINGS,
        resources.NETWORK_POLICIES,
        resources.SERVICES,
        Resource("", "v1", "events", "Event"),
    ],
    ids=lambda resource: resource.plural,
)
def test_what_the_context_searches_can_be_listed_in_every_namespace(resource: Resource) -> None:
    assert on(CLUSTER, resource) == {"list"}


def test_the_work_can_be_done() -> None:
    assert on(WORK, resources.PODCHECKPOINTS) == {"list", "watch", "patch", "delete"}
    assert on(WORK, resources.PODCHECKPOINTS, "status") == {"patch"}
    assert on(WORK, resources.PODCHECKPOINTS, "finalizers") == {"update"}
    assert on(WORK, resources.JOBS) == {"create", "get", "list", "watch", "delete"}
    assert on(WORK, resources.PODS) == {"get", "list", "watch"}
    assert on(WORK, resources.PODS, "log") == {"get"}
    assert on(WORK, resources.EVENTS) == {"create", "patch"}
    assert on(HOME, resources.LEASES) == {"create", "get", "update"}


def test_every_rule_of_the_operator_says_why() -> None:
    lines = (DEPLOY / "rbac" / "operator.yaml").read_text().splitlines()
    rules = [i for i, line in enumerate(lines) if line.startswith("  - apiGroups:")]
    # A comment stands above a rule, or above the run of rules that it is for.
    silent = [lines[i] for i in rules if not lines[i - 1].lstrip().startswith(("#", "verbs:"))]
    assert silent == []
    assert sum(line.startswith("  #") for line in lines) >= 15


def test_only_whoever_delegates_may_delegate() -> None:
    delegating = [
        called(role) for role in roles() for rule in role["rules"] if "delegate" in rule["verbs"]
    ]
    assert delegating == ["ClusterRole forensics-delegate"]


def test_nobody_but_the_operator_is_bound() -> None:
    bindings = [manifest for manifest in manifests() if manifest["kind"].endswith("Binding")]
    subjects = [subject for binding in bindings for subject in binding.get("subjects", [])]
    assert len(subjects) == 3
    assert {subject["name"] for subject in subjects} == {"forensics-operator"}


CONTAINMENT = DEPLOY / "overlays" / "containment"


def test_containing_pods_takes_an_overlay_and_no_more_than_it_needs() -> None:
    rules = one("ClusterRole forensics-operator-containment", CONTAINMENT)["rules"]
    granted = {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    policies = {("networking.k8s.io", "networkpolicies", verb) for verb in ("create", "get")}
    assert granted == policies | {
        ("networking.k8s.io", "networkpolicies", "delete"),
        ("", "pods", "patch"),
        ("", "pods", "delete"),
        ("", "replicationcontrollers", "get"),
    }
    assert on(CLUSTER, resources.NETWORK_POLICIES) == {"list"}
    assert not on(CLUSTER, resources.PODS) & {"patch", "delete"}


def test_the_rights_of_people_to_contain_are_those_that_admission_asks_for() -> None:
    rules = one("ClusterRole forensics-containment", CONTAINMENT)["rules"]
    assert {(rule["resources"][0], *rule["verbs"]) for rule in rules} == {
        ("networkpolicies", "create", "delete"),
        ("pods", "patch", "delete"),
    }
    (binding,) = [each for each in manifests(CONTAINMENT) if each["kind"] == "ClusterRoleBinding"]
    assert binding["roleRef"]["name"] == "forensics-operator-containment"
    assert [subject["name"] for subject in binding["subjects"]] == ["forensics-operator"]


@pytest.mark.parametrize("manifest", manifests(CONTAINMENT), ids=called)
def test_the_containment_overlay_fits_the_api(manifest: Manifest) -> None:
    kubernetes_validate.validate(manifest, "1.30", strict=True)
