"""What a capture waits for: its place, its node, its worker; and what is done meanwhile."""

from __future__ import annotations

from collections.abc import Mapping

import anyio
import pytest

from forensics_core.bundle.layout import is_of_attempt
from forensics_core.bundle.verify import verify
from forensics_core.kube.connection import connect
from forensics_core.operator.attempt.monitor import why_no_pod
from forensics_core.operator.attempt.pods import JobOutcome as Ended
from forensics_core.operator.settings import Settings
from forensics_core.storage.s3.client import s3_client
from forensics_loopback import RunningPod
from lab.sink import StoreSink
from tests.integration.operator.stage import (
    NAMESPACE,
    Document,
    Stage,
    collector_secret,
    condition,
    reads_of,
    timed,
)
from tests.integration.operator.test_trouble import said
from tests.unit.operator.samples import job


def one_a_node(stage: Stage) -> Settings:
    return stage.settings.model_copy(update={"captures_per_node": 1})


def starting_within(stage: Stage, seconds: int, **more: int) -> Settings:
    collector = stage.settings.collector.model_copy(update={"start_seconds": seconds})
    return stage.settings.model_copy(update={"collector": collector, **more})


async def stored(stage: Stage, status: Document) -> set[str]:
    """Return what lies at the checkpoint's location."""
    prefix = status["location"].removeprefix(f"s3://{stage.bucket}/")
    async with s3_client(stage.access) as client:
        found = await client.list_objects_v2(Bucket=stage.bucket, Prefix=prefix)
    return {item["Key"].removeprefix(prefix) for item in found.get("Contents", ())}


def held(stage: Stage) -> anyio.Event:
    """Have the first worker hold its place until the event."""
    go_on = anyio.Event()

    async def hold(pod: RunningPod) -> None:
        if len(stage.worker.runs) == 1:
            await go_on.wait()

    stage.worker.before = hold
    return go_on


async def waits(stage: Stage, name: str = "checkpoint-2") -> Document:
    """Wait until its context is stored though it has no place; return its status."""
    found = await stage.until(lambda item: item.get("status", {}).get("location"), name)
    with anyio.fail_after(120):
        while "context/pod.yaml" not in await stored(stage, found["status"]):  # noqa: ASYNC110
            await anyio.sleep(0.05)
    status: Document = stage.get(name)["status"]
    return status


@pytest.mark.parametrize("restarted", [False, True])
async def test_context_is_gathered_while_a_capture_waits_for_its_place(
    stage: Stage, restarted: bool
) -> None:
    go_on = held(stage)
    stage.request()
    async with stage.operating(one_a_node(stage)):
        await stage.until(lambda item: item.get("status", {}).get("phase") == "Capturing")
        stage.request("checkpoint-2")
        status = await waits(stage)
        assert (status["phase"], condition(status, "Captured")["reason"]) == ("Pending", "NodeBusy")
        if not restarted:
            go_on.set()
            done = await stage.finished("checkpoint-2")
    if restarted:
        stage.cluster.patch("pods", "web-0", {"metadata": {"labels": {"later": "x"}}}, "default")
        async with stage.operating(one_a_node(stage)):
            go_on.set()
            done = await stage.finished("checkpoint-2")
    assert done["phase"] == "Complete" and is_of_attempt(done["location"], 1)
    # What another operator stored cannot be told from what somebody else did: it is left alone.
    assert (done["location"] == status["location"]) is not restarted
    verification = await verify(done["location"], key=stage.public_key, access=stage.access)
    assert verification.problems == ()


async def test_context_stays_though_the_pod_goes_while_it_waits(stage: Stage) -> None:
    go_on = held(stage)
    stage.cluster.seed_pod("web-1")
    stage.request()
    async with stage.operating(one_a_node(stage)):
        await stage.until(lambda item: item.get("status", {}).get("phase") == "Capturing")
        stage.request("checkpoint-2", pod="web-1")
        status = await waits(stage)
        stage.cluster.delete("pods", "web-1", "default", gracePeriodSeconds="0")
        go_on.set()
        done = await stage.finished("checkpoint-2")
    assert condition(done, "Failed")["reason"] == "PodGone"
    assert done["location"] == status["location"]
    assert "context/owners.json" in await stored(stage, done)


async def test_a_destination_that_refuses_is_an_answer_also_while_it_waits(
    stage: Stage, sink: StoreSink
) -> None:
    sink.missing.add("gone")
    go_on = held(stage)
    elsewhere = stage.settings.destinations[0].model_copy(
        update={"prefix": "s3://gone", "operator_endpoint": sink.endpoint}
    )
    rules = (*stage.settings.destinations, elsewhere)
    settings = one_a_node(stage).model_copy(update={"destinations": rules})
    stage.request()
    async with stage.operating(settings):
        await stage.until(lambda item: item.get("status", {}).get("phase") == "Capturing")
        stage.request("checkpoint-2", destination="s3://gone")
        done = await stage.finished("checkpoint-2")
        go_on.set()
        await stage.finished()
    assert condition(done, "Failed")["reason"] == "BucketNotFound"


def ready(stage: Stage, status: str) -> None:
    """Have the node say that it is ready, or not."""
    node = stage.cluster.get("nodes", "node1")
    conditions = [{**node["status"]["conditions"][0], "status": status}]
    stage.cluster.patch("nodes", "node1", {"status": {"conditions": conditions}})


async def test_a_node_that_is_not_ready_is_waited_for(stage: Stage) -> None:
    ready(stage, "Unknown")
    stage.request()
    async with stage.operating(timed(stage, fresh=0.1, look_again=0.2)):
        status = await waits(stage, "checkpoint-1")
        assert condition(status, "Captured")["reason"] == "NodeNotReady"
        assert stage.worker.runs == []
        ready(stage, "True")
        done = await stage.finished()
    assert done["phase"] == "Complete"


async def test_a_node_that_does_not_come_back_is_given_up(stage: Stage) -> None:
    ready(stage, "False")
    stage.request()
    settings = timed(stage, look_again=0.2).model_copy(update={"pod_wait_seconds": 1})
    async with stage.operating(settings):
        done = await stage.finished()
    failed = condition(done, "Failed")
    assert (failed["reason"], "Waited" in failed["message"]) == ("NodeNotReady", True)


async def test_a_worker_that_does_not_start_says_why_and_ends(stage: Stage) -> None:
    stage.cluster.delete("secrets", "collector-s3", NAMESPACE)
    stage.request()
    async with stage.operating(starting_within(stage, 3, max_attempts=2)):
        told = await stage.until(
            lambda item: (
                condition(item.get("status", {}), "Captured").get("reason")
                == "CreateContainerConfigError"
            )
        )
        assert told["status"]["progress"]["summary"] == "CreateContainerConfigError"
        await said(stage, 'Not started yet: secret \\"collector-s3\\" not found')
        done = await stage.finished()
    failed = condition(done, "Failed")
    assert failed["reason"] == "CreateContainerConfigError"
    assert 'did not start: secret "collector-s3" not found (attempt 2 of 2)' in failed["message"]
    assert stage.worker.runs == []


@pytest.mark.parametrize(
    ("reason", "seconds"), [("InvalidImageName", 600), ("ErrImageNeverPull", 3)]
)
async def test_an_image_that_can_never_start_is_tried_once(
    stage: Stage, reason: str, seconds: int
) -> None:
    """One whose name is none is not even waited for; the other may be loaded onto the node."""
    stage.cluster.delete("secrets", "collector-s3", NAMESPACE)
    stage.request()
    async with stage.operating(starting_within(stage, seconds)):
        with anyio.fail_after(120):
            await stage.cluster.until("pods", _waits, NAMESPACE)
        (pod,) = stage.cluster.list("pods", NAMESPACE)
        state = {"waiting": {"reason": reason, "message": "no such image"}}
        (container,) = pod["status"]["containerStatuses"]
        change = {"status": {"containerStatuses": [{**container, "state": state}]}}
        stage.cluster.patch("pods", pod["metadata"]["name"], change, NAMESPACE)
        done = await stage.finished()
    failed = condition(done, "Failed")
    assert (failed["reason"], done["attempt"]) == (reason, 1)
    assert "did not start: no such image (attempt 1 of 3)" in failed["message"]
    assert stage.worker.runs == []


def _waits(items: Mapping[str, Document] | list[Document]) -> object:
    """Return the pods whose container waits, as the kubelet says."""
    found = items.values() if isinstance(items, Mapping) else items
    return [pod for pod in found if pod.get("status", {}).get("containerStatuses")]


async def test_a_worker_that_starts_late_is_followed(stage: Stage) -> None:
    stage.cluster.delete("secrets", "collector-s3", NAMESPACE)
    stage.request()
    async with stage.operating():
        await stage.until(
            lambda item: (
                condition(item.get("status", {}), "Captured").get("reason")
                == "CreateContainerConfigError"
            )
        )
        stage.cluster.create(collector_secret(stage.access))
        done = await stage.finished()
    assert (done["phase"], done["attempt"]) == ("Complete", 1)


async def test_a_job_whose_end_nobody_heard_of_is_made_again(stage: Stage) -> None:
    """Its pod went, and the watch swallowed the event that the Job went too."""
    started = anyio.Event()

    async def first_stays(pod: RunningPod) -> None:
        if len(stage.worker.runs) == 1:
            started.set()
            await anyio.sleep_forever()

    stage.worker.before = first_stays
    stage.request()
    async with stage.operating(timed(stage, late_start=1)):
        await started.wait()
        stage.cluster.faults.skipped_events["jobs"] = 10
        name = stage.get()["status"]["jobName"]
        stage.cluster.delete("jobs", name, NAMESPACE, propagationPolicy="Background")
        done = await stage.finished()
    assert done["phase"] == "Complete"
    assert len(stage.worker.runs) == 2


async def test_a_job_that_makes_no_pod_tells_why(stage: Stage) -> None:
    refused = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "no-pod", "namespace": NAMESPACE},
        "regarding": {"kind": "Job", "namespace": NAMESPACE, "uid": "j"},
        "eventTime": "2026-08-01T10:11:12.000000Z",
        "reportingController": "k8s.io/job-controller",
        "reportingInstance": "x",
        "action": "Create",
        "type": "Warning",
        "reason": "FailedCreate",
        "note": "violates PodSecurity",
    }
    stage.cluster.create(refused)
    async with connect(stage.kubeconfig) as cluster:
        why = await why_no_pod(reads_of(cluster), job())
    assert why == Ended("FailedCreate", "violates PodSecurity", retry=True)
