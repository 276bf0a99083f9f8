"""The scheduler: puts the pods of Jobs on nodes that they select and whose taints they tolerate.

Only pods that a Job controls are bound: whatever else a test creates stays as the test made it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import anyio

from forensics_core.kube.listwatch import EventType
from forensics_core.kube.resources import NODES, PODS
from forensics_loopback.client.api import Api, ObjectTasks, amend
from forensics_loopback.kinds.objects import Obj, is_deleting, lookup, metadata, name_of, now
from forensics_loopback.kinds.pods import owner_job

_OPERATORS: dict[str, Callable[[str | None, list[str]], bool]] = {
    "In": lambda value, values: value in values,
    "NotIn": lambda value, values: value not in values,
    "Exists": lambda value, _: value is not None,
    "DoesNotExist": lambda value, _: value is None,
    "Gt": lambda value, values: value is not None and int(value) > int(values[0]),
    "Lt": lambda value, values: value is not None and int(value) < int(values[0]),
}


class Scheduler:
    """A client of the API that binds pods."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def run(self) -> None:
        """Place pods until cancelled."""
        async with anyio.create_task_group() as tasks, self._api.watch(PODS) as events:
            pending = ObjectTasks(tasks)
            async for event in events:
                if event.type is EventType.SYNCED:
                    continue
                if event.type is EventType.DELETED or is_deleting(event.object):
                    pending.cancel(event.object)
                elif event.type is EventType.ADDED and _is_pending(event.object):
                    pending.start(self._place, event.object)

    async def _place(self, pod: Obj) -> None:
        told = False
        async with self._api.watch(NODES) as events:
            async for _ in events:
                nodes = await self._api.list(NODES)
                node = place(pod, nodes)
                if node is not None:
                    await self._api.bind(pod, name_of(node))
                    return
                if not told:
                    refuse = partial(_unschedulable, nodes=len(nodes))
                    await amend(self._api, PODS, pod, refuse)
                    told = True


def _is_pending(pod: Obj) -> bool:
    return owner_job(pod) is not None and not lookup(pod, "spec.nodeName")


def _unschedulable(pod: Obj, nodes: int) -> None:
    """No node fits, for now."""
    message = (
        f"0/{nodes} nodes are available: {nodes} node(s) didn't match Pod's node affinity/selector."
        f" no new claims to deallocate, preemption: 0/{nodes} nodes are available: {nodes} "
        "Preemption is not helpful for scheduling."
    )
    pod["status"]["conditions"] = [
        {
            "type": "PodScheduled",
            "observedGeneration": metadata(pod).get("generation", 1),
            "status": "False",
            "lastProbeTime": None,
            "lastTransitionTime": now(),
            "reason": "Unschedulable",
            "message": message,
        }
    ]


def place(pod: Obj, nodes: Iterable[Obj]) -> Obj | None:
    """The first node, by name, that the pod may run on, or None."""
    return next((node for node in nodes if fits(pod, node)), None)


def fits(pod: Obj, node: Obj) -> bool:
    """Whether the pod selects the node and tolerates its taints."""
    labels = metadata(node).get("labels") or {}
    selector = lookup(pod, "spec.nodeSelector") or {}
    if any(labels.get(key) != value for key, value in selector.items()):
        return False
    path = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
    terms = (lookup(pod, path) or {}).get("nodeSelectorTerms")
    if terms is not None and not any(_term_matches(term, node, labels) for term in terms):
        return False
    taints = lookup(node, "spec.taints") or ()
    return all(_tolerated(taint, lookup(pod, "spec.tolerations") or ()) for taint in taints)


def _term_matches(term: Obj, node: Obj, labels: dict[str, str]) -> bool:
    fields = {"metadata.name": name_of(node)}
    wanted = [(e, labels) for e in term.get("matchExpressions") or ()]
    wanted += [(e, fields) for e in term.get("matchFields") or ()]
    return bool(wanted) and all(
        _OPERATORS[e["operator"]](values.get(e["key"]), e.get("values") or [])
        for e, values in wanted
    )


def _tolerated(taint: Obj, tolerations: Iterable[Obj]) -> bool:
    if taint.get("effect") == "PreferNoSchedule":
        return True
    return any(
        toleration.get("effect", taint.get("effect")) == taint.get("effect")
        and toleration.get("key", taint["key"]) == taint["key"]
        and (
            toleration.get("operator") == "Exists"
            or toleration.get("value", "") == taint.get("value", "")
        )
        for toleration in tolerations
    )
