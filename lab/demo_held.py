"""The demo's act of a pod that is deleted before anybody captured it: a rule holds it until it is.

The loopback cluster has no kubelet that ends real containers. The demo does that part: SIGTERM when
the pod is deleted, and the container is removed once its pod is gone.
"""

from __future__ import annotations

import re
from typing import Any

import anyio
import yaml

from forensics_core._internal.tasks import task_group
from forensics_core.api.names import HOLD_FINALIZER, RULE_LABEL
from forensics_loopback import LoopbackCluster
from lab.demo_cluster import ROOT, SYSTEM, DemoSetup, container_pod
from lab.demo_screen import follow, run, tell
from lab.demo_shop import CONTAINER
from lab.process import LabError
from lab.seaweed import S3Identity
from lab.tamper import tamper

NAMESPACE = "default"
EXAMPLE = ROOT / "examples" / "rules" / "hold.yaml"
LOOT = "/tmp/.x/backdoor"  # noqa: S108  # in the container
HOLD_TIMEOUT = 60
"""Seconds until the rule holds the pod, at most."""
CAPTURE_TIMEOUT = 120.0
"""Seconds that the deletion, and then the capture, may take."""
_OVER = re.compile(r"\s(Complete|Failed)\s")


async def deleted_pod(cluster: LoopbackCluster, demo: DemoSetup) -> None:
    """Delete a pod that nobody has captured, and show its evidence. Raises `LabError`."""
    rule = await _write_rule(demo)
    labels = rule["spec"]["selector"]["matchLabels"]
    name = demo.target.name.replace("shop-", "shop-b-")
    async with demo.target.another(name) as container:
        await tamper(demo.target.engine, container)
        pod = container_pod(demo.target.scheme + container)
        cluster.seed_pod(name, NAMESPACE, metadata={"labels": labels}, **pod)
        await _hold(demo, name)
        await _delete(cluster, demo, name, container)
    bundle = await _captured(cluster, demo, rule["metadata"]["name"])
    tell("The pod is gone, and so is its container. The intruder's file is in the bundle.")
    await run("kubectl", "get", "pods", "-n", NAMESPACE, env=demo.kubectl_env)
    reader = demo.s3.env(S3Identity.READER)
    await run("forensics", "cat", bundle, f"{CONTAINER}:{LOOT}", env=reader)


async def _write_rule(demo: DemoSetup) -> dict[str, Any]:
    """Write the sample rule with the demo's own namespace and bucket in it."""
    rule: dict[str, Any] = yaml.safe_load(await anyio.Path(EXAMPLE).read_text())
    rule["spec"] |= {"namespaces": [NAMESPACE], "template": {"destination": demo.bucket}}
    text = yaml.safe_dump(rule, sort_keys=False)
    await anyio.Path(demo.folder / "rule.yaml").write_text(text)
    return rule


async def _hold(demo: DemoSetup, name: str) -> None:
    tell("Another pod was broken into. Nobody knows yet, but there is a rule for pods like it.")
    await run("cat", "rule.yaml", folder=demo.folder)
    await run("kubectl", "apply", "-f", "rule.yaml", env=demo.kubectl_env, folder=demo.folder)
    held = ("--for", f"jsonpath={{.metadata.finalizers[0]}}={HOLD_FINALIZER}")
    wait = ("kubectl", "wait", f"pod/{name}", "-n", NAMESPACE, *held, f"--timeout={HOLD_TIMEOUT}s")
    await run(*wait, env=demo.kubectl_env)


async def _delete(cluster: LoopbackCluster, demo: DemoSetup, name: str, container: str) -> None:
    """Delete the pod, and do what the kubelet would: its containers are told to end."""
    tell("Somebody deletes the pod. It waits until it is captured, in its grace period, and goes.")
    tell("(No kubelet is here: the demo sends SIGTERM, and removes the container after its pod.)")

    async def end() -> None:
        await cluster.until("pods", _deleting, NAMESPACE)
        await demo.target.engine.exec(container, "kill -TERM 1")

    delete = (
        "kubectl",
        "delete",
        "pod",
        name,
        "-n",
        NAMESPACE,
        f"--timeout={CAPTURE_TIMEOUT:.0f}s",
    )
    async with task_group() as tasks:
        tasks.start_soon(end)
        await run(*delete, env=demo.kubectl_env)
        tasks.cancel_scope.cancel()  # the pod is gone: whatever was still to be done to it is late


def _deleting(pods: Any) -> bool:
    found = pods.values() if isinstance(pods, dict) else pods
    return any("deletionTimestamp" in pod["metadata"] for pod in found)


async def _captured(cluster: LoopbackCluster, demo: DemoSetup, rule: str) -> str:
    """Show the PodCheckpoint that the rule made until it is sealed; return where its bundle is."""
    tell("The rule has asked for the capture, and the operator has made it.")
    label = f"{RULE_LABEL}={rule}"
    with anyio.move_on_after(CAPTURE_TIMEOUT):
        command = ("kubectl", "get", "pcp", "-l", label, "--watch")
        await follow(*command, until=_OVER.search, env=demo.kubectl_env)
    made = cluster.list("podcheckpoints", SYSTEM)
    (found,) = [one for one in made if RULE_LABEL in one["metadata"].get("labels", {})]
    status = found.get("status", {})
    if status.get("phase") != "Complete":
        raise LabError(f"The rule's checkpoint is {status.get('phase', 'not begun')}")
    return str(status["location"])
