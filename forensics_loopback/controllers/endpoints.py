"""The EndpointSlice controller: which running pods a Service sends traffic to, one slice each."""

from __future__ import annotations

import anyio

from forensics_core.kube.listwatch import EventType
from forensics_core.kube.resources import PODS, SERVICES, Resource
from forensics_loopback.client.api import Api, amend
from forensics_loopback.kinds.objects import (
    Obj,
    is_deleting,
    lookup,
    metadata,
    name_of,
    namespace_of,
    uid_of,
)

ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")


class EndpointsController:
    """A client of the API; Services without a selector are left to whoever made them."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._turn = anyio.Lock()

    async def run(self) -> None:
        """Keep the slices true until cancelled."""
        async with anyio.create_task_group() as tasks:
            for resource in (SERVICES, PODS):
                tasks.start_soon(self._watch, resource)

    async def _watch(self, resource: Resource) -> None:
        async with self._api.watch(resource) as events:
            async for event in events:
                if event.type is EventType.SYNCED:
                    continue
                async with self._turn:
                    for one in await self._api.list(SERVICES, namespace_of(event.object)):
                        if lookup(one, "spec.selector") and not is_deleting(one):
                            await self._sync(one)

    async def _sync(self, service: Obj) -> None:
        pods = await self._api.list(PODS, namespace_of(service))
        endpoints = [_endpoint(pod) for pod in pods if _serves(service, pod)]
        wanted = _slice(service, endpoints)
        there = await self._api.get(ENDPOINT_SLICES, name_of(wanted), namespace_of(service))
        if there is None:
            await self._api.create(ENDPOINT_SLICES, wanted)
        elif there.get("endpoints") != endpoints:
            await amend(
                self._api, ENDPOINT_SLICES, there, lambda it: it.update(endpoints=endpoints), ""
            )


def _serves(service: Obj, pod: Obj) -> bool:
    labels = metadata(pod).get("labels") or {}
    selected = service["spec"]["selector"].items() <= labels.items()
    running = lookup(pod, "status.phase") == "Running" and lookup(pod, "status.podIP")
    return bool(selected and running and not is_deleting(pod))


def _endpoint(pod: Obj) -> Obj:
    target = {"kind": "Pod", "name": name_of(pod), "namespace": namespace_of(pod)}
    return {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "targetRef": {**target, "uid": uid_of(pod)},
    }


def _slice(service: Obj, endpoints: list[Obj]) -> Obj:
    owner = {"apiVersion": "v1", "kind": "Service", "name": name_of(service)}
    ports = service["spec"].get("ports") or ()
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name_of(service)}-{uid_of(service)[:5]}",
            "namespace": namespace_of(service),
            "labels": {
                "kubernetes.io/service-name": name_of(service),
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
            "ownerReferences": [{**owner, "uid": uid_of(service), "controller": True}],
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"port": one["port"], "protocol": "TCP", "name": ""} for one in ports],
    }
