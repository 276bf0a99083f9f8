"""What others do to a checkpoint: nodes that lie, storage away, objects in the way."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from awscrt.checksums import crc64nvme

from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.manifest import Capture, Container, NotCaptured
from forensics_core.bundle.verify import verify
from forensics_core.operator.evidence.manifest import LIMIT, SMALL
from forensics_core.operator.settings import Settings
from forensics_core.storage.s3.client import s3_client
from forensics_loopback import ContainerExit, Fault, RunningPod
from lab.idle import order_of
from lab.sink import StoreSink
from tests.bundles import of_order
from tests.integration.operator.stage import NAMESPACE, Document, Stage, condition


def job_name(stage: Stage) -> str:
    """Return the name that the first attempt's children will bear."""
    return f"checkpoint-1-{stage.get()['metadata']['uid'][:8]}-1"


def foreign(kind: str, name: str) -> Document:
    """Return somebody else's object."""
    body: Document = {"kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}}
    if kind == "Secret":
        return {"apiVersion": "v1", **body}
    container = {"name": "x", "image": "x"}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    return {"apiVersion": "batch/v1", **body, "spec": {"suspend": True, "template": template}}


@pytest.mark.parametrize("kind", ["Secret", "Job"])
async def test_an_object_in_the_way_is_neither_taken_nor_waited_for(
    stage: Stage, kind: str
) -> None:
    stage.request()
    stage.cluster.create(foreign(kind, job_name(stage)))
    async with stage.operating():
        status = await stage.finished()
    assert condition(status, "Failed")["reason"] == "NameTaken"
    assert f"There is a {kind}" in condition(status, "Failed")["message"]
    assert stage.worker.runs == []


async def store(stage: Stage, status: Document, name: str, data: bytes) -> None:
    """Put an object into the bundle, as somebody with the rights of an administrator can."""
    prefix = status["location"].removeprefix(f"s3://{stage.bucket}/")
    async with s3_client(stage.access) as client:
        total = base64.b64encode(crc64nvme(data).to_bytes(8, "big")).decode()
        await client.put_object(
            Bucket=stage.bucket, Key=prefix + name, Body=data, ChecksumCRC64NVME=total
        )


async def remove(stage: Stage, status: Document, name: str) -> None:
    """Take an object out of the bundle."""
    prefix = status["location"].removeprefix(f"s3://{stage.bucket}/")
    async with s3_client(stage.access) as client:
        await client.delete_object(Bucket=stage.bucket, Key=prefix + name)


def after_storing(stage: Stage, tamper: Callable[[Document], Any]) -> None:
    """Have the worker's bundle tampered with before the operator looks."""

    async def worker(pod: RunningPod) -> ContainerExit:
        await stage.worker.store(*order_of(pod))
        await tamper(stage.get()["status"])
        return ContainerExit()

    stage.worker.before = worker


INSPECT = "containers/app/inspect.json"
OWNERS = "context/owners.json"
"""An empty list, for the pod is nobody's."""
TWICE = Container(name="app", container_id="x")


@pytest.mark.parametrize(
    ("name", "data", "reason", "message"),
    [
        (INSPECT, None, "NotSealed", f"{INSPECT} is not stored"),
        (INSPECT, b"{}", "NotSealed", f"{INSPECT} is stored with 2 bytes, not 11"),
        (INSPECT, b'{"Id": "y"}', "NotSealed", f"{INSPECT} is stored with another checksum"),
        ("context/pod.yaml", b"{}", "NotSealed", "context/pod.yaml is stored with 2 bytes"),
        (OWNERS, b"{}\n", "NotSealed", f"{OWNERS} is stored with another content"),
        ("context/pod.yaml", None, "NotSealed", "context/pod.yaml is not stored"),
        ("SHA256SUMS", None, "NotSealed", "SHA256SUMS is not stored"),
        ("SHA256SUMS", b"x", "NotSealed", "SHA256SUMS is stored with another content"),
        ("manifest.json", b"{}", "ManifestUnreadable", "is not a manifest of kube-forensics"),
        ("manifest.sigstore.json", b"{}", "NotSealed", "was written before the operator sealed"),
    ],
)
async def test_what_is_stored_has_to_be_what_the_manifest_says(
    stage: Stage, name: str, data: bytes | None, reason: str, message: str
) -> None:
    async def tamper(status: Document) -> None:
        if data is None:
            await remove(stage, status, name)
        else:
            await store(stage, status, name, data)

    after_storing(stage, tamper)
    stage.request()
    async with stage.operating():
        status = await stage.finished()
    assert (status["phase"], status["sealed"]) == ("Failed", False)
    assert condition(status, "Failed")["reason"] == reason
    assert message in condition(status, "Failed")["message"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"containers": (Container(name="../x", container_id="x"),)}, "NotSealed"),
        ({"containers": (TWICE, TWICE)}, "ManifestUnreadable"),
        ({"containers": ()}, "NotSealed"),
    ],
    ids=["unfit", "twice", "silent"],
)
async def test_a_lying_manifest_ends_in_an_honest_failure(
    stage: Stage, changes: dict[str, Any], reason: str
) -> None:
    def alter(capture: Capture) -> Capture:
        return capture.model_copy(update=changes)

    stage.worker.alter = alter
    stage.request()
    async with stage.operating():
        status = await stage.finished()
    assert condition(status, "Failed")["reason"] == reason


async def test_a_manifest_of_less_than_was_ordered_ends_in_an_honest_failure(
    stage: Stage,
) -> None:
    stage.worker.alter = lambda capture: of_order(capture, requested=(ArtifactKind.INSPECT,))
    stage.request()
    async with stage.operating():
        status = await stage.finished()
    assert condition(status, "Failed")["reason"] == "NotSealed"


async def test_a_part_that_is_silently_left_out_does_not_pass_for_complete(stage: Stage) -> None:
    stage.worker.leaves_out = ArtifactKind.PROCESSES
    stage.request()
    async with stage.operating():
        status = await stage.finished()
        await said(stage, "Do not kill the pod")
    assert condition(status, "Failed")["reason"] == "NotSealed"
    assert "nothing of the processes of the container app" in condition(status, "Failed")["message"]
    captured = condition(status, "Captured")
    assert (captured["status"], captured["reason"]) == ("False", "NotSealed")
    assert captured["message"].startswith("Do not kill the pod")
    assert (status["succeeded"], status["failed"]) == (0, 1)


@pytest.mark.parametrize(
    ("size", "phase"), [(SMALL, "Complete"), (LIMIT, "Failed")], ids=["large", "too large"]
)
async def test_manifests_are_read_up_to_a_limit(stage: Stage, size: int, phase: str) -> None:
    """A text that fills the manifest is a gap's, so the large one is honest."""
    gap = NotCaptured(what="memory", reason="NotSupported", message="x" * size)
    stage.worker.gaps = (gap,)
    stage.request()
    async with stage.operating():
        status = await stage.finished()
    assert status["phase"] == phase
    if phase == "Failed":
        assert condition(status, "Failed")["reason"] == "ManifestUnreadable"


async def test_a_large_manifest_that_lies_is_refused_as_a_small_one_is(stage: Stage) -> None:
    """One is held at a time, and what earlier attempts left is looked at before it is given up."""
    gap = NotCaptured(what="memory", reason="NotSupported", message="x" * SMALL)
    stage.worker.gaps = (gap,)
    stage.worker.alter = lambda capture: of_order(capture, reason="another")
    stage.request()
    async with stage.operating():
        status = await stage.finished()
    assert condition(status, "Failed")["reason"] == "NotSealed"


async def test_a_status_that_the_server_does_not_take_is_an_end(stage: Stage) -> None:
    async def refuse(pod: RunningPod) -> None:
        stage.cluster.faults.add(Fault("patch", "podcheckpoints/status", times=1, status=422))

    stage.worker.before = refuse
    stage.request()
    async with stage.operating(stage.settings.model_copy(update={"progress_seconds": 60})):
        status = await stage.finished()
    assert condition(status, "Failed")["reason"] == "ManifestUnreadable"


async def test_odd_reasons_of_gaps_do_not_stop_the_operator(stage: Stage) -> None:
    stage.worker.gaps = (NotCaptured(what="memory", reason="<b>1 of 2!", message="\u202e"),)
    stage.request()
    async with stage.operating():
        status = await stage.finished()
    assert condition(status, "Partial")["reason"] == "b1of2"


async def test_without_its_key_the_operator_stores_and_says_so(
    stage: Stage, tmp_path: Path
) -> None:
    (tmp_path / "key.pem").unlink()
    stage.request()
    async with stage.operating():
        status = await stage.finished()
    assert (status["phase"], status["sealed"]) == ("Complete", False)
    assert condition(status, "Complete")["reason"] == "NotSealed"


async def said(stage: Stage, text: str) -> None:
    """Wait for an event that says this."""
    with anyio.fail_after(20):
        await stage.cluster.until(
            "events",
            lambda events: [one for one in events if text in json.dumps(one)],
            NAMESPACE,
        )


@pytest.mark.parametrize("broken", ["garbage", "a folder"])
async def test_with_a_broken_key_it_waits_for_a_good_one_and_says_so(
    stage: Stage, tmp_path: Path, broken: str
) -> None:
    key = tmp_path / "key.pem"
    good = key.read_bytes()
    key.unlink()
    if broken == "garbage":
        key.write_bytes(b"no key")
    else:
        key.mkdir()
    stage.request()
    async with stage.operating():
        await said(stage, "key")
        assert stage.get()["status"]["phase"] == "Sealing"
        if broken == "garbage":
            key.unlink()
        else:
            key.rmdir()
        key.write_bytes(good)
        status = await stage.finished()
    verification = await verify(status["location"], key=stage.public_key, access=stage.access)
    assert verification.problems == ()


async def test_a_bucket_that_is_not_there_is_an_answer_at_once(
    stage: Stage, sink: StoreSink
) -> None:
    sink.missing.add(stage.bucket)
    elsewhere = {"operator_endpoint": sink.endpoint}
    rule = stage.settings.destinations[0].model_copy(update=elsewhere)
    stage.request()
    async with stage.operating(stage.settings.model_copy(update={"destinations": (rule,)})):
        status = await stage.finished()
    assert condition(status, "Failed")["reason"] == "BucketNotFound"


async def test_a_destination_withdrawn_in_the_middle_can_come_back(stage: Stage) -> None:
    started, go_on = anyio.Event(), anyio.Event()

    async def wait(pod: RunningPod) -> None:
        started.set()
        await go_on.wait()

    stage.worker.before = wait
    stage.request()
    async with stage.operating():
        await started.wait()
    go_on.set()
    withdrawn: Settings = stage.settings.model_copy(update={"destinations": ()})
    async with stage.operating(withdrawn):
        await said(stage, "is not allowed any more")
        assert stage.get()["status"]["phase"] == "Capturing"
    async with stage.operating():
        assert (await stage.finished())["phase"] == "Complete"
    assert len(stage.worker.runs) == 1


async def test_a_pod_replaced_while_it_waits_for_its_node_is_not_captured(stage: Stage) -> None:
    go_on = anyio.Event()

    async def wait(pod: RunningPod) -> None:
        await go_on.wait()

    stage.worker.before = wait
    stage.cluster.seed_pod("web-1")
    settings = stage.settings.model_copy(update={"captures_per_node": 1})
    async with stage.operating(settings):
        stage.request()
        await stage.until(lambda item: item.get("status", {}).get("phase") == "Capturing")
        stage.request("checkpoint-2", pod="web-1")
        await stage.until(lambda item: item.get("status", {}).get("podUID"), "checkpoint-2")
        stage.cluster.delete("pods", "web-1", "default", gracePeriodSeconds="0")
        stage.cluster.seed_pod("web-1")
        go_on.set()
        status = await stage.finished("checkpoint-2")
    assert condition(status, "Failed")["reason"] == "PodReplaced"


async def test_deleting_a_capture_gives_its_place_to_who_waits(stage: Stage) -> None:
    started = anyio.Event()

    async def first_stays(pod: RunningPod) -> None:
        if len(stage.worker.runs) == 1:
            started.set()
            await anyio.sleep_forever()

    stage.worker.before = first_stays
    settings = stage.settings.model_copy(update={"captures_per_node": 1})
    async with stage.operating(settings):
        stage.request()
        await started.wait()
        stage.request("checkpoint-2")
        await stage.until(
            lambda item: item.get("status", {}).get("phase") == "Pending", "checkpoint-2"
        )
        stage.cluster.delete("podcheckpoints", "checkpoint-1", NAMESPACE)
        assert (await stage.finished("checkpoint-2"))["phase"] == "Complete"


async def test_whatever_a_worker_prints_only_progress_is_taken(stage: Stage) -> None:
    printed, go_on = anyio.Event(), anyio.Event()

    async def flood(pod: RunningPod) -> None:
        for number in range(2000):
            pod.log.write(b'{"event":"progress","artifactsDone":%d}\n' % number)
            pod.log.write(b'{"event":"progress","artifactsDone":"\xff"}\n\x00\x1b[2J\n')
        printed.set()
        await go_on.wait()

    stage.worker.before = flood
    stage.request()
    async with stage.operating():
        await printed.wait()
        before = stage.requests("patch").get("patch podcheckpoints/status", 0)
        await stage.until(
            lambda item: item["status"].get("progress", {}).get("artifactsDone") == 1999
        )
        written = stage.requests("patch")["patch podcheckpoints/status"] - before
        go_on.set()
        assert (await stage.finished())["phase"] == "Complete"
    assert written < 1000


ENDED = b'{"event":"ended","reason":"Captured","message":"x","retry":false}\n'


async def test_evidence_is_taken_when_the_collector_says_that_it_ends(stage: Stage) -> None:
    async def end_slowly(pod: RunningPod) -> None:
        await stage.worker.store(*order_of(pod), pod)
        pod.log.write(ENDED)
        # A kubelet may take a second to tell the end; this one never does.
        await anyio.sleep_forever()

    stage.worker.before = end_slowly
    stage.request()
    async with stage.operating():
        assert (await stage.finished())["phase"] == "Complete"


async def test_a_collector_that_says_that_it_ends_and_has_nothing_is_waited_for(
    stage: Stage,
) -> None:
    said, go_on = anyio.Event(), anyio.Event()

    async def lie(pod: RunningPod) -> None:
        for _ in range(100):
            pod.log.write(ENDED)
        pod.log.write(b'{"event":"progress","artifactsDone":1}\n')
        said.set()
        await go_on.wait()

    stage.worker.before = lie
    stage.request()
    async with stage.operating():
        await said.wait()
        await stage.until(
            lambda item: item.get("status", {}).get("progress", {}).get("artifactsDone") == 1
        )
        go_on.set()
        status = await stage.finished()
    assert (status["phase"], status["attempt"], len(stage.worker.runs)) == ("Complete", 1, 1)


async def test_a_job_taken_away_after_it_stored_something_is_another_attempt(stage: Stage) -> None:
    async def first_is_taken_away(pod: RunningPod) -> None:
        if len(stage.worker.runs) == 1:
            pod.log.write(b'{"event":"progress","artifactsDone":1}\n')
            await anyio.sleep_forever()

    stage.worker.before = first_is_taken_away
    stage.request()
    async with stage.operating():
        found = await stage.until(
            lambda item: item.get("status", {}).get("progress", {}).get("artifactsDone") == 1
        )
        stage.cluster.delete(
            "jobs", found["status"]["jobName"], NAMESPACE, propagationPolicy="Background"
        )
        status = await stage.finished()
    assert (status["phase"], status["attempt"]) == ("Complete", 2)
