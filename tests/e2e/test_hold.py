"""A pod that is deleted waits for its capture. Needs the overlays of rules and of hold.

Where the kind or the rights are absent the test is left out, and says what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.e2e.commands import Commands
from tests.e2e.installation import CRD, SYSTEM
from tests.e2e.pods import held_pod
from tests.e2e.requests import IN_SYSTEM, Requests, condition

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(0)]

RULES = "capturerules.forensics.orkaproj.io"
HOLD = "forensics.orkaproj.io/hold"
NAME = "held"


@pytest.fixture(scope="module")
def rule(requests: Requests) -> Iterator[str]:
    """A rule that holds the pod of this test, acted on."""
    commands, name = requests.commands, f"{requests.commands.inputs.run}-hold"
    if commands.get("crd", RULES) is None:
        pytest.skip(f"{RULES} is not there: kubectl apply -k deploy")
    commands.apply(_rule(requests, name), IN_SYSTEM)
    try:
        for kind, overlay in (("Active", "rules"), ("Holding", "hold")):
            said = commands.until(partial(_condition, commands, name, kind), kind)
            if said["reason"] == "OverlayMissing":
                pytest.skip(f"Rights are missing: kubectl apply -k deploy/overlays/{overlay}")
            assert said["status"] == "True", said
        yield name
    finally:
        commands.kubectl("delete", RULES, name, IN_SYSTEM)


def _rule(requests: Requests, name: str) -> dict[str, Any]:
    spec = {
        "namespaces": [requests.target.namespace],
        "selector": {"matchLabels": {"app": NAME}},
        "events": ["Deleted"],
        "template": {
            "destination": requests.commands.inputs.destination,
            "artifacts": ["context", "inspect", "logs"],
        },
        "hold": True,
        "holdSeconds": 120,
    }
    return {
        "apiVersion": "forensics.orkaproj.io/v1alpha1",
        "kind": "CaptureRule",
        "metadata": {"name": name, "namespace": SYSTEM},
        "spec": spec,
    }


def _condition(commands: Commands, name: str, kind: str) -> dict[str, Any] | None:
    found = commands.get(RULES, name, IN_SYSTEM)
    return condition(found.get("status", {}), kind) or None


def test_a_pod_that_is_deleted_waits_for_its_capture_and_goes_then(
    requests: Requests, rule: str
) -> None:
    commands = requests.commands
    where = f"--namespace={requests.target.namespace}"
    commands.apply(held_pod(NAME, commands.inputs.target_image), where)
    try:
        commands.until(lambda: _held_and_running(commands, where), "The pod, held and running")
        commands.kubectl("delete", "pod", NAME, where, "--wait=false")
        selector = f"--selector=forensics.orkaproj.io/rule={rule}"
        (made,) = commands.until(
            lambda: commands.list(CRD, IN_SYSTEM, selector), "The PodCheckpoint of the rule"
        )
        requests.made.append(made["metadata"]["name"])
        assert made["metadata"]["labels"]["forensics.orkaproj.io/event"] == "Deleted"
        limit = f"--timeout={commands.inputs.timeout}s"
        commands.kubectl("wait", "--for=delete", f"pod/{NAME}", where, limit)
        status = requests.get(made["metadata"]["name"])["status"]
        assert condition(status, "Captured")["status"] == "True"
    finally:
        commands.kubectl("delete", "pod", NAME, where, "--ignore-not-found", "--wait=false")


def _held_and_running(commands: Commands, where: str) -> bool:
    pod = commands.get("pod", NAME, where)
    return (
        pod is not None
        and HOLD in pod["metadata"].get("finalizers", [])
        and pod.get("status", {}).get("phase") == "Running"
    )
