"""From a PodCheckpoint to a sealed bundle, and all the other ends there are."""

from __future__ import annotations

import anyio
import pytest

from forensics_core.api.steps import Step
from forensics_core.bundle.layout import is_of_attempt
from forensics_core.bundle.manifest import NotCaptured
from forensics_core.bundle.verify import verify
from forensics_loopback import ContainerExit, RunningPod
from lab.idle import order_of
from tests.bundles import of_order
from tests.integration.operator.stage import NAMESPACE, Stage, condition


async def test_a_checkpoint_becomes_a_sealed_bundle(stage: Stage) -> None:
    stage.request(reason="odd traffic", incident="INC-7")
    async with stage.operating():
        status = await stage.finished()
    assert status["phase"] == "Complete"
    assert status["sealed"] is True
    assert status["succeeded"] == 1
    assert condition(status, "Captured")["status"] == "True"
    assert condition(status, "Complete")["reason"] == "Sealed"
    assert condition(status, "Partial") == {}
    verification = await verify(status["location"], key=stage.public_key, access=stage.access)
    assert verification.problems == ()
    assert verification.manifest_sha256 == status["manifestSHA256"]
    assert [each["step"] for each in status["timings"]] == [step.value for step in Step]


async def test_the_operator_does_not_ask_for_the_order_that_it_wrote(stage: Stage) -> None:
    stage.request()
    async with stage.operating():
        status = await stage.finished()
    assert status["sealed"] is True
    assert "get secrets" not in stage.requests("get")


async def test_the_seeds_answer_for_a_pod_that_is_not_there(stage: Stage) -> None:
    stage.request(pod="nope", namespace="default")
    async with stage.operating():
        status = await stage.finished()
    failed = condition(status, "Failed")
    assert (failed["status"], failed["reason"]) == ("True", "NotFound")
    assert failed["message"] == "The specified Pod 'nope' was not found in the 'default' namespace."
    assert status["startTime"]
    assert status["completionTime"]
    assert stage.worker.runs == []


async def test_what_the_manifest_lacks_makes_the_checkpoint_partial(stage: Stage) -> None:
    gap = NotCaptured(what="memory", container="app", reason="NotSupported", message="Not yet")
    stage.worker.gaps = (gap,)
    stage.request()
    async with stage.operating():
        status = await stage.finished()
    assert (status["phase"], status["sealed"]) == ("Complete", True)
    partial = condition(status, "Partial")
    assert (partial["status"], partial["reason"]) == ("True", "NotSupported")
    assert "app: memory (Not yet)" in partial["message"]


REFUSALS = [
    ({"runtimeClassName": "gvisor"}, {}, "RuntimeNotSupported"),
    ({"runtimeClassName": "kata-qemu"}, {}, "RuntimeNotSupported"),
    ({"os": {"name": "windows"}}, {}, "RuntimeNotSupported"),
    ({"nodeName": "gone"}, {}, "NodeGone"),
    ({"nodeName": "windows"}, {}, "RuntimeNotSupported"),
    ({"nodeName": "fargate"}, {}, "RuntimeNotSupported"),
    ({"nodeName": "virtual"}, {}, "RuntimeNotSupported"),
    ({}, {"destination": "s3://elsewhere"}, "DestinationNotAllowed"),
    ({}, {"containers": ["sidecar"]}, "ContainerNotFound"),
]


@pytest.mark.parametrize(("pod", "spec", "reason"), REFUSALS)
async def test_what_cannot_be_captured_is_refused_at_once(
    stage: Stage, pod: dict[str, object], spec: dict[str, object], reason: str
) -> None:
    stage.cluster.seed_node("windows", metadata={"labels": {"kubernetes.io/os": "windows"}})
    fargate = {"eks.amazonaws.com/compute-type": "fargate"}
    stage.cluster.seed_node("fargate", metadata={"labels": fargate})
    stage.cluster.seed_node("virtual", metadata={"labels": {"type": "virtual-kubelet"}})
    stage.cluster.patch("pods", "web-0", {"spec": pod}, "default")
    stage.request(**spec)
    async with stage.operating():
        status = await stage.finished()
    assert condition(status, "Failed")["reason"] == reason
    assert stage.worker.runs == []


async def test_without_any_destination_it_says_so(stage: Stage) -> None:
    stage.request()
    settings = stage.settings.model_copy(update={"default_destination": None})
    async with stage.operating(settings):
        status = await stage.finished()
    assert condition(status, "Failed")["reason"] == "NoDestination"


async def test_a_pod_without_containers_is_waited_for(stage: Stage) -> None:
    pod = stage.cluster.get("pods", "web-0", "default")
    statuses = pod["status"]["containerStatuses"]
    stage.cluster.patch("pods", "web-0", {"status": {"containerStatuses": []}}, "default")
    stage.request()
    async with stage.operating():
        waiting = await stage.until(lambda item: item.get("status", {}).get("phase") == "Pending")
        assert condition(waiting["status"], "Captured")["reason"] == "PodPending"
        stage.cluster.patch("pods", "web-0", {"status": {"containerStatuses": statuses}}, "default")
        status = await stage.finished()
    assert status["phase"] == "Complete"


async def test_a_pod_that_never_comes_is_given_up(stage: Stage) -> None:
    stage.cluster.patch("pods", "web-0", {"status": {"containerStatuses": []}}, "default")
    stage.request()
    async with stage.operating(stage.settings.model_copy(update={"pod_wait_seconds": 1})):
        status = await stage.finished()
    failed = condition(status, "Failed")
    assert failed["reason"] == "PodPending"
    assert "Waited" in failed["message"]


async def test_containers_that_were_never_created_are_gaps(stage: Stage) -> None:
    late = {"name": "late", "image": "registry.example/late:1"}
    spec = stage.cluster.get("pods", "web-0", "default")["spec"]
    both = {"containers": [*spec["containers"], late]}
    stage.cluster.patch("pods", "web-0", {"spec": both}, "default")
    stage.request()
    async with stage.operating():
        await stage.finished()
    assert any("late" in line for line in stage.worker.runs[0].not_captured)


async def oom(pod: RunningPod) -> ContainerExit:
    return ContainerExit(exit_code=137, reason="OOMKilled")


async def evicted(pod: RunningPod) -> ContainerExit:
    return ContainerExit(exit_code=137, pod_reason="Evicted")


async def silent(pod: RunningPod) -> ContainerExit:
    return ContainerExit(exit_code=0)


@pytest.mark.parametrize(
    ("ending", "reason"), [(oom, "OOMKilled"), (evicted, "Evicted"), (silent, "NoManifest")]
)
async def test_an_attempt_that_dies_is_followed_by_another_at_most_twice(
    stage: Stage, ending: object, reason: str
) -> None:
    stage.worker.before = ending  # type: ignore[assignment]
    stage.request()
    async with stage.operating():
        status = await stage.finished()
    assert (status["phase"], status["attempt"], status["failed"]) == ("Failed", 3, 3)
    assert reason in condition(status, "Failed")["reason"] + condition(status, "Failed")["message"]
    assert [order.attempt for order in stage.worker.runs] == [1, 2, 3]
    assert len({order.bundle for order in stage.worker.runs}) == 3


async def test_the_second_attempt_may_do(stage: Stage) -> None:
    async def first_dies(pod: RunningPod) -> ContainerExit | None:
        return (
            ContainerExit(exit_code=137, reason="OOMKilled")
            if len(stage.worker.runs) == 1
            else None
        )

    stage.worker.before = first_dies
    stage.request()
    async with stage.operating():
        status = await stage.finished()
    assert (status["phase"], status["attempt"]) == ("Complete", 2)
    assert (status["failed"], status["succeeded"]) == (1, 1)
    assert is_of_attempt(status["location"], 2)


async def test_an_error_that_will_not_pass_is_not_tried_again(stage: Stage) -> None:
    async def refused(pod: RunningPod) -> ContainerExit:
        said = '{"reason": "AccessDenied", "message": "The bucket says no", "retry": false}'
        return ContainerExit(exit_code=1, message=said)

    stage.worker.before = refused
    stage.request()
    async with stage.operating():
        status = await stage.finished()
    assert (status["phase"], status["attempt"]) == ("Failed", 1)
    assert condition(status, "Failed")["reason"] == "AccessDenied"
    assert "The bucket says no" in condition(status, "Failed")["message"]


async def test_a_pod_replaced_between_attempts_is_not_captured(stage: Stage) -> None:
    async def replaced(pod: RunningPod) -> ContainerExit:
        stage.cluster.delete("pods", "web-0", "default", gracePeriodSeconds="0")
        stage.cluster.seed_pod("web-0")
        return ContainerExit(exit_code=1)

    stage.worker.before = replaced
    stage.request()
    async with stage.operating():
        status = await stage.finished()
    assert condition(status, "Failed")["reason"] == "PodReplaced"
    assert len(stage.worker.runs) == 1


async def test_a_request_cancelled_before_it_began_captures_nothing(stage: Stage) -> None:
    stage.request(cancel=True)
    async with stage.operating():
        status = await stage.finished()
    assert condition(status, "Failed")["reason"] == "Cancelled"
    assert stage.worker.runs == []


async def test_a_cancelled_capture_keeps_what_there_is(stage: Stage) -> None:
    started = anyio.Event()

    async def stopped_midway(pod: RunningPod) -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            # As the collector does on SIGTERM: it ends by itself, within its grace period.
            with anyio.CancelScope(shield=True):
                gap = NotCaptured(
                    what="filesystem", container="app", reason="Interrupted", message="Stopped"
                )
                stage.worker.gaps = (gap,)
                await stage.worker.store(*order_of(pod))

    stage.worker.before = stopped_midway
    stage.request()
    async with stage.operating():
        await started.wait()
        stage.cluster.patch("podcheckpoints", "checkpoint-1", {"spec": {"cancel": True}}, NAMESPACE)
        status = await stage.finished()
    assert (status["phase"], status["sealed"]) == ("Complete", True)
    assert condition(status, "Partial")["reason"] == "Cancelled"


async def test_deleting_the_resource_stops_the_job_and_keeps_the_evidence(stage: Stage) -> None:
    started = anyio.Event()

    async def forever(pod: RunningPod) -> ContainerExit | None:
        started.set()
        await anyio.sleep_forever()
        return None

    stage.worker.before = forever
    stage.request()
    async with stage.operating():
        await started.wait()
        stage.cluster.delete("podcheckpoints", "checkpoint-1", NAMESPACE)
        with anyio.fail_after(20):
            for kind in ("podcheckpoints", "jobs", "pods"):
                await stage.cluster.until(kind, lambda items: not list(items), NAMESPACE)
    remaining = stage.cluster.list("secrets", NAMESPACE)
    assert len(list(remaining)) == 1, "only the collector's credentials stay"


async def test_a_finished_checkpoint_goes_when_its_time_is_over(stage: Stage) -> None:
    stage.request(ttlSecondsAfterFinished=1)
    async with stage.operating():
        with anyio.fail_after(20):
            await stage.cluster.until("podcheckpoints", lambda items: not list(items), NAMESPACE)
    assert len(stage.worker.runs) == 1


async def test_a_manifest_that_is_not_as_ordered_is_not_sealed(stage: Stage) -> None:
    stage.worker.alter = lambda capture: of_order(capture, reason="something else")
    stage.request(reason="odd traffic")
    async with stage.operating():
        status = await stage.finished()
    assert condition(status, "Failed")["reason"] == "NotSealed"
    assert "reason differs" in condition(status, "Failed")["message"]
    assert condition(status, "Captured")["status"] == "False"
    assert status["sealed"] is False


async def test_captures_on_one_node_wait_for_each_other(stage: Stage) -> None:
    running = most = 0
    go_on = anyio.Event()

    def waiting() -> int:
        found = [stage.get(f"checkpoint-{number}").get("status", {}) for number in range(3)]
        return sum(condition(each, "Captured").get("reason") == "NodeBusy" for each in found)

    async def count(pod: RunningPod) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await go_on.wait()
        running -= 1

    stage.worker.before = count
    for number in range(3):
        stage.request(f"checkpoint-{number}")
    settings = stage.settings.model_copy(update={"captures_per_node": 1})
    async with stage.operating(settings):
        with anyio.fail_after(120):
            while waiting() < 2:  # noqa: ASYNC110  # several objects
                await anyio.sleep(0.05)
        go_on.set()
        for number in range(3):
            assert (await stage.finished(f"checkpoint-{number}"))["phase"] == "Complete"
    assert most == 1


async def test_the_longest_names_there_are(stage: Stage) -> None:
    pod, name = "p" * 63, "c" * 253
    stage.cluster.seed_pod(pod)
    stage.request(name, pod=pod)
    async with stage.operating():
        status = await stage.finished(name)
    assert status["phase"] == "Complete"
    assert len(status["jobName"]) <= 63


async def test_what_a_killed_pod_left_paused_is_resumed(stage: Stage) -> None:
    async def first_dies(pod: RunningPod) -> ContainerExit | None:
        return (
            ContainerExit(exit_code=137, reason="OOMKilled")
            if len(stage.worker.runs) == 1
            else None
        )

    stage.worker.before = first_dies
    stage.request(pause=True)
    async with stage.operating():
        status = await stage.finished()
    assert (status["phase"], status["attempt"]) == ("Complete", 2)
    containers = [target.container_id for target in stage.worker.runs[0].targets]
    assert stage.worker.thawed == [containers]
    secrets = [one["metadata"]["name"] for one in stage.cluster.list("secrets", NAMESPACE)]
    assert secrets == ["collector-s3"]
