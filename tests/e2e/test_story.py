"""From `kubectl apply` to verified evidence, on the cluster of KUBECONFIG."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.commands import Commands
from tests.e2e.installation import CRD, SYSTEM, Installation
from tests.e2e.pods import CONTAINERS, MARKER, PENDING, POD, Target
from tests.e2e.requests import IN_SYSTEM, Requests, condition

# Each command has its own limit, and a slow cluster a higher one.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(0)]


@pytest.fixture(scope="module")
def sample(requests: Requests) -> dict[str, Any]:
    """The seed's sample, applied, and come to its end."""
    name = requests.apply("sample")
    requests.ended(name)
    return requests.get(name)


@pytest.fixture(scope="module")
def evidence(
    sample: dict[str, Any],
    commands: Commands,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Its evidence, downloaded, and verified on the way."""
    folder = tmp_path_factory.mktemp("evidence") / "bundle"
    location = sample["status"]["location"]
    fetched = commands.forensics("fetch", location, folder, "--decompress")
    assert fetched.code == 0, fetched.err
    return folder


def test_the_resource_explains_itself(commands: Commands, installation: Installation) -> None:
    explained = commands.kubectl("explain", f"{CRD}.spec")
    for name in ("destination", "subpath", "pod", "namespace", "artifacts", "cancel"):
        assert f"\n  {name}\t" in explained, explained


def test_the_sample_ends_complete_and_sealed(sample: dict[str, Any], target: Target) -> None:
    status = sample["status"]
    assert status["phase"] == "Complete", status
    assert status["sealed"] is True
    assert (status["attempt"], status["succeeded"]) == (1, 1)
    assert condition(status, "Captured")["status"] == "True"
    assert condition(status, "Complete")["status"] == "True"
    pod = target.commands.get("pod", POD, f"--namespace={target.namespace}")
    assert status["podUID"] == pod["metadata"]["uid"]
    assert status["node"] == pod["spec"]["nodeName"]


def test_every_container_is_captured(sample: dict[str, Any]) -> None:
    status = sample["status"]
    states = {one["name"]: one["state"] for one in status["containers"]}
    assert states == dict.fromkeys(CONTAINERS, "Captured"), status
    assert condition(status, "Partial") == {}


def test_the_bundle_verifies_with_the_key_from_here(
    sample: dict[str, Any], commands: Commands, installation: Installation
) -> None:
    status = sample["status"]
    key = installation.public_key
    done = commands.forensics("verify", status["location"], "--key", key, "-o", "json")
    assert done.code == 0, done.out + done.err
    verified = json.loads(done.out)
    assert verified["seal"] == "valid"
    assert verified["manifestSha256"] == status["manifestSHA256"]


def test_what_the_intruder_left_is_in_it(evidence: Path, target: Target) -> None:
    with tarfile.open(evidence / "containers" / "app" / "rootfs.tar") as archive:
        members = {name.lstrip("./"): name for name in archive.getnames()}
        left = archive.extractfile(members[MARKER.lstrip("/")])
        assert left is not None
        assert left.read().decode().strip() == target.secret
    changes = json.loads((evidence / "containers" / "app" / "diff.json").read_bytes())
    assert MARKER in json.dumps(changes)
    logs = list((evidence / "containers" / "app" / "logs").iterdir())
    assert any(target.secret.encode() in log.read_bytes() for log in logs)


def test_the_surroundings_are_in_it(evidence: Path) -> None:
    assert POD in (evidence / "context" / "pod.yaml").read_text()
    assert json.loads((evidence / "context" / "node.json").read_bytes())


def test_one_attempt_made_one_job_without_a_token(
    sample: dict[str, Any], commands: Commands
) -> None:
    label = f"--selector=forensics.orkaproj.io/checkpoint-uid={sample['metadata']['uid']}"
    jobs = commands.list("jobs", label, IN_SYSTEM)
    assert [job["metadata"]["name"] for job in jobs] == [sample["status"]["jobName"]]
    pod = jobs[0]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert not pod["containers"][0]["securityContext"]["privileged"]


def test_kubectl_shows_it(sample: dict[str, Any], commands: Commands) -> None:
    name = sample["metadata"]["name"]
    heading, row = commands.kubectl("get", CRD, name, IN_SYSTEM).splitlines()
    assert heading.split()[:3] == ["NAME", "POD", "TARGET-NS"]
    assert POD in row and "Complete" in row
    commands.until(
        lambda: {"CaptureStarted", "Captured"} <= set(events(commands, name)),
        "The events in kubectl describe",
    )


def events(commands: Commands, name: str) -> list[str]:
    """Return the reasons of the events that `kubectl describe` shows."""
    shown = commands.kubectl("describe", CRD, name, IN_SYSTEM)
    rows = [row.split() for row in shown.partition("\nEvents:")[2].splitlines()]
    return [row[1] for row in rows if len(row) > 1]


def test_a_pod_that_is_not_there(requests: Requests) -> None:
    status = requests.ended(requests.apply("missing", pod="nope"))
    namespace = requests.target.namespace
    failed = condition(status, "Failed")
    assert (failed["status"], failed["reason"]) == ("True", "NotFound")
    assert failed["message"] == (
        f"The specified Pod 'nope' was not found in the '{namespace}' namespace."
    )
    assert status["startTime"] and status["completionTime"]


def test_the_command_line_waits_for_the_end(requests: Requests) -> None:
    name = requests.name("typed")
    done = requests.commands.forensics(
        *("checkpoint", POD, "-n", requests.target.namespace, "--name", name, "--wait"),
        *("-c", "app", "--artifact", "logs", "--artifact", "inspect"),
        *("--to", requests.commands.inputs.destination, "--checkpoint-namespace", SYSTEM),
        *("--timeout", str(requests.commands.inputs.timeout)),
    )
    assert done.code == 0, done.out + done.err
    assert "Captured: the pod may be killed." in done.out
    assert "Sealed:    yes" in done.out
    containers = requests.get(name)["status"]["containers"]
    assert [one["name"] for one in containers] == ["app"]


def test_a_request_cannot_be_changed(sample: dict[str, Any], commands: Commands) -> None:
    name = sample["metadata"]["name"]
    words = ("patch", CRD, name, IN_SYSTEM, "--type=merge")
    patch = '--patch={"spec": {"pod": "other"}}'
    assert "cannot be changed" in commands.refusal(*words, patch)


def test_a_destination_that_nobody_allowed(requests: Requests) -> None:
    status = requests.ended(requests.apply("elsewhere", destination="s3://somebody-elses-bucket"))
    assert condition(status, "Failed")["reason"] == "DestinationNotAllowed"


def test_a_waiting_capture_can_be_cancelled(requests: Requests) -> None:
    name = requests.apply("cancelled", pod=PENDING)
    waiting = requests.commands.until(
        lambda: condition(requests.get(name).get("status", {}), "Captured"), "The wait for a node"
    )
    assert waiting["reason"] == "PodPending"
    done = requests.commands.forensics("cancel", name, f"--checkpoint-namespace={SYSTEM}")
    assert done.code == 0, done.err
    assert condition(requests.ended(name), "Failed")["reason"] == "Cancelled"
    words = ("patch", CRD, name, IN_SYSTEM, "--type=merge")
    assert "cannot be taken back" in requests.commands.refusal(
        *words, '--patch={"spec": {"cancel": false}}'
    )


def test_deleting_a_request_leaves_its_evidence(requests: Requests) -> None:
    name = requests.apply("deleted", containers=["app"], artifacts=["inspect"])
    status, uid = requests.ended(name), requests.get(name)["metadata"]["uid"]
    assert status["phase"] == "Complete", status
    limit = f"--timeout={requests.commands.inputs.timeout}s"
    requests.commands.kubectl("delete", CRD, name, IN_SYSTEM, limit)
    label = f"--selector=forensics.orkaproj.io/checkpoint-uid={uid}"
    requests.commands.until(
        lambda: not requests.commands.list("jobs,pods,secrets", label, IN_SYSTEM),
        "The end of the Job, its pod and the order",
    )
    verified = requests.commands.forensics("verify", status["location"])
    assert verified.code == 0, verified.out + verified.err
