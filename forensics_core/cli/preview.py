"""`forensics checkpoint --dry-run`: what would be captured, if it were asked for in earnest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from forensics_core.cli.cluster import ClusterAccess
from forensics_core.cli.program import run
from forensics_core.cli.render import clean, print_data, print_text, table
from forensics_core.cli.spec import build_spec
from forensics_core.errors import NotFound

if TYPE_CHECKING:
    from forensics_core.api.podcheckpoint import PodCheckpoint
    from forensics_core.kube import ClusterConnection
    from forensics_core.kube.objects import Object

_KINDS = (
    ("init", "initContainers", "initContainerStatuses"),
    ("regular", "containers", "containerStatuses"),
    ("ephemeral", "ephemeralContainers", "ephemeralContainerStatuses"),
)


@dataclass(frozen=True, slots=True)
class Preview:
    """What the cluster would accept, and the pod as it is now."""

    checkpoint: PodCheckpoint
    pod: Object

    @property
    def containers(self) -> list[dict[str, str]]:
        """The containers that would be captured: name, kind, state and ID."""
        wanted = self.checkpoint.spec.containers
        return [one for one in _containers(self.pod) if not wanted or one["name"] in wanted]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        pod = {
            "uid": self.pod["metadata"]["uid"],
            "node": self.pod["spec"].get("nodeName", ""),
            "containers": self.containers,
        }
        return {"dryRun": True, "podCheckpoint": self.checkpoint.to_dict(), "pod": pod}


def preview(
    pod: str,
    namespace: str | None,
    name: str | None,
    given: Mapping[str, Any],
    access: ClusterAccess,
    output: str,
) -> None:
    """Let the cluster check the request without keeping it, look at the pod, and print both.

    Raises `NotFound` if there is no such pod, or no such container in it.
    """
    _print(run(partial(_dry_run, pod, namespace, name, given, access)), output)


def _print(found: Preview, output: str) -> None:
    if output == "text":
        print_text("\n".join(_description(found)))
    else:
        print_data(found.to_dict(), output)


async def _dry_run(
    pod: str,
    namespace: str | None,
    name: str | None,
    given: Mapping[str, Any],
    access: ClusterAccess,
) -> Preview:
    async with access.connect() as cluster:
        spec = build_spec(pod, namespace or cluster.namespace, given)
        checkpoint = await access.client(cluster).create(spec, name=name, dry_run=True)
        found = Preview(checkpoint, await _pod(cluster, checkpoint))
    missing = set(spec.containers) - {one["name"] for one in found.containers}
    if missing:
        there = ", ".join(one["name"] for one in _containers(found.pod))
        raise NotFound(
            f"The pod '{spec.pod}' has no container {', '.join(sorted(missing))}",
            hint=f"It has: {there}",
        )
    return found


async def _pod(cluster: ClusterConnection, checkpoint: PodCheckpoint) -> Object:
    from forensics_core.kube.objects import Objects
    from forensics_core.kube.resources import PODS

    name, namespace = checkpoint.spec.pod, checkpoint.target_namespace
    try:
        return await Objects(cluster, PODS).get(name, namespace)
    except NotFound as error:
        raise NotFound(
            f"The specified Pod '{name}' was not found in the '{namespace}' namespace",
            hint="Check the name, and the namespace (-n)",
        ) from error


def _containers(pod: Object) -> Iterator[dict[str, str]]:
    # From the spec, as a container that was never created has no status.
    for kind, group, statuses in _KINDS:
        status = {one["name"]: one for one in pod.get("status", {}).get(statuses) or ()}
        for one in pod["spec"].get(group) or ():
            yield _container(one, kind, status.get(one["name"], {}))


def _container(spec: Object, kind: str, status: Object) -> dict[str, str]:
    # That is how Kubernetes spells a sidecar.
    if kind == "init" and spec.get("restartPolicy") == "Always":
        kind = "sidecar"
    # The state is the one key that is there: waiting, running or terminated.
    state = next(iter(status.get("state") or {}), "not created")
    return {
        "name": spec["name"],
        "kind": kind,
        "state": state,
        "containerID": status.get("containerID", ""),
    }


def _description(found: Preview) -> Iterator[str]:
    spec = found.checkpoint.spec
    where = clean(f"{found.checkpoint.target_namespace}/{spec.pod}")
    node = clean(found.pod["spec"].get("nodeName") or "no node yet")
    yield "Dry run: the cluster would accept this, and nothing was created."
    yield f"Pod:       {where} on {node}"
    yield f"To:        {clean(spec.destination or 'the default of the operator')}"
    yield f"Artifacts: {', '.join(spec.artifacts)}"
    yield ""
    cells = [tuple(one.values()) for one in found.containers]
    yield table(("CONTAINER", "KIND", "STATE", "ID"), cells)
