"""Held pods: held as they appear; free once captured, once no rule is left, once time is over."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web

from forensics_core.api.names import HOLD_FINALIZER, HOLD_LABEL
from forensics_core.kube.connection import connect
from forensics_core.operator.releaser import Releaser
from forensics_loopback import Fault, LoopbackCluster
from forensics_loopback.server.access import AccessAttributes, User
from tests.integration.kube.scripted import ScriptedApi, answer, scripted_api
from tests.integration.operator.rules.acting import NAMESPACE, SOON, Acting, Document
from tests.programs import program

OTHER = "example.com/other"


def is_held(pod: Document) -> bool:
    """Return whether a pod is held, and says so."""
    metadata = pod["metadata"]
    on = HOLD_FINALIZER in metadata.get("finalizers", [])
    assert on == (HOLD_LABEL in metadata.get("labels", {}))
    return on


async def pod_is(
    cluster: LoopbackCluster, met: Callable[[Document], object], name: str = "web-0"
) -> None:
    """Wait until `met` says yes to a pod."""

    def one_met(items: Any) -> object:
        found = items.values() if isinstance(items, dict) else items
        return [item for item in found if item["metadata"]["name"] == name and met(item)]

    with anyio.fail_after(SOON):
        await cluster.until("pods", one_met, "default")


async def gone(cluster: LoopbackCluster, name: str = "web-0") -> None:
    """Wait until a pod is not there any more."""

    def none(items: Any) -> bool:
        found = items.values() if isinstance(items, dict) else items
        return all(item["metadata"]["name"] != name for item in found)

    with anyio.fail_after(SOON):
        await cluster.until("pods", none, "default")


def holding(acting: Acting, name: str = "dying", **spec: Any) -> Document:
    """Create a rule that holds."""
    return acting.rule(name, "Deleted", hold=True, **spec)


def condition(status: Document) -> str:
    """Return the reason of the condition Holding; empty if there is none."""
    found = [one["reason"] for one in status.get("conditions", []) if one["type"] == "Holding"]
    return found[0] if found else ""


def captured(acting: Acting, capture: Document, **status: Any) -> None:
    """Write a PodCheckpoint's status, as the operator does."""
    now = "2026-01-01T00:00:00Z"
    kind = {"type": "Captured", "status": "True", "reason": "Stored", "message": ""}
    value = {"phase": "Capturing", "conditions": [kind | {"lastTransitionTime": now}], **status}
    name = capture["metadata"]["name"]
    acting.cluster.patch("podcheckpoints", name, {"status": value}, NAMESPACE)


async def test_pods_are_held_as_they_appear_and_the_rule_says_so(acting: Acting) -> None:
    other = {"finalizers": [OTHER], "labels": {"app": "web"}}
    acting.cluster.seed_pod("web-1", metadata=other)
    holding(acting, holdSeconds=90)
    async with acting.working():
        await acting.told(lambda status: condition(status) == "Holding")
        for name in ("web-0", "web-1"):
            await pod_is(acting.cluster, is_held, name)
        acting.cluster.seed_pod("web-2")
        await pod_is(acting.cluster, is_held, "web-2")
        pod = acting.cluster.get("pods", "web-1", "default")["metadata"]
    assert pod["finalizers"] == [OTHER, HOLD_FINALIZER]
    assert (pod["labels"]["app"], pod["labels"][HOLD_LABEL]) == ("web", "90")


async def test_a_deleted_pod_is_captured_and_goes_as_soon_as_it_is(acting: Acting) -> None:
    holding(acting)
    async with acting.working():
        await pod_is(acting.cluster, is_held)
        acting.cluster.delete("pods", "web-0", "default")
        (capture,) = await acting.captures(1)
        assert is_held(acting.cluster.get("pods", "web-0", "default"))
        captured(acting, capture)
        await gone(acting.cluster)


async def test_a_deleted_pod_goes_once_its_capture_has_failed(acting: Acting) -> None:
    holding(acting)
    async with acting.working():
        await pod_is(acting.cluster, is_held)
        acting.cluster.delete("pods", "web-0", "default")
        (capture,) = await acting.captures(1)
        captured(acting, capture, phase="Failed", conditions=[])
        await gone(acting.cluster)


async def test_a_deleted_pod_of_which_nothing_is_captured_goes_at_once(acting: Acting) -> None:
    holding(acting)
    never = {"phase": "Pending", "containerStatuses": []}
    acting.cluster.seed_pod("web-1", status=never)
    async with acting.working():
        await pod_is(acting.cluster, is_held, "web-1")
        acting.cluster.delete("pods", "web-1", "default")
        await gone(acting.cluster, "web-1")
        acting.cluster.seed_pod("web-1", status=never)
        await pod_is(acting.cluster, is_held, "web-1")
    assert not acting.cluster.list("podcheckpoints")


async def test_a_deleted_pod_goes_when_its_time_is_over_though_nobody_captures(
    acting: Acting,
) -> None:
    holding(acting, holdSeconds=1)
    async with acting.working():
        await pod_is(acting.cluster, is_held)
        acting.cluster.delete("pods", "web-0", "default")
        await gone(acting.cluster)


@pytest.mark.parametrize(
    "change", [None, {"hold": False}, {"dryRun": True}, {"namespaces": ["shop"]}]
)
async def test_pods_are_freed_that_no_rule_holds_any_more(
    acting: Acting, change: Document | None
) -> None:
    holding(acting)
    async with acting.working():
        await pod_is(acting.cluster, is_held)
        if change is None:
            acting.cluster.delete("capturerules", "dying", NAMESPACE)
        else:
            changed = {"spec": change, "metadata": {"generation": 2}}
            acting.cluster.patch("capturerules", "dying", changed, NAMESPACE)
        await pod_is(acting.cluster, lambda pod: not is_held(pod))
        holding(acting, "another")
        await pod_is(acting.cluster, is_held)


async def test_a_pod_is_freed_that_no_longer_matches(acting: Acting) -> None:
    acting.cluster.seed_pod("web-1", metadata={"labels": {"app": "web"}})
    holding(acting, selector={"matchLabels": {"app": "web"}})
    async with acting.working():
        await pod_is(acting.cluster, is_held, "web-1")
        acting.cluster.patch("pods", "web-1", {"metadata": {"labels": {"app": "db"}}}, "default")
        await pod_is(acting.cluster, lambda pod: not is_held(pod), "web-1")


async def test_pods_are_freed_whose_rule_went_while_the_operator_was_away(acting: Acting) -> None:
    holding(acting)
    async with acting.working():
        await pod_is(acting.cluster, is_held)
    acting.cluster.delete("capturerules", "dying", NAMESPACE)
    async with acting.working():
        await pod_is(acting.cluster, lambda pod: not is_held(pod))


async def test_a_new_leader_waits_for_the_capture_that_the_old_one_asked_for(
    acting: Acting,
) -> None:
    holding(acting)
    async with acting.working():
        await pod_is(acting.cluster, is_held)
        acting.cluster.delete("pods", "web-0", "default")
        (capture,) = await acting.captures(1)
    async with acting.working() as rules:
        await acting.begun(rules)
        assert is_held(acting.cluster.get("pods", "web-0", "default"))
        captured(acting, capture)
        await gone(acting.cluster)
    assert len(acting.cluster.list("podcheckpoints")) == 1


@pytest.mark.parametrize("status", [409, 503])
async def test_a_hold_that_the_server_did_not_take_is_asked_for_again(
    acting: Acting, status: int
) -> None:
    acting.cluster.faults.add(Fault("patch", "pods", 1, status=status))
    holding(acting)
    async with acting.working():
        await pod_is(acting.cluster, is_held)


@pytest.mark.parametrize("status", [404, 422])
async def test_a_pod_that_could_not_be_held_is_held_once_it_has_changed(
    acting: Acting, status: int
) -> None:
    fault = acting.cluster.faults.add(Fault("patch", "pods", 1, status=status))
    holding(acting)
    async with acting.working():
        await spent(fault)
        acting.cluster.patch("pods", "web-0", {"metadata": {"labels": {"app": "db"}}}, "default")
        await pod_is(acting.cluster, is_held)


@pytest.mark.parametrize("status", [403, 422, 503])
async def test_a_pod_that_could_not_be_freed_is_freed_later(acting: Acting, status: int) -> None:
    holding(acting)
    async with acting.working():
        await pod_is(acting.cluster, is_held)
        acting.cluster.faults.add(Fault("patch", "pods", 1, status=status))
        acting.cluster.delete("capturerules", "dying", NAMESPACE)
        await pod_is(acting.cluster, lambda pod: not is_held(pod))


async def test_rights_that_nobody_could_tell_are_asked_for_again(acting: Acting) -> None:
    acting.cluster.faults.add(Fault("create", "selfsubjectaccessreviews", 1, status=403))
    holding(acting)
    async with acting.working():
        await acting.told(lambda status: condition(status) == "Holding")
        await pod_is(acting.cluster, is_held)


async def test_without_rules_and_rights_nobody_is_freed_and_nothing_fails(acting: Acting) -> None:
    fault = acting.cluster.faults.add(Fault("list", "pods", 1, status=403))
    async with acting.working():
        await spent(fault)
        holding(acting)
        await pod_is(acting.cluster, is_held)


async def spent(fault: Fault) -> None:
    """Wait until a fault has happened."""
    with anyio.fail_after(SOON):
        while fault.times:  # noqa: ASYNC110 # nobody tells
            await anyio.sleep(0.01)


async def test_a_right_that_is_taken_away_is_told_and_comes_back(acting: Acting) -> None:
    holding(acting)
    async with acting.working():
        await pod_is(acting.cluster, is_held)
        granted, acting.cluster.server.policy = acting.cluster.server.policy, only_reads
        acting.cluster.seed_pod("web-1")
        await acting.told(lambda status: condition(status) == "OverlayMissing")
        acting.cluster.server.policy = granted
        await pod_is(acting.cluster, is_held, "web-1")
        await acting.told(lambda status: condition(status) == "Holding")


def only_reads(_: User, asked: AccessAttributes) -> bool:
    """Return whether something but a change of pods is asked for."""
    return (asked.verb, asked.resource) != ("patch", "pods")


async def test_without_the_overlay_no_pod_is_held_and_the_rule_names_it(acting: Acting) -> None:
    acting.cluster.server.policy = lambda _, asked: asked.verb != "hold"
    holding(acting)
    async with acting.working():
        status = await acting.told(lambda status: condition(status) == "OverlayMissing")
    (said,) = [one["message"] for one in status["conditions"] if one["type"] == "Holding"]
    assert "kubectl apply -k deploy/overlays/hold" in said
    assert not is_held(acting.cluster.get("pods", "web-0", "default"))


@asynccontextmanager
async def releasing(kubeconfig: Path) -> AsyncIterator[None]:
    """Run a releaser for the block."""
    async with connect(kubeconfig) as connection, anyio.create_task_group() as tasks:
        tasks.start_soon(Releaser(connection, again=0.05).run)
        yield
        tasks.cancel_scope.cancel()


def left(acting: Acting, seconds: int, name: str = "web-1", **metadata: Any) -> None:
    """Leave a pod as an operator does that dies then."""
    marked = {"labels": {HOLD_LABEL: str(seconds)}, "finalizers": [HOLD_FINALIZER]}
    acting.cluster.seed_pod(name, metadata=marked | metadata)


async def test_the_releaser_frees_a_pod_when_its_time_is_over_without_operator_or_kinds(
    acting: Acting,
) -> None:
    for kind in ("capturerules", "podcheckpoints"):
        crd = f"{kind}.forensics.orkaproj.io"
        acting.cluster.delete("customresourcedefinitions", crd)
    left(acting, 1, finalizers=[HOLD_FINALIZER, OTHER])
    left(acting, 600, "web-2")
    left(acting, 1, "web-3")
    async with releasing(acting.kubeconfig), releasing(acting.kubeconfig):
        for name in ("web-1", "web-2"):
            acting.cluster.delete("pods", name, "default")
        await pod_is(acting.cluster, lambda pod: not is_held(pod), "web-1")
    assert acting.cluster.get("pods", "web-1", "default")["metadata"]["finalizers"] == [OTHER]
    assert is_held(acting.cluster.get("pods", "web-2", "default"))
    assert is_held(acting.cluster.get("pods", "web-3", "default"))


@pytest.mark.parametrize("ahead", [-86400.0, 0.0, 86400.0])
async def test_the_releaser_frees_a_pod_whose_label_is_gone_when_its_time_is_over_on_the_server(
    tmp_path: Path, ahead: float
) -> None:
    now = time.time() + ahead
    late, early = (Deleted(name, now - since) for name, since in (("late", 660), ("early", 60)))
    async with scripted_api() as api:
        pods = {"metadata": {"resourceVersion": "1"}, "items": [late.pod, early.pod]}
        api.on("GET", "/api/v1/pods", answer(pods, Date=formatdate(now, usegmt=True)))
        api.on("WATCH", "/api/v1/pods", silence)
        for each in (late, early):
            api.on("PATCH", f"/api/v1/namespaces/default/pods/{each.name}", answer({}))
        async with releasing(api.kubeconfig(tmp_path / "config", {"token": "secret"})):
            with anyio.fail_after(SOON):
                await api.until(lambda: bool(api.asked("PATCH")))
    paths = {seen.path for seen in api.asked("PATCH")}
    assert paths == {"/api/v1/namespaces/default/pods/late"}


async def silence(api: ScriptedApi, _: web.Request) -> web.StreamResponse:
    """Answer a watch with nothing, not even a time, until the end."""
    await api.closing.wait()
    return web.Response()


@dataclass(frozen=True)
class Deleted:
    """A pod with the finalizer alone whose deletion was asked for at a time."""

    name: str
    asked: float

    @property
    def pod(self) -> Document:
        """Return what the API server tells of it."""
        return {
            "metadata": {
                "name": self.name,
                "namespace": "default",
                "uid": self.name,
                "resourceVersion": "1",
                "finalizers": [HOLD_FINALIZER],
                "deletionTimestamp": datetime.fromtimestamp(self.asked, UTC).isoformat(),
                "deletionGracePeriodSeconds": 0,
            }
        }


async def test_a_namespace_that_is_deleted_goes_though_its_pods_are_held(acting: Acting) -> None:
    left(acting, 1)
    async with releasing(acting.kubeconfig):
        acting.cluster.delete("namespaces", "default")
        await gone(acting.cluster, "web-1")


async def test_the_releaser_outlives_what_the_server_refuses(acting: Acting) -> None:
    acting.cluster.faults.add(Fault("list", "pods", 1, status=403))
    acting.cluster.faults.add(Fault("patch", "pods", 1, status=403))
    acting.cluster.faults.add(Fault("patch", "pods", 1, status=409))
    left(acting, 1)
    acting.cluster.delete("pods", "web-1", "default")
    async with releasing(acting.kubeconfig):
        await gone(acting.cluster, "web-1")


async def test_the_releaser_looks_again_at_a_pod_that_was_not_to_be_found(acting: Acting) -> None:
    fault = acting.cluster.faults.add(Fault("patch", "pods", 1, status=404))
    left(acting, 1, finalizers=[HOLD_FINALIZER, OTHER])
    acting.cluster.delete("pods", "web-1", "default")
    async with releasing(acting.kubeconfig):
        await spent(fault)
        acting.cluster.patch("pods", "web-1", {"metadata": {"labels": {"app": "db"}}}, "default")
        await pod_is(acting.cluster, lambda pod: not is_held(pod), "web-1")
        acting.cluster.patch("pods", "web-1", {"metadata": {"finalizers": []}}, "default")
        await gone(acting.cluster, "web-1")
        left(acting, 1)
        acting.cluster.delete("pods", "web-1", "default")
        await gone(acting.cluster, "web-1")


async def test_a_killed_operator_blocks_no_pod(acting: Acting) -> None:
    holding(acting, holdSeconds=1)
    async with acting.working():
        await pod_is(acting.cluster, is_held)
    acting.cluster.delete("pods", "web-0", "default")
    command = [program("forensics-hold-releaser"), "--health-port", "0"]
    command += ["--kubeconfig", str(acting.kubeconfig)]
    async with await anyio.open_process(command, stdout=None, stderr=None) as releaser:
        await gone(acting.cluster)
        releaser.terminate()
    assert releaser.returncode == 0
