"""One incident, five pods: asked for at once, followed, reported on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.installation import CRD
from tests.e2e.pods import FOREVER
from tests.e2e.requests import IN_SYSTEM, Requests

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(0)]

PODS = 5


@pytest.fixture(scope="module")
def crowd(requests: Requests) -> Iterator[str]:
    """Five pods with one label, whose value is this run's and the incident's id, too."""
    commands, where = requests.commands, f"--namespace={requests.target.namespace}"
    label = f"{commands.inputs.run}-crowd"
    names = [f"{label}-{number}" for number in range(PODS)]
    limit = f"--timeout={commands.inputs.timeout}s"
    try:
        for name in names:
            commands.apply(pod(name, label, commands.inputs.target_image), where)
        commands.kubectl("wait", "pod", *names, where, "--for=condition=Ready", limit)
        yield label
    finally:
        # Those too that a test which failed does not know of.
        asked = f"--selector=forensics.orkaproj.io/incident={label}"
        left = commands.list(CRD, IN_SYSTEM, asked)
        requests.made.extend(one["metadata"]["name"] for one in left)
        commands.kubectl("delete", "pod", *names, where, "--ignore-not-found", limit)


def pod(name: str, label: str, image: str) -> dict[str, Any]:
    container = {
        "name": "app",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-c", FOREVER],
    }
    spec = {"containers": [container], "terminationGracePeriodSeconds": 1}
    metadata = {"name": name, "labels": {"crowd": label}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def test_five_pods_of_an_incident_are_captured_followed_and_reported_on(
    requests: Requests, crowd: str, tmp_path: Path
) -> None:
    commands, namespace = requests.commands, requests.target.namespace
    incident = ("incident", crowd)
    which = ("-n", namespace, "-l", f"crowd={crowd}")
    how = ("--to", commands.inputs.destination, "--artifact", "inspect", "-o", "json")
    preview = commands.forensics(*incident, "checkpoint", *which, *how, "--dry-run")
    assert (preview.code, json.loads(preview.out)["total"]) == (0, PODS), preview.err
    asked = commands.forensics(*incident, "checkpoint", *which, *how)
    assert asked.code == 0, asked.err
    made = json.loads(asked.out)["requests"]
    assert [one["state"] for one in made] == ["Created"] * PODS
    limit = f"--timeout={commands.inputs.timeout}s"
    watched = commands.forensics(*incident, "status", "--watch", limit, "-o", "json")
    assert watched.code == 0, watched.err
    found = json.loads(watched.out)
    assert found["phases"] == {"Complete": PODS}
    assert found["mayBeKilled"] == [f"{namespace}/{crowd}-{number}" for number in range(PODS)]
    # None of them is captured twice.
    again = commands.forensics(*incident, "checkpoint", *which, *how)
    assert {one["state"] for one in json.loads(again.out)["requests"]} == {"Existing"}
    report = tmp_path / "report"
    key = requests.installation.public_key
    told = commands.forensics(*incident, "report", "-o", report, "--key", key)
    assert told.code == 0, told.err
    assert len(list(report.glob("*.html"))) == PODS + 1
    assert f"{namespace}/{crowd}-0" in (report / "index.html").read_text()
