"""Pods are found by their names, and by their containers' IDs, while they are there."""

from __future__ import annotations

import pytest

from forensics_core.api.capturerule import AlertPriority
from forensics_core.operator.rules.facts import Alert, PodFacts
from forensics_core.operator.rules.pods import KnownPods
from tests.unit.operator.rules.pods import container, pod, terminated

FIRST, SECOND = "0123456789ab", "ba9876543210"


def known(*pods: PodFacts) -> KnownPods:
    found = KnownPods()
    found.update({one.key: one for one in pods})
    return found


def alert(pod: str = "", container_id: str = "", uid: str = "") -> Alert:
    namespace = "shop" if pod else ""
    return Alert("Shell", AlertPriority.NOTICE, namespace, pod, (), container_id, pod_uid=uid)


def running(container_id: str, name: str = "web-0", before: str = "") -> PodFacts:
    ended = terminated()
    ended["terminated"]["containerID"] = f"cri-o://{before}"
    last = ended if before else {}
    return pod(name, container(containerID=f"cri-o://{container_id}ffff", lastState=last))


def test_an_alert_that_names_but_a_container_is_of_the_pod_that_has_or_had_it() -> None:
    one = running(SECOND, before=FIRST)
    pods = known(one, running("c" * 12, "other"))
    assert pods.of_alert(alert(container_id=SECOND)) is one
    assert pods.of_alert(alert(container_id=SECOND + "ffff")) is one
    assert pods.of_alert(alert(container_id=FIRST)) is one
    assert pods.of_alert(alert(container_id=SECOND + "0000")) is None
    assert pods.of_alert(alert(container_id="d" * 12)) is None


def test_a_container_that_is_gone_leads_nowhere() -> None:
    pods = known(running(FIRST))
    pods[("shop", "web-0")] = running(SECOND)
    assert pods.of_alert(alert(container_id=FIRST)) is None
    pods.pop(("shop", "web-0"))
    assert pods.of_alert(alert(container_id=SECOND)) is None
    assert pods.of_alert(alert("web-0")) is None


def test_two_pods_that_say_they_have_one_container_do_not_undo_each_other() -> None:
    pods = known(running(FIRST), running(FIRST, "liar"))
    pods.pop(("shop", "web-0"))
    assert pods.of_alert(alert(container_id=FIRST)) is pods["shop", "liar"]
    pods.clear()
    assert pods.of_alert(alert(container_id=FIRST)) is None


@pytest.mark.parametrize(
    ("uid", "fits"), [("", True), ("uid-web-0", True), ("that-of-the-one-before", False)]
)
def test_an_alert_of_a_pod_that_was_replaced_is_not_of_the_new_one(uid: str, fits: bool) -> None:
    pods = known(pod())
    assert bool(pods.of_alert(alert("web-0", uid=uid))) is fits


def test_the_runtimes_uid_of_a_static_pod_is_not_the_apis() -> None:
    owner = {"kind": "Node", "name": "node1", "controller": True}
    pods = known(pod(metadata={"ownerReferences": [owner]}))
    assert pods.of_alert(alert("web-0", uid="a-hash-of-its-configuration"))
