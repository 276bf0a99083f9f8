from __future__ import annotations

from typing import Any

import pytest

from forensics_core.api.selection import PodQuery, SelectedPod, Selection
from forensics_core.api.urgency import Urgency
from forensics_core.errors import NotFound, TooManyPods, UsageError
from forensics_loopback.kinds.seeds import running_pod

DIGEST = "sha256:" + "0123456789ab" * 5 + "cdef"
QUERY = PodQuery("shop", "app=web")


def image(reference: str, image_id: str = "") -> dict[str, Any]:
    made: dict[str, Any] = running_pod("web-0", "shop")
    made["spec"]["containers"][0]["image"] = reference
    made["status"]["containerStatuses"][0] |= {"image": reference, "imageID": image_id}
    return made


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "Nothing says which pods"),
        ({"owner": "web"}, "names no owner"),
        ({"owner": "deployment/"}, "names no owner"),
        ({"owner": "/web"}, "names no owner"),
        ({"image": "sha256:0123"}, "no digest"),
        ({"image": "web@sha256:xyz"}, "no digest"),
    ],
)
def test_a_query_that_says_nothing_or_nonsense_is_refused(
    given: dict[str, Any], named: str
) -> None:
    with pytest.raises(UsageError, match=named):
        PodQuery("shop", **given)


@pytest.mark.parametrize(
    ("owner", "parts"),
    [
        ("deployment/web", ("deployment", "web")),
        ("Deployments.apps/web", ("deployment", "web")),
        ("deploy/web", ("deployment", "web")),
        ("sts/db", ("statefulset", "db")),
        ("rollout/web", ("rollout", "web")),
    ],
)
def test_an_owner_is_named_as_kubectl_takes_it(owner: str, parts: tuple[str, str]) -> None:
    assert PodQuery("shop", owner=owner).owner_parts == parts


@pytest.mark.parametrize(
    ("wanted", "reference", "image_id", "meant"),
    [
        (DIGEST, "web:1", f"registry.example/web@{DIGEST}", True),
        (DIGEST[:19], "web:1", f"registry.example/web@{DIGEST}", True),
        (f"web@{DIGEST}", "web:1", DIGEST, True),
        (DIGEST, f"web@{DIGEST}", "", True),
        (DIGEST, "web:1", "sha256:ffff", False),
        ("web:1", "web:1", "", True),
        ("web:1", "web:10", "", False),
        ("", "anything", "", True),
    ],
)
def test_an_image_is_meant_by_digest_or_as_it_is_written(
    wanted: str, reference: str, image_id: str, meant: bool
) -> None:
    query = PodQuery("shop", image=wanted, every=True)
    assert query.of_image(image(reference, image_id)) is meant


def test_a_pod_without_containers_has_no_image() -> None:
    assert not PodQuery("shop", image="web:1").of_image({"metadata": {}})


def test_a_selected_pod_has_what_tells_it_apart() -> None:
    made = image("web:1")
    made["metadata"] |= {
        "uid": "u1",
        "ownerReferences": [
            {"kind": "X", "name": "x"},
            {"kind": "ReplicaSet", "name": "web-6d", "controller": True},
        ],
    }
    pod = SelectedPod.of(made)
    assert str(pod) == "shop/web-0"
    assert pod.to_dict() == {
        "namespace": "shop",
        "name": "web-0",
        "uid": "u1",
        "node": "node1",
        "state": "Running",
        "urgency": "rest",
        "owner": "ReplicaSet/web-6d",
        "images": ["web:1"],
    }
    assert SelectedPod.of({"metadata": {"name": "bare"}}).owner == ""


def test_the_most_urgent_come_first_and_then_by_name() -> None:
    pods = [
        SelectedPod("shop", "b", "1"),
        SelectedPod("shop", "a", "2"),
        SelectedPod("shop", "z", "3", urgency=Urgency.DYING),
        SelectedPod("shop", "y", "4", urgency=Urgency.CRASHING),
    ]
    found = Selection.of(QUERY, pods, namespaces={"shop": 4})
    assert [pod.name for pod in found.pods] == ["z", "y", "a", "b"]
    assert not found.too_many
    found.check()


def test_none_and_too_many_are_answered_clearly() -> None:
    with pytest.raises(NotFound, match=r"No pod matches: app=web in shop.*and the namespace"):
        Selection.of(QUERY, [], namespaces={}).check()
    everywhere = PodQuery(None, owner="sts/db", node="n1", image="web:1")
    with pytest.raises(NotFound, match="sts/db, on node n1, of image web:1 in all namespaces"):
        Selection.of(everywhere, [], namespaces={}).check()
    many = {"a": 4000, "b": 900, "c": 50, "d": 40, "e": 10}
    kept = [SelectedPod("a", f"web-{number}", "") for number in range(3)]
    found = Selection.of(PodQuery(None, every=True), kept, namespaces=many, limit=2)
    assert (found.total, len(found.pods), found.too_many) == (5000, 2, True)
    with pytest.raises(TooManyPods) as raised:
        found.check()
    assert str(raised.value) == (
        "5,000 pods match (4000 in a, 900 in b, 50 in c, and more in 2 other namespaces), more "
        "than the limit of 2: none of them is captured. Narrow it by labels, owner, node, image or "
        "namespace, or raise the limit."
    )
