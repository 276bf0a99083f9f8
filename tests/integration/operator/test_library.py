"""Checkpoints by the public face: asked for, followed, cancelled, and what becomes of them."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import anyio
import pytest

from forensics_core.bundles import open_bundle
from forensics_core.checkpoints import Checkpoint, Cluster, connect
from forensics_core.errors import CheckpointFailed, NotFound, UsageError
from forensics_core.models import Phase, Progress
from forensics_loopback import ContainerExit, RunningPod
from tests.docstrings import run_example
from tests.integration.operator.stage import NAMESPACE, Stage, condition

EXAMPLES = Path(__file__).parents[3] / "examples"
EXAMPLE = EXAMPLES / "07_follow_incident.py"


@pytest.fixture
async def cluster(stage: Stage) -> AsyncIterator[Cluster]:
    async with connect(stage.kubeconfig) as connected:
        yield connected


async def followed(checkpoint: Checkpoint) -> list[Progress]:
    return [progress async for progress in checkpoint.progress()]


async def test_a_checkpoint_is_followed_to_its_sealed_evidence(
    stage: Stage, use_env: Callable[[Mapping[str, str]], None]
) -> None:
    """As the design has it, word for word but for the names."""
    use_env({"KUBECONFIG": str(stage.kubeconfig)})
    async with stage.operating():
        async with connect() as cluster:
            checkpoint = await cluster.checkpoint(
                "web-0", namespace="default", to=f"s3://{stage.bucket}", incident="INC-7"
            )
            seen = [progress async for progress in checkpoint.progress()]
            done = await checkpoint.captured()
        async with open_bundle(done.location, key=stage.public_key) as bundle:
            assert bundle.capture.order.incident == "INC-7"
            assert bundle.manifest_sha256 == done.manifest_sha256
            assert len(bundle.artifacts) >= 5
    assert seen and seen[-1].artifacts_done == seen[-1].artifacts_total
    assert (done.sealed, done.partial, done.artifacts > 0, done.size > 0) == (
        True,
        False,
        True,
        True,
    )
    assert (checkpoint.pod, checkpoint.status.phase) == ("default/web-0", Phase.COMPLETE)
    assert checkpoint.finished and checkpoint.name.startswith("web-0-")


async def test_the_example_that_the_module_opens_with_runs(
    stage: Stage, use_env: Callable[[Mapping[str, str]], None]
) -> None:
    use_env({"KUBECONFIG": str(stage.kubeconfig)})
    replaced = {'"shop"': '"default"', "s3://cases": f"s3://{stage.bucket}"}
    async with stage.operating():
        names = await run_example("forensics_core.checkpoints", replaced)
    assert names["evidence"].location.startswith(f"s3://{stage.bucket}/forensics/")


async def test_everything_that_can_be_asked_for_reaches_the_request(
    stage: Stage, cluster: Cluster
) -> None:
    made = await cluster.checkpoint(
        "web-0", subpath="inc", containers=["web"], artifacts=["filesystem"], reason="why",
        pause=True, deadline=60, ttl=5, name="mine", record=9,
        volumes=["tls"], deleted_budget=7, freeze=False,
    )  # fmt: skip
    spec = stage.get("mine")["spec"]
    defaults = {
        "cancel": False, "compression": "auto", "afterCapture": "Keep", "isolate": False,
        "release": False,
    }  # fmt: skip
    assert spec == defaults | {
        "pod": "web-0", "namespace": "default", "subpath": "inc", "containers": ["web"],
        "artifacts": ["filesystem"], "reason": "why", "pause": True, "activeDeadlineSeconds": 60,
        "ttlSecondsAfterFinished": 5, "recordSeconds": 9, "volumes": ["tls"], "deletedBudget": 7,
        "freeze": False,
    }  # fmt: skip
    assert (await cluster.get("mine")).resource == made.resource
    assert [each.name for each in await cluster.checkpoints()] == ["mine"]
    assert await cluster.checkpoints(incident="INC-7") == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"to": "http://x"}, "to: "),
        ({"deadline": 0}, "deadline: "),
        ({"ttl": -1}, "ttl: "),
        ({"record": -1}, "record: "),
        ({"volumes": "tls"}, "volumes: "),
        ({"deleted_budget": -1}, "deleted_budget: "),
        ({"containers": "web"}, "containers: "),
        ({"artifacts": ["all"]}, "artifacts: "),
        ({"retention": {"days": 0}}, "retention: "),
        ({"name": 5}, "name: "),
    ],
)
async def test_an_argument_that_does_not_fit_is_named_in_one_line(
    cluster: Cluster, arguments: dict[str, object], named: str
) -> None:
    with pytest.raises(UsageError) as raised:
        await cluster.checkpoint("web-0", **arguments)  # type: ignore[arg-type] # that is the point
    assert str(raised.value).startswith(named) and "\n" not in str(raised.value)


async def test_a_capture_that_fails_raises_its_reason_and_what_to_do(
    stage: Stage, cluster: Cluster
) -> None:
    async with stage.operating():
        checkpoint = await cluster.checkpoint("gone", namespace="default")
        assert await followed(checkpoint) == []
        with pytest.raises(CheckpointFailed, match="not found") as raised:
            await checkpoint.captured()
    assert raised.value.reason == "NotFound" and "describe pcp" in raised.value.hint


async def test_evidence_that_is_not_sealed_yet_is_returned_where_that_is_enough(
    stage: Stage, cluster: Cluster
) -> None:
    async with stage.operating():
        checkpoint = await cluster.checkpoint("web-0", namespace="default")
        evidence = await checkpoint.captured(sealed=False)
        assert evidence.location and evidence.manifest_sha256
        assert (await checkpoint.captured()).sealed
    assert (await checkpoint.refresh()).phase is Phase.COMPLETE


async def test_a_cancelled_capture_comes_to_an_end(stage: Stage, cluster: Cluster) -> None:
    begun = anyio.Event()

    async def wait(pod: RunningPod) -> ContainerExit | None:
        begun.set()
        await anyio.sleep_forever()
        return None

    stage.worker.before = wait
    async with stage.operating():
        checkpoint = await cluster.checkpoint("web-0", namespace="default")
        await begun.wait()
        await checkpoint.cancel()
        assert checkpoint.resource.spec.cancel
        with pytest.raises(CheckpointFailed):
            await checkpoint.captured()


async def test_a_checkpoint_that_was_deleted_is_not_found(stage: Stage, cluster: Cluster) -> None:
    checkpoint = await cluster.checkpoint("web-0", name="mine")
    stage.cluster.delete("podcheckpoints", "mine", NAMESPACE)
    with pytest.raises(NotFound, match="deleted"):
        await followed(checkpoint)
    with pytest.raises(NotFound):
        await checkpoint.captured()
    await cluster.checkpoint("web-0", name="mine")
    for look in (checkpoint.refresh, checkpoint.captured, checkpoint.cancel):
        with pytest.raises(NotFound, match="deleted"):
            await look()


async def test_an_incident_is_followed_until_the_last_of_its_checkpoints_has_ended(
    stage: Stage, cluster: Cluster
) -> None:
    for pod in ("web-0", "gone"):
        await cluster.checkpoint(pod, namespace="default", incident="INC-7")
    await cluster.checkpoint("web-0", namespace="default", incident="INC-8", name="other")
    async with stage.operating():
        env = {**os.environ, "KUBECONFIG": str(stage.kubeconfig)}
        done = await anyio.run_process([sys.executable, str(EXAMPLE), "INC-7"], env=env)
        lines = done.stdout.decode().splitlines()
    assert {line.split()[0] for line in lines} == {"default/web-0", "default/gone"}
    assert any(line.startswith("default/web-0 Complete") for line in lines)
    assert any(line.startswith("default/gone Failed") for line in lines)


async def test_following_an_incident_without_checkpoints_ends_at_once(cluster: Cluster) -> None:
    assert [each async for each in cluster.follow(incident="INC-9")] == []


async def test_a_checkpoint_that_is_deleted_is_followed_no_more(
    stage: Stage, cluster: Cluster
) -> None:
    await cluster.checkpoint("web-0", incident="INC-7", name="mine")
    seen = []
    async for checkpoint in cluster.follow(incident="INC-7"):
        seen.append(checkpoint.name)
        if len(seen) == 1:
            stage.cluster.delete("podcheckpoints", "mine", NAMESPACE)
    assert seen == ["mine", "mine"]


async def test_many_pods_of_an_incident_are_found_captured_followed_and_summarised(
    stage: Stage, cluster: Cluster
) -> None:
    stage.cluster.patch("pods", "web-0", {"metadata": {"labels": {"app": "web"}}}, "default")
    for number in (1, 2):
        stage.cluster.seed_pod(f"web-{number}", metadata={"labels": {"app": "web"}})
    env = {**os.environ, "KUBECONFIG": str(stage.kubeconfig)}
    script = str(EXAMPLES / "09_capture_incident.py")
    command = [sys.executable, script, "INC-7", "default", "app=web", f"s3://{stage.bucket}"]
    pods = ["default/web-0", "default/web-1", "default/web-2"]
    async with stage.operating():
        done = await anyio.run_process(command, env=env)
    lines = done.stdout.decode().splitlines()
    assert lines[0] == f"3 pods: {', '.join(pods)}"
    assert lines[1:4] == [f"{pod} Created " for pod in pods]
    assert lines[-1] == f"3 of 3 pods may be killed: {', '.join(pods)}"
    summary = await cluster.incident("INC-7").summary()
    assert (summary.finished, summary.failed, summary.partial) == (True, (), ())
    assert summary.size > 0 and len({pod.checkpoint.status.location for pod in summary.pods}) == 3


async def test_a_pod_is_contained_and_released(stage: Stage, cluster: Cluster) -> None:
    async with stage.operating():
        checkpoint = await cluster.checkpoint(
            "web-0", namespace="default", isolate=True, after_capture="Keep"
        )
        await checkpoint.captured()
        await checkpoint.release()
        assert checkpoint.resource.spec.release
        done = await stage.until(
            lambda one: condition(one["status"], "Isolated").get("reason") == "Released",
            checkpoint.name,
        )
    assert done["spec"]["isolate"] is True
    with pytest.raises(UsageError, match="after_capture"):
        await cluster.checkpoint("web-0", after_capture="Eat")
