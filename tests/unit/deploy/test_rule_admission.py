"""Who may write a rule and who may ask by an annotation, by the very expressions installed."""

from __future__ import annotations

from typing import Any

import pytest

from forensics_core.api.capturerule import NAMESPACES
from forensics_core.api.names import CAPTURE_ANNOTATION, GROUP, PLURAL, RULE_LABEL, RULE_PLURAL
from tests.unit.deploy.admission import CHECK, EXPRESSION_LIMIT, POLICY_LIMIT, Policy, Review, Right
from tests.unit.deploy.manifests import RULES, Manifest, one

WRITING = Policy(one(f"ValidatingAdmissionPolicy {RULE_PLURAL}.{GROUP}"))
ASKING = Policy(one(f"ValidatingAdmissionPolicy capture-annotation.{GROUP}", RULES))
CHECKPOINTS = Policy(one(f"ValidatingAdmissionPolicy {PLURAL}.{GROUP}"))
DELEGATE = Right("delegate", f"{GROUP}/{PLURAL}", "forensics-system")
EVERYWHERE = Right("create", "pods/exec", "")


def exec_in(namespace: str) -> Right:
    return Right("create", "pods/exec", namespace)


def written(*namespaces: str, namespace: str = "forensics-system", **spec: Any) -> Manifest:
    body = {"namespaces": list(namespaces), "events": ["Failed"], **spec}
    return {"metadata": {"name": "dying", "namespace": namespace}, "spec": body}


def objections(rule: Manifest, *rights: Right, old: Manifest | None = None) -> list[str]:
    review = Review("alice", rule, old, frozenset(rights))
    return WRITING.objections(review) if WRITING.matches(review) else []


def test_a_rule_takes_the_right_to_exec_in_every_namespace_that_it_names() -> None:
    rule = written("shop", "payments")
    assert objections(rule, exec_in("shop"), exec_in("payments")) == []
    assert objections(rule, EVERYWHERE) == []
    assert objections(rule, DELEGATE) == []
    (objection,) = objections(rule, exec_in("shop"))
    assert objection.startswith("alice may not have pods captured in shop, payments")


@pytest.mark.parametrize("missing", range(NAMESPACES))
def test_each_of_many_namespaces_is_asked_about(missing: int) -> None:
    names = [f"ns-{number}" for number in range(NAMESPACES)]
    rights = [exec_in(name) for name in names]
    assert objections(written(*names), *rights) == []
    assert len(objections(written(*names), *rights[:missing], *rights[missing + 1 :])) == 1


def test_all_namespaces_take_the_right_in_all() -> None:
    assert objections(written("*"), EVERYWHERE) == []
    assert objections(written("*"), DELEGATE) == []
    assert len(objections(written("*"), exec_in("shop"))) == 1
    assert len(objections(written("shop", "*"), exec_in("shop"))) == 1


def test_the_systems_namespaces_take_the_right_too() -> None:
    assert len(objections(written("kube-system"), exec_in("shop"))) == 1
    assert objections(written("kube-system"), exec_in("kube-system")) == []


def test_a_rule_that_is_changed_is_judged_anew_and_its_labels_are_nobodys_business() -> None:
    before = written("shop")
    assert len(objections(written("shop", "payments"), exec_in("shop"), old=before)) == 1
    labelled = before | {"metadata": before["metadata"] | {"labels": {"team": "ir"}}}
    assert objections(labelled, old=before) == []


def test_rules_elsewhere_are_refused() -> None:
    (objection,) = objections(written("shop", namespace="shop"), exec_in("shop"))
    assert objection.startswith("CaptureRules are not acted on in the namespace shop")


def test_a_template_that_isolates_or_deletes_takes_what_that_takes() -> None:
    isolates = written("shop", template={"isolate": True})
    policies = Right("create", "networking.k8s.io/networkpolicies", "shop")
    patches = Right("patch", "pods", "shop")
    assert objections(isolates, exec_in("shop"), policies, patches) == []
    assert len(objections(isolates, exec_in("shop"), patches)) == 1
    assert objections(isolates, DELEGATE) == []
    deletes = written("shop", template={"afterCapture": "Delete"})
    assert objections(deletes, exec_in("shop"), Right("delete", "pods", "shop")) == []
    assert len(objections(deletes, exec_in("shop"))) == 1
    keeps = written("shop", template={"afterCapture": "Keep", "isolate": False})
    assert objections(keeps, exec_in("shop")) == []


def test_a_rule_that_holds_pods_takes_the_right_to_patch_them() -> None:
    holds = written("shop", events=["Deleted"], hold=True)
    (objection,) = objections(holds, exec_in("shop"))
    assert objection.startswith("A rule that holds pods takes the right to patch pods")
    assert objections(holds, exec_in("shop"), Right("patch", "pods", "shop")) == []
    assert objections(holds, DELEGATE) == []
    assert objections(written("shop", hold=False), exec_in("shop")) == []
    both = written("shop", "payments", events=["Deleted"], hold=True)
    rights = [exec_in("shop"), exec_in("payments"), Right("patch", "pods", "shop")]
    assert len(objections(both, *rights)) == 1
    assert objections(both, *rights, Right("patch", "pods", "")) == []


def test_in_several_namespaces_that_takes_the_right_in_all() -> None:
    deletes = written("shop", "payments", template={"afterCapture": "Delete"})
    rights = [exec_in("shop"), exec_in("payments")]
    two = [Right("delete", "pods", "shop"), Right("delete", "pods", "payments")]
    assert len(objections(deletes, *rights, *two)) == 1
    assert objections(deletes, *rights, Right("delete", "pods", "")) == []


@pytest.mark.parametrize("policy", [WRITING, ASKING, CHECKPOINTS])
def test_no_policy_asks_the_authorizer_more_than_an_api_server_pays_for(policy: Policy) -> None:
    questions = policy.questions()
    assert all(count * CHECK < EXPRESSION_LIMIT for count in questions.values())
    assert sum(questions.values()) * CHECK < 0.9 * POLICY_LIMIT


def annotated(reason: str | None, **more: str) -> Manifest:
    annotations = dict(more) if reason is None else {CAPTURE_ANNOTATION: reason, **more}
    metadata: dict[str, Any] = {"name": "web-0", "namespace": "shop"}
    return {"metadata": metadata | ({"annotations": annotations} if annotations else {})}


def refusals(new: Manifest, *rights: Right, old: Manifest | None = None) -> list[str]:
    review = Review("alice", new, old, frozenset(rights))
    return ASKING.objections(review) if ASKING.matches(review) else []


@pytest.mark.parametrize("old", [None, annotated(None), annotated(None, team="ir"), annotated("x")])
def test_to_ask_by_an_annotation_takes_the_right_to_exec(old: Manifest | None) -> None:
    new = annotated("odd traffic")
    (refusal,) = refusals(new, old=old)
    assert refusal.startswith("alice may not ask for a capture of this pod")
    assert refusals(new, exec_in("shop"), old=old) == []
    assert refusals(new, Right("create", "pods/exec", "shop", "web-0"), old=old) == []
    assert refusals(new, DELEGATE, old=old) == []
    assert refusals(new, exec_in("other"), old=old)


def test_all_other_writes_of_pods_pass_unasked() -> None:
    assert refusals(annotated(None)) == []
    assert refusals(annotated(None, team="ir"), old=annotated("odd")) == []
    assert refusals(annotated("odd", team="ir"), old=annotated("odd")) == []


def test_a_pod_whose_name_the_server_makes_takes_the_right_to_all() -> None:
    generated = annotated("odd")
    del generated["metadata"]["name"]
    assert refusals(generated, Right("create", "pods/exec", "shop", "web-0"))
    assert refusals(generated, exec_in("shop")) == []


def test_every_way_to_an_annotation_on_a_pod_is_watched() -> None:
    policy = one(f"ValidatingAdmissionPolicy capture-annotation.{GROUP}", RULES)
    (rule,) = policy["spec"]["matchConstraints"]["resourceRules"]
    assert {"pods", "pods/status", "pods/binding", "bindings"} <= set(rule["resources"])
    assert rule["operations"] == ["CREATE", "UPDATE"]


def test_nobody_else_says_that_a_capture_is_a_rules() -> None:
    plain: Manifest = {
        "metadata": {"name": "web", "namespace": "forensics-system"},
        "spec": {"pod": "web-0", "namespace": "shop"},
    }
    marked = plain | {"metadata": plain["metadata"] | {"labels": {RULE_LABEL: "dying"}}}
    alert = {"annotations": {f"{GROUP}/alert": "{}"}}
    alerted = plain | {"metadata": plain["metadata"] | alert}
    rights = frozenset({exec_in("shop")})
    for forged in (marked, alerted):
        (objection,) = CHECKPOINTS.objections(Review("alice", forged, None, rights))
        assert "is the operator's" in objection
        assert CHECKPOINTS.objections(Review("op", forged, None, frozenset({DELEGATE}))) == []
        assert CHECKPOINTS.objections(Review("alice", forged, forged, frozenset())) == []
    assert CHECKPOINTS.objections(Review("alice", plain, marked, frozenset()))
