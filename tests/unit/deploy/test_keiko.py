"""The overlay for the older group: who may ask, by the very expressions that are installed."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest

from forensics_core.api.names import GROUP, PLURAL, REQUESTED_BY_ANNOTATION
from forensics_core.operator.keiko.decision import KEIKO as RESOURCE
from tests.unit.deploy.admission import CHECK, EXPRESSION_LIMIT, POLICY_LIMIT, Policy, Review, Right
from tests.unit.deploy.manifests import KEIKO, STAMPING, Manifest, called, manifests, one

MANIFEST = one(f"ValidatingAdmissionPolicy {RESOURCE.plural}.{RESOURCE.group}", KEIKO)
OURS = one(f"ValidatingAdmissionPolicy {PLURAL}.{GROUP}")
EXEC = Right("create", "pods/exec", "shop")
DELEGATE = Right("delegate", f"{GROUP}/{PLURAL}", "forensics-system")


def asked(*, namespace: str = "forensics-system", by: str | None = None, **spec: Any) -> Manifest:
    metadata: dict[str, Any] = {"name": "sample", "namespace": namespace}
    metadata |= {"annotations": {REQUESTED_BY_ANNOTATION: by}} if by is not None else {}
    return {"metadata": metadata, "spec": {"pod": "web-0", "namespace": "shop"} | spec}


def objections(new: Manifest, *rights: Right, old: Manifest | None = None) -> list[str]:
    return Policy(MANIFEST).objections(Review("alice", new, old, frozenset(rights)))


def test_whoever_may_exec_into_the_pod_or_delegate_may_capture_it_and_nobody_else() -> None:
    assert objections(asked(), EXEC) == []
    assert objections(asked(), DELEGATE) == []
    assert objections(asked(), Right("create", "pods/exec", "shop", "web-0")) == []
    (objection,) = objections(asked(), Right("create", "pods/exec", "forensics-system"))
    assert objection.startswith("alice may not capture the pod web-0 in shop")
    own = Right("create", "pods/exec", "forensics-system")
    assert objections(asked(namespace="forensics-system") | {"spec": {"pod": "a"}}, own) == []
    assert objections(asked() | {"spec": {"pod": "a", "namespace": ""}}, own) == []


def test_it_has_to_be_where_podcheckpoints_are_and_names_nobody_else() -> None:
    assert len(objections(asked(namespace="shop"), EXEC)) == 1
    assert objections(asked(by="alice"), EXEC) == []
    assert len(objections(asked(by="bob"), EXEC)) == 1
    assert objections(asked(by="bob"), DELEGATE) == []
    assert len(objections(asked(by="alice"), EXEC, old=asked())) == 1
    assert objections(asked(), old=asked()) == []


def test_what_both_groups_ask_is_asked_in_the_same_words() -> None:
    ours = {one["name"]: one["expression"] for one in OURS["spec"]["variables"]}
    theirs = {one["name"]: one["expression"] for one in MANIFEST["spec"]["variables"]}
    # Of theirs an empty namespace is as good as none.
    assert {name for name in theirs if theirs[name] != ours[name]} == {"target"}
    said = [one["expression"] for one in OURS["spec"]["validations"]]
    assert all(one["expression"] in said for one in MANIFEST["spec"]["validations"])


def test_the_requester_is_stamped_where_the_cluster_can() -> None:
    stamp = one(f"MutatingAdmissionPolicy requested-by.{GROUP}", STAMPING)
    (rule,) = stamp["spec"]["matchConstraints"]["resourceRules"]
    assert rule["apiGroups"] == [GROUP, RESOURCE.group]


@pytest.mark.parametrize("version", ["1.30", "1.36"])
@pytest.mark.parametrize("manifest", manifests(KEIKO), ids=called)
def test_the_overlay_fits_the_api(manifest: Manifest, version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def test_whoever_changes_owner_references_may_delete() -> None:
    # OwnerReferencesPermissionEnforcement, which some clusters run, asks that of a patch.
    role = one("Role forensics-system/forensics-operator-keiko", KEIKO)
    (verbs,) = [
        rule["verbs"]
        for rule in role["rules"]
        if (rule["apiGroups"], rule["resources"]) == ([RESOURCE.group], [RESOURCE.plural])
    ]
    assert set(verbs) == {"list", "watch", "patch", "delete"}


def test_no_expression_costs_more_than_the_api_server_allows() -> None:
    policy = Policy(MANIFEST)
    costs = [CHECK * number for number in policy.questions().values()]
    assert max(costs) <= EXPRESSION_LIMIT and sum(costs) <= POLICY_LIMIT
