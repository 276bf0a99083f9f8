"""A pod is cut off, captured, released and deleted. Needs the overlay with the rights for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.commands import Commands
from tests.e2e.installation import CRD, SYSTEM
from tests.e2e.pods import FOREVER
from tests.e2e.requests import IN_SYSTEM, Requests, condition

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(0)]

OVERLAY = "forensics-operator-containment"
ISOLATED = "forensics.orkaproj.io/isolated"


@pytest.fixture(scope="module")
def suspect(requests: Requests) -> Iterator[str]:
    """A pod behind a Service, which nothing controls."""
    commands, where = requests.commands, f"--namespace={requests.target.namespace}"
    if commands.get("clusterrolebinding", OVERLAY) is None:
        pytest.skip("deploy/overlays/containment is not applied to this cluster")
    name = f"{commands.inputs.run}-suspect"
    limit = f"--timeout={commands.inputs.timeout}s"
    try:
        commands.apply(pod(name, commands.inputs.target_image), where)
        commands.apply(service(name), where)
        commands.kubectl("wait", "pod", name, where, "--for=condition=Ready", limit)
        yield name
    finally:
        commands.kubectl("delete", "pod,service", name, where, "--ignore-not-found", limit)


def pod(name: str, image: str) -> dict[str, Any]:
    container = {
        "name": "app",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-c", FOREVER],
    }
    spec = {"containers": [container], "terminationGracePeriodSeconds": 1}
    labels = {"app": name, "colour": "green"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
    }


def service(name: str) -> dict[str, Any]:
    spec = {"selector": {"app": name}, "ports": [{"port": 80}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def endpoints(commands: Commands, name: str, where: str) -> list[Any]:
    """Return the addresses that the Service sends traffic to."""
    slices = commands.list("endpointslices", f"--selector=kubernetes.io/service-name={name}", where)
    return [each for one in slices for each in one.get("endpoints") or ()]


def test_a_pod_is_cut_off_captured_released_and_deleted(requests: Requests, suspect: str) -> None:
    commands, where = requests.commands, f"--namespace={requests.target.namespace}"
    commands.until(lambda: endpoints(commands, suspect, where), "The Service's endpoint")
    name = requests.apply("contained", pod=suspect, isolate=True, artifacts=["inspect"])
    status = requests.ended(name)
    assert status["phase"] == "Complete", status
    told = condition(status, "Isolated")
    assert told["reason"] in {"Enforced", "Unverified"}, told
    uid = requests.get(name)["metadata"]["uid"][:8]
    labels = labels_of(commands, suspect, where)
    assert labels == {"colour": "green", ISOLATED: uid}
    policy = commands.get("networkpolicy", f"forensics-isolate-{uid}", where)
    assert policy["spec"]["podSelector"] == {"matchLabels": {ISOLATED: uid}}
    commands.until(lambda: not endpoints(commands, suspect, where), "The end of the endpoint")

    done = commands.forensics("release", name, f"--checkpoint-namespace={SYSTEM}")
    assert done.code == 0, done.err
    commands.until(lambda: isolated(requests, name) == "Released", "The release")
    assert labels_of(commands, suspect, where) == {"app": suspect, "colour": "green"}
    assert commands.get("networkpolicy", f"forensics-isolate-{uid}", where) is None
    words = ("patch", CRD, name, IN_SYSTEM, "--type=merge")
    taken_back = commands.refusal(*words, '--patch={"spec": {"release": false}}')
    assert "cannot be taken back" in taken_back

    last = requests.apply("removed", pod=suspect, afterCapture="Delete", artifacts=["inspect"])
    requests.ended(last)
    commands.until(lambda: commands.get("pod", suspect, where) is None, "The end of the pod")
    told = commands.until(
        lambda: condition(requests.get(last)["status"], "PodDeleted"), "What became of the pod"
    )
    assert (told["status"], told["reason"]) == ("True", "Deleted")


def labels_of(commands: Commands, name: str, where: str) -> dict[str, str]:
    """Return a pod's labels, but for those that a cluster adds: its zone, from 1.35 on."""
    found = commands.get("pod", name, where)["metadata"].get("labels", {})
    return {key: value for key, value in found.items() if key in {"app", "colour", ISOLATED}}


def isolated(requests: Requests, name: str) -> str:
    """Return the reason of the condition `Isolated`."""
    return str(condition(requests.get(name)["status"], "Isolated").get("reason", ""))
