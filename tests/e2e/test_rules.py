"""A rule captures a pod that somebody annotates, and says so. Needs the overlay of rules.

Where that is not applied the test is left out, and says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.commands import Commands
from tests.e2e.installation import CRD, RULES, SYSTEM
from tests.e2e.pods import POD
from tests.e2e.requests import IN_SYSTEM, Requests, condition

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(0)]

OVERLAY = "forensics-operator-rules"
WISH = "forensics.orkaproj.io/capture"


@pytest.fixture(scope="module")
def rule(requests: Requests) -> Iterator[str]:
    """A rule for the pods of this run, acted on."""
    commands, name = requests.commands, f"{requests.commands.inputs.run}-rule"
    if commands.get("clusterrolebinding", OVERLAY) is None:
        pytest.skip("deploy/overlays/rules is not applied to this cluster")
    manifest = {
        "apiVersion": "forensics.orkaproj.io/v1alpha1",
        "kind": "CaptureRule",
        "metadata": {"name": name, "namespace": SYSTEM},
        "spec": {
            "namespaces": [requests.target.namespace],
            "events": ["Annotated"],
            "template": {
                "destination": requests.commands.inputs.destination,
                "artifacts": ["context", "inspect", "logs"],
            },
        },
    }
    commands.apply(manifest, IN_SYSTEM)
    try:
        active = commands.until(lambda: _active(commands, name), f"The rule {name}")
        assert active["status"] == "True", active
        yield name
    finally:
        commands.kubectl("delete", RULES, name, IN_SYSTEM)


def _active(commands: Commands, name: str) -> dict[str, Any] | None:
    found = commands.get(RULES, name, IN_SYSTEM)
    told = condition(found.get("status", {}), "Active")
    # Of an overlay that has only just been applied the operator learns within a minute.
    return told if told and told["reason"] != "OverlayMissing" else None


def captures(commands: Commands, rule: str) -> tuple[int, str] | None:
    """Return how many pods a rule has captured, and the last checkpoint; None: none yet."""
    status = commands.get(RULES, rule, IN_SYSTEM)["status"]
    if not status.get("captured"):
        return None
    return status["captured"], status["lastCaptures"][0]["checkpoint"]


def test_a_pod_that_is_annotated_is_captured_and_the_rule_tells(
    requests: Requests, rule: str
) -> None:
    commands = requests.commands
    where = f"--namespace={requests.target.namespace}"
    commands.kubectl("annotate", "pod", POD, where, f"{WISH}=odd traffic")
    try:
        selector = f"--selector=forensics.orkaproj.io/rule={rule}"
        (made,) = commands.until(
            lambda: commands.list(CRD, IN_SYSTEM, selector), "The PodCheckpoint of the rule"
        )
        name = made["metadata"]["name"]
        requests.made.append(name)
        assert made["metadata"]["labels"]["forensics.orkaproj.io/event"] == "Annotated"
        assert made["spec"]["reason"].startswith("Annotated: odd traffic")
        assert requests.ended(name)["phase"] == "Complete"
        told = commands.until(lambda: captures(commands, rule), "What the rule tells")
        assert told == (1, name)
    finally:
        commands.kubectl("annotate", "pod", POD, where, f"{WISH}-")
