"""Who may ask for a capture, by the very expressions that are installed."""

from __future__ import annotations

from typing import Any

import cel
import pytest

from forensics_core.api.names import (
    EXPECTED_POD_UID_ANNOTATION,
    GROUP,
    PLURAL,
    REQUESTED_BY_ANNOTATION,
    VERSION,
)
from forensics_core.operator.settings import load_settings
from tests.unit.deploy.admission import Policy, Review, Right
from tests.unit.deploy.manifests import DEPLOY, STAMPING, Manifest, one

POLICY = one(f"ValidatingAdmissionPolicy {PLURAL}.{GROUP}")
STAMP = one(f"MutatingAdmissionPolicy requested-by.{GROUP}", STAMPING)
EXEC = Right("create", "pods/exec", "payments")
DELEGATE = Right("delegate", f"{GROUP}/{PLURAL}", "forensics-system")


def checkpoint(
    *, namespace: str = "forensics-system", requested_by: str | None = None, **spec: Any
) -> Manifest:
    metadata: dict[str, Any] = {"name": "web", "namespace": namespace}
    if requested_by is not None:
        metadata["annotations"] = {REQUESTED_BY_ANNOTATION: requested_by}
    return {"metadata": metadata, "spec": {"pod": "web-0", "namespace": "payments"} | spec}


def objections(
    new: Manifest, *rights: Right, user: str = "alice", old: Manifest | None = None
) -> list[str]:
    return Policy(POLICY).objections(Review(user, new, old, frozenset(rights)))


def test_whoever_may_exec_into_the_pod_may_capture_it() -> None:
    assert objections(checkpoint(), EXEC) == []


def test_the_right_to_one_pod_is_enough_for_that_pod_alone() -> None:
    one_pod = Right("create", "pods/exec", "payments", "web-0")
    assert objections(checkpoint(), one_pod) == []
    assert len(objections(checkpoint(pod="web-1"), one_pod)) == 1


@pytest.mark.parametrize(
    "right",
    [
        Right("create", "pods/exec", "forensics-system"),
        Right("get", "pods/exec", "payments"),
        Right("create", "pods", "payments"),
        Right("create", "batch/pods/exec", "payments"),
        Right("delegate", f"{GROUP}/{PLURAL}", "payments"),
        Right("create", f"{GROUP}/{PLURAL}", "forensics-system"),
    ],
    ids=str,
)
def test_no_other_right_is_enough(right: Right) -> None:
    (objection,) = objections(checkpoint(), right)
    assert objection.startswith("alice may not capture the pod web-0 in payments")


def test_without_a_target_namespace_the_resources_own_counts() -> None:
    bare = checkpoint()
    del bare["spec"]["namespace"]
    assert objections(bare, Right("create", "pods/exec", "forensics-system")) == []
    assert len(objections(bare, EXEC)) == 1


def test_whoever_may_delegate_may_capture_any_pod() -> None:
    assert objections(checkpoint(), DELEGATE, user="bot") == []


def test_in_other_namespaces_nobody_may() -> None:
    everywhere = Right("delegate", f"{GROUP}/{PLURAL}", "payments")
    assert objections(checkpoint(namespace="payments"), EXEC, everywhere) == [
        "PodCheckpoints are not acted on in the namespace payments: create it in forensics-system"
    ]


def test_requesters_may_name_themselves() -> None:
    assert objections(checkpoint(requested_by="alice"), EXEC) == []


@pytest.mark.parametrize("name", ["bob", "", "Alice", "alice "])
def test_requesters_may_not_name_anybody_else(name: str) -> None:
    assert objections(checkpoint(requested_by=name), EXEC) == [
        f"{REQUESTED_BY_ANNOTATION} names somebody else: leave it out, or say alice"
    ]


def test_whoever_may_delegate_names_somebody_else() -> None:
    assert objections(checkpoint(requested_by="bob"), DELEGATE, user="bot") == []


def test_other_annotations_are_nobodys_business() -> None:
    annotated = checkpoint()
    annotated["metadata"]["annotations"] = {"team": "incident response"}
    assert objections(annotated, EXEC) == []


def test_an_update_needs_no_right_to_exec() -> None:
    cancelled = checkpoint(requested_by="bob", cancel=True)
    assert objections(cancelled, old=checkpoint(requested_by="bob")) == []
    assert objections(checkpoint(cancel=True), old=checkpoint()) == []


@pytest.mark.parametrize(
    ("old", "new"), [("bob", "alice"), ("bob", None), (None, "alice"), (None, ""), ("", None)]
)
def test_the_requester_never_changes(old: str | None, new: str | None) -> None:
    before, after = checkpoint(requested_by=old), checkpoint(requested_by=new)
    assert objections(after, EXEC, DELEGATE, old=before) == [
        f"The annotation {REQUESTED_BY_ANNOTATION} cannot be changed"
    ]


def annotated(**notes: str) -> Manifest:
    new = checkpoint()
    names = {f"{GROUP}/{name.replace('_', '-')}": value for name, value in notes.items()}
    new["metadata"]["annotations"] = names
    return new


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({}, {"expected_pod_uid": "1"}),
        ({"expected_pod_uid": "1"}, {}),
        ({"expected_pod_uid": "1"}, {"expected_pod_uid": "2"}),
    ],
)
def test_the_pod_that_was_meant_never_changes(old: dict[str, str], new: dict[str, str]) -> None:
    assert objections(annotated(**old), EXEC) == []
    assert objections(annotated(**new), EXEC, DELEGATE, old=annotated(**old)) == [
        f"The annotation {EXPECTED_POD_UID_ANNOTATION} cannot be changed"
    ]


NOTES = {"slack_message": "1.2", "slack_told": "attempt-1"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (None, {"slack_message": "1.2"}),
        (None, {"slack_channel": "C1", "slack_told": "complete"}),
        ({}, {"slack_requester": "U1"}),
        (NOTES, NOTES | {"slack_told": "complete"}),
        (NOTES, {"slack_message": "1.2"}),
        (NOTES, {}),
    ],
    ids=str,
)
def test_what_the_bot_remembers_is_the_bots(
    old: dict[str, str] | None, new: dict[str, str]
) -> None:
    before = None if old is None else annotated(**old)
    (objection,) = objections(annotated(**new), EXEC, old=before)
    assert "slack-* are the bot's" in objection
    assert objections(annotated(**new), DELEGATE, user="bot", old=before) == []


def test_the_channel_is_anybodys_and_the_rest_may_stay() -> None:
    assert objections(annotated(slack_channel="C1"), EXEC) == []
    before = annotated(**NOTES)
    assert objections(annotated(**NOTES, slack_channel="C1"), EXEC, old=before) == []


def test_several_objections_are_all_told() -> None:
    stranger = checkpoint(namespace="default", requested_by="bob")
    assert len(objections(stranger)) == 3


def test_a_namespace_that_left_the_list_can_still_be_cleared() -> None:
    elsewhere = checkpoint(namespace="old-cases")
    assert objections(elsewhere, old=elsewhere) == []


def test_policy_and_operator_agree_on_the_namespaces() -> None:
    (listed,) = [v for v in POLICY["spec"]["variables"] if v["name"] == "namespaces"]
    settings = load_settings(DEPLOY / "operator" / "config.yaml", {})
    assert tuple(cel.evaluate(listed["expression"])) == settings.namespaces


@pytest.mark.parametrize("policy", [POLICY, STAMP], ids=["validating", "stamping"])
def test_policies_fail_closed_and_match_the_resource_itself(policy: Manifest) -> None:
    assert policy["spec"]["failurePolicy"] == "Fail"
    (rule,) = policy["spec"]["matchConstraints"]["resourceRules"]
    # Not its status, which the operator alone writes.
    assert rule["resources"] == [PLURAL]
    assert (rule["apiGroups"][0], rule["apiVersions"]) == (GROUP, [VERSION])


def test_the_validating_policy_denies() -> None:
    binding = one(f"ValidatingAdmissionPolicyBinding {PLURAL}.{GROUP}")["spec"]
    assert binding["policyName"] == POLICY["metadata"]["name"]
    assert "Deny" in binding["validationActions"]
    assert "matchResources" not in binding
    (rule,) = POLICY["spec"]["matchConstraints"]["resourceRules"]
    assert set(rule["operations"]) == {"CREATE", "UPDATE"}


@pytest.mark.parametrize("requested_by", [None, "", "bob"])
def test_only_what_names_nobody_is_stamped(requested_by: str | None) -> None:
    (condition,) = STAMP["spec"]["matchConditions"]
    review = Review("alice", checkpoint(requested_by=requested_by))
    stamped = cel.evaluate(condition["expression"], review.variables())
    assert stamped is (requested_by is None)


@pytest.mark.parametrize("annotations", [None, {}, {"team": "incident response"}])
def test_a_stamp_says_who_asked_and_passes(annotations: dict[str, str] | None) -> None:
    new = checkpoint()
    if annotations is not None:
        new["metadata"]["annotations"] = dict(annotations)
    path, value = stamp(Review("alice", new))
    if path == "/metadata/annotations":
        assert not annotations
        new["metadata"]["annotations"] = value
    else:
        assert path == "/metadata/annotations/" + REQUESTED_BY_ANNOTATION.replace("/", "~1")
        new["metadata"]["annotations"][REQUESTED_BY_ANNOTATION] = value
    assert new["metadata"]["annotations"][REQUESTED_BY_ANNOTATION] == "alice"
    assert objections(new, EXEC) == []


def stamp(review: Review) -> tuple[str, Any]:
    """Return path and value of the patch; the library here has no types, so a call stands in."""
    (mutation,) = STAMP["spec"]["mutations"]
    source = mutation["jsonPatch"]["expression"]
    for field in ("op", "path", "value"):
        source = source.replace(f"{field}:", f"'{field}':")
    source = source.replace("JSONPatch{", "{").replace("jsonpatch.escapeKey", "escapeKey")
    escape = {"escapeKey": lambda key: key.replace("~", "~0").replace("/", "~1")}
    ((patch),) = cel.evaluate(source, cel.Context(review.variables(), escape))
    assert patch["op"] == "add"
    return patch["path"], patch["value"]


PATCH_POD = Right("patch", "pods", "payments")
CREATE_POLICY = Right("create", "networking.k8s.io/networkpolicies", "payments")
DELETE_POLICY = Right("delete", "networking.k8s.io/networkpolicies", "payments")
DELETE_POD = Right("delete", "pods", "payments", "web-0")
CONTAINS = [
    ({"isolate": True}, (CREATE_POLICY, PATCH_POD), "may not isolate the pod web-0 in payments"),
    ({"afterCapture": "Delete"}, (DELETE_POD,), "may not have the pod web-0 in payments deleted"),
    ({"afterCapture": "DeleteEvenIfPartial"}, (DELETE_POD,), "may not have the pod web-0"),
    ({"release": True}, (DELETE_POLICY, PATCH_POD), "may not release the pod web-0 in payments"),
]


@pytest.mark.parametrize(("spec", "needed", "message"), CONTAINS)
def test_containing_a_pod_takes_the_rights_to_do_so_by_hand(
    spec: dict[str, Any], needed: tuple[Right, ...], message: str
) -> None:
    assert objections(checkpoint(**spec), EXEC, *needed) == []
    for missing in needed:
        (objection,) = objections(checkpoint(**spec), EXEC, *(set(needed) - {missing}))
        assert message in objection
    assert objections(checkpoint(**spec), DELEGATE, user="bot") == []


def test_who_contains_nothing_needs_no_such_right() -> None:
    plain = checkpoint(isolate=False, afterCapture="Keep", release=False)
    assert objections(plain, EXEC) == []


def test_a_release_takes_its_rights_when_it_is_asked_for_and_not_again() -> None:
    before, after = checkpoint(isolate=True, release=False), checkpoint(isolate=True, release=True)
    assert objections(after, DELETE_POLICY, PATCH_POD, old=before) == []
    (objection,) = objections(after, PATCH_POD, old=before)
    assert objection.startswith("alice may not release the pod web-0 in payments")
    assert objections(after, old=after) == [], "the operator's own updates, above all"
