"""A pod is cut off, captured, released and deleted, over an API with its own rights."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from forensics_core.bundles import open_bundle
from forensics_core.errors import ApiUnavailable
from forensics_core.kube.connection import connect
from forensics_core.operator.containment.effects import ClusterContainment
from forensics_loopback import Fault, RunningPod
from forensics_loopback.server.access import User
from tests.integration.kube.scripted import ScriptedApi, scripted_api
from tests.integration.operator.stage import NAMESPACE, Document, Stage, condition, timed
from tests.integration.operator.test_crashes import WRITES_OF_A_CHECKPOINT
from tests.unit.deploy.manifests import DEPLOY, manifests
from tests.unit.operator import samples
from tests.waiting import time_passes

ISOLATED = "forensics.orkaproj.io/isolated"
OPERATOR = User("system:serviceaccount:forensics-operator:forensics-operator")
LABELS = {"app": "web", "tier": "front", "colour": "green"}


def seed(stage: Stage, **changes: Any) -> None:
    """Make the pod one of a Service and a ReplicaSet, beside a policy that lets it reach DNS."""
    stage.cluster.create(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"selector": {"app": "web"}},
        }
    )
    owner = stage.cluster.create(
        {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"app": "web", "tier": "front"}}},
        }
    )
    reference = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": "web",
        "uid": owner["metadata"]["uid"],
        "controller": True,
    }
    metadata = {"labels": LABELS, "ownerReferences": [reference]}
    stage.cluster.patch("pods", "web-0", {"metadata": metadata, **changes}, "default")


def install(stage: Stage, ready: int) -> None:
    """Install a network plugin that is known to enforce policies, ready on so many of two nodes."""
    stage.cluster.create(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}}
    )
    stage.cluster.create(
        {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": "cilium", "namespace": "kube-system"},
            "spec": {"template": {"spec": {"containers": [{"name": "agent"}]}}},
            "status": {"desiredNumberScheduled": 2, "numberReady": ready},
        }
    )


def allowing(name: str, **selector: Any) -> Document:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"podSelector": selector, "egress": [{}], "policyTypes": ["Egress"]},
    }


def labels(stage: Stage) -> dict[str, str]:
    found: dict[str, str] = stage.cluster.get("pods", "web-0", "default")["metadata"]["labels"]
    return found


def policies(stage: Stage) -> list[Document]:
    return [
        one
        for one in stage.cluster.list("networkpolicies", "default")
        if one["metadata"]["name"].startswith("forensics-isolate-")
    ]


async def released(stage: Stage) -> Document:
    """Ask for the release, and wait for it."""
    stage.cluster.patch("podcheckpoints", "checkpoint-1", {"spec": {"release": True}}, NAMESPACE)
    done = await stage.until(
        lambda one: condition(one["status"], "Isolated").get("reason") == "Released"
    )
    return condition(done["status"], "Isolated")


async def test_isolating_takes_three_writes_more(stage: Stage) -> None:
    """The policy, the pod's labels, and the condition; the event takes the place of another."""
    seed(stage)
    stage.request(isolate=True)
    async with stage.operating(stage.settings.model_copy(update={"progress_seconds": 60})):
        await stage.finished()
        await time_passes(0.5)
    assert stage.writes() <= WRITES_OF_A_CHECKPOINT + 3, stage.requests()


async def test_a_pod_is_cut_off_before_its_capture_and_gets_everything_back(stage: Stage) -> None:
    seed(stage)
    install(stage, ready=2)
    seen: list[dict[str, str]] = []

    async def look(pod: RunningPod) -> None:
        seen.append(labels(stage))

    stage.worker.before = look
    stage.request(isolate=True)
    async with stage.operating():
        status = await stage.finished()
        told = condition(status, "Isolated")
        assert (told["status"], told["reason"]) == ("True", "Enforced"), told
        assert "cilium in kube-system (2 of 2 ready)" in told["message"]
        assert (
            "the pod has left the Services web; the ReplicaSet web replaces it" in told["message"]
        )
        uid = stage.get()["metadata"]["uid"][:8]
        cut_off = {"colour": "green", ISOLATED: uid}
        assert (labels(stage), seen) == (cut_off, [cut_off])
        (policy,) = policies(stage)
        assert policy["spec"] == {
            "podSelector": {"matchLabels": {ISOLATED: uid}},
            "policyTypes": ["Ingress", "Egress"],
        }
        assert "ingress" not in policy["spec"] and "egress" not in policy["spec"]
        assert (await released(stage))["message"] == "The pod is released."
    assert (labels(stage), policies(stage)) == (LABELS, [])
    annotations = stage.cluster.get("pods", "web-0", "default")["metadata"].get("annotations")
    assert not annotations
    await shows_the_pod_as_it_was(stage, status)


async def shows_the_pod_as_it_was(stage: Stage, status: Document) -> None:
    """Assert that the context is of the time before the isolation."""
    async with open_bundle(status["location"], key=stage.public_key, access=stage.access) as bundle:
        pod = yaml.safe_load(b"".join([part async for part in bundle.read("context/pod.yaml")]))
        owners = await bundle.document("context/owners.json")
        network = await bundle.document("context/network.json")
    assert pod["metadata"]["labels"] == LABELS
    assert [one["metadata"]["name"] for one in owners] == ["web"]
    assert network["servicesSelectingThePod"] == ["web"]


async def test_policies_that_let_traffic_through_are_left_or_named(stage: Stage) -> None:
    seed(stage)
    install(stage, ready=2)
    stage.cluster.create(allowing("own", matchLabels={"colour": "green"}))
    stage.cluster.create(allowing("everybody"))
    stage.request(isolate=True)
    async with stage.operating():
        told = condition(await stage.finished(), "Isolated")
    assert (told["status"], told["reason"]) == ("Unknown", "Unverified")
    assert "let traffic through: everybody;" in told["message"]
    assert list(labels(stage)) == [ISOLATED]


@pytest.mark.parametrize(("ready", "said"), [(1, "1 of 2 ready"), (None, "no network plugin")])
async def test_what_nobody_is_known_to_enforce_is_not_called_enforced(
    stage: Stage, ready: int | None, said: str
) -> None:
    seed(stage)
    if ready is not None:
        install(stage, ready)
    stage.request(isolate=True)
    async with stage.operating():
        told = condition(await stage.finished(), "Isolated")
    assert (told["status"], told["reason"]) == ("Unknown", "Unverified")
    assert said in told["message"]


async def test_a_pod_in_the_hosts_network_is_captured_and_left_alone(stage: Stage) -> None:
    seed(stage, spec={"hostNetwork": True})
    stage.request(isolate=True)
    async with stage.operating():
        status = await stage.finished()
    told = condition(status, "Isolated")
    assert (status["phase"], told["reason"]) == ("Complete", "NotPossible")
    assert "no network policy reaches" in told["message"]
    assert (labels(stage), policies(stage)) == (LABELS, [])


async def test_its_replica_set_replaces_a_pod_that_is_cut_off(stage: Stage) -> None:
    selector = {"app": "web"}
    template = {
        "metadata": {"labels": selector},
        "spec": {"containers": [{"name": "app", "image": "app:1"}]},
    }
    stage.cluster.patch("pods", "web-0", {"metadata": {"labels": selector}}, "default")
    stage.cluster.create(
        {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"selector": {"matchLabels": selector}, "template": template},
        }
    )
    await stage.cluster.until(
        "pods", lambda pods: any(one["metadata"].get("ownerReferences") for one in pods), "default"
    )
    stage.request(isolate=True)
    async with stage.operating():
        status = await stage.finished()
        assert status["phase"] == "Complete", "the pod is not lost on the way"
        await stage.cluster.until("pods", lambda pods: len(pods) == 2, "default")
        one = await open_context(stage, status)
        assert [owner["metadata"]["name"] for owner in one] == ["web"]
        await released(stage)
        await stage.cluster.until("pods", lambda pods: len(pods) == 1, "default")


async def open_context(stage: Stage, status: Document) -> Any:
    async with open_bundle(status["location"], key=stage.public_key, access=stage.access) as bundle:
        return await bundle.document("context/owners.json")


async def test_the_policy_goes_with_its_pod_and_not_with_the_record(stage: Stage) -> None:
    seed(stage)
    stage.request(isolate=True)
    async with stage.operating():
        await stage.finished()
        stage.cluster.delete("podcheckpoints", "checkpoint-1", NAMESPACE)
        await stage.cluster.until("podcheckpoints", lambda found: not found, NAMESPACE)
    assert len(policies(stage)) == 1
    stage.cluster.delete("pods", "web-0", "default")
    await stage.cluster.until("networkpolicies", lambda found: not found, "default")


async def test_a_pod_is_deleted_after_its_capture_by_its_uid(stage: Stage) -> None:
    seed(stage)
    stage.request(afterCapture="Delete", isolate=True)
    async with stage.operating():
        done = await stage.until(lambda one: condition(one.get("status", {}), "PodDeleted"))
        told = condition(done["status"], "PodDeleted")
    assert (told["status"], told["reason"]) == ("True", "Deleted")
    assert condition(done["status"], "Captured")["status"] == "True"
    assert "web-0" not in [p["metadata"]["name"] for p in stage.cluster.list("pods", "default")]


async def test_rights_come_with_the_overlay_and_without_it_the_capture_goes_on(
    stage: Stage,
) -> None:
    seed(stage)
    await stage.cluster.kubeconfig(stage.kubeconfig, user=OPERATOR)
    for manifest in manifests(DEPLOY):
        if manifest["apiVersion"].startswith("rbac."):
            stage.cluster.create(manifest)
    stage.cluster.enforce_rbac()
    stage.request(isolate=True, afterCapture="Delete")
    async with stage.operating():
        plain = await stage.until(lambda one: condition(one.get("status", {}), "PodDeleted"))
        for manifest in manifests(DEPLOY / "overlays" / "containment"):
            stage.cluster.create(manifest)
        stage.request("checkpoint-2", isolate=True, afterCapture="Delete")
        contained = await stage.until(
            lambda one: condition(one.get("status", {}), "PodDeleted"), "checkpoint-2"
        )
    for kind, reason in (("Isolated", "NotPossible"), ("PodDeleted", "Forbidden")):
        told = condition(plain["status"], kind)
        assert (told["status"], told["reason"]) == ("False", reason)
        assert "deploy/overlays/containment" in told["message"]
    assert condition(plain["status"], "Captured")["status"] == "True"
    assert condition(contained["status"], "Isolated")["reason"] == "Unverified"
    assert condition(contained["status"], "PodDeleted")["status"] == "True"


async def test_an_api_that_makes_no_policies_holds_the_capture_up_for_so_long_only(
    stage: Stage,
) -> None:
    seed(stage)
    stage.cluster.faults.add(Fault("create", "networkpolicies", times=1000))
    stage.request(isolate=True)
    async with stage.operating(timed(stage, isolation=0.3)):
        status = await stage.finished()
    told = condition(status, "Isolated")
    assert (status["phase"], told["reason"]) == ("Complete", "NotPossible")
    assert labels(stage) == LABELS


async def test_what_cannot_be_read_around_the_pod_is_told(stage: Stage) -> None:
    seed(stage)
    uid = stage.cluster.get("replicasets", "web", "default")["metadata"]["uid"]
    owner = {"kind": "CloneSet", "name": "web", "uid": uid, "controller": True}
    reference = {"apiVersion": "apps.kruise.io/v1alpha1", **owner}
    change = {"metadata": {"ownerReferences": [reference]}}
    stage.cluster.patch("pods", "web-0", change, "default")
    stage.cluster.faults.add(Fault("list", "services", times=1000, status=403))
    stage.request(isolate=True)
    async with stage.operating():
        told = condition(await stage.finished(), "Isolated")
    assert "its controller is a CloneSet, whose selector is not known" in told["message"]
    assert "services could not be read" in told["message"]
    assert labels(stage).keys() == {*LABELS, ISOLATED}


async def test_a_policy_of_that_name_that_is_somebody_elses_stays(stage: Stage) -> None:
    seed(stage)
    made = stage.request(isolate=True)
    name = f"forensics-isolate-{made['metadata']['uid'][:8]}"
    stage.cluster.create(allowing(name))
    async with stage.operating():
        told = condition(await stage.finished(), "Isolated")
        assert told["reason"] == "NotPossible"
        assert f"There is a NetworkPolicy '{name}'" in told["message"]
        await released(stage)
    (policy,) = policies(stage)
    assert (policy["spec"]["egress"], labels(stage)) == ([{}], LABELS)


async def test_requests_that_hang_are_given_up(tmp_path: Path) -> None:
    """A webhook that is slow, above all."""

    async def hang(api: ScriptedApi, request: web.Request) -> web.StreamResponse:
        await api.closing.wait()
        return web.Response()

    async with scripted_api() as api:
        api.on("DELETE", "/api/v1/namespaces/default/pods/web-0", hang)
        async with connect(api.kubeconfig(tmp_path / "config", {"token": "secret"})) as cluster:
            effects = ClusterContainment(cluster, timedelta(seconds=0.1))
            with pytest.raises(ApiUnavailable, match=r"has not answered for 0\.1 s"):
                await effects.delete_pod(samples.checkpoint("Complete"), "uid")


async def test_surroundings_that_take_too_long_are_done_without(stage: Stage) -> None:
    seed(stage)
    stage.request(isolate=True)
    async with stage.operating(timed(stage, isolation=0.0)):
        status = await stage.finished()
    assert (status["phase"], labels(stage)) == ("Complete", LABELS)
    assert condition(status, "Isolated")["reason"] == "NotPossible"
