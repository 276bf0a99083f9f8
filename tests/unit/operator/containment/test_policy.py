"""The objects of an isolation, and that what they change is undone to the letter."""

from __future__ import annotations

import json
from typing import Any

import kubernetes_validate
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forensics_core.api.names import ISOLATED_LABEL, REMOVED_LABELS_ANNOTATION
from forensics_core.operator.containment import policy
from tests.unit.operator.samples import POD_UID, UID, checkpoint

ONE = checkpoint("Capturing")
OWNER = {
    "apiVersion": "apps/v1",
    "kind": "ReplicaSet",
    "name": "web",
    "uid": "1",
    "controller": True,
}
KEYS = st.from_regex(
    r"([a-z][a-z.]{0,9}[a-z]/)?[A-Za-z]([-A-Za-z_.]{0,9}[A-Za-z0-9])?", fullmatch=True
)
VALUES = st.from_regex(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,9}[A-Za-z0-9])?)?", fullmatch=True)


def pod(labels: dict[str, str] | None, **metadata: Any) -> dict[str, Any]:
    own = {"name": "web-0", "namespace": "default", "uid": POD_UID, "resourceVersion": "5"}
    return {"metadata": own | {"labels": labels} | metadata}


def patched(item: dict[str, Any], patch: Any) -> dict[str, Any]:
    """Return the pod as a merge patch leaves it."""
    metadata = dict(item["metadata"])
    for part in ("labels", "annotations"):
        merged = (metadata.get(part) or {}) | patch["metadata"][part]
        metadata[part] = {key: value for key, value in merged.items() if value is not None}
    return {"metadata": metadata}


def test_the_policy_fits_the_api_and_denies_both_directions() -> None:
    built = policy.build_policy(ONE, pod({}))
    for version in ("1.30", "1.37"):
        kubernetes_validate.validate(built, version, strict=True)
    assert built["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert built["spec"]["podSelector"] == {"matchLabels": {ISOLATED_LABEL: UID[:8]}}
    (owner,) = built["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("Pod", POD_UID)
    assert policy.is_own_policy(built, ONE)


def test_a_patch_holds_for_the_pod_that_was_read() -> None:
    patch = policy.isolating_patch(ONE, pod({"app": "web"}), {"app": "web"})
    assert patch is not None
    assert patch["metadata"]["uid"] == POD_UID
    assert patch["metadata"]["resourceVersion"] == "5"


@given(
    st.dictionaries(KEYS, VALUES),
    st.sets(st.integers(0, 9)),
    st.dictionaries(st.text(), st.text()),
)
def test_isolating_and_releasing_leave_the_labels_as_they_were(
    labels: dict[str, str], which: set[int], annotations: dict[str, str]
) -> None:
    before = pod(labels, annotations=annotations, ownerReferences=[OWNER])
    gone = {key: labels[key] for number, key in enumerate(labels) if number in which}
    cut_off = patched(before, policy.isolating_patch(ONE, before, gone))
    assert policy.is_isolated(cut_off, ONE)
    assert policy.isolating_patch(ONE, cut_off, {}) is None, "it is done"
    assert policy.as_it_was(cut_off)["metadata"]["labels"].items() >= labels.items()
    after = patched(cut_off, policy.releasing_patch(ONE, cut_off))
    assert after["metadata"]["labels"] == labels
    assert after["metadata"]["annotations"] == annotations
    assert policy.releasing_patch(ONE, after) is None, "twice is harmless"


def test_labels_that_go_later_are_kept_with_those_that_went_first() -> None:
    first = pod({"app": "web", "tier": "front"})
    once = patched(first, policy.isolating_patch(ONE, first, {"app": "web"}))
    twice = patched(once, policy.isolating_patch(ONE, once, {"tier": "front"}))
    assert policy.removed_labels(twice) == {"app": "web", "tier": "front"}


def test_its_owner_is_known_though_the_controller_let_it_go() -> None:
    first = pod({"app": "web"}, ownerReferences=[OWNER])
    cut_off = patched(first, policy.isolating_patch(ONE, first, {"app": "web"}))
    orphan = {"metadata": cut_off["metadata"] | {"ownerReferences": []}}
    assert policy.as_it_was(orphan)["metadata"]["ownerReferences"] == [OWNER]
    alone = pod({ISOLATED_LABEL: "x"})
    assert policy.as_it_was(alone)["metadata"]["ownerReferences"] == []
    assert policy.as_it_was(first) is first


def test_what_the_pods_maker_wrote_before_is_not_given_back() -> None:
    forged = {
        REMOVED_LABELS_ANNOTATION: json.dumps({"app": "payments"}),
        policy.CONTROLLER_ANNOTATION: json.dumps(OWNER),
    }
    before = pod({"app": "web"}, annotations=forged)
    cut_off = patched(before, policy.isolating_patch(ONE, before, {"app": "web"}))
    assert policy.removed_labels(cut_off) == {"app": "web"}
    assert policy.as_it_was(cut_off)["metadata"]["ownerReferences"] == []
    after = patched(cut_off, policy.releasing_patch(ONE, cut_off))
    assert after["metadata"]["labels"] == {"app": "web"}


@pytest.mark.parametrize(
    "reference",
    [
        {"controller": True, "kind": "ReplicaSet"},
        OWNER | {"kind": ["ReplicaSet"]},
        OWNER | {"name": None},
        {},
    ],
)
def test_what_is_no_reference_to_a_controller_is_none(reference: Any) -> None:
    forged = {policy.CONTROLLER_ANNOTATION: json.dumps(reference)}
    marked = pod({ISOLATED_LABEL: "x"}, annotations=forged)
    assert policy.as_it_was(marked)["metadata"]["ownerReferences"] == []


@pytest.mark.parametrize(
    ("key", "value"), [("no label", "x"), ("", "x"), ("a/b/c", "x"), ("a", "-"), ("a", "x" * 64)]
)
def test_what_no_label_can_be_does_not_keep_a_pod_from_its_release(key: str, value: str) -> None:
    text = json.dumps({key: value, "app": "web"})
    spoilt = pod({}, annotations={REMOVED_LABELS_ANNOTATION: text})
    assert policy.removed_labels(spoilt) == {"app": "web"}


def test_a_pod_that_is_isolated_for_somebody_else_is_left_alone() -> None:
    other = pod({ISOLATED_LABEL: "another"})
    assert policy.releasing_patch(ONE, other) is None
    assert policy.isolated_for(other) == "another"


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "7", '{"a": 1}', "[" * 50_000, "x" * (policy.MAX_JSON + 1)]
)
def test_an_annotation_that_somebody_has_spoilt_names_no_labels(text: str) -> None:
    spoilt = pod({}, annotations={REMOVED_LABELS_ANNOTATION: text})
    assert policy.removed_labels(spoilt) == {}


def test_of_the_annotation_only_labels_are_taken() -> None:
    mixed = json.dumps({"app": "web", "n": 1, "o": {"a": "b"}})
    assert policy.removed_labels(pod({}, annotations={REMOVED_LABELS_ANNOTATION: mixed})) == {
        "app": "web"
    }
